"""A cache in an SQLite file, shared by the processes of one machine and kept from one to the next."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from collections.abc import Generator, Mapping, Sequence
from time import time
from typing import ClassVar, Final

from truthstore.caching.backends.shared import SharedCache
from truthstore.errors import StoreConfigError
from truthstore.runtime.exits import at_exit
from truthstore.runtime.forks import before_fork, fork_gate
from truthstore.storage.leftovers import remove_leftovers

__all__ = ["DiskCache"]

FILE: Final = "cache.sqlite"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, expires REAL NOT NULL
)
"""
FIND: Final = "SELECT value FROM entries WHERE key = ? AND expires > ?"
REPLACE: Final = "REPLACE INTO entries (key, value, expires) VALUES (?, ?, ?)"
ADD: Final = "INSERT OR IGNORE INTO entries (key, value, expires) VALUES (?, ?, ?)"
EXPIRE: Final = "DELETE FROM entries WHERE expires <= ?"
USED_BYTES: Final = """
SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
EVICT: Final = """
DELETE FROM entries WHERE number IN (SELECT number FROM entries ORDER BY number LIMIT (SELECT count(*) / 4 + 1 FROM entries))
"""


class DiskCache(SharedCache):
    """Keeps bytes in a folder, in an SQLite file; nothing in it is ever unpickled.

    Args:
        directory: the folder; it is made if need be.
        ttl_seconds: life span of an entry by this machine's clock; None, 0 and infinity mean until it is evicted.
        max_memory_mb: most megabytes, about; the quarter that was written first is evicted first.
        timeout_seconds: longest wait for another process.
        retry_seconds: after a failure the file is not used for so long.

    Raises:
        StoreConfigError: the file cannot be opened, or is damaged.
    """

    name: ClassVar[str] = "disk"

    def __init__(
        self,
        directory: str | os.PathLike[str] = ".truthstore/cache",
        *,
        ttl_seconds: float | None = 3_600.0,
        max_memory_mb: float = 1_000.0,
        timeout_seconds: float = 5.0,
        retry_seconds: float = 1.0,
    ) -> None:
        super().__init__(ttl_seconds=ttl_seconds, retry_seconds=retry_seconds, failures=(sqlite3.Error, OSError))
        self._path = os.path.join(os.path.abspath(os.path.expanduser(directory)), FILE)
        self._max_bytes = max_memory_mb * 1e6
        self._timeout = timeout_seconds
        self._idle: list[tuple[int, sqlite3.Connection]] = []
        """Connections and the numbers of their files."""
        weakref.finalize(self, _close_all, self._idle).atexit = False
        at_exit(self.close, last=True)
        before_fork(self._disconnect)
        try:
            self._size()
        except self._failures as error:
            raise StoreConfigError(f"the cache in {self._path} cannot be opened: {error}") from error

    @contextlib.contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Generator[sqlite3.Connection]:
        with fork_gate:  # no connection to a file crosses a fork
            file, connection = self._connection()
            try:
                connection.execute(f"BEGIN {kind}")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()  # which rolls back
                raise
            self._idle.append((file, connection))

    def _connection(self) -> tuple[int, sqlite3.Connection]:
        """Return an idle connection to the file that is there now, or a new one, and the number of the file."""
        there = _number(self._path)
        with contextlib.suppress(IndexError):  # none is left
            while True:
                file, connection = self._idle.pop()
                if file == there:
                    return file, connection
                connection.close()
        if not there:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            remove_leftovers(self._path)
        connection = self._connect()
        return _number(self._path), connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", SCHEMA):
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        _close_all(self._idle)

    def _get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        now = time()
        with self._transaction("DEFERRED") as connection:
            rows = [connection.execute(FIND, (key, now)).fetchone() for key in keys]
        return [None if row is None else bytes(row[0]) for row in rows]

    def _put(self, values: Mapping[str, bytes], ttl_seconds: float, *, replace: bool) -> int:
        now = time()
        rows = [(key, value, now + ttl_seconds) for key, value in values.items()]
        with self._transaction() as connection:
            connection.executemany(f"{EXPIRE} AND key = ?", [(now, key) for key in values])
            count = connection.executemany(REPLACE if replace else ADD, rows).rowcount
            if connection.execute(USED_BYTES).fetchone()[0] > self._max_bytes:
                connection.execute(EXPIRE, (now,))
                connection.execute(EVICT)
        return count

    def _remove(self, keys: Sequence[str]) -> int:
        with self._transaction() as connection:
            return connection.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in keys]).rowcount

    def _clear(self) -> int:
        with self._transaction() as connection:
            return connection.execute("DELETE FROM entries").rowcount

    def _expire(self) -> int:
        with self._transaction() as connection:
            return connection.execute(EXPIRE, (time(),)).rowcount

    def _size(self) -> int:
        with self._transaction("DEFERRED") as connection:
            return int(connection.execute("SELECT count(*) FROM entries WHERE expires > ?", (time(),)).fetchone()[0])

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with fork_gate:
            self._disconnect()


def _number(path: str) -> int:
    """Return the number of a file; 0 if there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _close_all(connections: list[tuple[int, sqlite3.Connection]]) -> None:
    while connections:
        connections.pop()[1].close()
