"""A store under back-pressure passes the suites of all stores, one operation at a time and below faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.smoke import SMOKE
from truthstore import RESULTS, BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backpressure import BackpressureStore
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample, WrapperSuite, store_machine


class TestOneAtATime(WrapperSuite):
    def wrap(self, base: BaseStore[Any]) -> BackpressureStore[Any]:
        return BackpressureStore(base, max_concurrency=1, timeout_seconds=5)


class TestOnFiles(WrapperSuite):
    smoke = SMOKE

    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path: Path) -> Path:
        return tmp_path / "store"

    def make_base(self, location: Any, *, collection: Any = RESULTS, **options: Any) -> BaseStore[Any]:
        return FileSystemStore(base_path=location, collection=collection, durability="os", **options)

    def wrap(self, base: BaseStore[Any]) -> BackpressureStore[Any]:
        return BackpressureStore(base, max_concurrency=2)


def make_store(location: Any) -> BackpressureStore[Sample]:
    base = FileSystemStore(base_path=location, collection=SAMPLES, durability="os")
    return BackpressureStore(base, max_concurrency=2, circuit=None)


def make_faulty(location: Any) -> tuple[BackpressureStore[Sample], FaultPlan]:
    faulty = FaultyStore(FileSystemStore(base_path=location, collection=SAMPLES, durability="os"))
    return BackpressureStore(faulty, max_concurrency=2, circuit=None), faulty.plan


TestFaultsBelow = store_machine(make_store, make_faulty=make_faulty, steps=20, effort=0.3)
