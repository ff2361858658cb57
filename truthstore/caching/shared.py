"""What caches outside this process have in common: when they cannot be reached, everything goes on without them."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from truthstore.caching.base import CacheMetrics, SharedCache
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig, CircuitState
from truthstore.runtime.forks import Gate, Rank, watch_forks

__all__ = ["Debts", "GuardedCache"]

K = TypeVar("K")
R = TypeVar("R")

log: Final = logging.getLogger("truthstore.caching")

LEASE: Final = b"\0"
VALUE: Final = b"\1"
LEASE_SECONDS: Final = 30
OWED: Final = 10_000
FOR_EVER: Final = 1e9
"""Seconds, about thirty years: no cache is asked to count that far."""


class Owed(NamedTuple, Generic[K]):
    """What was owed at one moment: keys, or everything if that is not 0, with the number of the last time."""

    keys: dict[K, int]
    everything: int


class Debts(Generic[K]):
    """What is still to be removed. What comes to be owed anew while it is being removed stays owed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._owed: Owed[K] = Owed({}, 0)
        watch_forks(self, Rank.FIGURES)

    def __bool__(self) -> bool:
        return bool(self._owed.keys or self._owed.everything)

    def __str__(self) -> str:
        return "keys" if self._owed.everything else f"{len(self._owed.keys)} keys"

    def owe(self, keys: Iterable[K]) -> None:
        """Keys are to be removed; when they are too many, everything."""
        with self._lock:
            number = next(self._numbers)
            known, everything = self._owed
            known.update(dict.fromkeys(keys, number))
            if everything or len(known) > OWED:
                self._owed = Owed({}, number)

    def owe_all(self) -> None:
        """Everything is to be removed."""
        with self._lock:
            self._owed = Owed({}, next(self._numbers))

    def now(self) -> Owed[K]:
        """What is owed at this moment."""
        with self._lock:
            return Owed(self._owed.keys.copy(), self._owed.everything)

    def paid(self, paid: Owed[K]) -> None:
        """That much was removed."""
        with self._lock:
            known, everything = self._owed
            left = {key: number for key, number in known.items() if paid.keys.get(key) != number}
            self._owed = Owed(left, 0 if everything == paid.everything else everything)

    def before_fork(self) -> None:
        """Waits until no thread is in the middle of a change."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """A child owes what its parent owes: to remove it twice does no harm."""
        if child:
            self._lock = threading.Lock()
        else:
            self._lock.release()


class GuardedCache(SharedCache):
    """A cache of bytes whose failures are counted and otherwise answered as if it held nothing.

    What could not be removed is remembered, and removed before this object does anything else when the cache can be
    reached again; other processes are served from it until then. Only the memory of this process knows of it: `settle`
    and `close` try once more, and what they cannot remove stays until it expires.

    Args:
        ttl_seconds: how long an entry may be served; None, 0 and infinity mean for ever.
        retry_seconds: after a failure the cache is left alone for so long.
        failures: the errors that mean that it cannot be used.
    """

    def __init__(
        self, *, ttl_seconds: float | None, retry_seconds: float, failures: tuple[type[Exception], ...]
    ) -> None:
        if ttl_seconds is not None and not ttl_seconds >= 0:
            raise ValueError(f"ttl_seconds cannot be {ttl_seconds}: it is at least 0, and None means for ever")
        self._ttl = _span(ttl_seconds or None)
        self._failures = failures
        self._breaker = CircuitBreaker(CircuitConfig(failure_threshold=1, recovery_timeout=retry_seconds))
        self._lock = threading.Lock()
        self._debts: Debts[str] = Debts()
        self._figures: dict[str, int] = dict.fromkeys(("hits", "misses", "sets", "deletes", "errors"), 0)
        self._gate = Gate()
        watch_forks(self, Rank.CACHE)

    @abstractmethod
    def _get(self, keys: list[str]) -> list[bytes | None]: ...

    @abstractmethod
    def _set(self, values: Mapping[str, bytes], ttl_seconds: float | None) -> None: ...

    @abstractmethod
    def _remove(self, keys: list[str]) -> list[bytes | None]:
        """Removes keys; the first byte of what they held."""

    @abstractmethod
    def _take(self, values: Mapping[str, bytes], *, force: bool) -> list[str]:
        """Puts leases; the keys where that was done."""

    @abstractmethod
    def _fill(self, key: str, lease: bytes, value: bytes, ttl_seconds: float | None) -> bool: ...

    @abstractmethod
    def _clear(self) -> int: ...

    @abstractmethod
    def _count(self) -> int: ...

    @abstractmethod
    def _rest(self) -> None:
        """Gives up what must not cross a fork; no operation is under way."""

    @abstractmethod
    def _start_anew(self) -> None:
        """In the child of a fork: makes anew what it must not share with its parent."""

    def _attempt(self, operation: Callable[[], R], otherwise: R) -> R:
        with self._gate:
            return self._attempt_inside(operation, otherwise)

    def _attempt_inside(self, operation: Callable[[], R], otherwise: R) -> R:
        if not self._breaker.allow():
            self._add("errors", 1)
            return otherwise
        try:
            if self._debts:
                self._settle()
            result = operation()
        except self._failures as error:
            if self._breaker.state is CircuitState.CLOSED:
                log.warning("the %s cache cannot be used, and is left alone for a while: %s", self.name, error)
            self._breaker.failed()
            self._add("errors", 1)
            return otherwise
        self._breaker.succeeded()
        return result

    def _settle(self) -> None:
        owed = self._debts.now()
        if owed.everything:
            self._clear()
        elif owed.keys:
            self._remove(sorted(owed.keys))
        self._debts.paid(owed)

    def settle(self) -> bool:
        """Tries once more to remove what could not be removed; False if others may still be served from it."""
        if not self._debts:
            return True
        try:
            with self._gate:
                self._settle()
        except self._failures as error:
            log.warning(
                "%s could not be removed from the %s cache, and may be served to others until they expire: %s",
                self._debts,
                self.name,
                error,
            )
            return False
        return True

    def _add(self, figure: str, count: int) -> None:
        with self._lock:
            self._figures[figure] += count

    def get(self, key: Hashable) -> bytes | None:
        """The value, or None if there is none, it is too old, or the cache cannot be reached."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[Hashable]) -> dict[Any, bytes]:
        """The values that are there, by key, in one call."""
        names = [_name(key) for key in keys]
        if not names:
            return {}
        nothing: list[bytes | None] = [None] * len(names)
        found = self._attempt(lambda: self._get(names), nothing)
        values = {name: value[1:] for name, value in zip(names, found, strict=True) if value and value[:1] == VALUE}
        self._add("hits", len(values))
        self._add("misses", len(names) - len(values))
        return values

    def set(self, key: Hashable, value: bytes, ttl_seconds: float | None = None) -> None:
        """Keeps bytes."""
        self.set_many({key: value}, ttl_seconds)

    def set_many(self, values: Mapping[Any, bytes], ttl_seconds: float | None = None) -> None:
        """Keeps many, in one call."""
        stored = {_name(key): VALUE + _bytes(value) for key, value in values.items()}
        ttl = self._ttl if ttl_seconds is None else _span(ttl_seconds)
        if not stored:
            return
        if ttl is not None and not ttl > 0:  # nor what is no number
            self.delete_many(stored)
            return

        def put() -> bool:
            self._set(stored, ttl)
            return True

        if self._attempt(put, otherwise=False):
            self._add("sets", len(stored))
        else:
            self._debts.owe(stored)  # an older value must not come back

    def delete(self, key: Hashable) -> bool:
        """Forgets a key; False if it was not there."""
        return self.delete_many([key]) > 0

    def delete_many(self, keys: Iterable[Hashable]) -> int:
        """Forgets many keys and returns how many were there."""
        names = [_name(key) for key in keys]
        if not names:
            return 0
        removed = self._attempt(lambda: self._remove(names), None)
        if removed is None:
            self._debts.owe(names)
            return 0
        count = sum(first is not None and first[:1] == VALUE for first in removed)
        self._add("deletes", count)
        return count

    def exists(self, key: Hashable) -> bool:
        """Whether `get` would find something."""
        name = _name(key)
        nothing: list[bytes | None] = [None]
        (found,) = self._attempt(lambda: self._get([name]), nothing)
        return found is not None and found[:1] == VALUE

    def clear(self) -> int:
        """Forgets every key with this cache's prefix and returns how many there were."""
        self._tell_of_clearing()
        count = self._attempt(self._clear, None)
        if count is None:
            self._debts.owe_all()
        return count or 0

    @property
    def size(self) -> int:
        """Number of entries, counted one by one."""
        return self._attempt(self._count, 0)

    def lease(self, keys: Iterable[str], *, force: bool = False) -> dict[str, bytes]:
        """Leases of keys that hold nothing; with `force` also of others, whose values are forgotten."""
        leases = {key: LEASE + secrets.token_bytes(12) for key in keys}
        if not leases:
            return {}
        taken = self._attempt(lambda: self._take(leases, force=force), None)
        if taken is None and force:
            self._debts.owe(leases)
        return {key: leases[key] for key in taken or ()}

    def fill(self, key: str, lease: bytes, value: bytes, ttl_seconds: float | None = None) -> bool:
        """Keeps a value if the lease still holds."""
        ttl = self._ttl if ttl_seconds is None else _span(ttl_seconds)
        filled = self._attempt(lambda: self._fill(key, lease, VALUE + value, ttl), otherwise=False)
        if filled:
            self._add("sets", 1)
        return filled

    @property
    def metrics(self) -> CacheMetrics:
        """The figures of this process. Size and memory are those of the cache's own server or folder: see `size`."""
        with self._lock:
            return CacheMetrics(**self._figures, available=self._breaker.state is CircuitState.CLOSED)

    def before_fork(self) -> None:
        """Waits until no operation is under way, and gives up what must not cross a fork."""
        self._gate.close()
        self._rest()

    def after_fork(self, *, child: bool) -> None:
        """Lets operations go on; a child has locks and connections of its own."""
        if child:
            self._lock = threading.Lock()  # figures need not wait for each other
            self._gate.anew()
            self._start_anew()
        else:
            self._gate.open()


def _span(seconds: float | None) -> float | None:
    return None if seconds is None or seconds >= FOR_EVER else seconds


def _name(key: Hashable) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys of a shared cache are strings, not {type(key).__name__}")
    return key


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a shared cache holds bytes, not {type(value).__name__}: encode the value first")
    return value
