"""The promises of the protocol, one case at a time: dying compactors and writers, damage, services that cannot do it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Child
from tests.storage.log.doubles import log_store
from truthstore import (
    Collection,
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
    StoreWriteError,
    get_store,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.filesystem.log import FileLogStore
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ABSENT, ANY
from truthstore.storage.log.follower import OWN_ENTRIES
from truthstore.storage.log.store import LogStore
from truthstore.storage.sql import paging
from truthstore.testing import SAMPLES, FaultyBlobs, ManualClock, Sample, SimulatedCrashError, make_samples
from truthstore.testing.memory_blobs import MemoryBlobs
from truthstore.testing.suite.concurrency import start_child, wait_for_child

LOG = "_truthstore/log/samples/"


ITEMS = Collection.of(Sample, name="items", index={"count": int})


def content(store: LogStore[Sample]) -> dict[str, int | None]:
    """Return the content of the store, which every view must agree on."""
    found = {sample.id: sample.count for sample in store.query()}
    assert sorted(store.list_ids()) == sorted(found)
    assert {id: store.get(id).count for id in found} == found
    assert {head.id: head.meta.fields["count"] for head in store.entries()} == found
    assert store.verify().ok
    return found


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
def test_a_compactor_that_dies_at_any_step_loses_nothing(kind: Any, blobs: MemoryBlobs):
    clock = ManualClock()
    writer = log_store(blobs, clock=clock)
    wanted: dict[str, int | None] = {}
    for i in range(12):
        writer.save(Sample(f"{i}", count=i))
        wanted[f"{i}"] = i
    for i in range(0, 12, 3):
        writer.delete(f"{i}")
        del wanted[f"{i}"]
    writer.save(Sample("1", count=-1))
    wanted["1"] = -1
    warm = log_store(blobs, clock=clock)
    assert content(warm) == wanted
    clock.advance(days=3)
    steps = 0
    while True:
        here = MemoryBlobs()
        here._objects = dict(blobs._objects)
        faulty = FaultyBlobs(here)
        keeper = log_store(faulty, clock=clock)
        keeper.initialize()
        faulty.arm(steps + 1, kind)
        with suppress(StoreError, SimulatedCrashError):
            keeper.maintain()
        unreached = faulty.disarm()
        assert content(log_store(here, clock=clock)) == wanted
        again = log_store(here, clock=clock)
        again.maintain()
        assert content(again) == wanted
        assert content(log_store(here, clock=clock)) == wanted
        assert len(list(here.list(LOG))) <= 2
        if unreached:
            break
        steps += 1
    assert steps > 20


def test_deletes_older_than_a_day_leave_nothing_behind(blobs: MemoryBlobs):
    clock = ManualClock()
    store = log_store(blobs, clock=clock)
    store.save_many(make_samples(20))
    ids = store.list_ids()
    store.delete_many(ids[:10])
    assert store.maintain()["tombstones"] == 0
    assert len(list(blobs.list("_samples/"))) == 20
    clock.advance(days=3)
    done = store.maintain()
    assert done["tombstones"] == 10
    assert len(list(blobs.list("_samples/"))) == 10
    assert sorted(store.list_ids()) == sorted(ids[10:])
    (segment,) = blobs.list(LOG)
    assert segment.split("-")[2:5] == ["10", "0", "0"]
    assert not any(store.maintain().values())
    for id in ids[:3]:
        store.save(Sample(id, count=5), expect=ABSENT)
    assert len(store.list_ids(StoreQuery(where={"count": 5}))) >= 3
    assert log_store(blobs, clock=clock).count() == store.count() == 13


def test_where_the_condition_of_a_delete_is_ignored_tombstones_stay():
    class Careless(MemoryBlobs):
        def delete(self, key: str, *, expect: Any = ANY) -> bool:
            return super().delete(key)

    clock, blobs = ManualClock(), Careless()
    store = log_store(blobs, clock=clock)
    store.save(Sample("a"))
    store.delete("a")
    clock.advance(days=3)
    assert store.maintain()["tombstones"] == 0
    assert len(list(blobs.list("_samples/"))) == 1
    assert not [key for key in blobs.list("_truthstore/") if "probe" in key]


@pytest.mark.parametrize("overwrites", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
def test_at_every_fault_point_a_save_is_wholly_done_or_not(kind: Any, overwrites: bool):
    points = 0
    while True:
        blobs = MemoryBlobs()
        if overwrites:
            log_store(blobs).save(Sample("a", count=1))
        faulty = FaultyBlobs(blobs)
        store = log_store(faulty)
        store.initialize()
        faulty.arm(points + 1, kind)
        acknowledged = False
        try:
            store.save(Sample("a", count=2))
            acknowledged = True
        except StoreConflictError:
            raise  # a conflict with nobody
        except (StoreError, SimulatedCrashError):
            pass
        unreached = faulty.disarm()
        # The cache of the writer's machine is gone as well.
        found = content(log_store(blobs))
        assert log_store(blobs).exists("a") == ("a" in found)
        assert found in ([{"a": 2}] if acknowledged else [{"a": 1} if overwrites else {}, {"a": 2}])
        if unreached:
            break
        points += 1
    assert points == (4 if overwrites else 2)


def test_an_old_id_with_a_long_history_is_overwritten_without_looking_first(blobs: MemoryBlobs):
    writer = log_store(blobs)
    for i in range(40):
        writer.save(Sample("a", count=i))
    log_store(blobs).save(Sample("a", count=-1))
    assert writer.get("a").count == -1
    assert content(writer) == {"a": -1}


def test_intents_of_dead_writers_are_resolved(blobs: MemoryBlobs):
    clock = ManualClock()
    log_store(blobs, clock=clock).save_many([Sample("a", count=1), Sample("b", count=1)])
    deaths: dict[str, Any] = {"a": "crash-before", "b": "crash-after"}
    for id, kind in deaths.items():
        faulty = FaultyBlobs(blobs)
        dying = log_store(faulty, clock=clock)
        dying.list_ids()
        faulty.arm(3, kind)
        with pytest.raises(SimulatedCrashError):
            dying.save(Sample(id, count=2))
    assert content(log_store(blobs, clock=clock)) == {"a": 1, "b": 2}
    clock.advance(minutes=5)
    keeper = log_store(blobs, clock=clock)
    assert keeper.maintain()["resolved"] == 2
    (segment,) = blobs.list(LOG)
    assert segment.split("-")[2:5] == ["2", "0", "0"]
    assert content(log_store(blobs, clock=clock)) == {"a": 1, "b": 2}
    log_store(blobs, clock=clock).save(Sample("a", count=3))
    assert content(keeper) == {"a": 3, "b": 2}


def test_a_reader_that_saw_no_body_forgets_none_that_came_meanwhile(blobs: MemoryBlobs):
    faulty = FaultyBlobs(blobs)
    dying = log_store(faulty)
    dying.initialize()
    faulty.arm(2, "crash-before")
    with pytest.raises(SimulatedCrashError):
        dying.save(Sample("a"))

    class Slow(ReadOnly):
        def get(self, key: str) -> tuple[bytes, str]:
            try:
                return super().get(key)
            except StoreNotFoundError:
                if threading.current_thread() is threading.main_thread():
                    writer = threading.Thread(target=lambda: store.save(Sample("a", count=1)))
                    writer.start()
                    writer.join()
                raise

        put, delete = MemoryBlobs.put, MemoryBlobs.delete

    store = log_store(Slow(blobs))
    store.list_ids()
    assert content(store) == {"a": 1}


class Unconditional(MemoryBlobs):
    """A service that ignores conditions."""

    def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
        return super().put(key, data)


def test_a_service_without_conditional_writes_is_refused():
    blobs = Unconditional()
    with pytest.raises(StoreConfigError, match="single_writer"):
        log_store(blobs).save(Sample("a"))
    assert list(blobs.list("")) == []
    assert not log_store(blobs).health_check()
    alone = log_store(blobs, single_writer=True)
    alone.save(Sample("a", count=1))
    alone.save(Sample("a", count=2))
    assert content(alone) == {"a": 2}
    with pytest.raises(StoreConfigError, match="single_writer"):
        log_store(blobs).get("a")


def test_the_cache_may_be_deleted_or_damaged_at_any_time(blobs: MemoryBlobs, tmp_path: Path):
    one = log_store(blobs, cache_dir=str(tmp_path / "cache"))
    two = log_store(blobs, cache_dir=str(tmp_path / "cache"))
    one.save_many(make_samples(10))
    wanted = content(one)
    assert content(two) == wanted
    (folder,) = (tmp_path / "cache").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(tmp_path / "cache")
    assert content(one) == wanted
    two.save(Sample("new", count=1))
    assert content(two) == content(one) == {**wanted, "new": 1}
    for path in folder.iterdir():
        path.write_bytes(b"damaged" * 1000)
    assert content(two) == {**wanted, "new": 1}
    assert content(log_store(blobs, cache_dir=str(tmp_path / "cache"))) == {**wanted, "new": 1}
    one.save(Sample("newer", count=2))
    assert content(one) == content(two) == {**wanted, "new": 1, "newer": 2}


@pytest.mark.parametrize("trigger", ["removed", "a sum beyond 64 bits", "full"])
def test_what_happens_to_the_cache_has_no_consequence(trigger: str, blobs: MemoryBlobs, tmp_path: Path):
    store = log_store(blobs, ITEMS, cache_dir=str(tmp_path / "cache"))
    other = store.collection(SAMPLES)
    for i in range(OWN_ENTRIES - 4):
        other.save(Sample(f"{i}"))
        store.save(Sample(f"{i}", count=2**62))
    before = store._replica.generation
    if trigger == "removed":
        shutil.rmtree(tmp_path / "cache")
        store.count()
    elif trigger == "full":
        store._replica._writable().execute("PRAGMA max_page_count = 1")
        store.save_many(Sample(f"more {i}", note="n" * 10_000) for i in range(100))
        store.delete_many([f"more {i}" for i in range(100)])
    else:
        assert store.aggregate(metrics="sum:count")[0]["sum:count"] == (OWN_ENTRIES - 4) * 2**62
    assert (store._replica.generation == before) == (trigger == "a sum beyond 64 bits")
    for i in range(OWN_ENTRIES - 4, OWN_ENTRIES + 4):
        other.save(Sample(f"{i}"))
    wanted = {f"{i}" for i in range(OWN_ENTRIES + 4)}
    assert set(other.list_ids()) == wanted
    assert set(log_store(blobs).list_ids()) == wanted
    assert store.count() == OWN_ENTRIES - 4


@pytest.mark.parametrize("bodies", [False, True])
def test_a_cache_that_vanishes_between_two_pages_ends_no_answer_early(
    bodies: bool, blobs: MemoryBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(paging, "PAGE", 3)
    store = log_store(blobs, cache_dir=str(tmp_path / "cache"))
    store.save_many(make_samples(10))
    wanted = store.list_ids()
    found = store.scan(EVERYTHING, collection=SAMPLES, bodies=bodies)
    first = next(found)
    shutil.rmtree(tmp_path / "cache")
    assert store.collection(ITEMS).count() == 0  # which makes the cache anew, for this collection
    assert [record.id for record in [first, *found]] == wanted


def refill(blobs: MemoryBlobs, clock: ManualClock, cache: str) -> LogStore[Sample]:
    """Fill a place, empty it, and return the store that was open all the time."""
    store = log_store(blobs, clock=clock, cache_dir=cache)
    store.save_many(Sample(f"old {i}") for i in range(3))
    store.save(Sample("old"))
    assert store.count() == 4
    blobs._objects.clear()
    clock.advance(seconds=1)
    return store


@pytest.mark.parametrize("opened", ["open", "closed"])
@pytest.mark.parametrize("used", [True, False], ids=["used again", "empty"])
def test_a_place_that_was_emptied_has_no_ghosts(opened: str, used: bool, blobs: MemoryBlobs, tmp_path: Path):
    clock = ManualClock()
    store = refill(blobs, clock, str(tmp_path))
    if used:
        log_store(blobs, clock=clock).save(Sample("new"))
    if opened == "closed":
        store.close()
        store = log_store(blobs, clock=clock, cache_dir=str(tmp_path))
    assert store.list_ids() == (["new"] if used else [])
    assert content(store).keys() == ({"new"} if used else set())
    store.save(Sample("newer"))
    assert set(store.list_ids()) == set(log_store(blobs, clock=clock).list_ids())


@pytest.mark.parametrize("saves", [1, 2 * OWN_ENTRIES])
def test_a_writer_in_a_place_that_was_emptied_brings_nothing_back(saves: int, blobs: MemoryBlobs, tmp_path: Path):
    clock = ManualClock()
    writer = refill(blobs, clock, str(tmp_path))
    for i in range(saves):
        writer.save(Sample(f"{i}"))
    wanted = {f"{i}" for i in range(saves)}
    fresh = log_store(blobs, clock=clock)
    assert set(fresh.list_ids()) == set(writer.list_ids()) == wanted
    clock.advance(minutes=5)
    fresh.maintain()
    faulty = FaultyBlobs(blobs)
    cold = log_store(faulty, clock=clock)
    assert set(cold.list_ids()) == wanted
    assert not [call for call in faulty.calls if "_samples/" in call.key]  # no body has to be looked at any more
    assert cold.verify().ok


def test_without_a_place_for_a_cache_it_works_all_the_same(
    blobs: MemoryBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("no folder")
    for place in (str(tmp_path / "file"), str(tmp_path / "file" / "deeper")):
        store = log_store(blobs, cache_dir=place)
        store.save(Sample("a"))
        assert store.count() == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    log_store(blobs, cache_dir=None).list_ids()
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["truthstore"]


def test_an_index_is_rebuilt_from_the_bodies(blobs: MemoryBlobs):
    store = log_store(blobs)
    store.save_many(make_samples(30))
    store.delete(store.list_ids()[0])
    wanted = content(store)
    for key in list(blobs.list(LOG)):
        blobs.delete(key)
    other = log_store(blobs)
    assert other.count() == 0
    assert set(other.verify().unindexed) == set(wanted)
    assert other.rebuild_index() == 29
    assert content(other) == content(log_store(blobs)) == content(store) == wanted
    for key in list(blobs.list(LOG)):
        blobs.put(key, b"damaged")
    assert log_store(blobs).rebuild_index() == 29
    assert content(log_store(blobs)) == content(store) == wanted


@pytest.mark.parametrize("name", ["", "log_$folder$", "desktop.ini", "0-1796032629316-0-0-1-18aa (copy)", "sub/x"])
def test_what_others_put_among_the_index_objects_changes_nothing(name: str, blobs: MemoryBlobs):
    """Consoles and mounts of object storage mark folders by objects of their own."""
    store = log_store(blobs, compact_at=2)
    blobs.put(f"{LOG}{name}", b"")
    for i in range(5):
        store.save(Sample(f"{i}"))
    assert len(content(store)) == 5
    store.maintain()
    store.rebuild_index()
    assert len(content(log_store(blobs))) == 5
    assert blobs.get(f"{LOG}{name}")[0] == b""


def test_bodies_that_were_removed_or_damaged_are_named(blobs: MemoryBlobs):
    store = log_store(blobs)
    store.save_many(Sample(f"{i}", count=i) for i in range(6))
    blobs.delete("_samples/1.json")
    blobs.put("_samples/2.json", b"damaged")
    verification = store.verify()
    assert verification.missing == ("1",)
    assert set(verification.corrupt) == {"2"}
    with pytest.raises(StoreCorruptError, match="gone"):
        store.query(StoreQuery(ids=["1"]))
    assert store.rebuild_index() in {4, 5}
    assert not store.exists("1")
    store.save(Sample("2", count=2))
    store.save(Sample("1", count=1), expect=ABSENT)
    assert content(store) == content(log_store(blobs)) == {f"{i}": i for i in range(6)}


class ReadOnly(MemoryBlobs):
    """A service on which this user may only read."""

    def __init__(self, blobs: MemoryBlobs) -> None:
        super().__init__()
        self._objects = blobs._objects

    def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
        raise StoreConnectionError("memory", "no permission to write", retryable=False)

    def delete(self, key: str, *, expect: Any = ANY) -> bool:
        raise StoreConnectionError("memory", "no permission to delete", retryable=False)


def test_who_may_only_read_reads(blobs: MemoryBlobs):
    writer = log_store(blobs)
    for i in range(10):
        writer.save(Sample(f"{i}", count=i))
    writer.save(Sample("0", count=5))
    before = dict(blobs._objects)
    reader = log_store(ReadOnly(blobs), compact_at=3)
    assert len(content(reader)) == 10
    assert content(reader)["0"] == 5
    with pytest.raises(StoreConnectionError, match="permission"):
        reader.save(Sample("new"))
    with pytest.raises(StoreConnectionError, match="permission"):
        reader.delete("0")
    assert blobs._objects == before
    assert len(content(reader)) == 10


def test_one_failing_request_of_a_thousand_is_named(blobs: MemoryBlobs):
    class Picky(MemoryBlobs):
        def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
            if key == "_samples/item-777.json":
                raise StoreWriteError("refused")
            return super().put(key, data, expect=expect)

    store = log_store(Picky(), concurrency=8)
    with pytest.raises(StoreBulkError) as caught:
        store.save_many(Sample(f"item-{i}") for i in range(1000))
    assert set(caught.value.failed) == {"item-777"}
    assert "refused" in str(caught.value.failed["item-777"])
    assert len(caught.value.stored) == 999
    assert store.count() == 999


def test_fields_declared_later_are_found(blobs: MemoryBlobs, tmp_path: Path):
    old = Collection.of(Sample, name="samples", index={"count": int})
    new = Collection.of(Sample, name="samples", index={"count": int, "name": str}, text=("note",))
    one = log_store(blobs, cache_dir=str(tmp_path)).collection(old)
    one.save(Sample("a", count=1, name="x", note="hello world"))
    two = log_store(blobs, cache_dir=str(tmp_path / "other")).collection(new)
    assert two.list_ids(StoreQuery(where={"name": "x"})) == ["a"]
    assert two.list_ids(StoreQuery(text="hello")) == ["a"]
    one.save(Sample("b", count=1, name="y", note="Hello again"))
    assert sorted(two.list_ids(StoreQuery(text="hello"))) == ["a", "b"]
    two.save(Sample("c", count=1, name="z"))
    assert two.list_ids(StoreQuery(where={"name": "y"})) == ["b"]
    assert sorted(one.list_ids(StoreQuery(where={"count": 1}))) == ["a", "b", "c"]
    three = log_store(blobs, cache_dir=str(tmp_path)).collection(new)
    assert three.list_ids(StoreQuery(where={"name": "z"})) == ["c"]
    assert three.list_ids(StoreQuery(where={"name": "x"})) == ["a"]
    assert sorted(three.list_ids(StoreQuery(text="hello"))) == ["a", "b"]


def test_the_folder_says_which_index_it_has(tmp_path: Path):
    cache = tmp_path / "cache"
    store = get_store("filesystem", collection=SAMPLES, base_path=tmp_path / "a", index="log", cache_dir=cache)
    assert isinstance(store, FileLogStore)
    store.save(Sample("a", name="readable"))
    assert '"name": "readable"' in (tmp_path / "a/default/validations/_samples/a.json").read_text()
    with pytest.raises(StoreConfigError, match="index"):
        get_store("filesystem", collection=SAMPLES, base_path=tmp_path / "a").list_ids()
    get_store("filesystem", collection=SAMPLES, base_path=tmp_path / "b").save(Sample("a"))
    with pytest.raises(StoreConfigError, match="index"):
        FileLogStore(collection=SAMPLES, base_path=tmp_path / "b", cache_dir=cache).list_ids()
    with pytest.raises(StoreConfigError, match="get_store"):
        FileSystemStore(base_path=tmp_path, index="log")
    with pytest.raises(StoreConfigError):
        FileLogStore(base_path=tmp_path, index="sqlite")
    assert store.stats()["log"] == {"entries": 1, "segments": 0}


def file_store(place: Path, number: int | str) -> FileLogStore[Sample]:
    return FileLogStore(
        collection=SAMPLES, base_path=place / "store", cache_dir=place / f"cache {number}", durability="os"
    )


@pytest.mark.parametrize("shared", [True, False], ids=["one machine", "many machines"])
def test_four_processes_and_a_compactor(shared: bool, tmp_path: Path):
    file_store(tmp_path, 0).initialize()

    def save(number: int) -> None:
        store = file_store(tmp_path, 0 if shared else number)
        for i in range(250):
            store.save(Sample(f"{number}-{i}", count=i))

    def compact() -> None:
        store = file_store(tmp_path, 0 if shared else "compactor")
        while store.count() < 1000:
            store.maintain()

    children = [start_child(partial(save, number)) for number in range(4)]
    compactor = start_child(compact)
    for child in children:
        wait_for_child(child)
    wait_for_child(compactor)
    reader = file_store(tmp_path, "fresh")
    assert reader.count() == 1000
    assert {(sample.id, sample.count) for sample in reader.query()} == {
        (f"{number}-{i}", i) for number in range(4) for i in range(250)
    }
    assert reader.verify().ok


def test_processes_that_come_first_at_the_same_time_share_or_not(tmp_path: Path):
    file_store(tmp_path, "other").save(Sample("before"))

    def open_and_save(number: int) -> None:
        store = file_store(tmp_path, "new")
        store.save(Sample(f"{number}"))
        assert store.count() > 1

    children = [start_child(partial(open_and_save, number)) for number in range(6)]
    for child in children:
        wait_for_child(child)
    assert file_store(tmp_path, "new").count() == file_store(tmp_path, "fresh").count() == 7
    (cache,) = (tmp_path / "cache new").iterdir()
    for path in cache.iterdir():
        os.utime(path, (0, 0))
    file_store(tmp_path, "new").initialize()
    assert len(list(cache.glob("*.db"))) == 1


def test_killed_writers_and_compactors_lose_nothing(tmp_path: Path):
    def work(number: int, say: Callable[[str], None]) -> None:
        store = file_store(tmp_path, "machine")
        for i in range(100_000):
            say(store.save(Sample(f"{number}-{i}")))
            if i % 20 == 0:
                store.maintain()

    wanted: set[str] = set()
    for turn in range(8):
        children = [Child(partial(work, number)) for number in (2 * turn, 2 * turn + 1)]
        for child in children:
            wanted |= {child.hear() for _ in range(10 + 7 * turn)}
        for child in children:
            child.kill(signal.SIGKILL)
            wanted |= set(child.hear_all())
            assert child.wait() == -signal.SIGKILL
    beside = set(file_store(tmp_path, "machine").list_ids())
    fresh = file_store(tmp_path, "fresh")
    found = set(fresh.list_ids())
    assert wanted <= found
    assert beside == found
    assert fresh.verify().ok


def test_an_error_of_the_replica_is_no_empty_answer(blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch):
    store = log_store(blobs)
    store.save(Sample("a"))
    replica = store._replica

    def broken(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(replica, "_pages", broken)
    with pytest.raises(StoreError, match="disk I/O error"):
        store.list_ids()
