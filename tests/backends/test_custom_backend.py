"""A third-party backend with only the five methods is complete and correct: the example passes the suite."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from truthstore import RESULTS, BaseStore, get_store, is_backend_available, list_available_backends
from truthstore.testing import SAMPLES, StoreSuite, store_machine
from truthstore.testing.suite.items import a_result

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_backend.py"


def load_example() -> Any:
    spec = importlib.util.spec_from_file_location("custom_backend", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_backend"] = module
    spec.loader.exec_module(module)
    return module


OneFileStore = load_example().OneFileStore


class TestOneFileStore(StoreSuite):
    namespaces = False

    def make_store(self, location, *, collection=RESULTS, **options):
        return OneFileStore(location / "store.db", collection=collection, **options)


TestOneFileMachine = store_machine(
    lambda location: OneFileStore(location / "store.db", collection=SAMPLES), writers=2, effort=0.1
)


def test_it_is_known_by_its_name(tmp_path: Path):
    assert "one_file" in list_available_backends()
    assert is_backend_available("one_file")
    with get_store("one_file", path=tmp_path / "store.db") as store:
        store.save(a_result())
        assert store.get_latest("orders") == a_result()


def test_only_the_five_methods_are_written():
    """What else it could override it does not: the suite runs on the defaults."""
    own = {name for name in vars(OneFileStore) if not name.startswith("_")} - {"name"}
    # It keeps nothing open, so close() is the default.
    assert own == {"put_record", "get_record", "delete_record", "scan"}
    assert issubclass(OneFileStore, BaseStore)
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 140
