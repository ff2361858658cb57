"""The file that holds a folder's index: opened, followed when it is replaced, replaced when it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from glob import escape, glob
from time import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from truthstore.errors import StoreConnectionError
from truthstore.model.record import new_revision
from truthstore.storage.catalog.journal import salvage
from truthstore.storage.objects.object_store import is_damage

if TYPE_CHECKING:
    from truthstore.backends.filesystem.commit import Commits
    from truthstore.storage.catalog.catalog import Catalog
    from truthstore.storage.catalog.journal import Entry, Journal

__all__ = ["IndexFile"]

log: Final = logging.getLogger("truthstore.backends.filesystem")
KEEP_SECONDS: Final = 7 * 86_400.0
"""For so long an index that was found damaged is kept, so that a person may find out why."""


class IndexFile:
    """The index of one folder.

    Every index file has a name of its own: a process that still holds a replaced one must not, by closing it, remove the
    write-ahead log of its successor (sqlite.org/howtocorrupt.html, "unlinking or renaming a database file while in
    use"). For the same reason connections to a replaced file are abandoned, not closed.
    """

    def __init__(self, folder: str, catalog: Catalog, journal: Journal, commits: Commits) -> None:
        self._folder = folder
        self._catalog = catalog
        self._journal = journal
        self._commits = commits
        self._path = ""
        self._inode = 0
        self._root = 0

    def open(self) -> None:
        """Open the index there is, or start a new one, and do what its journal says; under the store's lock.

        Raises:
            StoreConnectionError: it cannot be opened.
        """
        path = self._find() or self._new()
        try:
            self._connect(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise StoreConnectionError("filesystem", f"cannot open the index {path}: {error}") from error
            self._set_aside(path)
            path = self._new()
            self._connect(path)
        self._path = path
        self._inode = _inode(path)
        self._root = _inode(os.path.dirname(self._folder))

    def _find(self) -> str | None:
        names = (name for name in os.listdir(self._folder) if name.startswith("index-") and name.endswith(".db"))
        name = min(names, default=None)
        return None if name is None else os.path.join(self._folder, name)

    def _new(self) -> str:
        return os.path.join(self._folder, f"index-{new_revision()}.db")

    def _connect(self, path: str) -> None:
        self._catalog.open(path)
        self._journal.make()
        self._commits.forget()
        self._commits.mark.open()
        try:
            self._commits.settle()
        except OSError as error:
            log.warning("what was written waits in the index, for it could not be written to its file: %s", error)

    def is_current(self) -> bool:
        """Return whether the file that is open is still the one in the folder."""
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

    def forget(self) -> None:
        """Let no file count as the current one."""
        self._path = ""

    def replace(self) -> None:
        """Move a damaged index away, unless another process has done so, and open its successor; under the lock."""
        if self.is_current():
            self._set_aside(self._path)
        self._catalog.abandon()
        self.open()

    def reopen(self) -> None:
        """Open the index that is in the folder after the one that was open was removed; under the lock.

        What waits in the one that was removed is saved, unless the whole folder is another one.
        """
        if _inode(os.path.dirname(self._folder)) == self._root:
            with suppress(sqlite3.Error), self._catalog.transaction() as connection:
                self._commits.rescue(connection)
        self._catalog.abandon()
        self.open()

    def waiting(self) -> list[Entry]:
        """Return what waits in the journal of a folder that can only be read."""
        path = self._find() if os.path.isdir(self._folder) else None
        if path is None:
            return []
        for mode in ("mode=ro", "immutable=1"):  # the second where there can be no shared memory beside it
            with suppress(sqlite3.Error), closing(sqlite3.connect(_uri(path, mode), uri=True)) as connection:
                connection.execute("SELECT 1 FROM journal")
                return list(salvage(connection))
        return []

    def clear_leftovers(self) -> int:
        """Remove damaged indexes, and new files of processes that died, after a week; return how many; under the lock."""
        removed = 0
        for pattern in ("damaged-*", "new/*"):
            for path in glob(os.path.join(escape(self._folder), pattern)):
                with suppress(FileNotFoundError, IsADirectoryError):
                    if os.lstat(path).st_mtime < time() - KEEP_SECONDS:
                        os.unlink(path)
                        removed += 1
        return removed

    def _set_aside(self, path: str) -> None:
        log.warning(
            "the index %s was damaged: it is kept as damaged-*.db for a week and made again from the files", path
        )
        self._catalog.abandon()
        with closing(sqlite3.connect(_uri(path, "mode=ro"), uri=True)) as connection:
            self._commits.rescue(connection)
        folder, name = os.path.split(path)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(path + suffix, os.path.join(folder, name.replace("index-", "damaged-", 1)) + suffix)


def _uri(path: str, mode: str) -> str:
    return f"file:{quote(path)}?{mode}"


def _inode(path: str) -> int:
    """Return the number of a file; 0 if it cannot be found."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
