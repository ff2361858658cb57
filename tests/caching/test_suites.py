"""Cached stores pass the suites of all stores: in every mode and over every cache, with faults, and without a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.smoke import SMOKE
from truthstore import RESULTS
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, CacheMode, DiskCache, LRUCache, RedisCache
from truthstore.testing import SAMPLES, FaultyStore, Sample, WrapperSuite, store_machine

NOWHERE = "redis://127.0.0.1:1/0"


class TestReadThrough(WrapperSuite):
    mode = CacheMode.READ_THROUGH

    def wrap(self, base):
        return CachedStore(base, LRUCache(max_size=20), mode=self.mode)


class TestWriteThrough(TestReadThrough):
    mode = CacheMode.WRITE_THROUGH


class TestCacheAside(TestReadThrough):
    smoke = SMOKE

    mode = CacheMode.CACHE_ASIDE


class TestWriteBehind(TestReadThrough):
    def wrap(self, base):
        queue = BatchedStore(base, durable=True, durability="os", flush_interval_seconds=None)
        return CachedStore(queue, mode=CacheMode.WRITE_BEHIND)

    def test_changes_are_announced(self, store: Any):
        """When they are stored."""
        seen: list[str] = []

        def watch(changes):
            seen.extend(change.id for change in changes if change.collection == "samples")

        store.subscribe(watch)
        store.save_many([Sample("a"), Sample("b")])
        assert seen == []
        store.flush()
        assert seen == ["a", "b"]
        store.delete("a")
        assert seen == ["a", "b", "a"]


class OverFiles(WrapperSuite):
    """Several stores at one place, which see each other's writes at once."""

    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)


class TestRevalidated(OverFiles):
    def wrap(self, base):
        return CachedStore(base, mode=CacheMode.READ_WRITE, revalidate=True)


class TestRevalidatedDisk(OverFiles):
    smoke = SMOKE

    def wrap(self, base):
        return CachedStore(base, DiskCache("cache"), mode=CacheMode.READ_WRITE, revalidate=True)


class TestRevalidatedRedis(OverFiles):
    smoke = SMOKE

    @pytest.fixture(autouse=True)
    def server(self, url):
        self.url = url

    def wrap(self, base):
        return CachedStore(base, RedisCache(self.url, timeout_seconds=60), mode=CacheMode.READ_THROUGH, revalidate=True)


class TestRedis(WrapperSuite):
    """One process that does not revalidate."""

    smoke = SMOKE

    @pytest.fixture(autouse=True)
    def server(self, url):
        self.url = url

    def wrap(self, base):
        return CachedStore(base, RedisCache(self.url, timeout_seconds=60), mode=CacheMode.READ_WRITE)


class TestRedisDown(WrapperSuite):
    smoke = SMOKE

    def wrap(self, base):
        return CachedStore(base, RedisCache(NOWHERE, retry_seconds=60), mode=CacheMode.READ_WRITE)


def machine(mode: CacheMode, cache: Any = None, *, effort: float = 0.2, **options: Any) -> Any:
    """The state machine over a faulty store, whose announcements and answers get lost."""

    def make_cache() -> Any:
        return None if cache is None else cache()

    def make_store(location: MemoryData):
        return CachedStore(MemoryStore(collection=SAMPLES, data=location), make_cache(), mode=mode, **options)

    def make_faulty(location: MemoryData):
        faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
        return CachedStore(faulty, make_cache(), mode=mode, **options), faulty.plan

    return store_machine(make_store, make_location=MemoryData, make_faulty=make_faulty, effort=effort)


TestReadThroughMachine = machine(CacheMode.READ_THROUGH, max_size=3)
TestReadWriteMachine = machine(CacheMode.READ_WRITE, max_size=3)
TestCacheAsideMachine = machine(CacheMode.CACHE_ASIDE)
TestWriteBehindMachine = store_machine(
    lambda location: CachedStore(
        BatchedStore(
            FileSystemStore(base_path=location, durability="os", collection=SAMPLES),
            durable=True,
            path=location.parent / "queue.db",
            durability="os",
            flush_interval_seconds=None,
        ),
        mode=CacheMode.WRITE_BEHIND,
        max_size=3,
    ),
    effort=0.15,
)
TestRedisDownMachine = machine(CacheMode.READ_WRITE, lambda: RedisCache(NOWHERE, retry_seconds=0), effort=0.05)
TestRevalidatedMachine = store_machine(
    lambda location: CachedStore(
        FileSystemStore(base_path=location, durability="os", collection=SAMPLES), revalidate=True
    ),
    writers=2,
    effort=0.2,
)
TestRevalidatedDiskMachine = store_machine(
    lambda location: CachedStore(
        FileSystemStore(base_path=location, durability="os", collection=SAMPLES),
        DiskCache(location.parent / "cache"),
        revalidate=True,
    ),
    writers=2,
    effort=0.2,
)
