"""Calls in parallel: a bounded pool of threads, made when it is first needed and again after a fork."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from truthstore.runtime.forks import in_child

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
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        # Threads of a parent process do not exist here, and its pool would wait for them.
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def __call__(self, work: Callable[[A], B], arguments: Iterable[A]) -> list[B]:
        """Return the results in the order of the arguments; raise what one of the calls raises.

        Then, and at an interrupt, no further call is begun, and those that run have ended: nothing happens behind the error.
        """
        listed = list(arguments)
        if self._limit == 1 or len(listed) < 2:  # noqa: PLR2004  # one needs no company
            return [work(argument) for argument in listed]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._limit, thread_name_prefix="truthstore")
            pool = self._pool
        waiting = deque(enumerate(listed))
        results: dict[int, B] = {}

        def run() -> None:
            while True:
                try:
                    number, argument = waiting.popleft()
                except IndexError:
                    return
                try:
                    results[number] = work(argument)
                except BaseException:
                    waiting.clear()
                    raise

        futures: list[Future[None]] = []
        try:
            # A call each would hold up the caller, and an interrupt within `submit` may leave a lock of the pool behind.
            futures.extend(pool.submit(run) for _ in range(min(self._limit, len(listed))))
            for future in futures:
                future.result()
        except BaseException:
            waiting.clear()
            for future in futures:
                future.cancel()
            wait(futures)
            raise
        return [results[number] for number in range(len(listed))]

    def close(self) -> None:
        """End the threads of this process."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
