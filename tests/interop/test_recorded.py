"""What tools handed out is recognised as theirs, and by nobody else's importer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.recordings import RECORDED, recorded
from truthstore.backends.memory import MemoryStore
from truthstore.interop import from_any, list_importers
from truthstore.items.checks import status_of
from truthstore.model.record import ABSENT

PARTS = {"soda-3.5.6": "scan_results", "soda-4.28.0": "result"}
FILES = sorted(path.relative_to(RECORDED) for path in RECORDED.glob("*/*.json") if "manifest" not in path.name)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_one_importer_alone_recognises_a_file(file: Path):
    tool = str(file.parent)
    content = recorded(tool, file.name)
    if tool in PARTS:
        content = content[PARTS[tool]]
    found = [importer.name for importer in list_importers() if importer.recognises(content)]
    assert len(found) == 1
    assert tool.startswith(found[0].removesuffix("-cli"))


RAN_NOTHING = {"no tests.json", "compiled-run_results.json", "nothing.json"}


@pytest.mark.parametrize("file", [file for file in FILES if file.name not in RAN_NOTHING], ids=str)
def test_what_is_imported_can_be_stored_with_the_raw_artefact(file: Path):
    content = recorded(str(file.parent), file.name)
    content = content[PARTS[str(file.parent)]] if str(file.parent) in PARTS else content
    store = MemoryStore()
    for result in from_any(content, "asset", keep_raw=True):
        store.save(result, expect=ABSENT)
        stored = store.get(result.run_id)
        assert stored.metadata["raw"]
        assert stored.statistics == result.statistics


def with_more(value: Any) -> Any:
    """The same with a key that nobody knows in every dict."""
    if isinstance(value, dict):
        return {**{name: with_more(inner) for name, inner in value.items()}, "brand_new": {"of": ["a later", 1]}}
    return [with_more(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("file", [file for file in FILES if file.name not in RAN_NOTHING], ids=str)
def test_keys_that_nobody_knows_change_nothing(file: Path):
    content = recorded(str(file.parent), file.name)
    content = content[PARTS[str(file.parent)]] if str(file.parent) in PARTS else content
    found = [from_any(one, "asset") for one in (content, with_more(content))]
    assert len({len(results) for results in found}) == 1
    for before, after in zip(*found, strict=True):
        assert after.statistics == before.statistics
        assert [check.check_id for check in after.results] == [check.check_id for check in before.results]
        assert [status_of(check) for check in after.results] == [status_of(check) for check in before.results]
        assert [(check.count, check.checked) for check in after.results] == [
            (check.count, check.checked) for check in before.results
        ]


@pytest.mark.parametrize("file", [file for file in FILES if file.name not in RAN_NOTHING], ids=str)
def test_what_is_imported_twice_has_the_same_ids_and_no_two_results_share_one(file: Path):
    content = recorded(str(file.parent), file.name)
    content = content[PARTS[str(file.parent)]] if str(file.parent) in PARTS else content
    once, twice = (from_any(content) if can_name(content) else from_any(content, "asset") for _ in range(2))
    assert [result.run_id for result in once] == [result.run_id for result in twice]
    assert len({result.run_id for result in once}) == len(once)


def can_name(content: Any) -> bool:
    """Whether the tool names the assets itself, of which there may be several then."""
    try:
        from_any(content)
    except (TypeError, ValueError):
        return False
    return True
