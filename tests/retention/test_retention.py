"""Retention: the whole suite on the stack, alone and above versions, and the state machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from truthstore import RESULTS
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.retention import CompositePolicy, CountBasedPolicy, RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, WrapperSuite, store_machine
from truthstore.versioning import VersionedStore

# Some tests save items of the year 1, and a clean-up may come at any save.
LENIENT = CompositePolicy([TimeBasedPolicy(max_age=timedelta.max), CountBasedPolicy(1_000_000)])


class TestRetentionInMemory(WrapperSuite):
    def wrap(self, base):
        return RetentionStore(base, LENIENT, cleanup_interval_hours=0.000001)


class TestRetentionOfVersionedFiles(WrapperSuite):
    concurrent = True
    shared_between_processes = True
    transparent = False

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def wrap(self, base):
        return RetentionStore(VersionedStore(base), LENIENT)

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)


def make_stack(location: MemoryData) -> RetentionStore[Any]:
    return RetentionStore(VersionedStore(MemoryStore(collection=SAMPLES, data=location)), LENIENT)


def make_faulty_stack(location: MemoryData) -> tuple[RetentionStore[Any], FaultPlan]:
    faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
    return RetentionStore(VersionedStore(faulty), LENIENT), faulty.plan


def make_files(location) -> RetentionStore[Any]:
    base = FileSystemStore(base_path=location, durability="os", collection=SAMPLES)
    return RetentionStore(base, LENIENT, cleanup_interval_hours=0.000001)


TestRetentionMachine = store_machine(make_stack, make_location=MemoryData, make_faulty=make_faulty_stack, effort=0.1)
TestRetentionFilesMachine = store_machine(make_files, effort=0.1)
