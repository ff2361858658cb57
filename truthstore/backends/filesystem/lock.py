"""The lock of a folder."""

from __future__ import annotations

import os
import threading
from typing import Final

from truthstore.errors import StoreNotSupportedError
from truthstore.runtime.forks import in_child

__all__ = ["FolderLock"]

_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)


class FolderLock:
    """Exclude other threads, other processes and other stores from a folder: a `with` block, reentrant.

    It is flock(2) on the folder itself, so there is no lock file to lose, and the kernel lets go when a process dies.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.anew()
        in_child(self._leave_parent)

    def anew(self) -> None:
        """Forget a lock that a parent process may hold."""
        self._thread = threading.RLock()
        self._depth = 0
        self._descriptor: int | None = None
        self._held = (0, 0)

    def _open(self, path: str) -> int:
        return os.open(path, _READ)

    def _leave_parent(self) -> None:
        """Close the folder in a forked child: the lock that a parent holds would outlive its death there."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self.anew()

    def __enter__(self) -> None:
        self._thread.acquire()
        try:
            if self._depth == 0:
                self._lock_folder()
            self._depth += 1
        except BaseException:
            self._thread.release()
            raise

    def _lock_folder(self) -> None:
        while True:
            if self._descriptor is None:
                self._descriptor = self._open(self._path)
                held = os.fstat(self._descriptor)
                self._held = (held.st_ino, held.st_dev)
            _flock(self._descriptor, exclusive=True)
            try:
                there = os.stat(self._path)
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_ino, there.st_dev) == self._held:
                return
            # The folder was removed, and perhaps made again: what is locked is not what others lock.
            os.close(self._descriptor)
            self._descriptor = None

    def __exit__(self, *_: object) -> None:
        try:
            self._depth -= 1
            if self._depth == 0 and self._descriptor is not None:
                _flock(self._descriptor, exclusive=False)
        finally:
            self._thread.release()

    def close(self) -> None:
        """Give up the descriptor of the folder."""
        with self._thread:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


try:
    import fcntl

    def _flock(descriptor: int, *, exclusive: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_UN)

except ImportError:  # pragma: no cover  # Windows

    def _flock(descriptor: int, *, exclusive: bool) -> None:  # noqa: ARG001  # the form of the other one
        raise StoreNotSupportedError(
            "the filesystem store needs flock(2), which Windows lacks: use the database store with SQLite",
            backend="filesystem",
        )
