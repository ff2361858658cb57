"""Parts that caches and the store above them share: modes, policies, configuration, figures, the interface of a cache."""

from __future__ import annotations

import enum
import math
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from truthstore.errors import echoed
from truthstore.runtime.forks import in_child
from truthstore.runtime.recipe import Recipe
from truthstore.store.config import member

__all__ = ["BaseCache", "CacheConfig", "CacheMetrics", "CacheMode", "EvictionPolicy", "member"]

E = TypeVar("E", bound=enum.Enum)
R = TypeVar("R")
V = TypeVar("V")


class CacheMode(enum.StrEnum):
    """How reads and writes use the cache.

    | mode | a read that misses | a write |
    |---|---|---|
    | `READ_THROUGH` | is cached | removes the item from the cache |
    | `WRITE_THROUGH`, `READ_WRITE` | is cached | is cached when the store has it |
    | `WRITE_BEHIND` | is cached | is cached, kept in a durable queue, and stored soon after |
    | `CACHE_ASIDE` | is not cached: `warm()` and `refresh()` fill the cache | removes the item from the cache |
    """

    READ_THROUGH = "read_through"
    WRITE_THROUGH = "write_through"
    WRITE_BEHIND = "write_behind"
    CACHE_ASIDE = "cache_aside"
    READ_WRITE = "read_write"


class EvictionPolicy(enum.StrEnum):
    """The entry that a full cache evicts: least recently used, least frequently used, first in (which expires first), or any."""

    LRU = "lru"
    LFU = "lfu"
    TTL = "ttl"
    FIFO = "fifo"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """Options of a cache in this process, and of the store above any cache.

    Attributes:
        max_size: most entries.
        max_memory_mb: most megabytes; None means no limit.
        ttl_seconds: life span of an entry; None or 0 means no end.
        eviction_policy: the entries that a full cache evicts first.
        negative_ttl_seconds: life span of the answer that an id does not exist; 0 means not to keep it.
        revalidate: ask the store for the revision before each answer from the cache, which then needs no body and is
            exact across processes.

    Raises:
        ValueError: a number is out of range.
        TypeError: a number is of another type.
        StoreConfigError: an unknown policy.
    """

    max_size: int = 10_000
    max_memory_mb: float | None = 100.0
    ttl_seconds: float | None = 3_600.0
    eviction_policy: EvictionPolicy | str = EvictionPolicy.LRU
    negative_ttl_seconds: float = 30.0
    revalidate: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.max_size, float):
            raise TypeError(f"max_size is a whole number, not {echoed(self.max_size)}")
        for name in ("max_size", "max_memory_mb", "ttl_seconds", "negative_ttl_seconds"):
            value = getattr(self, name)
            if value is None and name in {"max_memory_mb", "ttl_seconds"}:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {echoed(value)}")
            if not (value >= 0 if "ttl" in name else value > 0):  # nor what is not a number
                raise ValueError(
                    f"{name} must {'not be negative' if 'ttl' in name else 'be positive'}, not {echoed(value)}"
                )
        object.__setattr__(self, "eviction_policy", member(EvictionPolicy, self.eviction_policy, "eviction_policy"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMetrics:
    """Figures of a cache since it was made.

    Attributes:
        hits: reads that were answered.
        misses: reads that were not.
        sets: entries that were stored.
        deletes: entries that were removed on demand.
        evictions: entries that were removed to make room.
        expirations: entries that were found past their life span.
        errors: calls that failed because the cache could not be reached; failed reads count as misses too.
        size: entries that are there.
        memory_bytes: estimated bytes of their values.
        available: false while the cache cannot be reached.
    """

    hits: int = 0
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    evictions: int = 0
    expirations: int = 0
    errors: int = 0
    size: int = 0
    memory_bytes: int = 0
    available: bool = True

    @property
    def hit_rate(self) -> float:
        """The share of hits among all reads, in per cent."""
        reads = self.hits + self.misses
        return 100 * self.hits / reads if reads else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, the hit rate among them."""
        return {**asdict(self), "hit_rate_percent": self.hit_rate}


class BaseCache(Recipe, ABC, Generic[V]):
    """A cache: values by key, which may be evicted at any time, safe to use from several threads.

    A subclass says how values are read, kept and removed, many at a time; what callers see of that is written once, here.

    Args:
        ttl_seconds: life span of an entry in seconds; None and 0 mean no end.
    """

    name: ClassVar[str] = "cache"

    def __init__(self, ttl_seconds: float | None) -> None:
        self._ttl = ttl_seconds or math.inf
        self._counts: Counter[str] = Counter()
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()

    @abstractmethod
    def _get(self, keys: Sequence[Any]) -> Sequence[V | None]:
        """Return the value of each key."""

    @abstractmethod
    def _put(self, values: Mapping[Any, V], ttl_seconds: float, *, replace: bool) -> int:
        """Keep values, where keys hold something only with `replace`; return how many were kept."""

    @abstractmethod
    def _remove(self, keys: Sequence[Any]) -> int:
        """Remove keys; return how many were there."""

    @abstractmethod
    def _clear(self) -> int:
        """Remove all entries; return their number."""

    @abstractmethod
    def _expire(self) -> int:
        """Remove expired entries; return their number."""

    @abstractmethod
    def _size(self) -> int:
        """Return the number of entries."""

    def _attempt(self, operation: Callable[[], R], otherwise: R, *, changes: Iterable[Any] = ()) -> R:
        """Return what an operation returns; a cache that can be out of reach returns `otherwise` while it is.

        Args:
            operation: the operation.
            otherwise: the answer of a cache that holds nothing.
            changes: keys whose entries are outdated if the operation fails.
        """
        return operation()

    def _count(self, figure: str, count: int) -> None:
        with self._lock:
            self._counts[figure] += count

    def _find(self, keys: Iterable[Hashable]) -> dict[Any, V]:
        wanted = list(keys)
        nothing: Sequence[V | None] = ()
        values = self._attempt(partial(self._get, wanted), nothing) if wanted else ()
        return {key: value for key, value in zip(wanted, values, strict=False) if value is not None}

    def get(self, key: Hashable) -> V | None:
        """Return the value, or None if there is none or it has expired."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[Hashable]) -> dict[Any, V]:
        """Return the values that are there, by key."""
        wanted = list(keys)
        found = self._find(wanted)
        self._count("hits", len(found))
        self._count("misses", len(wanted) - len(found))
        return found

    def exists(self, key: Hashable) -> bool:
        """Return whether `get` would find a value; count neither a hit nor a miss."""
        return bool(self._find([key]))

    def set(self, key: Hashable, value: V, ttl_seconds: float | None = None) -> None:
        """Keep a value, for `ttl_seconds` or else for the life span that the cache was configured with."""
        self.set_many({key: value}, ttl_seconds)

    def set_many(self, values: Mapping[Any, V], ttl_seconds: float | None = None, *, replace: bool = True) -> None:
        """Keep many values, where keys hold something only with `replace`."""
        ttl = self._ttl if ttl_seconds is None else ttl_seconds
        if ttl > 0 and values:  # nor what is not a number
            put = partial(self._put, values, ttl, replace=replace)
            self._count("sets", self._attempt(put, 0, changes=values if replace else ()))
        elif replace:
            self.delete_many(values)

    def delete(self, key: Hashable) -> bool:
        """Remove a key; return False if it was not there."""
        return self.delete_many([key]) > 0

    def delete_many(self, keys: Iterable[Hashable]) -> int:
        """Remove many keys and return how many were there."""
        removed = list(keys)
        count = self._attempt(partial(self._remove, removed), 0, changes=removed) if removed else 0
        self._count("deletes", count)
        return count

    def block_many(self, keys: Iterable[Hashable]) -> None:
        """Remove many keys; where other processes use the cache, let `set_many` without `replace` skip them for a while too."""
        self.delete_many(keys)

    def clear(self) -> int:
        """Remove all entries and return their number."""
        return self._attempt(self._clear, 0)

    def cleanup_expired(self) -> int:
        """Remove expired entries and return their number."""
        return self._attempt(self._expire, 0)

    @property
    def size(self) -> int:
        """The number of entries; those that have expired since they were last asked for may be among them."""
        return self._attempt(self._size, 0)

    @property
    def metrics(self) -> CacheMetrics:
        """The figures as they are now."""
        with self._lock:
            counts: Any = self._counts
            return CacheMetrics(**counts)

    def get_stats(self) -> dict[str, Any]:
        """Return the figures and the name of the cache, ready for JSON."""
        return {"cache": self.name, "metrics": self.metrics.to_dict()}

    def close(self) -> None:
        """Close connections and files."""
