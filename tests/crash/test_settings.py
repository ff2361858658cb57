"""A folder that was made with other settings, by a newer version, or by the first system."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from truthstore.backends.filesystem import FileSystemStore
from truthstore.errors import StoreConfigError
from truthstore.model.query import StoreQuery
from truthstore.results import RESULTS, ResultStatus, ValidationResult
from truthstore.testing.sample import SAMPLES, Sample

OTHER_SETTINGS: list[dict[str, Any]] = [
    {"compression": "gzip"},
    {"use_compression": True},
    {"file_extension": ".result"},
    {"serialization_format": "yaml"},
    {"serialization_format": "msgpack"},
]


@pytest.mark.parametrize("options", OTHER_SETTINGS, ids=str)
def test_other_settings_are_refused_and_named(options: dict[str, Any], folder: Path, open_store: OpenFolder):
    open_store().save(Sample("a"))
    other = FileSystemStore(base_path=folder, collection=SAMPLES, **options)
    for operation in (other.list_ids, lambda: other.save(Sample("b")), other.initialize):
        with pytest.raises(StoreConfigError, match="copy_store"):
            operation()
    assert sorted(contents(open_store())) == ["a"]


def test_settings_that_change_no_file_names_are_free(open_store: OpenFolder):
    open_store().save(Sample("a"))
    compact = open_store(pretty_print=False, durability="os")
    compact.save(Sample("b"))
    assert sorted(contents(open_store())) == ["a", "b"]


def test_a_folder_of_a_newer_version_is_left_alone(folder: Path, open_store: OpenFolder):
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save(Sample("a"))
    (path,) = folder.rglob("format.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "unknown": []}))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    newer = FileSystemStore(base_path=folder, collection=SAMPLES)
    for operation in (newer.query, lambda: newer.save(Sample("b")), lambda: newer.delete("a")):
        with pytest.raises(StoreConfigError, match="upgrade truthstore"):
            operation()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert not newer.health_check().healthy


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": "x"}', b"\xff"])
def test_a_damaged_format_file_is_named(data: bytes, folder: Path):
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save(Sample("a"))
    (path,) = folder.rglob("format.json")
    path.write_bytes(data)
    with pytest.raises(StoreConfigError, match=r"format\.json"):
        FileSystemStore(base_path=folder, collection=SAMPLES).list_ids()


# Written by Truthound 3.2.0, each by two stores at once: the index of either folder has lost two results.
FIRST_SYSTEM = Path(__file__).with_name("first_system")
IDS = ["Nightly_5", "nightly 6", *(f"run_2024050{n}_120000_f9c713b{n}" for n in range(1, 5))]
OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "compressed": {"use_compression": True}}


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_folder_of_the_first_system_opens_with_all_its_results(kind: str, folder: Path, open_store: OpenFolder):
    shutil.copytree(FIRST_SYSTEM / kind, folder)
    files = {path.name: path.read_bytes() for path in folder.rglob("*.json*")}
    listed = json.loads(files["_index.json"])
    assert set(listed) < set(IDS), "the fixture shall have lost results"
    store = open_store(RESULTS, **OPTIONS[kind])
    found = contents(store)
    assert sorted(found) == IDS
    assert store.list_runs("customers.csv")[-1] == "run_20240501_120000_f9c713b1"
    failure = store.get("run_20240501_120000_f9c713b1")
    assert isinstance(failure, ValidationResult)
    assert failure.status is ResultStatus.FAILURE
    assert failure.statistics.total_rows == 100
    assert failure.results[0].details == {"sample": [None, 1.5], "text": "naïve"}
    assert sorted(store.list_ids(StoreQuery(status="failure", tags={"environment": "production"}))) == [
        "run_20240501_120000_f9c713b1",
        "run_20240504_120000_f9c713b4",
    ]
    assert store.list_ids(StoreQuery(text="nulls")) == ["run_20240504_120000_f9c713b4", "run_20240501_120000_f9c713b1"]
    assert store.verify().ok
    assert {path.name: path.read_bytes() for path in folder.rglob("*.json*") if path.name in files} == files


@pytest.mark.parametrize("kind", OPTIONS)
def test_results_of_the_first_system_can_be_overwritten_and_deleted(kind: str, folder: Path, open_store: OpenFolder):
    shutil.copytree(FIRST_SYSTEM / kind, folder)
    store, other = open_store(RESULTS, **OPTIONS[kind]), open_store(RESULTS, **OPTIONS[kind])
    for id in IDS[:3]:
        result = store.get(id)
        result.suite_name = "changed"
        store.save(result, expect=store.head(id).revision)
    for id in IDS[3:]:
        assert other.delete(id)
    for reader in (store, other, open_store(RESULTS, **OPTIONS[kind])):
        assert sorted(contents(reader, IDS)) == IDS[:3]
        assert {result.suite_name for result in reader.query()} == {"changed"}
        assert reader.verify().ok
    for path in list(folder.rglob("index-*")):
        path.unlink()
    assert sorted(contents(open_store(RESULTS, **OPTIONS[kind]), IDS)) == IDS[:3]
