"""The memory store: the suite, the machine with faults and crashes, and what only this store does."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore import RESULTS, SUITES, ExpectationSuite, StoreConfigError, StoreConnectionError, StoreError, StoreQuery
from truthstore.backends.memory import MemoryBlobs, MemoryExpectationStore, MemoryStore
from truthstore.storage.objects.blobs import Blobs
from truthstore.testing import (
    SAMPLES,
    BlobsSuite,
    FaultyBlobs,
    LatencyBlobs,
    Sample,
    SimulatedCrashError,
    StoreSuite,
    make_samples,
    store_machine,
)
from truthstore.testing.suite.items import ItemTests
from truthstore.testing.suite.life import LifeTests
from truthstore.testing.suite.records import RecordTests


class TestMemoryStore(StoreSuite):
    concurrent = False
    shared_between_processes = False
    namespaces = False

    @pytest.fixture
    def location(self):
        return MemoryBlobs()

    def make_store(self, location, *, collection=RESULTS, **options):
        return MemoryStore(collection=collection, blobs=location, **options)


class TestCompressedMessagePack(ItemTests, LifeTests, RecordTests):
    """What a format can break."""

    concurrent = False
    namespaces = False

    @pytest.fixture
    def location(self):
        return MemoryBlobs()

    def make_store(self, location, *, collection=RESULTS, **options):
        return MemoryStore(
            collection=collection, blobs=location, serialization_format="msgpack", compression="zstd", **options
        )


class TestMemoryBlobs(BlobsSuite):
    concurrent = False

    def make_blobs(self, location):
        return MemoryBlobs()


class TestFaultyBlobsWithoutFaults(BlobsSuite):
    concurrent = False

    def make_blobs(self, location):
        return FaultyBlobs(MemoryBlobs())


class TestLatencyBlobs(BlobsSuite):
    concurrent = False

    def make_blobs(self, location):
        return LatencyBlobs(MemoryBlobs(), 1.0, sleep=lambda seconds: None)


def make_store(location: Blobs, **options: Any) -> MemoryStore[Sample]:
    return MemoryStore(collection=SAMPLES, blobs=location, **options)


def make_faulty(location: MemoryBlobs) -> tuple[MemoryStore[Sample], FaultyBlobs]:
    faulty = FaultyBlobs(location)
    return MemoryStore(collection=SAMPLES, blobs=faulty), faulty


TestMemoryMachine = store_machine(make_store, make_location=MemoryBlobs, make_faulty=make_faulty)
TestMessagePackMachine = store_machine(
    lambda location: make_store(location, serialization_format="msgpack"), make_location=MemoryBlobs, effort=0.1
)


def test_nothing_is_shared_by_default():
    one, two = MemoryStore(collection=SAMPLES), MemoryStore(collection=SAMPLES)
    one.save(Sample("a"))
    assert not two.exists("a")


def test_the_oldest_go_when_there_are_too_many():
    store = MemoryStore(collection=SAMPLES, max_items=3)
    for id in "abcde":
        store.save(Sample(id))
    assert sorted(store.list_ids()) == ["c", "d", "e"]
    assert not store.exists("a")
    store.save_many([Sample("f"), Sample("g")])
    assert sorted(store.list_ids()) == ["e", "f", "g"]


def test_clear_all():
    store = MemoryStore(collection=SAMPLES)
    store.save_many(make_samples(5))
    assert store.clear_all() == 5
    assert store.count() == 0


def test_suites_have_a_store_of_their_own():
    store = MemoryExpectationStore()
    store.save(ExpectationSuite.create("daily", "orders"))
    assert store.collection(SUITES).list_ids() == ["daily"]


def test_another_format_is_refused():
    blobs = MemoryBlobs()
    make_store(blobs).save(Sample("a"))
    for options in ({"serialization_format": "msgpack"}, {"compression": "gzip"}):
        with pytest.raises(StoreConfigError, match="copy_store"):
            make_store(blobs, **options).list_ids()
    assert make_store(blobs).list_ids() == ["a"]


def test_wrong_options_are_refused():
    wrong: list[dict[str, Any]] = [{"max_itmes": 1}, {"base_path": "x"}]
    for options in wrong:
        with pytest.raises(TypeError, match="no option"):
            MemoryStore(**options)
    with pytest.raises(ValueError):
        MemoryStore(max_items=-1)


@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
@pytest.mark.parametrize("times", [1, 3], ids=["once", "outage"])
@pytest.mark.parametrize("overwrites", [False, True], ids=["new", "old"])
def test_at_every_fault_point_a_save_is_done_or_not(kind: Any, overwrites: bool, times: int):
    """Every call that a save makes fails, in every way, alone or with those behind it."""
    points = 0
    while True:
        blobs = MemoryBlobs()
        if overwrites:
            make_store(blobs).save(Sample("a", count=1))
        store, faults = make_faulty(blobs)
        faults.arm(points + 1, kind, times=times)
        acknowledged = False
        try:
            store.save(Sample("a", count=2))
            acknowledged = True
        except (StoreError, SimulatedCrashError):
            pass
        faults.disarm()
        stores = [make_store(blobs)] if faults.crashed else [store, make_store(blobs)]
        for reader in stores:
            found = reader.query()
            assert [s.id for s in found] == reader.list_ids() == (["a"] if reader.exists("a") else [])
            assert reader.count(StoreQuery(where={"count": 2})) == [s.count for s in found].count(2)
            assert [s.count for s in found] in ([2], [1] if overwrites else [])
            assert not acknowledged or found[0].count == 2
        if not faults.failures:
            break
        points += 1
    assert points >= 2


def test_calls_are_counted():
    faulty = FaultyBlobs(MemoryBlobs())
    store = make_store(faulty)
    store.initialize()
    faulty.calls.clear()
    store.save(Sample("a"))
    assert faulty.calls == [("put", "default/_samples/a.json")]
    faulty.calls.clear()
    store.get("a")
    assert faulty.calls == [("get", "default/_samples/a.json")]
    faulty.calls.clear()
    assert store.list_ids() == ["a"]
    assert store.count() == 1
    assert faulty.calls == []


def test_faults_are_the_same_for_the_same_seed():
    def failed(seed: int) -> list[int]:
        faulty = FaultyBlobs(MemoryBlobs(), seed=seed)
        numbers = []
        for number in range(200):
            try:
                faulty.put(f"k{number}", b"")
            except StoreConnectionError:
                numbers.append(number)
        assert faulty.failures == len(numbers)
        return numbers

    assert failed(1) == failed(1) != failed(2)
    assert 5 < len(failed(1)) < 50


def test_the_dead_do_not_write():
    blobs = MemoryBlobs()
    faulty = FaultyBlobs(blobs, fail_at=2, kinds=["crash-before"])
    faulty.put("a", b"1")
    with pytest.raises(SimulatedCrashError):
        faulty.put("a", b"2")
    with pytest.raises(SimulatedCrashError):
        faulty.put("a", b"3")
    assert faulty.crashed
    again = faulty.restarted()
    assert again.get("a")[0] == b"1"


def test_a_list_breaks_off_in_the_middle():
    blobs = MemoryBlobs()
    for key in "abc":
        blobs.put(key, b"")
    faulty = FaultyBlobs(blobs, fail_at=1, kinds=["after"])
    seen: list[str] = []
    with pytest.raises(StoreConnectionError):
        seen.extend(faulty.list(""))
    assert seen == ["a"]
    listing = FaultyBlobs(blobs, fail_at=1, kinds=["after"]).list("")
    assert next(listing) == "a"
    with pytest.raises(StoreConnectionError):
        next(listing)
    assert list(faulty.list("")) == ["a", "b", "c"]


def test_latency_is_told_by_method():
    slept: list[float] = []
    seconds = {"get": 1.0, "put": 2.0, "list": 3.0, "delete": 4.0}
    slow = LatencyBlobs(MemoryBlobs(), seconds.__getitem__, sleep=slept.append)
    slow.put("a", b"")
    slow.get("a")
    assert list(slow.list("")) == ["a"]
    slow.delete("a")
    assert slept == [2.0, 1.0, 3.0, 4.0]
