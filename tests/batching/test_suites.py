"""The conformance suite over every queue and several stores below."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.smoke import SMOKE
from truthstore import RESULTS, BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.batching import BatchedStore
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample, WrapperSuite, store_machine

_numbers = itertools.count()


class BatchingSuite(WrapperSuite):
    """What waits is announced when it is stored."""

    def wrap(self, base: BaseStore[Any]) -> BatchedStore[Any]:
        return BatchedStore(base, flush_interval_seconds=None, max_batch_size=4)

    @staticmethod
    def _below(store: BaseStore[Any]) -> list[tuple[Any, ...]]:
        store.layer(BatchedStore).flush()
        return WrapperSuite._below(store)

    def test_changes_are_announced(self, store: BaseStore[Sample]):
        seen: list[str] = []

        def watch(changes: Any) -> None:
            seen.extend(change.id for change in changes if change.collection == "samples")

        store.subscribe(watch)
        store.save(Sample("a"))
        assert seen == []
        store.layer(BatchedStore).flush()
        assert seen == ["a"]


class TestInMemory(BatchingSuite):
    pass


class TestDurable(BatchingSuite):
    smoke = SMOKE

    def wrap(self, base: BaseStore[Any]) -> BatchedStore[Any]:
        path = f"queue-{next(_numbers)}.db"
        return BatchedStore(base, durable=True, path=path, durability="os", flush_interval_seconds=None)


class TestDurableOnFiles(BatchingSuite):
    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path: Any) -> Any:
        return tmp_path / "store"

    def make_base(self, location: Any, *, collection: Any = RESULTS, **options: Any) -> BaseStore[Any]:
        return FileSystemStore(base_path=location, collection=collection, durability="os", **options)

    def wrap(self, base: BaseStore[Any]) -> BatchedStore[Any]:
        return BatchedStore(base, durable=True, durability="os", flush_interval_seconds=0.05)

    def test_changes_are_announced(self, store: BaseStore[Sample]):
        pytest.skip("the thread decides when")


def batched(base: BaseStore[Sample]) -> BatchedStore[Sample]:
    return BatchedStore(base, durable=True, durability="os", flush_interval_seconds=None, max_batch_size=3)


def make_store(location: Any) -> BatchedStore[Sample]:
    return batched(FileSystemStore(base_path=location, collection=SAMPLES, durability="os"))


TestTwoStoresOverOneQueue = store_machine(make_store, writers=2, steps=20, effort=0.3)


def make_faulty(location: Any) -> tuple[BatchedStore[Sample], FaultPlan]:
    faulty = FaultyStore(FileSystemStore(base_path=location, collection=SAMPLES, durability="os"))
    return batched(faulty), faulty.plan


TestFaultsBelowADurableQueue = store_machine(make_store, make_faulty=make_faulty, steps=20, effort=0.3)
