"""The conformance suite in every mode, and the state machine with storage that fails, below and beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.replication.doubles import replicated
from truthstore import RESULTS, BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.replication import ReplicatedStore
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, WrapperSuite, store_machine


def follower(base: BaseStore[Any]) -> MemoryStore[Any]:
    return MemoryStore(collection=base._collection)


class TestSyncReadingReplicas(WrapperSuite):
    """Every replica has every write, so any may answer."""

    persistent = False

    def wrap(self, base: BaseStore[Any]) -> ReplicatedStore[Any]:
        if not isinstance(base, BaseStore):  # pyright: ignore[reportUnnecessaryIsInstance]
            return ReplicatedStore(base)  # type: ignore[unreachable]
        return replicated(base, follower(base), follower(base), mode="sync", read_preference="any")

    def test_compare_and_set_loses_no_increment(self, store: BaseStore[Any]):
        pytest.skip("an item and its revision may come from two stores: what is to be changed is read from the primary")


class TestAsyncOnFiles(WrapperSuite):
    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path: Path) -> Any:
        return tmp_path / "store"

    def make_base(self, location: Any, *, collection: Any = RESULTS, **options: Any) -> BaseStore[Any]:
        return FileSystemStore(base_path=location, collection=collection, durability="os", **options)

    def wrap(self, base: BaseStore[Any]) -> ReplicatedStore[Any]:
        if not isinstance(base, BaseStore):  # pyright: ignore[reportUnnecessaryIsInstance]
            return ReplicatedStore(base)  # type: ignore[unreachable]
        return replicated(base, follower(base))


def make_store(places: list[MemoryData], **options: Any) -> ReplicatedStore[Any]:
    stores = [MemoryStore(collection=SAMPLES, data=place) for place in places]
    return replicated(*stores, **options)


def make_faulty(places: list[MemoryData]) -> tuple[ReplicatedStore[Any], FaultPlan]:
    plan = FaultPlan()
    stores = [FaultyStore(MemoryStore(collection=SAMPLES, data=place), plan) for place in places]
    return replicated(*stores, mode="sync"), plan


def make_places() -> list[MemoryData]:
    return [MemoryData(), MemoryData(), MemoryData()]


TestSemiSync = store_machine(
    lambda places: make_store(places, mode="semi_sync"), make_location=make_places, steps=20, effort=0.2
)
TestFaults = store_machine(
    lambda places: make_store(places, mode="sync"),
    make_location=make_places,
    make_faulty=make_faulty,
    steps=20,
    effort=0.3,
)
