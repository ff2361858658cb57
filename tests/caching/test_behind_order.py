"""Write-behind: what is refused for good blocks nothing, and what is older never replaces what is newer."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import time
from typing import Any

import pytest

from truthstore import ABSENT, StoreReadError, StoreWriteError, WrapperStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore, CacheMode
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child
from truthstore.versioning import VersionedStore


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files() -> FileSystemStore[Sample]:
    return FileSystemStore(base_path="s", durability="os", collection=SAMPLES)


def cached(base: Any, **options: Any) -> CachedStore[Sample]:
    options = {"flush_interval_seconds": None, "spool_durability": "os", **options}
    return CachedStore(base, mode=CacheMode.WRITE_BEHIND, **options)


def queue_of(store: CachedStore[Sample]) -> dict[str, Any]:
    figures: dict[str, Any] = store.get_stats()["write_behind"]
    return figures


class Picky(WrapperStore[Any]):
    """Refuses some ids for good, and says so of the whole call."""

    ids: frozenset[str] = frozenset({"bad"})
    error: Exception = StoreWriteError("not that one")

    def put_record(self, record, **options):
        if record.id in self.ids:
            raise self.error
        return self._base.put_record(record, **options)

    def put_records(self, records, **options):
        if any(record.id in self.ids for record in records):
            raise self.error
        return self._base.put_records(records, **options)


def run_and_die(work: Any) -> None:
    _, status = os.waitpid(start_child(work), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


class Deadly(WrapperStore[Any]):
    """Dies when the store has what it was given."""

    def put_records(self, records, **options):
        self._base.put_records(records, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return []


@pytest.mark.parametrize("tried", [True, False])
@pytest.mark.parametrize("others", [0, 20])
def test_what_was_queued_earlier_never_replaces_what_another_process_saved_later(tried, others):
    def work():
        store = cached(Deadly(files()) if tried else files())
        store.save(Sample("a", note="old"))
        store.save_many([Sample(f"b{number}") for number in range(others)])
        if tried:
            store.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    with files() as base:
        base.save(Sample("known"))
        cached(base).save(Sample("first"))
        run_and_die(work)
        base.save(Sample("a", note="new"))
    with cached(files()) as store:
        store.initialize()
        assert store.get("a").note == "new"
        store.flush()
        assert store.base.get("a").note == "new"
        assert store.base.count() == others + 3
        assert queue_of(store)["waiting"] == 0


def test_a_clock_that_is_set_back_loses_nothing(monkeypatch):
    real = time.time_ns
    store = cached(MemoryStore(collection=SAMPLES))
    store.save(Sample("a", note="one"))
    store.flush()
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600 * 10**9)
    store.save(Sample("a", note="two"))
    assert store.get("a").note == "two"
    store.flush()
    assert store.base.get("a").note == "two"
    # What was read is known to be earlier, whatever its clock says.
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3_600 * 10**9)
    store.base.save(Sample("b", note="from ahead"))
    monkeypatch.undo()
    assert store.get("b").note == "from ahead"
    store.save(Sample("b", note="here"))
    store.flush()
    assert store.base.get("b").note == "here"


def test_an_older_record_may_be_put_over_a_newer_one():
    """As when a backup is read back: what counts is when it was saved here."""
    base = MemoryStore(collection=SAMPLES)
    base.save(Sample("a", note="backup"))
    backup = base.get_record("a", collection=SAMPLES)
    base.save(Sample("a", note="wrong"))
    store = cached(base)
    store.put_record(backup, collection=SAMPLES)
    store.flush()
    assert base.get("a").note == "backup"


def test_a_rollback_below_ends_what_waits():
    store = cached(VersionedStore(MemoryStore(collection=SAMPLES)))
    versions = store.layer(VersionedStore)
    for number in range(3):
        store.save(Sample("a", note=str(number)))
    store.flush()
    store.save(Sample("a", note="queued"))
    store.save(Sample("b"))
    versions.rollback("a", 2)
    assert store.get("a").note == "1"
    store.flush()
    assert store.get("a").note == "1"
    assert store.exists("b")
    store.save(Sample("a", note="later"))
    store.flush()
    assert store.base.get("a").note == "later"


def test_a_removal_that_a_layer_below_keeps_ends_what_waits():
    store = cached(VersionedStore(MemoryStore(collection=SAMPLES)))
    store.save(Sample("a", note="one"))
    store.flush()
    store.save(Sample("a", note="two"))
    assert store.base.delete("a")
    store.flush()
    assert store.list_ids() == []
    assert not store.exists("a")


def test_a_cleanup_below_takes_nothing_that_waits():
    """It judged what was stored, and what waits is newer than that."""
    store = cached(MemoryStore(collection=SAMPLES))
    store.save(Sample("a", note="one"))
    store.flush()
    store.save(Sample("a", note="two"))
    assert store.base.delete("a")
    store.flush()
    assert store.get("a").note == "two"


def test_a_damaged_entry_is_set_aside():
    store = cached(MemoryStore(collection=SAMPLES), spool_path="queue.db")
    store.save(Sample("a"))
    store.save(Sample("b"))
    with sqlite3.connect("queue.db") as connection:
        connection.execute("UPDATE queue SET payload = x'00' WHERE key = 'a'")
    connection.close()
    assert store.list_ids() == ["b"]
    assert queue_of(store)["refused"] == ["a"]
    assert store.refused() == []
    assert store.discard_refused() == 1
    store.close()


def test_what_is_refused_for_good_is_set_aside(caplog):
    blobs = MemoryBlobs()
    store = cached(VersionedStore(MemoryStore(collection=SAMPLES, blobs=blobs), require_message=True))
    store.save(Sample("a", note="1"))
    store.save(Sample("a", note="2"))
    assert store.list_ids() == []
    assert store.count() == 0
    assert store.query() == []
    assert not store.exists("a")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert queue_of(store) == {"waiting": 0, "errors": 2, "refused": ["a"], "superseded": 0}
    assert store.stats()["cache"]["write_behind"]["refused"] == ["a"]
    with pytest.raises(StoreWriteError, match=r"refused.*message"):
        store.flush()
    store.flush()  # it was said
    assert [item.note for item in store.refused()] == ["1", "2"]
    store.save(Sample("a", note="3"), message="why")
    assert store.get("a").note == "3"
    store.close()
    with cached(VersionedStore(MemoryStore(collection=SAMPLES, blobs=blobs), require_message=True)) as again:
        assert again.get("a").note == "3"
        assert queue_of(again)["refused"] == ["a"]
        assert again.discard_refused(["b"]) == 0
        assert again.discard_refused(["a"]) == 2
        assert again.refused() == []
        again.save(Sample("c"))
        with pytest.raises(StoreWriteError, match="refused"):
            again.flush()
        assert again.discard_refused() == 1
    store = cached(MemoryStore(collection=SAMPLES))
    assert store.refused() == []
    assert CachedStore(MemoryStore(collection=SAMPLES)).refused() == []


def test_a_refusal_concerns_nobody_else_and_may_be_withdrawn():
    base = Picky(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save_many([Sample("a"), Sample("bad", note="1"), Sample("b"), Sample("bad", note="2"), Sample("a", note="x")])
    assert sorted(store.list_ids()) == ["a", "b"]
    assert store.get("a").note == "x"
    base.ids = frozenset()
    assert store.retry_refused() == 2
    assert store.get("bad").note == "2"
    assert store.refused() == []
    assert store.retry_refused() == 0
    store.close()


def test_what_may_succeed_later_is_not_refused():
    base = Picky(MemoryStore(collection=SAMPLES))
    base.error = StoreWriteError("the disk is full")
    base.error.__cause__ = OSError(28, "No space left on device")
    store = cached(base)
    store.save_many([Sample("bad"), Sample("good")])
    with pytest.raises(StoreWriteError, match="wait in"):
        store.flush()
    assert queue_of(store)["refused"] == []
    base.ids = frozenset()
    store.flush()
    assert store.count() == 2
    store.close()


@pytest.mark.parametrize("others", [2, 20])
def test_an_item_that_cannot_be_compared_holds_up_no_other(others):
    class Unreadable(WrapperStore[Any]):
        failing = True

        def head_record(self, id, **options):
            if id == "bad" and self.failing:
                raise StoreReadError("not now")
            return self._base.head_record(id, **options)

        def scan(self, query, **options):
            if self.failing and query.ids:
                raise StoreReadError("not now")
            return self._base.scan(query, **options)

    base = Unreadable(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save_many([Sample("bad"), *(Sample(f"b{number}") for number in range(others))])
    with pytest.raises(StoreWriteError, match="1 writes"):
        store.flush()
    assert base.count() == others
    base.failing = False
    store.flush()
    assert base.count() == others + 1
    store.close()


def test_an_error_of_a_driver_does_not_end_the_thread(caplog):
    base = Picky(MemoryStore(collection=SAMPLES))
    base.error = ValueError("a fault of the driver")
    store = cached(base, flush_interval_seconds=0.01)
    store.save(Sample("bad"))
    wait_for(lambda: queue_of(store)["errors"] > 1)
    assert "a fault of the driver" in caplog.text
    base.ids = frozenset()
    wait_for(lambda: store.base.exists("bad"))
    store.close()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_queue_stays_where_it_was_when_the_program_changes_its_folder(tmp_path, monkeypatch):
    base = MemoryStore(collection=SAMPLES)
    store = cached(base)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    store.save(Sample("a"))
    assert os.listdir(tmp_path / "other") == []
    assert os.path.isdir(tmp_path / ".truthstore" / "spool")
    store.save(Sample("b"), expect=ABSENT)
    store.close()
