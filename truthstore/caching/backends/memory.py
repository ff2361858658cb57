"""Caches in this process, by the policies of cachetools, with limits by entries and by bytes and a life span per entry."""

from __future__ import annotations

import math
import operator
import sys
import threading
from collections.abc import Callable, Hashable
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast

import cachetools

from truthstore.caching.base import BaseCache, CacheConfig, CacheMetrics, EvictionPolicy
from truthstore.model.record import Record
from truthstore.runtime.forks import in_child
from truthstore.store.config import configure

__all__ = ["InMemoryCache", "LFUCache", "LRUCache", "TTLCache"]

V = TypeVar("V")

HEAD_BYTES: Final = 600
"""Estimated bytes of a record beside its body."""


class _Entry(NamedTuple):
    value: Any
    expires: float
    size: int


_peek: Final = cachetools.Cache.__getitem__
"""Returns an entry and counts no use of it, as the methods of the subclasses would."""
_POLICIES: Final[dict[Any, Callable[..., cachetools.Cache[Hashable, _Entry]]]] = {
    EvictionPolicy.LRU: cachetools.LRUCache,
    EvictionPolicy.LFU: cachetools.LFUCache,
    EvictionPolicy.FIFO: cachetools.FIFOCache,
    EvictionPolicy.RANDOM: cachetools.RRCache,
    EvictionPolicy.TTL: partial(cachetools.TLRUCache, ttu=lambda _key, entry, _now: entry.expires),
}


class InMemoryCache(BaseCache[V], Generic[V]):
    """A cache in this process. Values are kept as they are, not copied. A forked child starts with an empty one.

    Args:
        config: limits, life span and policy.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, config: CacheConfig | None = None) -> None:
        self.config = configure(CacheConfig, config, {}, type(self).__name__)
        self._ttl = self.config.ttl_seconds or math.inf
        self._counts: dict[str, int] = dict.fromkeys(
            ("hits", "misses", "sets", "deletes", "expirations", "evictions"), 0
        )
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._now = monotonic()  # read once per call, so that nothing expires in the middle of one
        policy = self.config.eviction_policy
        timer: Any = {"timer": lambda: self._now} if policy is EvictionPolicy.TTL else {}
        self._data = _POLICIES[policy](self.config.max_bytes, getsizeof=operator.attrgetter("size"), **timer)

    def get(self, key: Hashable) -> V | None:
        """Return the value, or None if there is none or it has expired."""
        with self._lock:
            now = self._now = monotonic()
            try:
                value, expires, _ = self._data[key]
            except KeyError:
                self._expire()
                self._counts["misses"] += 1
                return None
            if expires <= now:
                del self._data[key]
                self._counts["expirations"] += 1
                self._counts["misses"] += 1
                return None
            self._counts["hits"] += 1
        return cast("V", value)

    def set(self, key: Hashable, value: V, ttl_seconds: float | None = None) -> None:
        """Keep a value; one that is larger than the whole cache is not kept, and counted as an eviction."""
        ttl = self._ttl if ttl_seconds is None else ttl_seconds
        size = _size_of(value)
        with self._lock:
            now = self._now = monotonic()
            data = self._data
            self._counts["sets"] += 1
            self._expire()
            data.pop(key, None)
            if not ttl > 0:  # nor what is not a number
                return
            count = len(data)
            if size <= self.config.max_bytes:
                if count >= self.config.max_size:
                    data.popitem()
                data[key] = _Entry(value, now + ttl, size)
            self._counts["evictions"] += count + 1 - len(data)

    def delete(self, key: Hashable) -> bool:
        """Remove a key; return False if it was not there."""
        with self._lock:
            found = self._data.pop(key, None) is not None
            self._counts["deletes"] += found
            return found

    def exists(self, key: Hashable) -> bool:
        """Say if `get` would find a value; count no use of it."""
        with self._lock:
            self._now = monotonic()
            return key in self._data and _peek(self._data, key).expires > self._now

    def clear(self) -> int:
        """Remove all entries and return their number."""
        with self._lock:
            count = len(self._data)
            self._data.clear()
            self._counts["deletes"] += count
            return count

    def cleanup_expired(self) -> int:
        """Remove expired entries and return their number."""
        with self._lock:
            now = self._now = monotonic()
            old = [key for key in self._data if _peek(self._data, key).expires <= now]
            for key in old:
                del self._data[key]
            self._counts["expirations"] += len(old)
            return len(old) + self._expire()

    def _expire(self) -> int:
        """Remove the entries that a policy by time knows to be expired; other policies find them one by one."""
        if not isinstance(self._data, cachetools.TLRUCache):
            return 0
        count = len(self._data.expire() or ())
        self._counts["expirations"] += count
        return count

    @property
    def size(self) -> int:
        """Return the number of entries."""
        with self._lock:
            self._now = monotonic()
            return len(self._data)

    @property
    def metrics(self) -> CacheMetrics:
        """Return the figures as they are now."""
        with self._lock:
            self._now = monotonic()
            counts: Any = self._counts
            return CacheMetrics(**counts, size=len(self._data), memory_bytes=int(self._data.currsize))

    def get_stats(self) -> dict[str, Any]:
        """Return the figures, and limits, life span and policy."""
        names = ("max_size", "max_memory_mb", "ttl_seconds", "eviction_policy")
        return {**super().get_stats(), "config": {name: getattr(self.config, name) for name in names}}


class LRUCache(InMemoryCache[V], Generic[V]):
    """Evicts the entry that was used longest ago.

    Args:
        max_size: most entries.
        ttl_seconds: life span of an entry; None means no end.
    """

    name: ClassVar[str] = "lru"

    def __init__(self, max_size: int = 10_000, ttl_seconds: float | None = None) -> None:
        super().__init__(_config(EvictionPolicy.LRU, max_size, ttl_seconds))


class LFUCache(InMemoryCache[V], Generic[V]):
    """Evicts the entry that was used least often; the arguments are those of `LRUCache`."""

    name: ClassVar[str] = "lfu"

    def __init__(self, max_size: int = 10_000, ttl_seconds: float | None = None) -> None:
        super().__init__(_config(EvictionPolicy.LFU, max_size, ttl_seconds))


class TTLCache(InMemoryCache[V], Generic[V]):
    """Removes entries as they expire; when full, evicts the one that was used longest ago."""

    name: ClassVar[str] = "ttl"

    def __init__(self, ttl_seconds: float = 3_600.0, max_size: int = 10_000) -> None:
        super().__init__(_config(EvictionPolicy.TTL, max_size, ttl_seconds))


def _config(policy: EvictionPolicy, max_size: int, ttl_seconds: float | None) -> CacheConfig:
    return CacheConfig(max_size=max_size, ttl_seconds=ttl_seconds, max_memory_mb=None, eviction_policy=policy)


def _size_of(value: object) -> int:
    if type(value) is Record:
        return HEAD_BYTES + len(value.body or b"")
    return len(value) if isinstance(value, bytes | bytearray | memoryview | str) else sys.getsizeof(value)
