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
DAMAGED: Final = "was damaged"
KEEP_SECONDS: Final = 7 * 86_400.0
"""For so long an index that was found damaged is kept, so that a person may find out why."""


class IndexFile:
    """The index of one folder, which belongs to the store that the format object beside it names.

    If the format object is another one, so are the documents, and what the index knows is of no use. Every index file has a name of its own: a process that still holds a replaced one must not, by closing it, remove the
    write-ahead log of its successor (sqlite.org/howtocorrupt.html, "unlinking or renaming a database file while in
    use"). For the same reason connections to a replaced file are abandoned, not closed.
    """

    def __init__(self, folder: str, form: str, catalog: Catalog, journal: Journal, commits: Commits) -> None:
        self._folder = folder
        self._form = form
        self._catalog = catalog
        self._journal = journal
        self._commits = commits
        self._path = ""
        self._identity = ""
        self._inodes = (0, 0)
        self._root = 0

    def open(self, identity: str) -> None:
        """Open the index there is, or start a new one, and do what its journal says; under the store's lock.

        Args:
            identity: of the store that is in the folder now; the indexes of others are removed.

        Raises:
            StoreConnectionError: it cannot be opened.
        """
        self._identity = identity
        own = self._find(identity)
        for other in set(self._find()).difference(own):
            self._move(other, None)
        path = min(own, default=None) or self._new()
        try:
            self._connect(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise StoreConnectionError("filesystem", f"cannot open the index {path}: {error}") from error
            self._set_aside(path, DAMAGED)
            path = self._new()
            self._connect(path)
        self._path = path
        self._inodes = (_inode(path), _inode(self._form))
        self._root = _inode(os.path.dirname(self._folder))

    def _find(self, identity: str = "") -> list[str]:
        """Return the indexes of the store of this identity, or all there are."""
        begin = _beginning(identity)
        names = (name for name in os.listdir(self._folder) if name.startswith(begin) and name.endswith(".db"))
        return [os.path.join(self._folder, name) for name in names]

    def _new(self) -> str:
        return os.path.join(self._folder, f"{_beginning(self._identity)}{new_revision()}.db")

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
        """Return whether the file that is open is still the one in the folder, and so is the format object."""
        try:
            return (os.stat(self._path).st_ino, os.stat(self._form).st_ino) == self._inodes
        except OSError:
            return False

    def forget(self) -> None:
        """Let no file count as the current one."""
        self._path = ""

    def replace(self) -> None:
        """Move a damaged index away, unless another process has done so, and open its successor; under the lock."""
        if self.is_current():
            self._set_aside(self._path, DAMAGED)
        self._catalog.abandon()
        self.open(self._identity)

    def reopen(self, identity: str) -> None:
        """Open the index that is in the folder after the one that was open was removed; under the lock.

        What waits in the one that was removed is saved, unless another store is in the folder, or the folder is another one.
        """
        if identity == self._identity and _inode(os.path.dirname(self._folder)) == self._root:
            with suppress(sqlite3.Error), self._catalog.transaction() as connection:
                self._commits.rescue(connection)
        self._catalog.abandon()
        self.open(identity)

    def set_aside(self) -> None:
        """Move all indexes away, and save what waits in them; under the lock."""
        for path in self._find():
            self._set_aside(path, "belongs to a store whose format object is gone")

    def waiting(self, identity: str) -> list[Entry]:
        """Return what waits in the journal of a folder that can only be read."""
        path = min(self._find(identity), default=None) if os.path.isdir(self._folder) else None
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

    def _set_aside(self, path: str, why: str) -> None:
        log.warning("the index %s %s: it is kept as damaged-*.db for a week and made again from the files", path, why)
        self._catalog.abandon()
        with closing(sqlite3.connect(_uri(path, "mode=ro"), uri=True)) as connection:
            self._commits.rescue(connection)
        folder, name = os.path.split(path)
        self._move(path, os.path.join(folder, name.replace("index-", "damaged-", 1)))

    def _move(self, path: str, target: str | None) -> None:
        """Rename an index, or remove it."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + suffix) if target is None else os.rename(path + suffix, target + suffix)


def _beginning(identity: str) -> str:
    """Return how the names of the indexes of a store begin; an earlier version of this library gave stores no identity."""
    return f"index-{identity}-" if identity else "index-"


def _uri(path: str, mode: str) -> str:
    return f"file:{quote(path)}?{mode}"


def _inode(path: str) -> int:
    """Return the number of a file; 0 if it cannot be found."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
