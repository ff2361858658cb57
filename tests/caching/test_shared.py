"""Stores above a cache in Redis: right with several processes, and right without the server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.services.process import free_port, started
from tests.services.valkey import run_valkey
from truthstore import RESULTS
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore, CacheMode, RedisCache
from truthstore.testing import SAMPLES, Sample, WrapperSuite, store_machine


@pytest.fixture(scope="module")
def url():
    yield from started(run_valkey())


class TestRedis(WrapperSuite):
    """Two stores at one place share the server: each sees the other's writes at once."""

    concurrent = True
    shared_between_processes = True
    mode = CacheMode.READ_WRITE

    @pytest.fixture(autouse=True)
    def server(self, url):
        self.url = url

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)

    def wrap(self, base):
        return CachedStore(base, RedisCache(self.url), mode=self.mode)


class TestRedisReadThrough(TestRedis):
    mode = CacheMode.READ_THROUGH


class TestRedisDown(WrapperSuite):
    def wrap(self, base):
        return CachedStore(base, RedisCache("redis://127.0.0.1:1/0", retry_seconds=60), mode=CacheMode.READ_WRITE)


TestRedisDownMachine = store_machine(
    lambda location: CachedStore(
        MemoryStore(collection=SAMPLES, blobs=location), RedisCache("redis://127.0.0.1:1/0", retry_seconds=0)
    ),
    make_location=MemoryBlobs,
    effort=0.2,
)


def test_stores_that_share_a_server_do_not_meet(url):
    one, two = (CachedStore(MemoryStore(collection=SAMPLES), RedisCache(url)) for _ in range(2))
    one.save(Sample("a", note="one"))
    two.save(Sample("a", note="two"))
    assert (one.get("a").note, two.get("a").note) == ("one", "two")
    assert (one.metrics.hits, two.metrics.hits) == (1, 1)
    for store in (one, two):
        store.cache.close()


def test_another_store_fills_and_this_one_hits(url, tmp_path):
    one, two = (
        CachedStore(FileSystemStore(base_path=tmp_path, collection=SAMPLES, durability="os"), RedisCache(url))
        for _ in range(2)
    )
    one.save(Sample("a", tags={"by": "me"}))
    assert two.get("a") == Sample("a", tags={"by": "me"})
    assert two.metrics.hits == 1
    assert two.head("a").revision == one.head("a").revision
    two.delete("a")
    assert not one.exists("a")
    assert one.warm() == 0
    one.save_many([Sample("b"), Sample("c")])
    two.invalidate_all()
    assert two.warm() == 2
    one.get("b")
    assert one.metrics.misses <= 1
    for store in (one, two):
        store.close()
        store.cache.close()


def test_a_load_elsewhere_that_a_write_overtakes_is_not_cached(url, tmp_path):
    class Slow(FileSystemStore[Any]):
        def get_record(self, id, *, collection, options=None):
            record = super().get_record(id, collection=collection)
            if id == "a":
                reached.set()
                go_on.wait(10)
            return record

    reached, go_on = threading.Event(), threading.Event()
    here = CachedStore(FileSystemStore(base_path=tmp_path, collection=SAMPLES, durability="os"), RedisCache(url))
    here.save(Sample("a", note="old"))
    here.invalidate("a")
    elsewhere = CachedStore(Slow(base_path=tmp_path, collection=SAMPLES, durability="os"), RedisCache(url))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(elsewhere.get, "a")
        assert reached.wait(10)
        here.save(Sample("a", note="new"))
        go_on.set()
        assert slow.result().note == "old"
    assert here.get("a").note == "new"
    assert elsewhere.get("a").note == "new"
    for store in (here, elsewhere):
        store.close()
        store.cache.close()


def test_a_server_that_goes_and_comes_back():
    port = free_port()
    with run_valkey(port) as url:
        store: Any = CachedStore(MemoryStore(collection=SAMPLES), RedisCache(url, timeout_seconds=0.3, retry_seconds=0))
        store.save(Sample("a", note="one"))
        assert store.get("a").note == "one"
    store.save(Sample("a", note="two"))
    assert store.get("a").note == "two"
    assert store.metrics.errors > 0
    assert not store.metrics.available
    with run_valkey(port):
        store.save(Sample("a", note="three"))
        hits = store.metrics.hits
        assert [store.get("a").note for _ in range(2)] == ["three"] * 2
        assert store.metrics.hits > hits
        assert store.metrics.available
    store.cache.close()
