"""A catalog in this machine's cache folder: a file that may vanish, be damaged or fill the disk at any time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from truthstore.model.record import new_revision
from truthstore.storage.catalog.catalog import Catalog
from truthstore.storage.catalog.connections import VERSION

if TYPE_CHECKING:
    from truthstore.storage.catalog.table import Bodies

__all__ = ["CachedCatalog", "cache_folder"]

FORMAT: Final = 4
PREFIX: Final = f"replica{VERSION}.{FORMAT}-"
UNUSED: Final = 86_400.0
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
CACHE_KILOBYTES: Final = 65_536

logger: Final = logging.getLogger("truthstore.storage")


class CachedCatalog(Catalog):
    """A catalog of one store in the cache folder, or in memory where there is none.

    Args:
        bodies: reads bodies, for fields that were declared later.

    Attributes:
        schema: the statements that make what the catalog holds besides its own tables.
    """

    schema: ClassVar[str]

    def __init__(self, bodies: Bodies) -> None:
        super().__init__(bodies, words=True)
        self._folder: str | None = None
        self._inode = 0
        self.born = 0
        self.identity = ""
        self.generation = 0
        """Grows when the rows that were here are given up."""

    def open_cached(self, folder: str | None, identity: str, born: int) -> None:
        """Open the file in the cache folder, or a database in memory if that fails.

        Args:
            folder: the folder; None means memory.
            identity: of the store: what is known about one that was in the same place before is no use.
            born: when the store was made, in milliseconds: older rows may be about that one, and are looked up.
        """
        self.abandon()
        self._folder, self.identity, self.born = folder, identity, born
        self.generation += 1
        if self._folder is not None:
            try:
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                self._open_file(self._folder)
            except (OSError, sqlite3.Error) as error:
                logger.warning("the index is kept in memory, for %s cannot be used: %s", self._folder, error)
                self.abandon()
            else:
                return
        self._open_with_tables(None)
        self._inode = 0

    def _open_file(self, folder: str) -> None:
        ours = f"{PREFIX}{self.identity}-"
        names = sorted(name for name in os.listdir(folder) if name.endswith(".db"))
        name, *others = [name for name in names if name.startswith(ours)] or [f"{ours}{new_revision()}.db"]
        for other in {*others, *(name for name in names if not name.startswith(ours))}:
            # Of processes that came first at the same time each made a file; or the store has another identity now.
            if _changed(os.path.join(folder, other)) < time.time() - UNUSED:
                self._remove(os.path.join(folder, other))
        path = os.path.join(folder, name)
        try:
            for attempt in Retrying(
                retry=retry_if_exception(_is_busy), stop=stop_after_delay(10), wait=wait_random(0.01, 0.1), reraise=True
            ):
                with attempt:
                    self._open_with_tables(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.abandon()
            self._remove(path)
            path = os.path.join(folder, f"{ours}{new_revision()}.db")
            self._open_with_tables(path)
        self._inode = _inode(path)

    def _open_with_tables(self, path: str | None) -> None:
        with self._lock:
            self.open(path)
            # A cold start writes very many rows into indexes in any order.
            self._writable().execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
            self._writable().executescript(f"BEGIN IMMEDIATE;{self.schema}COMMIT;")

    def is_current(self) -> bool:
        """Return True if the file that is open still lies in the cache folder."""
        return self._path is None or _inode(self._path) == self._inode

    def replace(self, *, damaged: bool) -> None:
        """Give up the file and open another one.

        Args:
            damaged: remove the file; otherwise it was removed already, or cannot be used just now, like a full disk.
        """
        current = self.is_current()
        if damaged:
            self.discard()
        self.open_cached(self._folder if damaged or not current else None, self.identity, self.born)

    def discard(self) -> None:
        """Remove the file, for whoever opens the replica next."""
        if self._path is not None and self.is_current():
            self._remove(self._path)

    def _remove(self, path: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)

    def close(self) -> None:
        """Close the connection, unless the file was removed: then closing could harm its successor."""
        if self._writer is not None and not self.is_current():
            self.abandon()
        super().close()

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        # One connection: should the file be replaced, a second one might see another file than the first.
        with self._lock:
            return self._writable().execute(sql, parameters).fetchall()


def _changed(path: str) -> float:
    """Return the time when a file or its write-ahead log was last changed, in seconds since 1970."""
    times = [0.0]
    for suffix in ("", "-wal"):
        with contextlib.suppress(OSError):
            times.append(os.stat(path + suffix).st_mtime)
    return max(times)


def _is_busy(error: BaseException) -> bool:
    """Return True if another process is making the same file just now."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in BUSY


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def cache_folder(given: str | None, url: str) -> str | None:
    """Return the folder of the replica of a store; None if there is no place."""
    name = hashlib.sha256(url.encode()).hexdigest()[:32]
    if given == ":memory:":
        return None
    if given is not None:
        return os.path.join(os.path.expanduser(given), name)
    root = os.environ.get("XDG_CACHE_HOME") or ""
    if not os.path.isabs(root):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        root = os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")
    return os.path.join(root, "truthstore", name)
