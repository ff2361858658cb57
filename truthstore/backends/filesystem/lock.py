"""The lock of a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from truthstore.errors import StoreNotSupportedError
from truthstore.runtime.forks import in_child

__all__ = ["FolderLock"]

_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_LOCK: Final = 2
_UNLOCK: Final = 8


def _no_flock(_descriptor: int, _operation: int, /) -> None:
    raise StoreNotSupportedError(
        "the filesystem store needs flock(2), which Windows lacks: use the database store with SQLite",
        backend="filesystem",
    )


_flock: Callable[[int, int], None] = _no_flock
with suppress(ImportError):
    from fcntl import flock as _flock


class FolderLock:
    """Exclude other threads, other processes and other stores from a folder: a `with` block, reentrant.

    It is flock(2) on the folder itself, so there is no lock file to lose, and the kernel lets go when a process dies.

    Attributes:
        thread: the part that excludes other threads.
    """

    _descriptor: int | None = None

    def __init__(self, path: str) -> None:
        self._path = path
        self.anew()
        in_child(self._leave_parent)

    def anew(self) -> None:
        """Forget a lock that a parent process may hold."""
        self.thread = threading.RLock()
        self._depth = 0
        self._descriptor = None
        self._held = (0, 0)

    def _open(self, path: str) -> int:
        return os.open(path, _READ)

    def _leave_parent(self) -> None:
        """Close the folder in a forked child: the lock that a parent holds would outlive its death there."""
        self._close()
        self.anew()

    def __enter__(self) -> None:
        self.thread.acquire()
        try:
            while self._depth == 0:
                if self._descriptor is None:
                    self._descriptor = self._open(self._path)
                    held = os.fstat(self._descriptor)
                    self._held = (held.st_ino, held.st_dev)
                _flock(self._descriptor, _LOCK)
                try:
                    there = os.stat(self._path)
                    if (there.st_ino, there.st_dev) == self._held:
                        break
                except FileNotFoundError:
                    pass
                self._close()  # removed, and perhaps made again: what is locked is not what others lock
            self._depth += 1
        except BaseException:
            self.thread.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._depth -= 1
            if self._depth == 0 and self._descriptor is not None:
                _flock(self._descriptor, _UNLOCK)
        finally:
            self.thread.release()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self._close()

    def close(self) -> None:
        """Give up the descriptor of the folder."""
        with self.thread:
            self._close()
