"""Calls in parallel: a bounded pool of threads, made when it is first needed and again after a fork."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Parallel"]

A = TypeVar("A")
B = TypeVar("B")


class Parallel:
    """Calls a function for many arguments, several at a time.

    Args:
        limit: at most so many at a time; 1 means one after the other, in the caller's thread.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("concurrency is at least 1")
        self._limit = limit
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._locks: dict[int, threading.Lock] = {}

    def __call__(self, work: Callable[[A], B], arguments: Iterable[A]) -> list[B]:
        """Return the results in the order of the arguments; raise what one of the calls raises."""
        listed = list(arguments)
        if self._limit == 1 or len(listed) < 2:  # noqa: PLR2004  # one needs no company
            return [work(argument) for argument in listed]
        return list(self._pool().map(work, listed))

    def _pool(self) -> ThreadPoolExecutor:
        pid = os.getpid()
        with self._locks.setdefault(pid, threading.Lock()):
            pool = self._pools.get(pid)
            if pool is None:
                # Threads of a parent process do not exist here, and its pool would wait for them.
                pool = self._pools[pid] = ThreadPoolExecutor(self._limit, thread_name_prefix="truthstore")
            return pool

    def close(self) -> None:
        """End the threads of this process."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.shutdown()
