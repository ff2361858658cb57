"""The index is removed, cut off or overwritten while stores are open: all of them follow, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child, Gate
from truthstore.backends.filesystem import FileSystemStore
from truthstore.model.query import StoreQuery
from truthstore.storage.catalog.table import Table
from truthstore.testing.sample import SAMPLES, Sample

OLD = [f"old-{i}" for i in range(10)]


def databases(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("index-*.db"))
    assert found, "no index: the test does not know where it lies"
    return found


def remove_the_folder(folder: Path) -> None:
    shutil.rmtree(databases(folder)[0].parent)


def remove_the_database(folder: Path) -> None:
    databases(folder)[0].unlink()


def remove_the_database_and_its_log(folder: Path) -> None:
    for path in list(databases(folder)[0].parent.glob("index-*")):
        path.unlink()


def cut_off_the_database(folder: Path) -> None:
    with databases(folder)[0].open("r+b") as file:
        file.truncate(1_000)


def empty_the_database(folder: Path) -> None:
    databases(folder)[0].write_bytes(b"")


def overwrite_with_garbage(folder: Path) -> None:
    path = databases(folder)[0]
    path.write_bytes(b"garbage!" * (path.stat().st_size // 8))


def overwrite_the_middle(folder: Path) -> None:
    path = databases(folder)[0]
    data = path.read_bytes()
    path.write_bytes(data[:2_048] + b"\xff" * (len(data) - 2_048))


REMOVALS = [remove_the_folder, remove_the_database, remove_the_database_and_its_log]
DAMAGES = [cut_off_the_database, empty_the_database, overwrite_with_garbage, overwrite_the_middle]

Accident = Callable[[Path], None]


@pytest.mark.parametrize("accident", REMOVALS, ids=lambda accident: accident.__name__)
@pytest.mark.parametrize("first", ["read", "write"])
def test_open_stores_follow_a_removed_index(first: str, accident: Accident, folder: Path, open_store: OpenFolder):
    here, also_here = open_store(), open_store()
    here.save_many(Sample(id) for id in OLD)
    happened, looked = Gate(), Gate()

    def work(say: Callable[[Any], None]) -> list[str]:
        with FileSystemStore(base_path=folder, collection=SAMPLES) as there:
            contents(there)
            say("open")
            happened.wait()
            if first == "write":
                there.save(Sample("there"))
            assert {sample.id for sample in there.query()} >= set(OLD)
            assert set(there.list_ids()) >= set(OLD)
            there.save(Sample("there"))
            say("saved")
            looked.wait()
            return sorted(contents(there))

    child = Child(work)
    assert child.hear() == "open"
    contents(also_here)
    accident(folder)
    happened.open()
    if first == "write":
        here.save(Sample("here"))
    # The other process writes meanwhile.
    assert {sample.id for sample in here.query()} >= set(OLD)
    assert set(here.list_ids()) >= set(OLD)
    here.save(Sample("here"))
    assert child.hear() == "saved"
    looked.open()
    expected = sorted([*OLD, "here", "there"])
    assert child.result() == expected
    for store in (here, also_here, open_store()):
        assert sorted(contents(store)) == expected
        assert store.verify().ok
        store.save(Sample("here", count=2), expect=store.head("here").revision)


@pytest.mark.parametrize("accident", [*REMOVALS, *DAMAGES], ids=lambda accident: accident.__name__)
def test_a_new_store_over_a_damaged_index_finds_everything(accident: Accident, folder: Path, open_store: OpenFolder):
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save_many(Sample(id) for id in OLD)
    accident(folder)
    store = open_store()
    assert sorted(contents(store)) == OLD
    assert store.verify().ok
    store.save(Sample("new"))
    assert sorted(contents(open_store())) == sorted([*OLD, "new"])


@pytest.mark.parametrize("accident", DAMAGES, ids=lambda accident: accident.__name__)
def test_stores_that_are_open_survive_damage(accident: Accident, folder: Path, open_store: OpenFolder):
    """What an open connection has read is still right; what matters is that in the end nothing is missing."""
    here, there = open_store(), open_store()
    here.save_many(Sample(id) for id in OLD)
    assert len(contents(there)) == 10
    accident(folder)
    here.save(Sample("here"))
    there.save(Sample("there"))
    here.close()
    there.close()
    after = open_store()
    assert set(after.list_ids()) <= {*OLD, "here", "there"}
    after.rebuild_index()
    assert sorted(contents(after)) == sorted([*OLD, "here", "there"])
    assert after.verify().ok


def test_tags_and_words_are_found_again(folder: Path, open_store: OpenFolder):
    store = open_store()
    store.save(Sample("a", note="the orders table", tags={"team": "data"}))
    assert store.list_ids(StoreQuery(text="orders", tags={"team": "data"})) == ["a"]
    remove_the_folder(folder)
    assert store.list_ids(StoreQuery(text="orders", tags={"team": "data"})) == ["a"]


def test_rows_that_are_wrong_are_written_again_when_the_index_is_rebuilt(store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a", count=1))
    with sqlite3.connect(databases(folder)[0]) as connection:
        connection.execute(f"UPDATE c_samples SET {Table(SAMPLES, 1).names['count']} = 2")
    connection.close()
    assert store.list_ids(StoreQuery(where={"count": 1})) == []
    store.rebuild_index()
    assert store.list_ids(StoreQuery(where={"count": 1})) == ["a"]


def test_maintain_clears_what_crashes_left(store: FileSystemStore[Sample], folder: Path):
    """Not at once: a person may want to see why an index was damaged."""
    store.save(Sample("kept"))
    own = databases(folder)[0].parent
    left = [own / "damaged-0.db", own / "damaged-0.db-wal", own / "new" / "0123-4"]
    for path in left:
        path.write_bytes(b"half a wri")
    assert store.maintain()["leftovers_removed"] == 0
    assert all(path.exists() for path in left)
    for path in left:
        os.utime(path, (0, 0))
    assert store.maintain()["leftovers_removed"] == 3
    assert not any(path.exists() for path in left)
    assert contents(store) == {"kept": Sample("kept")}
