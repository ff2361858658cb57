"""Caches in this process against their clock, and options that make no sense."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest

from truthstore import StoreConfigError
from truthstore.backends.memory import MemoryStore
from truthstore.caching import CacheConfig, CachedStore, InMemoryCache, LRUCache, TTLCache, memory
from truthstore.testing import SAMPLES, Sample


class Jumping:
    """A clock that stands still, and jumps far ahead at one reading."""

    def __init__(self, readings: int) -> None:
        self.left = readings
        self.ahead = 100.0

    def __call__(self) -> float:
        self.left -= 1
        return self.ahead if self.left < 0 else 0.0


@pytest.mark.parametrize("readings", range(8))
def test_an_entry_may_expire_between_any_two_readings_of_the_clock(monkeypatch, readings):
    clock = Jumping(10**9)
    monkeypatch.setattr(memory, "monotonic", clock)
    for operation in ("get", "same", "other", "delete", "exists", "figures"):
        clock.left, clock.ahead = 10**9, 100.0
        cache: TTLCache[bytes] = TTLCache(ttl_seconds=10, max_size=1)
        cache.set("a", b"1")
        clock.left = readings
        if operation == "get":
            assert cache.get("a") in {None, b"1"}
        elif operation == "delete":
            assert cache.delete("a") in {True, False}
        elif operation == "exists":
            assert cache.exists("a") in {True, False}
        elif operation == "figures":
            assert cache.metrics.size == cache.size or readings < 2
        else:
            key = "a" if operation == "same" else "b"
            cache.set(key, b"2")
            clock.left = 10**9
            assert cache.get(key) == b"2" or readings == 0
        clock.left, clock.ahead = 0, 1_000.0
        assert cache.size == 0
        assert cache.cleanup_expired() == 0


def test_what_expires_is_counted_once():
    cache: TTLCache[bytes] = TTLCache(ttl_seconds=0.02, max_size=2)
    for key in ("a", "b"):
        cache.set(key, b"1")
    time.sleep(0.03)
    assert cache.get("a") is None
    assert not cache.exists("b")
    assert cache.cleanup_expired() == 0
    assert (cache.metrics.expirations, cache.metrics.evictions) == (2, 0)


def test_a_life_span_that_is_no_number_is_none():
    caches: list[InMemoryCache[bytes]] = [LRUCache(2), TTLCache(60, 2)]
    for cache in caches:
        cache.set("a", b"1", math.nan)
        assert cache.get("a") is None


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 2.5},
        {"max_size": True},
        {"max_size": "3"},
        {"max_memory_mb": math.nan},
        {"max_memory_mb": "1"},
        {"ttl_seconds": math.nan},
        {"ttl_seconds": True},
        {"negative_ttl_seconds": math.nan},
        {"negative_ttl_seconds": None},
        {"flush_interval_seconds": math.nan},
        {"flush_interval_seconds": math.inf},
    ],
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        CacheConfig(**options)


def test_a_cache_of_its_own_is_not_told_about_options_of_another():
    base = MemoryStore(collection=SAMPLES)
    with pytest.raises(StoreConfigError, match="max_size, ttl_seconds"):
        CachedStore(base, LRUCache(10), ttl_seconds=5, max_size=3)
    with pytest.raises(StoreConfigError, match="max_memory_mb"):
        CachedStore(base, LRUCache(10), config=CacheConfig(max_memory_mb=3))
    assert CachedStore(base, LRUCache(10), negative_ttl_seconds=5, revalidate=True).metrics.size == 0
    assert CachedStore(base, max_size=3).metrics.size == 0


def test_everybody_who_waits_hears_of_an_error_that_cannot_be_copied():
    class OddError(Exception):
        def __init__(self, text: str, *, code: int) -> None:
            super().__init__(text)
            self.code = code

        def __reduce__(self) -> Any:
            raise TypeError("not this one")

    class Failing(MemoryStore[Sample]):
        def _read(self, *_: Any, **__: Any) -> Any:
            entered.set()
            time.sleep(0.1)
            raise OddError("x", code=1)

        get_record = _read

    entered = threading.Event()
    store = CachedStore(Failing(collection=SAMPLES))
    seen: list[type] = []

    def ask():
        try:
            store.get("a")
        except Exception as error:
            seen.append(type(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered.is_set()
    assert seen == [OddError] * 4
