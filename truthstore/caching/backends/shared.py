"""Common part of caches outside this process: while they cannot be reached, they hold nothing, and nothing fails."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from truthstore.caching.base import BaseCache, CacheMetrics
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig, CircuitState
from truthstore.runtime.forks import in_child

__all__ = ["SharedCache"]

R = TypeVar("R")

log: Final = logging.getLogger("truthstore.caching")

BLOCKED: Final = b"\0truthstore.blocked"
"""The value of a blocked key: `get` finds nothing, and `add_many` finds it taken."""
BLOCK_SECONDS: Final = 30.0
NO_END: Final = 1e9
"""Seconds, about thirty years: longer life spans have no end."""


class SharedCache(BaseCache[bytes]):
    """A cache of bytes that several processes use at once; its failures are counted, and answered as if it held nothing.

    Entries that this process failed to overwrite or to remove are removed before it uses the cache again. Until then, or
    until they expire, they answer other processes.

    Args:
        ttl_seconds: life span of an entry; None, 0 and infinity mean no end.
        retry_seconds: after a failure the cache is not used for so long.
        failures: the errors that mean that it cannot be used.
    """

    def __init__(
        self, *, ttl_seconds: float | None, retry_seconds: float, failures: tuple[type[Exception], ...]
    ) -> None:
        if ttl_seconds is not None and not ttl_seconds >= 0:
            raise ValueError(f"ttl_seconds cannot be {ttl_seconds}: it is at least 0, and None means no end")
        self._ttl = ttl_seconds or NO_END
        self._failures = failures
        self._breaker = CircuitBreaker(CircuitConfig(failure_threshold=1, recovery_timeout=retry_seconds))
        self._counts: dict[str, int] = dict.fromkeys(("hits", "misses", "sets", "deletes", "errors"), 0)
        self._outdated: set[str] = set()
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()

    @abstractmethod
    def _get(self, keys: list[str]) -> list[bytes | None]:
        """Return the value of each key."""

    @abstractmethod
    def _put(self, values: Mapping[str, bytes], ttl_seconds: float | None, *, replace: bool) -> int:
        """Keep values, where keys hold something only with `replace`; return how many were kept."""

    @abstractmethod
    def _remove(self, keys: list[str]) -> int:
        """Remove keys; return how many were there."""

    @abstractmethod
    def _clear(self) -> int:
        """Remove all entries; return their number."""

    @abstractmethod
    def _count(self) -> int:
        """Return the number of entries."""

    def _attempt(self, operation: Callable[[], R], otherwise: R, *, changes: Iterable[str] = ()) -> R:
        """Return what an operation returns, or `otherwise` if it fails, or failed a moment ago.

        Args:
            operation: the operation.
            otherwise: the answer of a cache that holds nothing.
            changes: keys whose entries are outdated if the operation fails.
        """
        if self._breaker.allow():
            try:
                if self._outdated:
                    with self._lock:
                        self._remove(sorted(self._outdated))
                        self._outdated.clear()
                result = operation()
            except self._failures as error:
                if self._breaker.state is CircuitState.CLOSED:
                    log.warning("the %s cache cannot be used, and is left alone for a while: %s", self.name, error)
                self._breaker.failed()
            else:
                self._breaker.succeeded()
                return result
        with self._lock:
            self._counts["errors"] += 1
            self._outdated.update(changes)
        return otherwise

    def _add(self, figure: str, count: int) -> None:
        with self._lock:
            self._counts[figure] += count

    def get(self, key: Hashable) -> bytes | None:
        """Return the value, or None if there is none, it has expired, or the cache cannot be reached."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[Hashable]) -> dict[Any, bytes]:
        """Return the values that are there, by key, in one call."""
        names = [_name(key) for key in keys]
        values = self._find(names)
        self._add("hits", len(values))
        self._add("misses", len(names) - len(values))
        return values

    def _find(self, names: list[str]) -> dict[str, bytes]:
        found = (self._attempt(partial(self._get, names), None) if names else None) or ()
        return {n: value for n, value in zip(names, found, strict=False) if value is not None and value != BLOCKED}

    def exists(self, key: Hashable) -> bool:
        """Say if `get` would find a value."""
        return bool(self._find([_name(key)]))

    def set(self, key: Hashable, value: bytes, ttl_seconds: float | None = None) -> None:
        """Keep bytes."""
        self.set_many({key: value}, ttl_seconds)

    def set_many(self, values: Mapping[Any, bytes], ttl_seconds: float | None = None) -> None:
        """Keep many values, in one call."""
        self._set(values, ttl_seconds, replace=True)

    def add_many(self, values: Mapping[Any, bytes], ttl_seconds: float | None = None) -> None:
        """Keep those of many values whose keys hold nothing and are not blocked, in one call."""
        self._set(values, ttl_seconds, replace=False)

    def _set(self, values: Mapping[Any, bytes], ttl_seconds: float | None, *, replace: bool) -> None:
        ttl = self._ttl if ttl_seconds is None else ttl_seconds
        for key, value in values.items():
            if not isinstance(value, bytes):
                raise TypeError(f"a shared cache holds bytes, not {type(value).__name__}: encode the value first")
            _name(key)
        if ttl > 0 and values:
            put = partial(self._put, values, ttl if ttl < NO_END else None, replace=replace)
            self._add("sets", self._attempt(put, 0, changes=values if replace else ()))
        elif replace:
            self.delete_many(values)

    def delete(self, key: Hashable) -> bool:
        """Remove a key; return False if it was not there."""
        return self.delete_many([key]) > 0

    def delete_many(self, keys: Iterable[Hashable]) -> int:
        """Remove many keys and return how many were there, in one call."""
        names = [_name(key) for key in keys]
        count = self._attempt(partial(self._remove, names), 0, changes=names) if names else 0
        self._add("deletes", count)
        return count

    def block_many(self, keys: Iterable[Hashable]) -> None:
        """Remove many keys, in one call, and make `add_many` skip them for 30 seconds.

        A process that loaded an item before it was changed then does not add the old one.
        """
        blocks = {_name(key): BLOCKED for key in keys}
        if blocks:
            self._attempt(partial(self._put, blocks, BLOCK_SECONDS, replace=True), 0, changes=blocks)

    def clear(self) -> int:
        """Remove all entries of this cache and return their number."""
        return self._attempt(self._clear, 0)

    @property
    def size(self) -> int:
        """Return the number of entries, counted one by one; blocked keys are among them."""
        return self._attempt(self._count, 0)

    @property
    def metrics(self) -> CacheMetrics:
        """Return the figures of this process; for the number of entries, see `size`."""
        with self._lock:
            return CacheMetrics(**self._counts, available=self._breaker.state is CircuitState.CLOSED)


def _name(key: Hashable) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys of a shared cache are strings, not {type(key).__name__}")
    return key
