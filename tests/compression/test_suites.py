"""The conformance suite and the state machine over compressed stores."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore import RESULTS, BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.compression import CompressedStore
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, WrapperSuite, store_machine
from truthstore.testing.sample import make_samples


def trained(base: BaseStore[Any]) -> CompressedStore[Any]:
    """A store with a dictionary, which other items were made for."""
    store = CompressedStore(base)
    twin = CompressedStore(MemoryStore(collection=SAMPLES, data=MemoryData()))
    twin.save_many(make_samples(200))
    bodies = [twin.get_record(id, collection=SAMPLES).body or b"" for id in twin.list_ids()]
    assert store._dictionaries.train(bodies, 4_096, SAMPLES)
    return store


class TestWithADictionary(WrapperSuite):
    def wrap(self, base: BaseStore[Any]) -> CompressedStore[Any]:
        return CompressedStore(base) if not isinstance(base, BaseStore) else trained(base)


class TestGzipOnFiles(WrapperSuite):
    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path: Any) -> Any:
        return tmp_path / "store"

    def make_base(self, location: Any, *, collection: Any = RESULTS, **options: Any) -> BaseStore[Any]:
        return FileSystemStore(base_path=location, collection=collection, durability="os", **options)

    def wrap(self, base: BaseStore[Any]) -> CompressedStore[Any]:
        return CompressedStore(base, algorithm="gzip", level=1)


def make_store(location: Any) -> BaseStore[Any]:
    return CompressedStore(MemoryStore(collection=SAMPLES, data=location), algorithm="lz4")


def make_faulty(location: Any) -> tuple[BaseStore[Any], FaultPlan]:
    faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
    return CompressedStore(faulty, algorithm="lz4"), faulty.plan


TestMachine = store_machine(make_store, make_location=MemoryData, make_faulty=make_faulty, writers=2, effort=0.2)
