"""The memory store: the suite, the machine with faults and crashes, and what only this store does."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from truthstore import RESULTS, SUITES, Collection, ExpectationSuite, Field, StoreConfigError, StoreError, StoreQuery
from truthstore.backends.memory import MemoryData, MemoryExpectationStore, MemoryStore
from truthstore.testing import (
    SAMPLES,
    FaultPlan,
    FaultyStore,
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
    shared_between_processes = False

    @pytest.fixture
    def location(self):
        return MemoryData()

    def make_store(self, location, *, collection=RESULTS, **options):
        return MemoryStore(collection=collection, data=location, **options)


class TestMessagePack(ItemTests, LifeTests, RecordTests):
    """What a format can break."""

    shared_between_processes = False

    @pytest.fixture
    def location(self):
        return MemoryData()

    def make_store(self, location, *, collection=RESULTS, **options):
        return MemoryStore(collection=collection, data=location, serialization_format="msgpack", **options)


def make_store(location: MemoryData, **options: Any) -> MemoryStore[Sample]:
    return MemoryStore(collection=SAMPLES, data=location, **options)


def make_faulty(location: MemoryData) -> tuple[FaultyStore[Sample], FaultPlan]:
    faulty = FaultyStore(make_store(location))
    return faulty, faulty.plan


TestMemoryMachine = store_machine(make_store, make_location=MemoryData, make_faulty=make_faulty, writers=2)
TestMessagePackMachine = store_machine(
    lambda location: make_store(location, serialization_format="msgpack"), make_location=MemoryData, effort=0.1
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


def test_stores_that_share_their_data_see_the_same_items():
    data = MemoryData()
    one, two = make_store(data), make_store(data)
    one.save(Sample("a"))
    assert two.get("a").id == "a"
    one.close()
    assert two.list_ids() == ["a"]
    assert make_store(data, namespace="other").list_ids() == []
    assert make_store(data, prefix="other").list_ids() == []


def test_saving_from_several_threads_loses_nothing():
    store = MemoryStore(collection=SAMPLES)
    threads = [
        threading.Thread(target=store.save_many, args=([Sample(f"{number}-{n}") for n in range(200)],))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 800


def test_what_is_dropped_is_announced():
    store = MemoryStore(collection=SAMPLES, max_items=1)
    seen: list[Any] = []

    def note(changes: Any) -> None:
        seen.extend((change.id, change.revision is None) for change in changes)

    store.subscribe(note)
    store.save(Sample("a"))
    store.save(Sample("b"))
    store.save(Sample("b"))
    assert seen == [("a", False), ("b", False), ("a", True), ("b", False)]


def test_fields_that_are_declared_later_find_earlier_items():
    store = MemoryStore(collection=Collection.of(Sample, name="things", index={"count": int}))
    store.save(Sample("a", name="one", count=1))
    store.save(Sample("b", name="two", count=2))
    later = store.collection(Collection.of(Sample, name="things", index={"count": Field(str, "name")}, text=("name",)))
    assert later.list_ids(StoreQuery(where={"count": "two"})) == later.list_ids(StoreQuery(text="TWO")) == ["b"]
    later.save(Sample("c", name="two"))
    assert store.list_ids(StoreQuery(where={"count": 2})) == ["b"]
    assert later.count(StoreQuery(where={"count": "two"})) == 2


def test_compression_is_refused():
    with pytest.raises(StoreConfigError, match="does not compress"):
        MemoryStore(compression="zstd")


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
        data = MemoryData()
        if overwrites:
            make_store(data).save(Sample("a", count=1))
        store, faults = make_faulty(data)
        faults.arm(points + 1, kind, times=times)
        acknowledged = False
        try:
            store.save(Sample("a", count=2))
            acknowledged = True
        except (StoreError, SimulatedCrashError):
            pass
        faults.disarm()
        stores = [make_store(data)] if faults.crashed else [store, make_store(data)]
        for reader in stores:
            found = reader.query()
            assert [s.id for s in found] == reader.list_ids() == (["a"] if reader.exists("a") else [])
            assert reader.count(StoreQuery(where={"count": 2})) == [s.count for s in found].count(2)
            assert [s.count for s in found] in ([2], [1] if overwrites else [])
            assert not acknowledged or found[0].count == 2
        if not faults.failures:
            break
        points += 1
    assert points >= 1
