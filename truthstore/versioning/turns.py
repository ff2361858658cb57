"""Writers of one item take turns: in this process by locks, against other processes by compare-and-set."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from truthstore.errors import StoreWriteError, shown

__all__ = ["LONGEST_PAUSE_SECONDS", "MovedError", "Turns"]

R = TypeVar("R")

STRIPES: Final = 64
PATIENCE_SECONDS: Final = 120.0
SHORTEST_PAUSE_SECONDS: Final = 0.001
LONGEST_PAUSE_SECONDS: Final = 1.0


class MovedError(Exception):
    """Somebody else replaced the head meanwhile: look again."""


class Turns:
    """Locks for a number of items each, in this process; one that was forked has its own."""

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        self._locks: dict[int, tuple[threading.RLock, ...]] = {}

    def take(self, item_id: str, attempt: Callable[[], R], *, collection: str) -> R:
        """Does something to an item, again and again while it raises `MovedError`.

        Raises:
            StoreWriteError: nothing was changed, for others changed the item all the time.
        """
        pid = os.getpid()
        locks = self._locks.get(pid) or self._locks.setdefault(pid, tuple(threading.RLock() for _ in range(STRIPES)))
        with locks[hash((collection, item_id)) % STRIPES]:
            start = time.monotonic()
            try:
                return attempt()
            except MovedError:
                return self._insist(item_id, attempt, collection, time.monotonic() - start)

    @staticmethod
    def _insist(item_id: str, attempt: Callable[[], R], collection: str, seconds: float) -> R:
        # Pauses grow from what an attempt takes here: microseconds in memory, many requests on object storage.
        pause = max(seconds, SHORTEST_PAUSE_SECONDS)
        time.sleep(random.uniform(0, min(pause, LONGEST_PAUSE_SECONDS)))  # noqa: S311  # no secret
        retrying = Retrying(
            retry=retry_if_exception_type(MovedError),
            wait=wait_random_exponential(multiplier=pause, max=LONGEST_PAUSE_SECONDS),
            stop=stop_after_delay(PATIENCE_SECONDS),
        )
        try:
            return retrying(attempt)
        except RetryError as error:
            raise StoreWriteError(
                f"{collection} {shown(item_id)}: nothing was changed, for others change it all the time; repeat",
                collection=collection,
                identifier=item_id,
                retryable=True,
            ) from error
