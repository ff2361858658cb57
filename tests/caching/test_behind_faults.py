"""Write-behind: what fails blocks nothing else, what may pass is no refusal, and closing leaves nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import threading
from typing import Any

import msgspec
import pytest

from truthstore import (
    Collection,
    StoreClosedError,
    StoreConnectionError,
    StoreKeyError,
    StoreNotSupportedError,
    StoreOverloadedError,
    StoreWriteError,
    WrapperStore,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore, CacheMode
from truthstore.caching.refused import is_refusal
from truthstore.errors import StoreCorruptError, StoreError
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child
from truthstore.versioning import VersionedStore


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Note(msgspec.Struct):
    """An item of another collection."""

    id: str


NOTES = Collection.of(Note, index={})


def cached(base: Any, **options: Any) -> CachedStore[Sample]:
    options = {"flush_interval_seconds": None, "spool_durability": "os", **options}
    return CachedStore(base, mode=CacheMode.WRITE_BEHIND, **options)


def queue_of(store: CachedStore[Sample]) -> dict[str, Any]:
    figures: dict[str, Any] = store.get_stats()["write_behind"]
    return figures


class Poisoned(WrapperStore[Any]):
    """Cannot be written or asked about some ids, for a reason that no layer has foreseen."""

    ids: frozenset[str] = frozenset({"bad"})
    error: Exception = ValueError("a driver that does not take this")

    def put_record(self, record, **options):
        if record.id in self.ids:
            raise self.error
        return self._base.put_record(record, **options)


class Unreadable(Poisoned):
    def put_record(self, record, **options):
        return self._base.put_record(record, **options)

    def head_record(self, id, **options):
        if id in self.ids:
            raise self.error
        return self._base.head_record(id, **options)

    def scan(self, query, **options):
        if self.ids & set(query.ids or ()):
            raise self.error
        return self._base.scan(query, **options)


@pytest.mark.parametrize("kind", [Poisoned, Unreadable])
@pytest.mark.parametrize("others", [3, 20])
def test_an_unforeseen_error_holds_up_its_own_item_only(kind, others):
    base = kind(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save(Sample("bad", note="1"))
    store.save_many([Sample(f"good{number}") for number in range(others)])
    store.save(Sample("bad", note="2"))
    with pytest.raises(StoreWriteError, match=r"1 writes of samples.*wait in.*a driver that") as caught:
        store.flush()
    assert caught.value.retryable
    cause = caught.value.__cause__
    chain = [cause, cause.__cause__ if cause is not None else None]
    assert isinstance(chain[0], StoreError)
    assert chain[0].retryable
    assert chain[1] is base.error
    assert base.base.count() == others
    assert queue_of(store) == {"waiting": 2, "errors": 2, "refused": [], "superseded": 0}
    assert store.exists("good0")
    assert store.get("bad").note == "2"
    assert store.get_many(["good0"])
    with pytest.raises(StoreWriteError):
        store.count()
    base.ids = frozenset()
    store.flush()
    assert base.get("bad").note == "2"
    store.close()


def test_what_was_stored_before_an_unforeseen_error_is_not_stored_again():
    class Ordered(WrapperStore[Any]):
        def put_records(self, records, **options):
            return [self.put_record(record, **options) for record in records]

        def put_record(self, record, **options):
            if record.id == "bad":
                raise ValueError("no")
            return self._base.put_record(record, **options)

    versions = VersionedStore(MemoryStore(collection=SAMPLES))
    store = cached(Ordered(versions))
    store.save_many([Sample("a"), Sample("bad"), Sample("b")])
    with pytest.raises(StoreWriteError):
        store.flush()
    assert [versions.count_versions(id) for id in "ab"] == [1, 1]


TROUBLES = [
    StoreWriteError("read-only", store_trouble=True),
    StoreWriteError("later", retryable=True),
    StoreConnectionError("x", "down", retryable=False),
    StoreOverloadedError("busy", retryable=False),
    StoreNotSupportedError("not here"),
    StoreClosedError("closed"),
]
CAUSES = [
    OSError(errno.EACCES, "no"),
    sqlite3.OperationalError("database or disk is full"),
    StoreConnectionError("x", "down", retryable=False),
    StoreWriteError("read-only", store_trouble=True),
]


def caused(cause: BaseException) -> StoreWriteError:
    middle = StoreWriteError("it was not stored")
    middle.__cause__ = cause
    error = StoreWriteError("it was not stored, said another layer")
    error.__cause__ = middle
    return error


@pytest.mark.parametrize("error", [*TROUBLES, *map(caused, CAUSES)], ids=repr)
def test_what_says_nothing_of_the_item_is_no_refusal(error):
    assert not is_refusal(error)


@pytest.mark.parametrize(
    "error",
    [
        StoreWriteError("too large"),
        StoreKeyError("no such id"),
        StoreCorruptError("damaged"),
        caused(ValueError("not JSON")),
        caused(sqlite3.DataError("string or blob too big")),
    ],
    ids=repr,
)
def test_what_judges_the_item_is_a_refusal(error):
    assert is_refusal(error)
    error.store_trouble = True
    assert not is_refusal(error)


def test_what_is_written_to_a_folder_without_permission_waits(monkeypatch):
    base = FileSystemStore(base_path="s", durability="os", collection=SAMPLES)
    base.save(Sample("known"))
    store = cached(base)
    store.save(Sample("first"))
    store.flush()
    store.save(Sample("a"))
    monkeypatch.setattr(base._access, "readonly", True)
    with pytest.raises(StoreWriteError, match=r"wait in.*read-only"):
        store.flush()
    monkeypatch.undo()
    os.chdir(os.path.dirname(base.root))
    store.flush()
    assert queue_of(store)["refused"] == []
    assert base.exists("a")


class Down(WrapperStore[Any]):
    """Stores nothing of some ids for now."""

    ids: frozenset[str] = frozenset({"held"})

    def put_record(self, record, **options):
        if record.id in self.ids:
            raise StoreConnectionError("x", "down for this one")
        return self._base.put_record(record, **options)


@pytest.mark.parametrize("how", ["close", "flush", "maintain"])
def test_a_collection_that_cannot_be_stored_keeps_no_other_from_it(how):
    blobs = MemoryBlobs()
    kept = MemoryStore(collection=SAMPLES, blobs=blobs)
    store = cached(Down(MemoryStore(collection=SAMPLES, blobs=blobs)))
    notes = store.collection(NOTES)
    store.save(Sample("held"))
    notes.save(Note("n"))
    with pytest.raises(StoreWriteError, match="1 writes of samples"):
        getattr(store, how)()
    assert kept.collection(NOTES).exists("n")


def test_all_that_went_wrong_is_said():
    base = Down(VersionedStore(MemoryStore(collection=SAMPLES), require_message=True))
    base.ids = frozenset({"held", "n"})
    store = cached(base)
    notes = store.collection(NOTES)
    store.save(Sample("held"))
    notes.save(Note("n"))
    store.save(Sample("without"))
    with pytest.raises(StoreWriteError) as caught:
        store.close()
    said = str(caught.value)
    assert "1 writes of samples" in said
    assert "1 writes of note" in said
    assert "'without'" in said
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, StoreWriteError)


def behinds() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "truthstore-write-behind"]


def test_no_thread_outlives_the_store(monkeypatch):
    before = set(behinds())
    store = cached(MemoryStore(collection=SAMPLES), flush_interval_seconds=0.01)
    store.save(Sample("a"))
    behind = store._behind
    assert behind is not None
    flush = behind.flush

    def save_and_flush(*arguments):
        # Somebody saves when the thread has ended and the queue is not closed yet.
        store.put_record(SAMPLES.encode(Sample("late")), collection=SAMPLES)
        flush(*arguments)

    monkeypatch.setattr(behind, "flush", save_and_flush)
    store.close()
    assert set(behinds()) == before
    with pytest.raises(StoreClosedError):
        store.put_record(SAMPLES.encode(Sample("later")), collection=SAMPLES)
    assert set(behinds()) == before


def test_a_store_that_was_closed_before_its_first_write_takes_none():
    store = cached(MemoryStore(collection=SAMPLES), flush_interval_seconds=0.01)
    store.close()
    with pytest.raises(StoreClosedError):
        store.put_record(SAMPLES.encode(Sample("a")), collection=SAMPLES)
    assert store._behind is not None
    store._behind.close()


def test_a_fork_in_the_middle_of_a_save_leaves_the_child_a_store_that_works():
    base = FileSystemStore(base_path="s", durability="os", collection=SAMPLES)
    store = cached(base, spool_path="queue.db")
    store.save(Sample("a"))
    behind = store._behind

    def work():
        signal.alarm(10)  # the death of whoever waits for a lock that nobody holds
        store.save(Sample("child"))
        store.flush()
        os._exit(0 if base.exists("child") else 3)

    held, forked = threading.Event(), threading.Event()
    assert behind is not None

    def hold():
        with behind._lock, behind._seen._lock:
            held.set()
            assert forked.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    child = start_child(work)
    forked.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    store.close()


def test_a_history_first_stores_what_waits():
    store = cached(VersionedStore(MemoryStore(collection=SAMPLES)))
    store.save(Sample("x"))
    store.flush()
    store.save(Sample("x", note="2"))
    assert [info.version for info in store.get_history("x")] == [2, 1]
    plain = cached(MemoryStore(collection=SAMPLES))
    plain.save(Sample("x", data_asset="orders"))
    assert [item.id for item in plain.get_history("orders")] == ["x"]


def test_a_rebuild_ends_with_an_empty_cache(monkeypatch):
    base = FileSystemStore(base_path="s", durability="os", collection=SAMPLES)
    store = CachedStore(base)
    store.save(Sample("a", note="1"))
    rebuild = FileSystemStore.rebuild_index

    def slow(self):
        store.get("a")  # somebody reads meanwhile
        return rebuild(self)

    monkeypatch.setattr(FileSystemStore, "rebuild_index", slow)
    store.rebuild_index()
    assert store.metrics.size == 0
