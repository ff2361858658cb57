"""Common part of caches outside this process: while they cannot be reached, they hold nothing, and nothing fails."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from truthstore.caching.base import BaseCache, CacheMetrics
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig, CircuitState

__all__ = ["SharedCache"]

R = TypeVar("R")

log: Final = logging.getLogger("truthstore.caching")

BLOCKED: Final = b"\0truthstore.blocked"
"""The value of a blocked key: `get` finds nothing, and `set_many` without `replace` finds it taken."""
BLOCK_SECONDS: Final = 30.0


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
        super().__init__(ttl_seconds)
        self._failures = failures
        self._breaker = CircuitBreaker(CircuitConfig(failure_threshold=1, recovery_timeout=retry_seconds))
        self._outdated: set[str] = set()

    def _attempt(self, operation: Callable[[], R], otherwise: R, *, changes: Iterable[Any] = ()) -> R:
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

    def _find(self, keys: Iterable[Hashable]) -> dict[Any, bytes]:
        return {key: value for key, value in super()._find(map(_name, keys)).items() if value != BLOCKED}

    def set_many(self, values: Mapping[Any, bytes], ttl_seconds: float | None = None, *, replace: bool = True) -> None:
        """Keep many values, in one call, where keys hold something, or are blocked, only with `replace`."""
        for key, value in values.items():
            if not isinstance(value, bytes):
                raise TypeError(f"a shared cache holds bytes, not {type(value).__name__}: encode the value first")
            _name(key)
        super().set_many(values, ttl_seconds, replace=replace)

    def block_many(self, keys: Iterable[Hashable]) -> None:
        """Remove many keys, in one call, and let `set_many` without `replace` skip them for 30 seconds.

        A process that loaded an item before it was changed then does not add the old one.
        """
        blocks = {_name(key): BLOCKED for key in keys}
        if blocks:
            self._attempt(partial(self._put, blocks, BLOCK_SECONDS, replace=True), 0, changes=blocks)

    @property
    def metrics(self) -> CacheMetrics:
        """The figures of this process; for the number of entries, see `size`."""
        return dataclasses.replace(super().metrics, available=self._breaker.state is CircuitState.CLOSED)


def _name(key: Hashable) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys of a shared cache are strings, not {type(key).__name__}")
    return key
