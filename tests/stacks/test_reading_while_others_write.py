"""What a reader is promised while others write, and while files are not what they should be."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from truthstore import (
    ResultStatus,
    StoreBulkError,
    StoreCorruptError,
    StoreError,
    StoreQuery,
    ValidationResult,
    ValidatorResult,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore

START = datetime(2026, 1, 1, tzinfo=UTC)


def result(number: int, message: str = "") -> ValidationResult:
    checks = [ValidatorResult("check", success=True, message=message)] if message else []
    return ValidationResult(
        f"r{number:04}", START + timedelta(seconds=number), "a", ResultStatus.SUCCESS, results=checks
    )


@pytest.fixture
def files(tmp_path: Path):
    with FileSystemStore(base_path=tmp_path, durability="os") as store:
        yield store


@pytest.fixture(params=["memory", "filesystem"])
def store(request: pytest.FixtureRequest, tmp_path: Path):
    made = MemoryStore() if request.param == "memory" else FileSystemStore(base_path=tmp_path, durability="os")
    with made:
        yield made


def test_removals_do_not_end_an_iteration_early(store):
    store.save_many(result(n) for n in range(250))
    seen = []
    for item in store.iter_query(batch_size=100):
        seen.append(item.run_id)
        if len(seen) == 20:
            # Of the page that is being read, the next one, and all that lies between.
            store.delete_many(f"r{n:04}" for n in range(60, 240))
    assert set(seen) >= {f"r{n:04}" for n in range(60)}
    assert len(seen) == len(set(seen))


def test_one_bad_item_of_a_late_chunk_is_named_without_its_neighbours(store):
    items = [result(n) for n in range(1_003)]
    items[1_001].run_id = ""
    with pytest.raises(StoreBulkError) as caught:
        store.save_many(items)
    assert len(caught.value.stored) == 1_002
    assert set(caught.value.failed) == {"item 1001"}
    assert store.count() == 1_002


def test_a_folder_named_like_a_file_is_left_alone(files):
    os.makedirs(Path(files.root) / "sub.json")
    files.save(result(1))
    assert files.verify().ok
    assert files.rebuild_index() == 1


def test_a_place_that_is_taken_delays_the_file_and_poisons_nothing(files, tmp_path: Path):
    """The save is committed in the journal, and read from there; the file comes when its place is free."""
    taken = Path(files.root) / "r0002.json"
    taken.mkdir()
    files.save_many([result(1), result(2)])
    files.save(result(3))
    assert files.get("r0002").run_id == "r0002"
    assert [found.run_id for found in files.query()] == ["r0003", "r0002", "r0001"]
    with FileSystemStore(base_path=tmp_path, durability="os") as again:
        assert again.get("r0002").run_id == "r0002"
        assert again.save(result(4)) == "r0004"
        with pytest.raises(StoreError, match=r"r0002\.json"):
            again.maintain()
        taken.rmdir()
        again.maintain()
    assert taken.is_file()
    assert files.list_ids() == ["r0004", "r0003", "r0002", "r0001"]


def test_a_copied_file_is_not_another_item(files):
    files.save_many([result(1), result(2)])
    root = Path(files.root)
    shutil.copy(root / "r0001.json", root / "r0003.json")
    with pytest.raises(StoreCorruptError, match="r0001"):
        files.get("r0003")
    shutil.copy(root / "r0001.json", root / "r0002.json")
    with pytest.raises(StoreCorruptError, match="r0002"):
        files.get("r0002")
    with pytest.raises(StoreCorruptError, match="r0002"):
        files.query()
    assert files.get("r0001").run_id == "r0001"


def test_a_damaged_file_spoils_only_the_queries_that_might_find_it(files):
    files.save_many([result(1, "red"), result(2, "green"), result(3, "blue")])
    (Path(files.root) / "r0002.json").write_bytes(b'{"run_id": ')
    before = StoreQuery(text="red", end_time=START + timedelta(seconds=1))
    assert files.list_ids(before) == ["r0001"]
    for wide in (StoreQuery(text="red"), StoreQuery(text="green")):
        with pytest.raises(StoreCorruptError, match="r0002"):
            files.list_ids(wide)
    assert files.rebuild_index() == 2
    assert files.list_ids(StoreQuery(text="red")) == ["r0001"]
    files.save(result(2, "green"))
    assert files.list_ids(StoreQuery(text="green")) == ["r0002"]


def test_a_file_that_is_repaired_is_found_again(files):
    files.save_many([result(1, "red"), result(2, "green")])
    path = Path(files.root) / "r0002.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(StoreCorruptError):
        files.count(StoreQuery(text="green"))
    path.write_bytes(whole)
    assert files.list_ids(StoreQuery(text="green")) == ["r0002"]


def test_what_was_edited_by_hand_is_accepted_by_a_rebuild(files):
    files.save(result(1, "amber"))
    path = Path(files.root) / "r0001.json"
    path.write_bytes(path.read_bytes().replace(b"amber", b"green"))
    assert files.verify().changed == ("r0001",)
    files.rebuild_index()
    assert files.verify().ok
    assert files.get("r0001").results[0].message == "green"


def test_a_damaged_index_is_healed_by_every_operation(files):
    for operation in (files.rebuild_index, files.verify, lambda: files.delete("r0000")):
        files.save_many(result(n) for n in range(300))
        files._catalog.close()
        index = next(Path(files.root).glob(".truthstore/index-*.db"))
        files._index.reopen(files._check_format())
        files._prepare_all()
        with index.open("r+b") as file:
            file.seek(2_048)
            file.write(b"\xff" * (index.stat().st_size - 2_048))
        operation()
        assert files.count() >= 299
        assert files.verify().ok


def test_a_removed_and_remade_folder_has_one_lock(tmp_path: Path):
    first = FileSystemStore(base_path=tmp_path / "s", durability="os")
    first.save(result(1))
    shutil.rmtree(tmp_path / "s")
    second = FileSystemStore(base_path=tmp_path / "s", durability="os")
    second.save(result(2))
    first.save(result(3))
    assert sorted(second.list_ids()) == ["r0002", "r0003"]
    assert second.verify().ok
    first.close()
    second.close()


def test_namespaces_of_one_memory_are_apart():
    blobs = MemoryData()
    one, two = MemoryStore(data=blobs, namespace="one"), MemoryStore(data=blobs, namespace="two")
    one.save(result(1))
    assert two.list_ids() == []
    assert MemoryStore(data=blobs, namespace="one").list_ids() == ["r0001"]


def test_a_generator_of_ids_is_read_once_and_kept(store):
    store.save_many(result(n) for n in range(5))
    query = StoreQuery(ids=(f"r{n:04}" for n in range(3)), where={"status": ("in", iter(["success"]))})
    assert len(store.query(query)) == len(list(store.iter_query(query, batch_size=1))) == store.count(query) == 3
