"""Write-behind where clocks differ: what a store has read or written itself always counts as earlier."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import Any

import pytest

from truthstore import ABSENT, StoreConflictError, StoreQuery, WrapperStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.caching import CachedStore, CacheMode, DiskCache
from truthstore.model.meta_codec import pack
from truthstore.model.record import Meta, Record
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore

MINUTE = 60


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """A clock that can be set: seconds ahead of the real one."""

    class Clock:
        ahead = 0.0

    clock = Clock()
    real = time.time_ns

    def now() -> int:
        return real() + int(clock.ahead * 1e9)

    monkeypatch.setattr(time, "time_ns", now)
    monkeypatch.setattr("truthstore.model.collection.time_ns", now)
    monkeypatch.setattr("truthstore.versioning.meta.time_ns", now)
    return clock


def cached(base: Any, cache: Any = None, **options: Any) -> CachedStore[Sample]:
    options = {"flush_interval_seconds": None, "spool_durability": "os", **options}
    return CachedStore(base, cache, mode=CacheMode.WRITE_BEHIND, **options)


def queue_of(store: CachedStore[Sample]) -> dict[str, Any]:
    figures: dict[str, Any] = store.get_stats()["write_behind"]
    return figures


READS = {
    "get": lambda store: store.get("x"),
    "get_many": lambda store: store.get_many(["x"]),
    "head": lambda store: store.head("x"),
    "exists": lambda store: store.exists("x"),
    "query": lambda store: store.query(),
    "iter_query": lambda store: list(store.iter_query()),
    "entries": lambda store: list(store.entries()),
    "warm": lambda store: store.warm(),
    "refresh": lambda store: store.refresh("x"),
}


@pytest.mark.parametrize("how", READS)
def test_what_was_read_in_any_way_is_earlier_than_what_is_saved_then(clock, how):
    base = MemoryStore(collection=SAMPLES)
    clock.ahead = MINUTE
    base.save(Sample("x", note="from ahead"))
    clock.ahead = 0
    store = cached(base)
    READS[how](store)
    store.save(Sample("x", note="one"))
    store.save(Sample("x", note="two"))
    assert store.get("x").note == "two"
    store.flush()
    assert base.get("x").note == "two"
    assert queue_of(store)["superseded"] == 0


def test_a_hit_of_a_shared_cache_is_a_read_too(clock, tmp_path):
    base = FileSystemStore(base_path="s", durability="os", collection=SAMPLES)
    cache = DiskCache(tmp_path / "cache")
    clock.ahead = MINUTE
    CachedStore(base, cache).save(Sample("x", note="from ahead"))
    clock.ahead = 0
    store = cached(base, cache)
    hits = store.metrics.hits
    assert store.get("x").note == "from ahead"
    assert store.metrics.hits == hits + 1
    store.save(Sample("x", note="here"))
    store.flush()
    assert base.get("x").note == "here"
    cache.close()


WRITES = {
    "save if absent": lambda store: store.save(Sample("x"), expect=ABSENT),
    "save_many": lambda store: store.save_many([Sample("x")], expect=ABSENT),
    "save": lambda store: store.save(Sample("x")),
    "save, stored": lambda store: [store.save(Sample("x")), store.flush()],
    "delete": lambda store: [store.save(Sample("x")), store.delete("x")],
    "delete_many": lambda store: [store.save(Sample("x")), store.delete_many(["x"])],
}


@pytest.mark.parametrize("how", WRITES)
def test_a_clock_that_is_set_back_after_any_write_of_its_own_loses_nothing(clock, how):
    store = cached(VersionedStore(MemoryStore(collection=SAMPLES)))
    clock.ahead = MINUTE
    WRITES[how](store)
    clock.ahead = 0
    store.save(Sample("x", note="later"))
    store.flush()
    assert store.base.get("x").note == "later"
    assert queue_of(store)["superseded"] == 0


def test_what_was_read_of_one_id_says_nothing_of_another(clock):
    base = MemoryStore(collection=SAMPLES)
    clock.ahead = 60 * MINUTE
    base.save(Sample("unrelated"))
    clock.ahead = 0
    store = cached(base)
    store.get("unrelated")
    store.save(Sample("x", note="waits"))
    clock.ahead = 1
    base.save(Sample("x", note="later"))
    store.flush()
    assert base.get("x").note == "later"
    assert store.get("x").note == "later"


def test_what_was_read_does_not_make_a_write_later_than_what_came_after_it(clock):
    """The machine with the wrong clock wrote, this process read and saved, and then somebody else saved."""
    base = MemoryStore(collection=SAMPLES)
    clock.ahead = 60 * MINUTE
    base.save(Sample("x", note="from ahead"))
    clock.ahead = 0
    store = cached(base)
    store.get("x")
    store.save(Sample("x", note="waits"))
    clock.ahead = 1
    base.save(Sample("x", note="later"))
    store.flush()
    assert base.get("x").note == "later"


def test_what_somebody_replaced_is_counted_and_told(clock, caplog):
    caplog.set_level(logging.INFO, "truthstore.caching")
    base = MemoryStore(collection=SAMPLES)
    store = cached(base)
    store.save(Sample("x", note="1"))
    store.save(Sample("x", note="2"))
    clock.ahead = 1
    base.save(Sample("x", note="later"))
    store.flush()
    assert queue_of(store) == {"waiting": 0, "errors": 0, "refused": [], "superseded": 2}
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert "2 writes of samples" in caplog.text
    assert "'x'" in caplog.text


def test_many_saves_between_two_deliveries_all_stay(clock):
    """What was known when the first was taken is known to those behind it, however many there are."""
    base = MemoryStore(collection=SAMPLES)
    clock.ahead = MINUTE
    base.save(Sample("x", note="from ahead"))
    store = cached(base)
    clock.ahead = 0
    store.get("x")
    for number in range(150):  # more than one batch
        store.save(Sample("x", note=str(number)))
    store.invalidate_all()
    assert store.get("x").note == "149"
    store.flush()
    assert base.get("x").note == "149"
    assert queue_of(store)["superseded"] == 0


def test_a_record_from_a_machine_that_is_ahead_may_be_put(clock):
    base = MemoryStore(collection=SAMPLES)
    clock.ahead = MINUTE
    base.save(Sample("x", note="from ahead"))
    backup = base.get_record("x", collection=SAMPLES)
    clock.ahead = 0
    base.delete("x")
    store = cached(base)
    store.put_record(backup, collection=SAMPLES)
    store.flush()
    assert base.get("x").note == "from ahead"
    store.put_record(backup, collection=SAMPLES)
    store.save(Sample("x", note="here"))
    store.flush()
    assert base.get("x").note == "here"
    assert queue_of(store)["superseded"] == 0


def test_a_write_that_did_not_happen_changes_nothing(clock):
    store = cached(MemoryStore(collection=SAMPLES))
    store.save(Sample("x", note="1"))
    with pytest.raises(StoreConflictError):
        store.save(Sample("x", note="2"), expect=ABSENT)
    clock.ahead = 1
    store.save(Sample("x", note="3"))
    store.flush()
    assert store.get("x").note == "3"


def test_the_memory_of_what_was_read_is_bounded(clock, monkeypatch):
    monkeypatch.setattr("truthstore.caching.taken.MOST_IDS", 3)
    base = MemoryStore(collection=SAMPLES)
    clock.ahead = MINUTE
    base.save_many([Sample(name) for name in "abcd"])
    clock.ahead = 0
    store = cached(base)
    for name in "abcd":
        store.get(name)
    store.get("b")  # a hit is a use
    store.get("a")
    store.save_many([Sample(name, note="here") for name in "abdc"])
    store.flush()
    # Of one only is nothing known any more, and that is told.
    assert queue_of(store)["superseded"] == 1
    assert [name for name in "abcd" if base.get(name).note == ""] == ["c"]


def test_what_an_earlier_release_took_is_still_read():
    store = cached(MemoryStore(collection=SAMPLES), spool_path="queue.db")
    store.save(Sample("a"))
    body = b'{"id": "b", "note": "old"}'
    meta = Meta("b", fields={}, tags={}, text="", size=len(body), stored_at=5)
    payload = (9).to_bytes(8, "big") + pack(Record(meta, body, "r"))
    with sqlite3.connect("queue.db") as connection:
        connection.execute("INSERT INTO queue (topic, key, payload) SELECT topic, 'b', ? FROM queue", (payload,))
    connection.close()
    assert store.get("b").note == "old"
    store.flush()
    assert store.base.get("b").note == "old"
    store.close()


class Late(WrapperStore[Any]):
    """Answers a read only after something else has happened."""

    meanwhile: Any = None

    def scan(self, query: StoreQuery, **options):
        yield from self._base.scan(query, **options)
        if self.meanwhile is not None:
            self.meanwhile()


def test_reads_stay_lazy():
    seen: list[str] = []
    base = Late(MemoryStore(collection=SAMPLES))
    base.save_many([Sample("a"), Sample("b")])
    base.meanwhile = lambda: seen.append("end")
    found = cached(base).scan(StoreQuery(), collection=SAMPLES)
    next(found)
    assert seen == []
    assert len(list(found)) == 1
    assert seen == ["end"]
