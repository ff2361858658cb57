"""Versioning: the whole suite on the stack, and the state machine with faults, over memory and files."""

from __future__ import annotations

from typing import Any

import pytest

from tests.smoke import SMOKE
from truthstore import RESULTS
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.caching import CachedStore
from truthstore.observability import ObservableStore
from truthstore.retention import RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample, WrapperSuite, store_machine
from truthstore.versioning import VersionedStore, VersioningConfig, VersioningMode


class TestVersionedMemory(WrapperSuite):
    smoke = SMOKE

    transparent = False

    def wrap(self, base):
        return VersionedStore(base)


class TestVersionedFiles(WrapperSuite):
    concurrent = True
    shared_between_processes = True
    transparent = False

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def wrap(self, base):
        return VersionedStore(base, VersioningConfig(max_versions=3))

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)


def make_versioned(location: MemoryData) -> VersionedStore[Any]:
    return VersionedStore(MemoryStore(collection=SAMPLES, data=location), max_versions=2)


def make_faulty_versioned(location: MemoryData) -> tuple[VersionedStore[Any], FaultPlan]:
    faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
    return VersionedStore(faulty), faulty.plan


def make_versioned_files(location) -> VersionedStore[Any]:
    base = FileSystemStore(base_path=location, durability="os", collection=SAMPLES)
    return VersionedStore(base, mode=VersioningMode.TIMESTAMP)


TestVersionedMachine = store_machine(
    make_versioned, make_location=MemoryData, make_faulty=make_faulty_versioned, effort=0.2
)
TestVersionedFilesMachine = store_machine(make_versioned_files, writers=2, effort=0.1)


def test_a_stack_above_versions_tells_their_history_too():
    versioned = VersionedStore(MemoryStore(collection=SAMPLES))
    stack = ObservableStore(CachedStore(RetentionStore(versioned, TimeBasedPolicy(90))))
    for count in (1, 2, 3):
        stack.save(Sample("a", count=count), message=f"number {count}")
    assert stack.get_history("a", limit=2) == versioned.get_history("a", limit=2)
    assert [info.message for info in stack.get_history("a")] == ["number 3", "number 2", "number 1"]
    plain = CachedStore(MemoryStore(collection=SAMPLES))
    plain.save(Sample("b", data_asset="orders"))
    assert [sample.id for sample in plain.get_history("orders")] == ["b"]
