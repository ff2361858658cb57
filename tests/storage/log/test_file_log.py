"""The log over a folder: the suite, and the machine with faults and crashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.services.emptying import ways_of_folder
from tests.storage.log.doubles import log_store
from truthstore import RESULTS
from truthstore.backends.filesystem.log import FileLogStore
from truthstore.storage.log.store import LogStore
from truthstore.testing import SAMPLES, FaultyBlobs, Sample, StoreSuite, store_machine
from truthstore.testing.memory_blobs import MemoryBlobs


class TestFileLogStore(StoreSuite):
    def make_store(self, location, *, collection=RESULTS, **options):
        cache = location.parent / "cache"
        return FileLogStore(collection=collection, base_path=location, durability="os", cache_dir=cache, **options)


class TestMemoryLogStore(StoreSuite):
    """No cache folder: every store has a replica of its own, in memory."""

    shared_between_processes = False
    namespaces = False

    @pytest.fixture
    def location(self):
        return MemoryBlobs()

    def make_store(self, location, *, collection=RESULTS, **options):
        return log_store(location, collection, concurrency=16, **options)


def make_store(location: Path, **options: Any) -> FileLogStore[Sample]:
    options = {"durability": "os", "cache_dir": location.parent / "cache", **options}
    return FileLogStore(collection=SAMPLES, base_path=location, **options)


def make_faulty(location: Path) -> tuple[FileLogStore[Sample], FaultyBlobs]:
    store = make_store(location)
    store.initialize()
    faulty = FaultyBlobs(store._blobs)
    store._blobs = faulty
    store._indexes.clear()
    return store, faulty


BLOBS: dict[Path, MemoryBlobs] = {}


def make_in_memory(location: Path) -> LogStore[Sample]:
    return make_faulty_in_memory(location)[0]


def make_faulty_in_memory(location: Path) -> tuple[LogStore[Sample], FaultyBlobs]:
    faulty = FaultyBlobs(BLOBS.setdefault(location, MemoryBlobs()))
    store = log_store(faulty, cache_dir=str(location), compact_at=5, concurrency=4)
    store.initialize()
    return store, faulty


TestInMemory = store_machine(make_in_memory, make_faulty=make_faulty_in_memory, writers=3, effort=0.3)


def empty_location(location: Path, way: int) -> None:
    ways = ways_of_folder(location)
    ways[way % len(ways)]()


TestTwoWriters = store_machine(
    make_store, make_faulty=make_faulty, empty_location=empty_location, writers=2, effort=0.2
)
