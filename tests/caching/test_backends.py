"""The caches themselves: one interface in this process, in Redis, and in a folder."""

from __future__ import annotations

import importlib
import pickle
import sys
import time
from typing import Any

import pytest

from tests.services.process import started
from tests.services.valkey import run_valkey
from truthstore import StoreConfigError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.caching import CacheConfig, CachedStore, CacheMetrics, EvictionPolicy
from truthstore.caching.backends import DiskCache, InMemoryCache, LFUCache, LRUCache, RedisCache, SharedCache, TTLCache
from truthstore.testing import SAMPLES, Sample

POLICIES = list(EvictionPolicy)


@pytest.fixture(scope="module")
def url():
    yield from started(run_valkey())


@pytest.fixture(params=["lru", "lfu", "ttl", "fifo", "random", "redis", "disk"])
def cache(request, tmp_path):
    kind = request.param
    if kind == "redis":
        cache: Any = RedisCache(request.getfixturevalue("url"), prefix=f"{tmp_path.name}*:")
    elif kind == "disk":
        cache = DiskCache(tmp_path / "cache")
    else:
        cache = InMemoryCache[bytes](CacheConfig(eviction_policy=kind))
    yield cache
    cache.clear()
    cache.close()


def test_the_interface(cache):
    assert cache.get("a") is None
    cache.set("a", b"one")
    cache.set("b", b"", ttl_seconds=100)
    assert cache.get("a") == b"one"
    assert cache.exists("a")
    assert "b" in cache
    assert "c" not in cache
    cache.set_many({"a": b"two", "c": b"three"})
    assert cache.get_many(["a", "b", "c", "d"]) == {"a": b"two", "b": b"", "c": b"three"}
    assert cache.size == len(cache) == 3
    assert cache.delete("a") is True
    assert cache.delete("a") is False
    assert cache.delete_many(["b", "c", "d"]) == 2
    cache.set_many({str(number): b"x" for number in range(30)})
    assert cache.clear() == 30
    assert cache.size == 0
    metrics = cache.metrics
    assert (metrics.hits, metrics.misses) == (4, 2)
    assert metrics.hit_rate == pytest.approx(100 * 4 / 6)
    assert metrics.sets == 34
    assert cache.get_stats()["metrics"]["hit_rate_percent"] == metrics.hit_rate


def test_each_entry_has_its_own_life_span(cache):
    cache.set("short", b"x", ttl_seconds=0.03)
    cache.set("long", b"x", ttl_seconds=100)
    time.sleep(0.05)
    assert cache.get("short") is None
    assert not cache.exists("short")
    assert cache.get("long") == b"x"
    cache.set("short", b"x", ttl_seconds=0.03)
    time.sleep(0.05)
    assert cache.cleanup_expired() in {0, 1}
    assert cache.size == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_limits_by_entries_and_by_bytes(policy):
    cache = InMemoryCache[bytes](CacheConfig(max_size=3, max_memory_mb=0.001, eviction_policy=policy))
    for number in range(10):
        cache.set(str(number), b"x")
    assert cache.size == 3
    assert cache.metrics.evictions == 7
    cache.set("large", b"x" * 900)
    cache.set("also large", b"x" * 900)
    assert cache.metrics.memory_bytes <= 1_000
    cache.set("too large", b"x" * 2_000)
    assert not cache.exists("too large")
    assert cache.cleanup_expired() == 0


@pytest.mark.parametrize(("policy", "stays"), [("lru", "a"), ("lfu", "a"), ("fifo", "b")])
def test_what_goes_first(policy, stays):
    cache = InMemoryCache[bytes](CacheConfig(max_size=2, eviction_policy=policy))
    cache.set("a", b"x")
    cache.set("b", b"x")
    cache.get("a")
    cache.exists("b")  # does not count as a use
    cache.set("c", b"x")
    assert cache.exists(stays)
    assert cache.size == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_too_old_goes(policy):
    cache = InMemoryCache[bytes](CacheConfig(ttl_seconds=0.02, eviction_policy=policy))
    cache.set("a", b"x")
    cache.set("b", b"x")
    cache.set("c", b"x", ttl_seconds=100)
    time.sleep(0.03)
    assert cache.get("a") is None
    cache.cleanup_expired()
    assert cache.size == 1
    assert cache.metrics.expirations == 2


def test_the_short_forms():
    assert LRUCache[bytes](max_size=5, ttl_seconds=60).config.policy is EvictionPolicy.LRU
    assert LFUCache(max_size=5).config.max_size == 5
    assert TTLCache(ttl_seconds=5).config.ttl_seconds == 5
    assert LFUCache(config=CacheConfig(max_size=7)).config.policy is EvictionPolicy.LFU
    with pytest.raises(StoreConfigError, match="fifo"):
        LRUCache(config=CacheConfig(eviction_policy="fifo"))
    wrong: Any
    for wrong in ({"max_size": 0}, {"max_memory_mb": 0}, {"ttl_seconds": -1}, {"negative_ttl_seconds": -1}):
        with pytest.raises(ValueError):
            CacheConfig(**wrong)
    with pytest.raises(StoreConfigError, match="lru, lfu"):
        CacheConfig(eviction_policy="oldest")
    assert CacheMetrics().hit_rate == 0


def test_a_lease_ends_when_anything_happens_to_the_key(cache):
    if not isinstance(cache, SharedCache):
        pytest.skip("not shared")
    (lease,) = cache.lease(["a"]).values()
    assert cache.lease(["a"]) == {}
    assert cache.get("a") is None
    assert not cache.exists("a")
    assert cache.fill("a", lease, b"one")
    assert cache.get("a") == b"one"
    assert cache.lease(["a"]) == {}
    (lease,) = cache.lease(["a"], force=True).values()
    assert cache.get("a") is None
    assert not cache.delete("a")
    assert not cache.fill("a", lease, b"old")
    (lease,) = cache.lease(["a"]).values()
    cache.set("a", b"new")
    assert not cache.fill("a", lease, b"old")
    assert cache.get("a") == b"new"
    text: Any = "text"
    for wrong in (lambda: cache.set("a", text), lambda: cache.get(1)):
        with pytest.raises(TypeError):
            wrong()


def test_a_folder_never_runs_what_lies_in_it(tmp_path):
    diskcache: Any = importlib.import_module("diskcache")

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    with diskcache.Cache(str(tmp_path / "cache")) as other:
        other.set("a", Bomb())
        other.set(("a", 1), b"x")
    cache = DiskCache(tmp_path / "cache", retry_seconds=0)
    assert pickle.dumps(Bomb())
    assert cache.get("a") is None
    assert cache.get("b") is None
    cache.close()


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [(RedisCache, "redis", "redis"), (DiskCache, "diskcache", "disk")]
)
def test_a_missing_package_is_named(kind, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StoreConfigError, match=rf"truthstore\[{extra}\]"):
        kind()


def test_a_client_that_decodes_is_refused(url):
    import redis

    client = redis.Redis.from_url(url, decode_responses=True)
    with pytest.raises(StoreConfigError, match="decode"):
        RedisCache(client=client)
    client.close()
    mine = redis.Redis.from_url(url)
    cache = RedisCache(client=mine, prefix="mine:", ttl_seconds=None)
    cache.set("a", b"x")
    cache.close()
    assert mine.get("mine:a") == b"\1x"
    mine.close()


def test_a_server_that_is_down_holds_nothing_and_is_asked_rarely():
    cache = RedisCache("redis://127.0.0.1:1/0", timeout_seconds=0.2, retry_seconds=60)
    assert cache.get("a") is None
    cache.set("a", b"x")
    assert cache.delete("a") is False
    assert cache.lease(["a"], force=True) == {}
    assert cache.fill("a", b"\0", b"x") is False
    assert (cache.size, cache.clear(), cache.exists("a")) == (0, 0, False)
    assert cache.metrics.errors == 8
    assert not cache.metrics.available
    cache.close()


def test_what_could_not_be_removed_is_removed_before_anything_is_answered():
    from tests.services.process import free_port

    port = free_port()
    with run_valkey(port) as url:
        import redis

        cache = RedisCache(url, prefix="p:", retry_seconds=0)
        cache.set_many({"a": b"old", "b": b"kept"})
        client, cache._client = cache._client, redis.Redis.from_url("redis://127.0.0.1:1/0")
        assert cache.delete("a") is False
        cache._client.close()
        cache._client = client
        assert cache.get_many(["a", "b"]) == {"b": b"kept"}
        cache.close()


def test_closing_removes_what_could_not_be_removed_before(tmp_path, caplog):
    """Nobody else knows of it when this process ends."""

    class Flaky(DiskCache):
        is_down = False

        def _fail(self) -> None:
            if self.is_down:
                raise OSError("away")

        def _take(self, values, *, force):
            self._fail()
            return super()._take(values, force=force)

        def _remove(self, keys):
            self._fail()
            return super()._remove(keys)

    for closing in ("store", "cache"):
        here, elsewhere = Flaky(tmp_path / "c", retry_seconds=60), DiskCache(tmp_path / "c")
        store, other = (
            CachedStore(FileSystemStore(base_path=tmp_path / "s", durability="os", collection=SAMPLES), cache)
            for cache in (here, elsewhere)
        )
        store.save(Sample("a", note="old"))
        assert other.get("a").note == "old"
        here.is_down = True
        store.save(Sample("a", note="new"))
        assert not here.settle()
        assert "may be served to others" in caplog.text
        here.is_down = False
        store.close() if closing == "store" else here.close()
        assert other.get("a").note == "new"
        assert here.settle()
        other.close()
        elsewhere.close()
