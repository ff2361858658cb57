"""Turns: of each topic of a queue one thread of one process delivers at a time."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
import time
from collections.abc import Generator
from typing import Final

from truthstore.errors import StoreConnectionError
from truthstore.runtime.forks import fork_gate

__all__ = ["Turns"]

POLL_SECONDS: Final = 0.01


class Turns:
    """Locks of flock(2) beside the file of a queue, one per topic. The kernel releases those of a process that died.

    Args:
        path: the file of the queue; None for one in memory, whose turns are of this process.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._locks: dict[str, threading.Lock] = {}
        self._handles: dict[tuple[str, int], int] = {}

    @contextlib.contextmanager
    def take(self, topic: str, wait: float | None) -> Generator[bool]:
        """Yield True while this thread has the turn, False if it has it already, or did not get it in `wait` seconds.

        Raises:
            StoreConnectionError: the lock file cannot be made.
        """
        turn = (topic, threading.get_ident())
        if turn in self._handles:
            yield False  # what this thread is delivering is on its way
            return
        if self._path is None:
            lock = self._locks.setdefault(topic, threading.Lock())
            is_ours = lock.acquire(timeout=-1 if wait is None else wait)
            self._handles[turn] = -1
            try:
                yield is_ours
            finally:
                if self._handles.pop(turn, None) is not None and is_ours:
                    lock.release()
            return
        import fcntl

        name = hashlib.blake2b(topic.encode(), digest_size=8).hexdigest()
        with fork_gate:  # a fork comes when the handle is known, so that the child can close it
            try:
                handle = os.open(f"{self._path}.{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise StoreConnectionError("queue", f"no turn to deliver {self._path}: {error}") from error
            self._handles[turn] = handle
        try:
            yield _lock(handle, wait)
        finally:
            with fork_gate:
                # Not closed if this is a forked child, which has done so: the number may be of another file by now.
                if self._handles.pop(turn, None) is not None:
                    fcntl.flock(handle, fcntl.LOCK_UN)  # before closing: a child may not have closed its copy yet
                    os.close(handle)

    def forget(self) -> None:
        """In a forked child: close the inherited files, for a lock belongs to all processes that have its file open."""
        self._locks.clear()
        while self._handles:
            _, handle = self._handles.popitem()
            if handle >= 0:
                os.close(handle)


def _lock(handle: int, wait: float | None) -> bool:
    import fcntl

    deadline = math.inf if wait is None else time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True
