"""Caches in this process, by the policies of cachetools, with limits by entries and by bytes and a life span per entry."""

from __future__ import annotations

import math
import operator
import sys
import threading
from collections.abc import Hashable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

import cachetools

from truthstore.caching.base import BaseCache, CacheConfig, CacheMetrics, EvictionPolicy
from truthstore.errors import StoreConfigError
from truthstore.model.record import Record
from truthstore.runtime.forks import Rank, watch_forks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["InMemoryCache", "LFUCache", "LRUCache", "TTLCache"]

V = TypeVar("V")

HEAD_BYTES: Final = 600
"""About what a record takes beside its body."""


class _Entry(NamedTuple):
    value: Any
    expires: float
    size: int


def _expires(_: Hashable, entry: _Entry, __: float) -> float:
    return entry.expires


def _size(entry: _Entry) -> int:
    return entry.size


Data: TypeAlias = "cachetools.Cache[Hashable, _Entry]"

_POLICIES: Final[dict[EvictionPolicy, Callable[[float, Callable[[], float]], Data]]] = {
    EvictionPolicy.LRU: lambda limit, _: cachetools.LRUCache(limit, getsizeof=_size),
    EvictionPolicy.LFU: lambda limit, _: cachetools.LFUCache(limit, getsizeof=_size),
    EvictionPolicy.FIFO: lambda limit, _: cachetools.FIFOCache(limit, getsizeof=_size),
    EvictionPolicy.RANDOM: lambda limit, _: cachetools.RRCache(limit, getsizeof=_size),
    EvictionPolicy.TTL: lambda limit, now: cachetools.TLRUCache(limit, ttu=_expires, timer=now, getsizeof=_size),
}


class InMemoryCache(BaseCache[V], Generic[V]):
    """A cache in this process.

    Values are kept as they are, not copied. After a fork the child starts with an empty one.

    Args:
        config: limits, life span and policy.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, config: CacheConfig | None = None) -> None:
        self._config = CacheConfig() if config is None else config
        if not isinstance(self._config, CacheConfig):
            raise TypeError(f"config is a CacheConfig, not {type(config).__name__}")
        self._ttl = self._config.ttl_seconds or math.inf
        self._is_timed = self._config.policy is EvictionPolicy.TTL
        self._max_size = self._config.max_size
        self._max_bytes = self._config.max_bytes or math.inf
        self._lock = threading.Lock()
        # The clock is read once per call, so that nothing expires in the middle of one.
        self._now = [monotonic()]
        self._data = self._make()
        self._hits = self._misses = self._sets = self._deletes = self._expirations = self._evictions = 0
        watch_forks(self, Rank.CACHE)

    def _make(self) -> Data:
        return _POLICIES[self._config.policy](self._max_bytes, partial(operator.itemgetter(0), self._now))

    @property
    def config(self) -> CacheConfig:
        """Limits, life span and policy."""
        return self._config

    def get(self, key: Hashable) -> V | None:
        """The value, or None if there is none or it is too old."""
        with self._lock:
            now = self._now[0] = monotonic()
            try:
                value, expires, _ = self._data[key]
            except KeyError:
                self._misses += 1
                self._forget_expired()
                return None
            if expires <= now:
                del self._data[key]
                self._expirations += 1
                self._misses += 1
                return None
            self._hits += 1
        return cast("V", value)

    def set(self, key: Hashable, value: V, ttl_seconds: float | None = None) -> None:
        """Keeps a value; one that is larger than the whole cache is not kept, and counted as an eviction."""
        size = _size_of(value)
        ttl = self._ttl if ttl_seconds is None else ttl_seconds
        with self._lock:
            now = self._now[0] = monotonic()
            data = self._data
            self._sets += 1
            if self._is_timed:
                self._forget_expired()
            if key in data:
                del data[key]
            if not ttl > 0:  # nor what is no number
                return
            if size > self._max_bytes:
                self._evictions += 1
                return
            count = len(data)
            if count >= self._max_size:
                data.popitem()
            data[key] = _Entry(value, now + ttl, size)
            self._evictions += count + 1 - len(data)

    def delete(self, key: Hashable) -> bool:
        """Forgets a key; False if it was not there."""
        with self._lock:
            self._now[0] = monotonic()
            if self._data.pop(key, None) is None:
                return False
            self._deletes += 1
            return True

    def exists(self, key: Hashable) -> bool:
        """Whether `get` would find something."""
        with self._lock:
            now = self._now[0] = monotonic()
            # Not by `in` and subscription, which would count as a use.
            entry = cachetools.Cache.__getitem__(self._data, key) if key in self._data else None
            return entry is not None and entry.expires > now

    def clear(self) -> int:
        """Forgets everything and returns how much that was."""
        self._tell_of_clearing()
        with self._lock:
            self._now[0] = monotonic()
            count = len(self._data)
            self._data = self._make()
            self._deletes += count
            return count

    def cleanup_expired(self) -> int:
        """Forgets what is too old and returns how much that was."""
        with self._lock:
            now = self._now[0] = monotonic()
            if isinstance(self._data, cachetools.TLRUCache):
                return self._forget_expired()
            data = self._data
            old = [key for key in data if cachetools.Cache.__getitem__(data, key).expires <= now]
            for key in old:
                del data[key]
            self._expirations += len(old)
            return len(old)

    def _forget_expired(self) -> int:
        """Removes what a policy by time has found too old; other policies find that out entry by entry."""
        data = self._data
        if not isinstance(data, cachetools.TLRUCache):
            return 0
        before = cachetools.Cache.__len__(data)  # with those that are too old
        data.expire()
        count = before - cachetools.Cache.__len__(data)
        self._expirations += count
        return count

    @property
    def size(self) -> int:
        """Number of entries."""
        with self._lock:
            self._now[0] = monotonic()
            return len(self._data)

    @property
    def metrics(self) -> CacheMetrics:
        """The figures as they are now."""
        with self._lock:
            self._now[0] = monotonic()
            return CacheMetrics(
                hits=self._hits,
                misses=self._misses,
                sets=self._sets,
                deletes=self._deletes,
                evictions=self._evictions,
                expirations=self._expirations,
                size=len(self._data),
                memory_bytes=int(self._data.currsize),
            )

    def get_stats(self) -> dict[str, Any]:
        """The figures, and limits, life span and policy."""
        config = {
            "max_size": self._config.max_size,
            "max_memory_mb": self._config.max_memory_mb,
            "ttl_seconds": self._config.ttl_seconds,
            "eviction_policy": self._config.policy.value,
        }
        return {**super().get_stats(), "config": config}

    def before_fork(self) -> None:
        """Waits until no thread is in the middle of a change."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """A child hears nothing of its parent's writes: it starts anew."""
        if child:
            self._data = self._make()
        self._lock.release()


class LRUCache(InMemoryCache[V], Generic[V]):
    """Gives up what was used longest ago.

    Args:
        max_size: at most so many entries.
        ttl_seconds: how long an entry may be served; None means for ever.
        config: all options, instead of these two.
    """

    name: ClassVar[str] = "lru"

    def __init__(
        self, max_size: int = 10_000, ttl_seconds: float | None = None, config: CacheConfig | None = None
    ) -> None:
        super().__init__(_own_config(EvictionPolicy.LRU, max_size, ttl_seconds, config))


class LFUCache(InMemoryCache[V], Generic[V]):
    """Gives up what was used least often.

    Args:
        max_size: at most so many entries.
        ttl_seconds: how long an entry may be served; None means for ever.
        config: all options, instead of these two.
    """

    name: ClassVar[str] = "lfu"

    def __init__(
        self, max_size: int = 10_000, ttl_seconds: float | None = None, config: CacheConfig | None = None
    ) -> None:
        super().__init__(_own_config(EvictionPolicy.LFU, max_size, ttl_seconds, config))


class TTLCache(InMemoryCache[V], Generic[V]):
    """Serves nothing that is older than its life span; when full, gives up what was used longest ago.

    Args:
        ttl_seconds: how long an entry may be served.
        max_size: at most so many entries.
        config: all options, instead of these two.
    """

    name: ClassVar[str] = "ttl"

    def __init__(self, ttl_seconds: float = 3_600.0, max_size: int = 10_000, config: CacheConfig | None = None) -> None:
        super().__init__(_own_config(EvictionPolicy.TTL, max_size, ttl_seconds, config))


def _own_config(
    policy: EvictionPolicy, max_size: int, ttl_seconds: float | None, config: CacheConfig | None
) -> CacheConfig:
    if config is None:
        return CacheConfig(max_size=max_size, ttl_seconds=ttl_seconds, max_memory_mb=None, eviction_policy=policy)
    if config.policy not in {policy, EvictionPolicy.LRU}:
        raise StoreConfigError(f"eviction_policy is {config.policy.value}: use InMemoryCache(config)")
    return CacheConfig(
        max_size=config.max_size,
        max_memory_mb=config.max_memory_mb,
        ttl_seconds=config.ttl_seconds,
        eviction_policy=policy,
    )


def _size_of(value: object) -> int:
    if type(value) is Record:
        return HEAD_BYTES if value.body is None else len(value.body) + HEAD_BYTES
    if isinstance(value, bytes | bytearray | memoryview | str):
        return len(value)
    return sys.getsizeof(value)
