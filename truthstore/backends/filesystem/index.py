"""The file that holds a folder's index: opened, followed when it is replaced, replaced when it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreConnectionError
from truthstore.model.record import new_revision
from truthstore.storage.objects.object_store import is_damage

if TYPE_CHECKING:
    from truthstore.storage.catalog.catalog import Catalog

__all__ = ["IndexFile"]

log: Final = logging.getLogger("truthstore")
KEEP_SECONDS: Final = 7 * 86_400.0
"""For so long an index that was found damaged is kept, for whoever wants to know why."""


class IndexFile:
    """The index of one folder.

    Every index file has a name of its own: a process that still holds a replaced one must not, by closing it, remove the
    write-ahead log of its successor (sqlite.org/howtocorrupt.html, "unlinking or renaming a database file while in
    use"). For the same reason connections to a replaced file are abandoned, not closed.

    Args:
        folder: where the file lies.
        catalog: what is connected to it.
    """

    def __init__(self, folder: str, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._path = ""
        self._inode = 0

    def open(self) -> None:
        """Opens the index there is, or starts a new one; under the store's lock.

        Raises:
            StoreConnectionError: it cannot be opened.
        """
        names = (name for name in os.listdir(self._folder) if name.startswith("index-") and name.endswith(".db"))
        name = min(names, default=None)
        path = os.path.join(self._folder, name or f"index-{new_revision()}.db")
        try:
            self._catalog.open(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise StoreConnectionError("filesystem", f"cannot open the index {path}: {error}") from error
            self._set_aside(path)
            path = os.path.join(self._folder, f"index-{new_revision()}.db")
            self._catalog.open(path)
        self._path = path
        self._inode = _inode(path)

    def is_current(self) -> bool:
        """Whether the file that is open is still the one in the folder."""
        return _inode(self._path) == self._inode

    def replace(self) -> None:
        """Moves a damaged index away, unless another process has done so, and opens its successor; under the lock."""
        if self.is_current():
            self._set_aside(self._path)
        self._catalog.abandon()
        self.open()

    def reopen(self) -> None:
        """Opens the index anew, after its file was removed or a connection became doubtful; under the lock."""
        self._catalog.abandon()
        self.open()

    def clear_damaged(self) -> int:
        """Removes indexes that were set aside long ago, and returns how many files that were; under the lock."""
        removed = 0
        with os.scandir(self._folder) as entries:
            old = [
                e.path for e in entries if e.name.startswith("damaged-") and e.stat().st_mtime < time() - KEEP_SECONDS
            ]
        for path in old:
            with suppress(FileNotFoundError):
                os.unlink(path)
                removed += 1
        return removed

    def _set_aside(self, path: str) -> None:
        log.warning(
            "the index %s was damaged: it is kept as damaged-*.db for a week and made anew from the files", path
        )
        self._catalog.abandon()
        folder, name = os.path.split(path)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(path + suffix, os.path.join(folder, name.replace("index-", "damaged-", 1)) + suffix)


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
