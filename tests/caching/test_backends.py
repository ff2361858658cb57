"""The caches themselves: one interface in this process, in Redis, and in a file."""

from __future__ import annotations

import gc
import os
import pickle
import sqlite3
import sys
import time
from typing import Any

import pytest

from tests.caching.doubles import outage
from tests.crash.processes import Child
from truthstore import StoreConfigError
from truthstore.caching import CacheConfig, CacheMetrics, EvictionPolicy
from truthstore.caching.backends import DiskCache, InMemoryCache, LFUCache, LRUCache, RedisCache, TTLCache

POLICIES = list(EvictionPolicy)
SHARED = ["redis", "disk"]


@pytest.fixture(params=[*POLICIES, *SHARED])
def cache(request, tmp_path):
    kind = request.param
    if kind == "redis":
        cache: Any = RedisCache(request.getfixturevalue("url"), prefix=f"{tmp_path.name}*:", timeout_seconds=60)
    elif kind == "disk":
        cache = DiskCache(tmp_path / "cache")
    else:
        cache = InMemoryCache[bytes](CacheConfig(eviction_policy=kind))
    yield cache
    cache.clear()
    cache.close()


only_shared = pytest.mark.parametrize("cache", SHARED, indirect=True)


def test_the_interface(cache):
    assert cache.get("a") is None
    cache.set("a", b"one")
    cache.set("b", b"", ttl_seconds=100)
    assert cache.get("a") == b"one"
    assert cache.exists("a")
    assert not cache.exists("c")
    cache.set_many({"a": b"two", "c": b"three"})
    assert cache.get_many(["a", "b", "c", "d"]) == {"a": b"two", "b": b"", "c": b"three"}
    assert cache.size == 3
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


def test_adding_replaces_nothing(cache):
    cache.set("a", b"one")
    cache.set_many({"a": b"two", "b": b"two"}, replace=False)
    assert cache.get_many(["a", "b"]) == {"a": b"one", "b": b"two"}
    cache.block_many(["a", "b"])
    assert cache.get_many(["a", "b"]) == {}
    assert not cache.exists("a")


@only_shared
def test_a_blocked_key_is_not_added_but_set(cache):
    cache.block_many(["a", "b"])
    cache.set_many({"a": b"late", "b": b"late"}, replace=False)
    cache.set("b", b"new")
    assert cache.get_many(["a", "b"]) == {"b": b"new"}
    cache.delete("a")
    cache.set_many({"a": b"next"}, replace=False)
    assert cache.get("a") == b"next"


def test_each_entry_has_its_own_life_span(cache):
    cache.set("short", b"x", ttl_seconds=0.03)
    cache.set("long", b"x", ttl_seconds=100)
    time.sleep(0.05)
    assert cache.get("short") is None
    assert not cache.exists("short")
    assert cache.get("long") == b"x"
    cache.set_many({"short": b"x"}, ttl_seconds=0.03, replace=False)  # in the place of the expired one
    time.sleep(0.05)
    assert cache.cleanup_expired() in {0, 1}  # Redis and the policy by time do it by themselves
    assert cache.size == 1
    cache.set_many({"short": b"y"}, replace=False)
    assert cache.get("short") == b"y"
    cache.set("long", b"x", ttl_seconds=0)
    assert not cache.exists("long")


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
def test_the_order_of_eviction(policy, stays):
    cache = InMemoryCache[bytes](CacheConfig(max_size=2, eviction_policy=policy))
    cache.set("a", b"x")
    cache.set("b", b"x")
    cache.get("a")
    cache.exists("b")  # does not count as a use
    cache.set("c", b"x")
    assert cache.exists(stays)
    assert cache.size == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_expired_entries_go(policy):
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
    assert LRUCache[bytes](max_size=5, ttl_seconds=60).config.eviction_policy is EvictionPolicy.LRU
    assert LFUCache(max_size=5).config.max_size == 5
    assert TTLCache(ttl_seconds=5).config.ttl_seconds == 5
    assert CacheMetrics().hit_rate == 0


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_size", 0, ValueError),
        ("max_size", 1.5, TypeError),
        ("max_memory_mb", 0, ValueError),
        ("max_memory_mb", "1", TypeError),
        ("ttl_seconds", -1, ValueError),
        ("ttl_seconds", float("nan"), ValueError),
        ("negative_ttl_seconds", -1, ValueError),
        ("negative_ttl_seconds", None, TypeError),
        ("eviction_policy", "oldest", StoreConfigError),
    ],
)
def test_a_bad_option_is_named(option, value, error):
    wrong: Any = {option: value}
    with pytest.raises(error, match=option):
        CacheConfig(**wrong)


@only_shared
def test_shared_caches_take_strings_and_bytes_only(cache):
    text: Any = "text"
    for wrong in (lambda: cache.set("a", text), lambda: cache.get(1), lambda: cache.set(1, b"")):
        with pytest.raises(TypeError):
            wrong()
    assert cache.size == 0


@only_shared
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_goes_on(cache):
    cache.set("a", b"1")
    child = Child(lambda _: (cache.get("a"), cache.set("b", b"child"), cache.metrics.errors))
    assert child.hear_within(60), "the child hangs"
    assert child.wait() == 0
    assert child.returned == (b"1", None, 0)
    assert cache.get_many(["a", "b"]) == {"a": b"1", "b": b"child"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_cache_of_this_process_starts_empty_in_a_child():
    cache: Any = LRUCache[bytes]()
    cache.set("a", b"1")
    with cache._lock:  # as if another thread were in the middle of a change
        child = Child(lambda _: (cache.get("a"), cache.set_many({"a": b"2"}), cache.get("a")))
        assert child.hear_within(60), "the child hangs"
    assert child.wait() == 0
    assert child.returned == (None, None, b"2")
    assert cache.get("a") == b"1"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")
def test_no_connection_to_a_file_crosses_a_fork(tmp_path):
    cache = DiskCache(tmp_path / "cache")
    cache.set("a", b"1")

    def opened() -> list[str]:
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return [name for link in links if os.path.lexists(link) and "cache.sqlite" in (name := os.readlink(link))]

    assert opened()
    child = Child(lambda _: opened())
    assert child.hear_within(60)
    child.wait()
    assert child.returned == []
    assert cache.get("a") == b"1"
    cache.close()
    assert opened() == []


def test_a_file_outlives_its_process_and_never_runs_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    for expected in (None, pickle.dumps(Bomb())):
        cache = DiskCache(tmp_path / "cache")
        assert cache.get("a") == expected
        cache.set("a", pickle.dumps(Bomb()))
        cache.close()


def test_a_file_has_a_limit_and_evicts_the_oldest_first(tmp_path):
    cache = DiskCache(tmp_path / "cache", max_memory_mb=0.5)
    for number in range(300):
        cache.set(str(number), bytes(5_000))
    assert 50 <= cache.size <= 100
    assert cache.exists("299")
    assert not cache.exists("0")
    assert (tmp_path / "cache" / "cache.sqlite").stat().st_size < 1e6
    cache.close()


def test_many_processes_open_one_file_at_once(tmp_path):
    def work(number: int) -> int:
        cache = DiskCache(tmp_path / "cache", timeout_seconds=60)
        for turn in range(50):
            cache.set(f"{number} {turn}", b"x")
            cache.get(f"{1 - number} {turn}")
        return cache.metrics.errors

    children = [Child(lambda _, number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    assert [child.result() for child in children] == [0] * 4
    cache = DiskCache(tmp_path / "cache")
    assert cache.size == 200
    cache.close()


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "cache.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(StoreConfigError, match="cannot be opened"):
        DiskCache(tmp_path / "cache")


def test_a_file_that_is_damaged_holds_nothing(tmp_path):
    cache = DiskCache(tmp_path / "cache", retry_seconds=60)
    cache.set_many({str(number): bytes(1_000) for number in range(100)})
    cache.close()
    path = tmp_path / "cache" / "cache.sqlite"
    path.write_bytes(path.read_bytes()[:100] + b"\1" * 50_000)
    assert cache.get("1") is None
    cache.set("1", b"x")
    assert cache.metrics.errors == 2
    assert not cache.metrics.available
    cache.close()


def test_a_locked_file_costs_its_timeout_once(tmp_path):
    cache = DiskCache(tmp_path / "cache", timeout_seconds=0.05, retry_seconds=60)
    cache.set("a", b"1")
    other = sqlite3.connect(tmp_path / "cache" / "cache.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(20):
        cache.set("a", b"2")
    assert cache.metrics.errors == 20
    other.close()
    cache.close()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(StoreConfigError, match=r"truthstore\[redis\]"):
        RedisCache()


def test_a_client_may_be_given_that_does_not_decode(url):
    import redis

    client = redis.Redis.from_url(url, decode_responses=True)
    with pytest.raises(StoreConfigError, match="decode"):
        RedisCache(client=client)
    client.close()
    mine = redis.Redis.from_url(url)
    cache = RedisCache(client=mine, prefix="mine:", ttl_seconds=None)
    cache.set("a", b"x")
    cache.close()
    assert mine.get("mine:a") == b"x"
    mine.close()


def test_a_server_that_is_down_holds_nothing_and_is_asked_rarely():
    cache = RedisCache("redis://127.0.0.1:1/0", timeout_seconds=0.2, retry_seconds=60)
    assert cache.get("a") is None
    cache.set("a", b"x")
    cache.set_many({"a": b"x"}, replace=False)
    cache.block_many(["a"])
    assert cache.delete("a") is False
    assert (cache.size, cache.clear(), cache.exists("a")) == (0, 0, False)
    assert cache.metrics.errors == 8
    assert not cache.metrics.available
    cache.close()


@pytest.mark.parametrize(
    "change", [lambda c: c.set("a", b"new"), lambda c: c.delete("a"), lambda c: c.block_many(["a"])]
)
def test_an_entry_that_could_not_be_changed_does_not_come_back(change, url, tmp_path):
    cache: Any = RedisCache(url, prefix=f"{tmp_path.name}:", timeout_seconds=60, retry_seconds=0)
    cache.set_many({"a": b"old", "b": b"kept"})
    with outage(cache):
        change(cache)
        assert cache.metrics.errors == 1
        assert not cache.metrics.available
    assert cache.get_many(["a", "b"]) == {"b": b"kept"}
    assert cache.metrics.available
    cache.close()


def test_a_file_that_nobody_closes_is_closed(tmp_path):
    """Python 3.13 warns of a connection that is left open."""
    cache: Any = DiskCache(tmp_path / "cache")
    ((_, connection),) = cache._idle
    del cache
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
