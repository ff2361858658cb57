"""What caches and their users share: modes, policies, configuration, figures, and the interface of a cache."""

from __future__ import annotations

import enum
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from truthstore.errors import StoreConfigError

__all__ = ["BaseCache", "CacheConfig", "CacheMetrics", "CacheMode", "EvictionPolicy", "SharedCache"]

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
    """What a full cache gives up first: what was used longest ago, least often, expires first, came first, or any."""

    LRU = "lru"
    LFU = "lfu"
    TTL = "ttl"
    FIFO = "fifo"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """Options of a cache in this process, and of the store above any cache.

    Attributes:
        max_size: at most so many entries.
        max_memory_mb: at most so many megabytes; None means no limit.
        ttl_seconds: how long an entry may be served; None or 0 means for ever.
        eviction_policy: what a full cache gives up first.
        negative_ttl_seconds: how long it is remembered that an id does not exist; 0 means not at all.
        revalidate: ask the store for the revision before each answer from the cache, which then needs no body and is
            right across processes.
        spool_path: where write-behind keeps what is not stored yet; by default a file in ``.truthstore/spool``, below
            the folder in which the program was when it made the store, that is named after the store.
        spool_durability: ``fsync``: what was acknowledged survives a power cut; ``os``: the death of the process.
        flush_interval_seconds: how often write-behind stores what waits, in a thread of its own; None means only at
            `flush()`, `maintain()`, `close()`, and before a query.

    Raises:
        ValueError: a number that makes no sense.
        TypeError: something else instead of a number.
        StoreConfigError: an unknown policy or durability.
    """

    max_size: int = 10_000
    max_memory_mb: float | None = 100.0
    ttl_seconds: float | None = 3_600.0
    eviction_policy: EvictionPolicy | str = EvictionPolicy.LRU
    negative_ttl_seconds: float = 30.0
    revalidate: bool = False
    spool_path: str | None = None
    spool_durability: Literal["fsync", "os"] = "fsync"
    flush_interval_seconds: float | None = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.max_size, bool) or not isinstance(self.max_size, int):
            raise TypeError(f"max_size is a whole number, not {self.max_size!r}")
        for name in ("max_memory_mb", "ttl_seconds", "negative_ttl_seconds", "flush_interval_seconds"):
            _check_number(name, getattr(self, name))
        if self.max_size <= 0:
            raise ValueError("max_size must be positive")
        if self.max_memory_mb is not None and self.max_memory_mb <= 0:
            raise ValueError("max_memory_mb must be positive, or None for no limit")
        if self.ttl_seconds is not None and self.ttl_seconds < 0:
            raise ValueError("ttl_seconds cannot be negative")
        if self.negative_ttl_seconds < 0:
            raise ValueError("negative_ttl_seconds cannot be negative")
        if self.flush_interval_seconds is not None and self.flush_interval_seconds <= 0:
            raise ValueError("flush_interval_seconds must be positive, or None")
        try:
            object.__setattr__(self, "eviction_policy", EvictionPolicy(self.eviction_policy))
        except ValueError as error:
            raise StoreConfigError(f"eviction_policy: {error}: use one of {_values(EvictionPolicy)}") from error
        if self.spool_durability not in {"fsync", "os"}:
            raise StoreConfigError(f"spool_durability is 'fsync' or 'os', not {self.spool_durability!r}")

    @property
    def policy(self) -> EvictionPolicy:
        """The eviction policy."""
        return EvictionPolicy(self.eviction_policy)

    @property
    def max_bytes(self) -> float | None:
        """The limit of memory in bytes."""
        return None if self.max_memory_mb is None else self.max_memory_mb * 1e6


def _check_number(name: str, value: object) -> None:
    if value is None and name != "negative_ttl_seconds":
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r}")
    if math.isnan(value) or (math.isinf(value) and name in {"negative_ttl_seconds", "flush_interval_seconds"}):
        raise ValueError(f"{name} cannot be {value}")


def mode_of(mode: CacheMode | str) -> CacheMode:
    """The mode by its name or value.

    Raises:
        StoreConfigError: there is none.
    """
    try:
        return CacheMode(mode)
    except ValueError as error:
        raise StoreConfigError(f"mode: {error}: use one of {_values(CacheMode)}") from error


def _values(kind: type[enum.Enum]) -> str:
    return ", ".join(str(member.value) for member in kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMetrics:
    """Figures of a cache since it was made.

    Attributes:
        hits: reads that were answered.
        misses: reads that were not.
        sets: entries that were stored.
        deletes: entries that were removed on demand.
        evictions: entries that made place for others.
        expirations: entries that were found too old.
        errors: calls that failed because the cache could not be reached; they count as misses too.
        size: entries that are there.
        memory_bytes: about how much memory their values take.
        available: whether the last call reached the cache.
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
        """Hits among all reads, in per cent."""
        reads = self.hits + self.misses
        return 100 * self.hits / reads if reads else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All figures, the hit rate among them."""
        return {**asdict(self), "hit_rate_percent": self.hit_rate}


class BaseCache(ABC, Generic[V]):
    """A cache: values by key, forgotten at any time, safe to use from several threads."""

    name: ClassVar[str] = "cache"
    _clear_watchers: dict[int, weakref.WeakMethod[Any]]

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Makes room for those that are told, whether or not a cache of your own calls `__init__` of this class."""
        self = super().__new__(cls)
        self._clear_watchers = {}
        return self

    @abstractmethod
    def get(self, key: Hashable) -> V | None:
        """The value, or None if there is none or it is too old."""

    @abstractmethod
    def set(self, key: Hashable, value: V, ttl_seconds: float | None = None) -> None:
        """Keeps a value, for `ttl_seconds` or else as long as the cache's own configuration says."""

    @abstractmethod
    def delete(self, key: Hashable) -> bool:
        """Forgets a key; False if it was not there."""

    @abstractmethod
    def exists(self, key: Hashable) -> bool:
        """Whether `get` would find something; counts neither as a hit nor as a miss."""

    @abstractmethod
    def clear(self) -> int:
        """Forgets everything and returns how much that was."""

    @abstractmethod
    def cleanup_expired(self) -> int:
        """Forgets what is too old and returns how much that was."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of entries."""

    @property
    @abstractmethod
    def metrics(self) -> CacheMetrics:
        """The figures as they are now."""

    def get_many(self, keys: Iterable[Hashable]) -> dict[Any, V]:
        """The values that are there, by key."""
        return {key: value for key in keys if (value := self.get(key)) is not None}

    def set_many(self, values: Mapping[Any, V], ttl_seconds: float | None = None) -> None:
        """Keeps many values."""
        for key, value in values.items():
            self.set(key, value, ttl_seconds)

    def delete_many(self, keys: Iterable[Hashable]) -> int:
        """Forgets many keys and returns how many were there."""
        return sum(self.delete(key) for key in keys)

    def get_stats(self) -> dict[str, Any]:
        """The figures and the name of the cache, ready for JSON."""
        return {"cache": self.name, "metrics": self.metrics.to_dict()}

    def on_clear(self, callback: Callable[[], object]) -> None:
        """Calls a method before `clear` forgets everything; the object that it belongs to is held weakly.

        A cache of your own calls `_tell_of_clearing` first thing in its `clear`.
        """
        watching = self._clear_watchers
        reference = weakref.WeakMethod(callback, lambda gone: watching.pop(id(gone), None))
        watching[id(reference)] = reference

    def _tell_of_clearing(self) -> None:
        """Tells those whose loads are on their way that what they bring is not to be kept."""
        for reference in self._clear_watchers.copy().values():
            callback = reference()
            if callback is not None:
                callback()

    def close(self) -> None:
        """Gives up connections and files."""

    def __len__(self) -> int:
        return self.size

    def __contains__(self, key: Hashable) -> bool:
        return self.exists(key)


class SharedCache(BaseCache[bytes]):
    """A cache of bytes that several processes use at once.

    Who wants to fill a key after reading elsewhere takes a lease on it first. Whatever happens to the key meanwhile ends
    the lease, so that an old value cannot be put where a newer one was removed.
    """

    def settle(self) -> bool:
        """Tries once more to remove what could not be removed; False if others may still be served from it."""
        return True

    @abstractmethod
    def lease(self, keys: Iterable[str], *, force: bool = False) -> dict[str, bytes]:
        """Leases of keys that hold nothing; with `force` also of others, whose values are forgotten."""

    @abstractmethod
    def fill(self, key: str, lease: bytes, value: bytes, ttl_seconds: float | None = None) -> bool:
        """Keeps a value if the lease still holds."""
