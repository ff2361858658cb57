"""Write-behind: what was refused is served no more, and does not come back over what came later."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgspec
import pytest

from truthstore import (
    ABSENT,
    Collection,
    StoreConflictError,
    StoreNotFoundError,
    StoreReadError,
    StoreWriteError,
    WrapperStore,
)
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore, CacheMode
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Note(msgspec.Struct):
    """An item of another collection."""

    id: str
    note: str = ""


NOTES = Collection.of(Note, index={})


class Picky(WrapperStore[Any]):
    """Refuses some ids for good."""

    ids: frozenset[str] = frozenset({"bad"})
    before_read: Any = None

    def put_record(self, record, *, collection, **options):
        if record.id in self.ids and collection.is_users:
            raise StoreWriteError("not that one")
        return self._base.put_record(record, collection=collection, **options)

    def get_record(self, id, **options):
        if self.before_read is not None:
            self.before_read(id)
        return self._base.get_record(id, **options)

    def head_record(self, id, **options):
        return self._base.head_record(id, **options)


def cached(base: Any, **options: Any) -> CachedStore[Sample]:
    options = {"flush_interval_seconds": None, "spool_durability": "os", **options}
    return CachedStore(base, mode=CacheMode.WRITE_BEHIND, **options)


def queue_of(store: CachedStore[Sample]) -> dict[str, Any]:
    figures: dict[str, Any] = store.get_stats()["write_behind"]
    return figures


def refuse(store: CachedStore[Sample]) -> None:
    with pytest.raises(StoreWriteError, match="refused"):
        store.flush()


def spool_of(store: CachedStore[Sample]) -> Any:
    assert store._behind is not None
    return store._behind._spool()


def test_what_is_read_while_it_is_being_refused_is_served_no_more(monkeypatch):
    store = cached(Picky(MemoryStore(collection=SAMPLES)))
    store.save(Sample("bad"))
    store.invalidate_all()
    spool = spool_of(store)
    move = spool.move

    def read_and_move(numbers, topic):
        assert store.get("bad") == Sample("bad")  # it still waits
        move(numbers, topic)

    monkeypatch.setattr(spool, "move", read_and_move)
    refuse(store)
    with pytest.raises(StoreNotFoundError):
        store.get("bad")


def test_what_is_read_while_it_is_being_stored_gets_the_revision_that_lasts(monkeypatch):
    store = cached(MemoryStore(collection=SAMPLES))
    store.save(Sample("a"))
    spool = spool_of(store)
    remove = spool.remove

    def read_and_remove(numbers):
        store.invalidate("a")
        store.get("a")
        return remove(numbers)

    monkeypatch.setattr(spool, "remove", read_and_remove)
    store.flush()
    assert store.get_record("a", collection=SAMPLES).revision == store.head("a").revision


def test_a_load_that_began_before_the_refusal_is_not_kept(monkeypatch):
    store = cached(Picky(MemoryStore(collection=SAMPLES)))
    store.save(Sample("bad"))
    store.invalidate_all()
    found, go_on = threading.Event(), threading.Event()
    assert store._behind is not None
    find = store._behind.find

    def slow(*arguments):
        record = find(*arguments)
        found.set()
        assert go_on.wait(10)
        return record

    monkeypatch.setattr(store._behind, "find", slow)
    reader = threading.Thread(target=store.get, args=("bad",))
    reader.start()
    assert found.wait(10)
    refuse(store)
    go_on.set()
    reader.join()
    with pytest.raises(StoreNotFoundError):
        store.get("bad")


def test_a_load_that_began_before_it_waits_again_is_not_kept():
    base = Picky(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save(Sample("bad"))
    refuse(store)
    base.ids = frozenset()
    asked, go_on = threading.Event(), threading.Event()

    def wait(id):
        asked.set()
        assert go_on.wait(10)

    def read():
        with pytest.raises(StoreNotFoundError):
            store.get("bad")

    base.before_read = wait
    reader = threading.Thread(target=read)
    reader.start()
    assert asked.wait(10)
    assert store.retry_refused() == 1
    go_on.set()
    reader.join()
    assert store.get("bad") == Sample("bad")


LATER = {
    "delete": lambda store: store.delete("bad"),
    "delete_many": lambda store: store.delete_many(["bad"]),
    "save": lambda store: [store.save(Sample("bad", note="new")), store.flush()],
    "save if absent": lambda store: store.save(Sample("bad", note="new"), expect=ABSENT),
    "save, delete": lambda store: [store.save(Sample("bad", note="new")), store.flush(), store.delete("bad")],
    "save below": lambda store: store.base.save(Sample("bad", note="new")),
}


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("how", LATER)
def test_what_came_later_is_not_undone_by_a_retry(how, reopened, caplog):
    blobs = MemoryBlobs()
    base = Picky(MemoryStore(collection=SAMPLES, blobs=blobs))
    store = cached(base)
    store.save(Sample("bad", note="old 1"))
    store.save(Sample("bad", note="old 2"))
    refuse(store)
    base.ids = frozenset()
    LATER[how](store)
    if reopened:
        store.close()
        store = cached(MemoryStore(collection=SAMPLES, blobs=blobs))
    assert [item.note for item in store.refused()] == ["old 1", "old 2"]
    caplog.clear()
    assert store.retry_refused() == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "2 writes of samples" in caplog.text
    store.flush()
    if "delete" in how:
        assert not store.exists("bad")
    else:
        assert store.get("bad").note == "new"
    assert queue_of(store)["refused"] == ["bad"]
    assert store.discard_refused() == 2
    assert queue_of(store)["refused"] == []
    caplog.clear()
    assert store.retry_refused() == 0
    assert caplog.records == []


def test_what_is_removed_while_it_is_tried_again_stays_removed():
    class Removed(Picky):
        """Is where somebody removes the item as soon as it was looked at."""

        look: Any = None

        def head_record(self, id, **options):
            try:
                return self._base.head_record(id, **options)
            finally:
                look, self.look = self.look, None
                if look is not None:
                    look()

    base = Removed(MemoryStore(collection=SAMPLES))
    store = cached(base)
    base.ids = frozenset()
    store.save(Sample("bad", note="first"))
    store.flush()
    base.ids = frozenset({"bad"})
    store.save(Sample("bad", note="second"))
    refuse(store)
    base.ids = frozenset()
    base.look = lambda: store.delete("bad")
    store.retry_refused()
    store.flush()
    assert base.look is None
    assert not store.exists("bad")


def test_what_is_refused_after_something_was_stored_is_the_latest():
    class Odd(WrapperStore[Any]):
        """Refuses one state of an item."""

        note = "bad"

        def put_record(self, record, *, collection, **options):
            if collection.is_users and collection.decode(record).note == self.note:
                raise StoreWriteError("not that one")
            return self._base.put_record(record, collection=collection, **options)

    base = Odd(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save(Sample("a", note="good"))
    store.save(Sample("a", note="bad"))
    refuse(store)
    assert store.get("a").note == "good"
    base.note = ""
    assert store.retry_refused() == 1
    store.flush()
    assert base.get("a").note == "bad"


def test_a_write_that_was_not_made_makes_nothing_outdated():
    base = Picky(MemoryStore(collection=SAMPLES))
    base.save(Sample("other"))
    store = cached(base)
    store.save(Sample("bad", note="old"))
    refuse(store)
    with pytest.raises(StoreWriteError, match="not that one"):
        store.save(Sample("bad"), expect=ABSENT)
    base.ids = frozenset()
    with pytest.raises(StoreConflictError):
        store.save(Sample("bad"), expect="0" * 24)
    with pytest.raises(StoreConflictError):
        store.delete("bad", expect="0" * 24)
    assert store.retry_refused() == 1
    assert store.get("bad").note == "old"


def test_what_cannot_be_compared_waits_again_and_is_compared_then():
    class Unreadable(Picky):
        failing = False

        def head_record(self, id, **options):
            if self.failing:
                raise StoreReadError("not now")
            return self._base.head_record(id, **options)

    base = Unreadable(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save(Sample("bad", note="old"))
    refuse(store)
    base.ids = frozenset()
    base.base.save(Sample("bad", note="new"))
    base.failing = True
    assert store.retry_refused() == 1
    base.failing = False
    store.flush()
    assert store.get("bad").note == "new"
    assert queue_of(store)["superseded"] == 1


def test_ids_of_different_collections_are_different():
    store = cached(Picky(MemoryStore(collection=SAMPLES)))
    notes = store.collection(NOTES)
    store.save(Sample("bad"))
    notes.save(Note("bad"))
    assert store.count() == notes.count() == 0  # both are refused now
    assert store.discard_refused() == 1
    with pytest.raises(StoreWriteError, match="1 items were taken and then refused"):
        store.flush()
    store.flush()
    assert notes.refused() == [Note("bad")]  # type: ignore[attr-defined]


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_waits_again_is_stored_without_being_asked_for():
    blobs = MemoryBlobs()
    store = cached(Picky(MemoryStore(collection=SAMPLES, blobs=blobs)))
    store.save(Sample("bad"))
    refuse(store)
    store.close()
    base = MemoryStore(collection=SAMPLES, blobs=blobs)
    again = cached(base, flush_interval_seconds=0.01)
    assert again.retry_refused() == 1
    wait_for(lambda: base.exists("bad"))
    again.close()


def test_what_an_earlier_process_left_is_stored_when_the_store_is_back():
    blobs = MemoryBlobs()
    cached(MemoryStore(collection=SAMPLES, blobs=blobs)).save(Sample("a"))

    class Down(WrapperStore[Any]):
        down = True

        def put_record(self, record, **options):
            if self.down:
                raise StoreWriteError("not now", retryable=True)
            return self._base.put_record(record, **options)

    base = Down(MemoryStore(collection=SAMPLES, blobs=blobs))
    store = cached(base, flush_interval_seconds=0.01)
    store.initialize()
    assert not base.exists("a")
    base.down = False
    wait_for(lambda: base.exists("a"))
    store.close()


def test_a_tombstone_that_is_put_outdates_what_was_refused():
    base = Picky(MemoryStore(collection=SAMPLES))
    store = cached(base)
    store.save(Sample("bad", note="old"))
    refuse(store)
    base.ids = frozenset()
    versions = VersionedStore(MemoryStore(collection=SAMPLES))
    versions.save(Sample("bad"))
    versions.delete("bad")
    tombstone = versions.base.get_record("bad", collection=SAMPLES)
    assert tombstone.meta.deleted
    store.put_record(tombstone, collection=SAMPLES)
    assert store.retry_refused() == 0
    assert not store.exists("bad")
