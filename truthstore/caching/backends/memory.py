"""Caches in this process, by the policies of cachetools, with limits by entries and by bytes and a life span per entry."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast

import cachetools

from truthstore.caching.base import BaseCache, CacheConfig, CacheMetrics, EvictionPolicy
from truthstore.model.record import Record
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
_POLICIES: Final[dict[Any, type[cachetools.Cache[Hashable, _Entry]]]] = {
    EvictionPolicy.LRU: cachetools.LRUCache,
    EvictionPolicy.LFU: cachetools.LFUCache,
    EvictionPolicy.FIFO: cachetools.FIFOCache,
    EvictionPolicy.RANDOM: cachetools.RRCache,
    EvictionPolicy.TTL: cachetools.FIFOCache,
}


class InMemoryCache(BaseCache[V], Generic[V]):
    """A cache in this process. Values are kept as they are, not copied. A forked child starts with an empty one.

    A value that is larger than the whole cache is not kept, and counted as an eviction.

    Args:
        config: limits, life span and policy.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, config: CacheConfig | None = None) -> None:
        self.config = configure(CacheConfig, config, {}, type(self).__name__)
        megabytes = self.config.max_memory_mb
        self._max_bytes = math.inf if megabytes is None else megabytes * 1e6
        super().__init__(self.config.ttl_seconds)

    def _reset(self) -> None:
        super()._reset()
        self._data = _POLICIES[self.config.eviction_policy](self._max_bytes, getsizeof=operator.attrgetter("size"))

    def get(self, key: Hashable) -> V | None:
        """Return the value, or None if there is none or it has expired."""
        with self._lock:
            value = self._value(key)
            self._counts["misses" if value is None else "hits"] += 1
        return value

    def _get(self, keys: Sequence[Any]) -> Sequence[V | None]:
        with self._lock:
            return [self._value(key) for key in keys]

    def _value(self, key: Hashable) -> V | None:
        try:
            value, expires, _ = self._data[key]
        except KeyError:
            return None
        if expires <= monotonic():
            del self._data[key]
            self._counts["expirations"] += 1
            return None
        return cast("V", value)

    def exists(self, key: Hashable) -> bool:
        """Return whether `get` would find a value; count no use of it."""
        with self._lock:
            return self._holds(key)

    def _holds(self, key: Hashable) -> bool:
        return key in self._data and _peek(self._data, key).expires > monotonic()

    def _put(self, values: Mapping[Any, V], ttl_seconds: float, *, replace: bool) -> int:
        kept = 0
        with self._lock:
            data = self._data
            for key, value in values.items():
                if not replace and self._holds(key):
                    continue
                data.pop(key, None)
                size, count = _size_of(value), len(data)
                if size <= self._max_bytes:
                    if count >= self.config.max_size:
                        data.popitem()
                    data[key] = _Entry(value, monotonic() + ttl_seconds, size)
                self._counts["evictions"] += count + 1 - len(data)
                kept += 1
        return kept

    def _remove(self, keys: Sequence[Any]) -> int:
        with self._lock:
            count = len(self._data)
            for key in keys:
                self._data.pop(key, None)
            return count - len(self._data)

    def _clear(self) -> int:
        with self._lock:
            count = len(self._data)
            self._data.clear()
            return count

    def _expire(self) -> int:
        with self._lock:
            old = [key for key in self._data if not self._holds(key)]
            for key in old:
                del self._data[key]
            self._counts["expirations"] += len(old)
            return len(old)

    def _size(self) -> int:
        return len(self._data)

    @property
    def metrics(self) -> CacheMetrics:
        """The figures as they are now."""
        return replace(super().metrics, size=len(self._data), memory_bytes=int(self._data.currsize))

    def get_stats(self) -> dict[str, Any]:
        """Return the figures, and limits, life span and policy."""
        names = ("max_size", "max_memory_mb", "ttl_seconds", "eviction_policy")
        return {**super().get_stats(), "config": {name: getattr(self.config, name) for name in names}}


class _PolicyCache(InMemoryCache[V], Generic[V]):
    policy: ClassVar[EvictionPolicy]

    def __init__(self, max_size: int = 10_000, ttl_seconds: float | None = None) -> None:
        config = CacheConfig(
            max_size=max_size, ttl_seconds=ttl_seconds, max_memory_mb=None, eviction_policy=self.policy
        )
        super().__init__(config)


class LRUCache(_PolicyCache[V], Generic[V]):
    """Evicts the entry that was used longest ago.

    Args:
        max_size: most entries.
        ttl_seconds: life span of an entry; None means no end.
    """

    name: ClassVar[str] = "lru"
    policy = EvictionPolicy.LRU


class LFUCache(_PolicyCache[V], Generic[V]):
    """Evicts the entry that was used least often; the arguments are those of `LRUCache`."""

    name: ClassVar[str] = "lfu"
    policy = EvictionPolicy.LFU


class TTLCache(_PolicyCache[V], Generic[V]):
    """Evicts the entry that was kept longest ago, which expires first."""

    name: ClassVar[str] = "ttl"
    policy = EvictionPolicy.TTL

    def __init__(self, ttl_seconds: float = 3_600.0, max_size: int = 10_000) -> None:
        super().__init__(max_size, ttl_seconds)


def _size_of(value: object) -> int:
    if type(value) is Record:
        return HEAD_BYTES + len(value.body or b"")
    return len(value) if isinstance(value, bytes | bytearray | memoryview | str) else sys.getsizeof(value)
