"""Files that people delete, add, copy, edit or damage: `verify` says so, `rebuild_index` makes the best of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child
from truthstore.backends.filesystem import FileSystemStore
from truthstore.errors import StoreBulkError, StoreConfigError, StoreConflictError, StoreCorruptError
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT
from truthstore.results import ResultStatus, ValidationResult
from truthstore.testing.sample import BASE_TIME, SAMPLES, Sample
from truthstore.versioning import VersionedStore


def file_of(folder: Path, id: str) -> Path:
    (found,) = folder.rglob(f"{id}.json*")
    return found


@pytest.fixture
def filled(store: FileSystemStore[Sample]) -> FileSystemStore[Sample]:
    store.save_many(Sample(id, count=n, note=f"note {n}") for n, id in enumerate("abcd"))
    return store


def test_a_file_that_was_removed(filled: FileSystemStore[Sample], folder: Path):
    file_of(folder, "b").unlink()
    assert filled.verify().missing == ("b",)
    assert filled.rebuild_index() == 3
    assert sorted(contents(filled, ["b"])) == ["a", "c", "d"]
    assert filled.verify().ok


def test_a_file_that_was_removed_can_be_saved_or_deleted(filled: FileSystemStore[Sample], folder: Path):
    for id in "ab":
        file_of(folder, id).unlink()
    filled.save(Sample("a", count=9))
    filled.delete("b")
    assert {id: s.count for id, s in contents(filled, ["b"]).items()} == {"a": 9, "c": 2, "d": 3}
    assert filled.verify().ok


def test_a_file_that_was_removed_is_missed_until_the_index_is_rebuilt(filled: FileSystemStore[Sample], folder: Path):
    file_of(folder, "a").unlink()
    for operation in (lambda: filled.get("a"), filled.query):
        with pytest.raises(StoreCorruptError, match=r"file is gone: restore the file, or call rebuild_index"):
            operation()
    with pytest.raises(StoreConflictError):
        filled.save(Sample("a", count=9), expect=ABSENT)
    filled.rebuild_index()
    filled.save(Sample("a", count=9), expect=ABSENT)
    assert filled.get("a").count == 9
    assert filled.verify().ok


def test_a_file_that_was_removed_gets_its_next_version(folder: Path):
    with VersionedStore(FileSystemStore(base_path=folder, collection=SAMPLES)) as store:
        store.save(Sample("a", count=1))
        store.save(Sample("a", count=2))
        (head,) = [path for path in folder.rglob("a.json") if "versions" not in str(path)]
        head.unlink()
        store.save(Sample("a", count=3))
        assert store.list_versions("a") == [3, 1], "what was removed is not kept, and its number not given again"
        assert store.get("a").count == 3


SPOILED = {
    "no member of the enum": ('"success"', '"bogus"'),
    "a renamed member": ('"data_asset"', '"data_bsset"'),
    "zeros": ('"orders"', '"\0\0\0\0\0\0"'),
    "a field that is too long": ('"orders"', f'"{"x" * 5_000}"'),
    "a number that is too big": ('"statistics"', f'"statistics": {{"total_rows": {2**70}}}, "statistic"'),
    "a tag that is too long": ('"tags": {}', f'"tags": {{"k": "{"v" * 2_000}"}}'),
}


@pytest.mark.parametrize("with_tail", [True, False])
@pytest.mark.parametrize(("old", "new"), SPOILED.values(), ids=SPOILED)
def test_one_spoiled_document_spoils_no_other(folder: Path, old: str, new: str, with_tail: bool):
    with FileSystemStore(base_path=folder) as store:
        for id in ("bad", "good"):
            store.save(ValidationResult(id, BASE_TIME, "orders", ResultStatus.SUCCESS, suite_name="s"))
        path = file_of(folder, "bad")
        text = path.read_text()
        if '"tags"' in old:
            text = text.replace('"suite_name"', '"tags": {},\n  "suite_name"')
        if not with_tail:
            document = json.loads(text)
            del document["_truthstore"]
            text = json.dumps(document)
        assert old in text
        path.write_text(text.replace(old, new, 1))
        assert store.rebuild_index() == 1
        assert store.get("good").data_asset == "orders"
    shutil.rmtree(next(folder.rglob(".truthstore")))
    with FileSystemStore(base_path=folder) as anew:
        assert anew.list_ids() == ["good"]
        assert anew.get("good").data_asset == "orders"
        assert len(anew.verify().corrupt) == 1


def test_a_time_that_was_edited_is_the_one_that_queries_go_by(folder: Path):
    with FileSystemStore(base_path=folder) as store:
        store.save(ValidationResult("a", BASE_TIME, "orders", ResultStatus.SUCCESS))
        path = file_of(folder, "a")
        later = BASE_TIME.replace(year=BASE_TIME.year + 1)
        path.write_text(path.read_text().replace(f'"{BASE_TIME.year}-', f'"{later.year}-', 1))
        assert store.verify().changed == ("a",)
        store.rebuild_index()
        assert store.get("a").run_time == later
        assert store.list_ids(StoreQuery(start_time=later)) == ["a"]
        assert store.verify().ok


def test_a_file_that_was_added(filled: FileSystemStore[Sample], folder: Path):
    document = json.loads(file_of(folder, "a").read_bytes())
    del document["_truthstore"]
    file_of(folder, "a").with_name("e.json").write_text(json.dumps({**document, "id": "e", "count": 5}))
    assert filled.verify().unindexed == ("e",)
    assert filled.rebuild_index() == 5
    assert contents(filled)["e"] == Sample("e", count=5, note="note 0")
    assert filled.verify().ok


def added(folder: Path, id: str, **values: Any) -> Path:
    """A file that somebody put there without asking the store."""
    path = file_of(folder, "a").with_name(f"{id}.json")
    path.write_text(json.dumps({"id": id, **values}))
    return path


def test_a_file_that_was_added_counts_as_an_item_where_there_must_be_none(
    filled: FileSystemStore[Sample], folder: Path
):
    added(folder, "e", count=5)
    with pytest.raises(StoreConflictError, match="exists already"):
        filled.save(Sample("e", count=6), expect=ABSENT)
    added(folder, "f", count=5)
    with pytest.raises(StoreBulkError) as caught:
        filled.save_many([Sample("f", count=6), Sample("g", count=6)], expect=ABSENT)
    assert caught.value.stored == ("g",)
    assert isinstance(caught.value.failed["f"], StoreConflictError)
    assert {id: filled.get(id).count for id in "efg"} == {"e": 5, "f": 5, "g": 6}
    assert sorted(filled.verify().unindexed) == ["e", "f"]
    filled.rebuild_index()
    filled.save(Sample("e", count=7), expect=filled.head("e").revision)
    assert filled.verify().ok


def test_a_damaged_file_counts_as_an_item_where_there_must_be_none(filled: FileSystemStore[Sample], folder: Path):
    path = file_of(folder, "a")
    path.write_bytes(path.read_bytes()[:20])
    filled.rebuild_index()
    with pytest.raises(StoreConflictError, match="exists already"):
        filled.save(Sample("a", count=6), expect=ABSENT)
    assert len(path.read_bytes()) == 20
    filled.save(Sample("a", count=6))
    assert filled.get("a").count == 6
    assert filled.verify().ok


def test_a_file_of_another_store(filled: FileSystemStore[Sample], folder: Path, tmp_path: Path):
    with FileSystemStore(base_path=tmp_path / "other", collection=SAMPLES) as other:
        other.save(Sample("e", count=5, tags={"from": "elsewhere"}))
    shutil.copy(file_of(tmp_path / "other", "e"), file_of(folder, "a").parent)
    assert filled.verify().unindexed == ("e",)
    assert filled.rebuild_index() == 5
    assert filled.list_ids(StoreQuery(tags={"from": "elsewhere"})) == ["e"]
    assert filled.verify().ok


@pytest.mark.parametrize("indent", [2, None])
def test_a_file_that_was_edited(indent: int | None, filled: FileSystemStore[Sample], folder: Path):
    path = file_of(folder, "c")
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "count": 77, "note": "edited"}, indent=indent))
    assert filled.verify().changed == ("c",)
    assert filled.get("c").count == 77
    assert filled.rebuild_index() == 4
    assert filled.list_ids(StoreQuery(where={"count": 77})) == ["c"]
    assert filled.list_ids(StoreQuery(text="edited")) == ["c"]
    contents(filled)


def test_a_copy_of_a_file_does_not_make_a_second_item(filled: FileSystemStore[Sample], folder: Path):
    path = file_of(folder, "a")
    shutil.copy(path, path.with_name("copy of a.json"))
    assert not filled.verify().ok
    assert filled.rebuild_index() == 4
    assert sorted(contents(filled)) == list("abcd")


DAMAGES = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-1].rstrip()[:-1],
    "zeros": lambda data: b"\0" * len(data),
    "another file": lambda data: b"\x89PNG\r\n\x1a\n" + data,
    "a list": lambda data: b"[]",
}


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(damage: str, compression: str | None, folder: Path, open_store: OpenFolder):
    if compression == "zstd":
        pytest.importorskip("zstandard")
    store = open_store(compression=compression)
    store.save_many(Sample(id) for id in "abc")
    path = file_of(folder, "b")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    for operation in (
        lambda: store.get("b"),
        store.query,
        lambda: store.query(StoreQuery(ids=["b"])),
        lambda: list(store.iter_query()),
        lambda: store.get_many(["a", "b"]),
    ):
        with pytest.raises(StoreCorruptError) as caught:
            operation()
        assert "'b'" in str(caught.value)
        assert caught.value.identifier == "b"
    assert store.get("a") == Sample("a")
    report = store.verify()
    assert not report.ok
    assert len(report.corrupt) == 1
    assert store.delete("b") is True
    assert sorted(contents(store, ["b"])) == ["a", "c"]
    store.save(Sample("b", count=2))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    store.save(Sample("b", count=3))
    assert contents(store)["b"].count == 3
    assert store.verify().ok


def test_a_damaged_file_keeps_no_folder_shut(folder: Path, open_store: OpenFolder):
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save_many(Sample(id) for id in "abc")
    file_of(folder, "b").write_bytes(b"{")
    for path in list(folder.rglob("index-*")):
        path.unlink()
    store = open_store()
    assert sorted(s.id for s in store.query()) == ["a", "c"]
    assert len(store.verify().corrupt) == 1
    with pytest.raises(StoreCorruptError):
        store.get("b")


def test_a_document_of_a_newer_version(filled: FileSystemStore[Sample], folder: Path):
    path = file_of(folder, "b")
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    for operation in (lambda: filled.get("b"), lambda: filled.query(StoreQuery(ids=["b"]))):
        with pytest.raises(StoreConfigError, match="upgrade truthstore"):
            operation()
    assert filled.get("a").count == 0


def test_rebuilding_while_two_processes_write(filled: FileSystemStore[Sample], folder: Path):
    def write(number: int) -> Any:
        def work(say: Any) -> list[str]:
            ids: list[str] = []
            with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
                say("open")
                for n in range(100):
                    ids.append(store.save(Sample(f"{number}-{n:03d}", count=n)))
                    store.save(Sample(f"{number}-same", count=n))
                    store.delete(f"{number}-same")
                    if n % 10 == 9:
                        store.delete(ids.pop(0))
            return ids

        return work

    children = [Child(write(number)) for number in range(2)]
    assert [child.hear() for child in children] == ["open", "open"]
    rebuilt = [filled.rebuild_index() for _ in range(20)]
    expected = sorted([*"abcd", *(id for child in children for id in child.result())])
    assert min(rebuilt) >= 4
    assert sorted(contents(filled)) == expected
    assert filled.rebuild_index() == len(expected)
    assert filled.verify().ok
