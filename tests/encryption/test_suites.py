"""The conformance suite and the state machine over encrypted stores, and over compressed ones above them."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore import RESULTS, BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.compression import CompressedStore
from truthstore.encryption import EncryptedStore, generate_key
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, WrapperSuite, store_machine

KEY = generate_key()


def encrypted(base: BaseStore[Any], **options: Any) -> EncryptedStore[Any]:
    return EncryptedStore(base, KEY, text="hashed", **options)


class TestOverMemory(WrapperSuite):
    def wrap(self, base: BaseStore[Any]) -> EncryptedStore[Any]:
        return encrypted(base, algorithm="chacha20-poly1305")


class TestBelowCompressionOnFiles(WrapperSuite):
    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path: Any) -> Any:
        return tmp_path / "store"

    def make_base(self, location: Any, *, collection: Any = RESULTS, **options: Any) -> BaseStore[Any]:
        return FileSystemStore(base_path=location, collection=collection, durability="os", **options)

    def wrap(self, base: BaseStore[Any]) -> CompressedStore[Any]:
        return CompressedStore(encrypted(base))


def make_store(location: Any) -> BaseStore[Any]:
    return encrypted(MemoryStore(collection=SAMPLES, data=location))


def make_faulty(location: Any) -> tuple[BaseStore[Any], FaultPlan]:
    faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
    store = encrypted(faulty)
    faulty.plan.disarm()
    return store, faulty.plan


TestMachine = store_machine(make_store, make_location=MemoryData, make_faulty=make_faulty, writers=2, effort=0.2)
