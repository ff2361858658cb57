"""What Truthound 3.2.0 wrote that is out of the ordinary: figures that are none, odd names, suites."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import OpenFolder
from truthstore.backends.filesystem import FileSystemStore
from truthstore.expectations import SUITES, ExpectationSuite
from truthstore.model.query import StoreQuery
from truthstore.results import RESULTS, ValidationResult

UNUSUAL = Path(__file__).with_name("first_system") / "unusual"
IDS = [".dot", "_under", "not_a_number"]


@pytest.fixture
def unusual(folder: Path) -> Path:
    """The folder of the results, which the store of the test opens."""
    shutil.copytree(UNUSUAL, folder)
    return folder / "default" / "validations"


def found(store: FileSystemStore[Any]) -> list[str]:
    """The ids of the results, which every way of asking agrees on; NaN keeps results from being compared whole."""
    ids = sorted(result.run_id for result in store.query())
    assert sorted(store.list_ids()) == ids
    assert sorted(store.get_many(IDS, missing="skip")) == ids
    assert [id for id in IDS if store.exists(id)] == ids
    return ids


def test_a_result_with_bare_nan_and_infinities(unusual: Path, open_store: OpenFolder):
    before = (unusual / "not_a_number.json").read_bytes()
    assert b" NaN" in before
    assert b" -Infinity" in before
    store = open_store(RESULTS)
    (check,) = store.get("not_a_number").results
    assert math.isnan(check.execution_time_ms)
    assert check.details == {"mean": "NaN", "min": "-Infinity", "max": "Infinity", "sample": [1.5, None]}
    assert store.list_ids(StoreQuery(text="mean", status="failure")) == ["not_a_number"]
    assert store.verify().ok
    assert (unusual / "not_a_number.json").read_bytes() == before
    result = store.get("not_a_number")
    result.suite_name = "changed"
    store.save(result, expect=store.head("not_a_number").revision)
    assert store.get("not_a_number").results[0].details == check.details


@pytest.mark.parametrize("options", [{}, {"use_compression": True}], ids=str)
def test_ids_that_start_with_a_dot_or_an_underscore(options: dict[str, Any], unusual: Path, open_store: OpenFolder):
    if options:
        for path in [path for path in unusual.iterdir() if path.name != "_index.json"]:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    store = open_store(RESULTS, **options)
    assert found(store) == IDS
    assert store.verify().ok
    result = store.get("_under")
    result.suite_name = "changed"
    store.save(result, expect=store.head("_under").revision)
    assert store.delete(".dot")
    assert not list(unusual.glob(".dot*"))
    assert not list(unusual.glob("_under*"))
    for reader in (store, open_store(RESULTS, **options)):
        assert found(reader) == IDS[1:]
        assert reader.get("_under").suite_name == "changed"
        assert reader.verify().ok


def test_an_index_that_did_not_know_such_files_learns_of_them(unusual: Path, folder: Path, open_store: OpenFolder):
    (unusual / "_under.json").rename(folder / "elsewhere")
    store = open_store(RESULTS)
    (folder / "elsewhere").rename(unusual / "_under.json")
    assert store.verify().unindexed == ("_under",)
    assert store.rebuild_index() == len(IDS)
    assert found(store) == IDS


def test_what_is_no_document_is_not_taken_for_one(unusual: Path, open_store: OpenFolder):
    # The index of the first system, what macOS puts beside files on foreign disks, the lock of an editor.
    (unusual / "._not_a_number.json").write_bytes(b"\0\5\x16\7")
    (unusual / ".#not_a_number.json").symlink_to("somebody@somewhere.1234")
    store = open_store(RESULTS)
    assert found(store) == IDS
    report = store.verify()
    assert report.ok
    assert report.checked == len(IDS)


def test_suites_are_taken_over_as_the_guide_says(unusual: Path, folder: Path):
    with FileSystemStore(base_path=folder) as store:
        suites = store.collection(SUITES)
        for path in (unusual.parent / "expectations").glob("*.json"):
            suites.save(ExpectationSuite.from_dict(json.loads(path.read_text())))
        suite = suites.get("orders/nightly")
        assert [(e.column, e.mostly) for e in suite.expectations] == [("id", 1.0), ("price", 0.9)]
        assert suite.expectations[1].kwargs == {"max_value": "Infinity"}
        assert suites.list_ids(StoreQuery(tags={"team": "sales"})) == ["orders/nightly"]
        assert isinstance(store.get("not_a_number"), ValidationResult)
        assert store.verify().ok
