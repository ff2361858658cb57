"""Parts that caches and the store above them share: modes, policies, configuration, figures, the interface of a cache."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar

from truthstore.errors import StoreConfigError

__all__ = ["BaseCache", "CacheConfig", "CacheMetrics", "CacheMode", "EvictionPolicy", "member"]

E = TypeVar("E", bound=enum.Enum)
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
    """Order of eviction: least recently used, least frequently used, expired first, first in, or random."""

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
        if isinstance(self.max_size, bool) or not isinstance(self.max_size, int):
            raise TypeError(f"max_size is a whole number, not {self.max_size!r}")
        for name in ("max_size", "max_memory_mb", "ttl_seconds", "negative_ttl_seconds"):
            value = getattr(self, name)
            if value is None and name != "negative_ttl_seconds":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {value!r}")
            if not (value >= 0 if "ttl" in name else value > 0):  # nor what is not a number
                raise ValueError(f"{name} must {'not be negative' if 'ttl' in name else 'be positive'}, not {value!r}")
        object.__setattr__(self, "eviction_policy", member(EvictionPolicy, self.eviction_policy, "eviction_policy"))

    @property
    def max_bytes(self) -> float:
        """Return the limit of memory in bytes; infinity means no limit."""
        return math.inf if self.max_memory_mb is None else self.max_memory_mb * 1e6


def member(kind: type[E], value: E | str, name: str) -> E:
    """Return the member of an enumeration with this value.

    Raises:
        StoreConfigError: there is none.
    """
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(str(one.value) for one in kind)
        raise StoreConfigError(f"{name}: {error}: use one of {known}") from error


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
        """Return the share of hits among all reads, in per cent."""
        reads = self.hits + self.misses
        return 100 * self.hits / reads if reads else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, the hit rate among them."""
        return {**asdict(self), "hit_rate_percent": self.hit_rate}


class BaseCache(ABC, Generic[V]):
    """A cache: values by key, which may be evicted at any time, safe to use from several threads."""

    name: ClassVar[str] = "cache"

    @abstractmethod
    def get(self, key: Hashable) -> V | None:
        """Return the value, or None if there is none or it has expired."""

    @abstractmethod
    def set(self, key: Hashable, value: V, ttl_seconds: float | None = None) -> None:
        """Keep a value, for `ttl_seconds` or else for the life span that the cache was configured with."""

    @abstractmethod
    def delete(self, key: Hashable) -> bool:
        """Remove a key; return False if it was not there."""

    @abstractmethod
    def exists(self, key: Hashable) -> bool:
        """Say if `get` would find a value; count neither a hit nor a miss."""

    @abstractmethod
    def clear(self) -> int:
        """Remove all entries and return their number."""

    @abstractmethod
    def cleanup_expired(self) -> int:
        """Remove expired entries and return their number."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Return the number of entries."""

    @property
    @abstractmethod
    def metrics(self) -> CacheMetrics:
        """Return the figures as they are now."""

    def get_many(self, keys: Iterable[Hashable]) -> dict[Any, V]:
        """Return the values that are there, by key."""
        return {key: value for key in keys if (value := self.get(key)) is not None}

    def set_many(self, values: Mapping[Any, V], ttl_seconds: float | None = None) -> None:
        """Keep many values."""
        for key, value in values.items():
            self.set(key, value, ttl_seconds)

    def add_many(self, values: Mapping[Any, V], ttl_seconds: float | None = None) -> None:
        """Keep those of many values whose keys hold nothing."""
        self.set_many({key: value for key, value in values.items() if not self.exists(key)}, ttl_seconds)

    def delete_many(self, keys: Iterable[Hashable]) -> int:
        """Remove many keys and return how many were there."""
        return sum(self.delete(key) for key in keys)

    def block_many(self, keys: Iterable[Hashable]) -> None:
        """Remove many keys; where other processes use the cache, make `add_many` skip them for a while too."""
        self.delete_many(keys)

    def get_stats(self) -> dict[str, Any]:
        """Return the figures and the name of the cache, ready for JSON."""
        return {"cache": self.name, "metrics": self.metrics.to_dict()}

    def close(self) -> None:
        """Close connections and files."""
