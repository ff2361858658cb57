"""Index objects that cannot be read: what they hid is found in the bodies, and nothing else is touched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.storage.log.doubles import log_store
from truthstore import BaseStore, Collection, StoreConfigError, StoreConnectionError, StoreCorruptError
from truthstore.model.record import ANY
from truthstore.storage.log import follower
from truthstore.storage.log.entry import MAGIC, PREFIX
from truthstore.testing import FaultyBlobs, ManualClock, Sample
from truthstore.testing.memory_blobs import MemoryBlobs

LOG = "_truthstore/log/samples/"
OTHERS = Collection.of(Sample, name="others", index={"count": int})
WANTED = {"0": 9, "2": 2, "3": 3, "new": 4}
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "foreign": lambda data: b'{"not": "an index object"}',
    "cut short": lambda data: data[:-4],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "a bit": lambda data: data[:20] + bytes([data[20] ^ 4]) + data[21:],
    "header alone": lambda data: PREFIX,
}


def content(store: BaseStore[Sample]) -> dict[str, int | None]:
    """Return the content of the store, which every view must agree on."""
    found = {id: store.get(id).count for id in store.list_ids()}
    assert {sample.id: sample.count for sample in store.query()} == found
    assert {head.id: head.meta.fields["count"] for head in store.entries()} == found
    assert store.count() == len(found)
    assert store.verify().ok
    return found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fill(blobs: MemoryBlobs, clock: ManualClock, *, folded: bool) -> list[str]:
    """Fill a store and return the keys of the index objects that tell of its latest changes."""
    writer = log_store(blobs, clock=clock)
    for i in range(4):
        writer.save(Sample(f"{i}", count=i))
    writer.collection(OTHERS).save(Sample("other", count=1))
    writer.maintain()
    before = set(blobs.list(LOG))
    writer.save(Sample("0", count=9))
    writer.delete("1")
    writer.save(Sample("new", count=4))
    if folded:
        log = writer._index(writer._collection).log
        log.compact_some(log.names())
    clock.advance(minutes=5)
    return sorted(set(blobs.list(LOG)) - before)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("folded", [False, True], ids=["entry", "segment"])
def test_what_a_damaged_object_hid_is_found(how: str, folded: bool, clock: ManualClock, caplog: Any):
    for damaged in range(len(fill(MemoryBlobs(), clock, folded=folded))):
        blobs = MemoryBlobs()
        key = fill(blobs, clock, folded=folded)[damaged]
        warm = log_store(blobs, clock=clock)
        assert content(warm) == WANTED
        blobs.put(key, DAMAGE[how](blobs.get(key)[0]))
        assert content(warm) == WANTED
        caplog.clear()
        faulty = FaultyBlobs(blobs)
        cold = log_store(faulty, clock=clock)
        assert len(cold.list_ids()) == len(WANTED)
        assert [
            key.rsplit("/", 1)[1] in record.getMessage()
            for record in caplog.records
            if record.levelno >= logging.WARNING
        ] == [True]
        assert content(cold) == content(warm) == WANTED
        assert key not in blobs._objects
        # From then on it costs nothing: neither this machine nor another one reads a body for it.
        faulty.calls.clear()
        cold.count()
        assert [call.method for call in faulty.calls] == ["list"]
        other = log_store(counted := FaultyBlobs(blobs), clock=clock)
        assert other.count() == len(WANTED)
        assert len([call for call in counted.calls if call.key.startswith("_samples/")]) <= 1
        cold.save(Sample("then", count=5))
        cold.delete("then")
        clock.advance(days=3)
        cold.maintain()
        assert content(cold) == content(log_store(blobs, clock=clock)) == WANTED


def test_a_damaged_object_that_a_segment_replaces_is_not_missed(clock: ManualClock):
    blobs = MemoryBlobs()
    keys = fill(blobs, clock, folded=False)
    left = {key: blobs.get(key)[0] for key in keys}
    store = log_store(blobs, clock=clock)
    log = store._index(store._collection).log
    log.compact_some(log.names())
    for key, data in left.items():
        blobs.put(key, data[:-6])
    faulty = FaultyBlobs(blobs)
    assert content(log_store(faulty, clock=clock)) == WANTED
    faulty.calls.clear()
    log_store(faulty, clock=clock).count()
    assert not [call for call in faulty.calls if call.key in left]


def test_a_write_that_a_damaged_entry_announces_is_waited_for(clock: ManualClock):
    blobs = MemoryBlobs()
    keys = fill(blobs, clock, folded=False)
    writer = log_store(blobs, clock=clock)
    late: list[tuple[str, bytes]] = []

    class Slow(MemoryBlobs):
        def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
            if key == "_samples/slow.json":
                late.append((key, data))
                raise SystemExit  # the machine of this writer is gone, and its last request is under way
            return super().put(key, data, expect=expect)

    slow = Slow()
    slow._objects = blobs._objects
    with pytest.raises(SystemExit):
        log_store(slow, clock=clock).save(Sample("slow", count=6))
    (key,) = set(blobs.list(LOG)) - set(keys) - {key for key in blobs.list(LOG) if "/1-" in key}
    blobs.put(key, b"damaged")
    reader = log_store(blobs, clock=clock)
    assert content(reader) == content(writer) == WANTED
    blobs.put(*late[0])
    assert content(reader) == {**WANTED, "slow": 6}
    clock.advance(minutes=5)
    assert content(reader) == content(log_store(blobs, clock=clock)) == {**WANTED, "slow": 6}
    assert key not in blobs._objects


class ReadOnly(MemoryBlobs):
    """A service on which this user may only read."""

    def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
        raise StoreConnectionError("memory", "no permission to write", retryable=False)

    def delete(self, key: str, *, expect: Any = ANY) -> bool:
        raise StoreConnectionError("memory", "no permission to delete", retryable=False)


def test_who_may_only_read_reads_the_bodies_once(clock: ManualClock):
    blobs = ReadOnly()
    writable = MemoryBlobs()
    blobs._objects = writable._objects
    key = fill(writable, clock, folded=False)[0]
    writable.put(key, b"damaged")
    reader = log_store(faulty := FaultyBlobs(blobs), clock=clock)
    assert content(reader) == WANTED
    faulty.calls.clear()
    assert reader.count() == len(WANTED)
    assert [call.method for call in faulty.calls] == ["list"]
    assert key in writable._objects


def test_more_bodies_than_a_query_may_read_are_said(clock: ManualClock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("truthstore.storage.log.store.REPAIR_LIMIT", 3)
    assert follower.REPAIR_LIMIT > 1_000
    blobs = MemoryBlobs()
    key = fill(blobs, clock, folded=False)[0]
    name = key.rsplit("/", 1)[1]
    blobs.put(key, b"damaged")
    store = log_store(blobs, clock=clock, compact_at=2)
    for ask in (store.count, store.list_ids, store.query, store.verify, store.maintain):
        with pytest.raises(StoreCorruptError, match=rf"{name} is no index object: call rebuild_index\(\)"):
            ask()
    # What it cannot touch goes on.
    assert store.get("0").count == 9
    assert store.exists("new")
    assert content(store.collection(OTHERS)) == {"other": 1}
    store.save(Sample("5", count=5))
    store.delete("5")
    assert store.rebuild_index() == len(WANTED)
    assert content(store) == content(log_store(blobs, clock=clock)) == WANTED
    assert key not in blobs._objects


def test_a_damaged_body_beside_a_damaged_object_is_named(clock: ManualClock):
    blobs = MemoryBlobs()
    key = fill(blobs, clock, folded=False)[-1]
    blobs.put(key, b"damaged")
    blobs.put("_samples/new.json", b"damaged, too")
    store = log_store(blobs, clock=clock)
    with pytest.raises(StoreCorruptError, match=rf"new.json is damaged.*{key[len(LOG) :]}.*rebuild_index"):
        store.list_ids()
    assert store.rebuild_index() == len(WANTED) - 1
    assert set(store.list_ids()) == WANTED.keys() - {"new"}


def test_an_object_of_another_version_is_never_replaced(clock: ManualClock):
    blobs = MemoryBlobs()
    key = fill(blobs, clock, folded=False)[0]
    data = blobs.get(key)[0]
    newer = MAGIC + b"\3" + data[len(PREFIX) :]
    blobs.put(key, newer)
    store = log_store(blobs, clock=clock)
    for ask in (store.count, store.rebuild_index, store.maintain):
        with pytest.raises(StoreConfigError, match=rf"{key[len(LOG) :]} has a format of another version"):
            ask()
    assert blobs.get(key)[0] == newer
    assert store.get("0").count == 9
    blobs.delete(key)
    assert store.rebuild_index() == len(WANTED)
    assert content(store) == WANTED


def test_bodies_that_were_set_back_are_indexed_as_they_are(clock: ManualClock):
    """A copy of the bodies was restored, and not the index."""
    blobs = MemoryBlobs()
    store = log_store(blobs, clock=clock)
    store.save_many([Sample("a", count=1), Sample("b", count=1)])
    before = {key: blobs.get(key)[0] for key in blobs.list("_samples/")}
    clock.advance(seconds=1)
    store.save_many([Sample("a", count=2), Sample("b", count=1)])
    store.delete("b")
    assert content(store) == {"a": 2}
    for key, data in before.items():
        blobs.put(key, data)
    assert not store.verify().ok
    assert store.rebuild_index() == 2
    assert content(store) == content(log_store(blobs, clock=clock)) == {"a": 1, "b": 1}
    store.save(Sample("a", count=3))
    assert content(store) == content(log_store(blobs, clock=clock)) == {"a": 3, "b": 1}
