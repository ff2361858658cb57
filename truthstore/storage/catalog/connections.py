"""Connections to one SQLite database: a writer, a pool of readers, transactions, and what a fork means to them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from truthstore.errors import StoreConfigError
from truthstore.runtime.forks import before_fork, fork_gate

__all__ = ["VERSION", "Connections"]

VERSION: Final = 2
PAGE_SIZE: Final = 2_048
CHECKPOINT_PAGES: Final = 4_000
BUSY_SECONDS: Final = 60.0
_open: Final = set[sqlite3.Connection]()
"""All connections of this process: those that were abandoned are never closed, not even by being forgotten."""


class Connections:
    """One writer and any number of readers of one database, which may be a file or memory."""

    def __init__(self, synchronous: str) -> None:
        self._synchronous = synchronous
        self._path: str | None = None
        self._begin_anew()
        before_fork(self._disconnect)

    def _begin_anew(self) -> None:
        self._lock = _Lock()
        self._pid = os.getpid()
        self._is_open = False
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        """Readers that no thread is reading with."""

    def abandon(self) -> None:
        """Forget all connections without closing them.

        After the file was replaced, closing would remove the write-ahead log of its successor by name; in a forked
        child, it would touch the parent's locks (sqlite.org/howtocorrupt.html).
        """
        self._begin_anew()

    def _disconnect(self) -> None:
        """Close the connections to a file before a fork; the next use makes new ones."""
        if self._path is None or (self._writer is not None and self._writer.in_transaction):
            return  # of a fork within a transaction, the child abandons the connections
        self._close()

    def _leave_parent(self) -> None:
        """Abandon what a forked child inherited; memory was copied whole."""
        if self._path is not None:
            is_open = self._is_open
            self.abandon()
            self._is_open = is_open
        self._pid = os.getpid()

    def _close(self) -> None:
        connections = [*self._idle, *([self._writer] if self._writer is not None else [])]
        self._idle.clear()
        self._writer = None
        for connection in connections:
            connection.close()
            _open.discard(connection)

    def __del__(self) -> None:
        # Python 3.13 warns of connections that are forgotten open.
        if self._pid == os.getpid():
            self._close()

    def open(self, path: str | None) -> None:
        """Connect to a file, or to memory, and make the catalog's own tables if they are not there.

        Raises:
            sqlite3.Error: it cannot be opened, or is damaged.
            StoreConfigError: another version of this library made it.
        """
        with self._lock:
            self._path = path
            self._writer = self._connect("rwc")
            try:
                self._make(self._writer)
            except BaseException:
                self._close()
                raise
            self._is_open = True

    def _make(self, writer: sqlite3.Connection) -> None:
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreConfigError(
                f"the index has format {version}, this library reads up to {VERSION}: upgrade truthstore"
            )
        if 0 < version < VERSION:
            raise StoreConfigError(
                f"the index {self._path} has format {version}, of an earlier version of this library: remove it while no "
                "store is open, and it is made again from the items"
            )
        if version == 0:
            if self._path is not None:
                # A commit writes the pages that it touched, one of each index: small pages make it cheaper.
                writer.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                (mode,) = writer.execute("PRAGMA journal_mode = WAL").fetchone()
                if mode != "wal":
                    # SQLite does not call this an error: it would go on without readers beside a writer.
                    raise sqlite3.OperationalError("there can be no write-ahead log here")
            writer.executescript(
                "BEGIN IMMEDIATE;"
                "CREATE TABLE IF NOT EXISTS definitions (collection TEXT NOT NULL, fingerprint TEXT NOT NULL,"
                " number INTEGER NOT NULL, mark INTEGER NOT NULL, columns TEXT NOT NULL,"
                " PRIMARY KEY (collection, fingerprint)) WITHOUT ROWID;"
                "CREATE TABLE IF NOT EXISTS marks (collection TEXT NOT NULL, kind TEXT NOT NULL,"
                " mark INTEGER NOT NULL, PRIMARY KEY (collection, kind)) WITHOUT ROWID;"
                f"PRAGMA user_version = {VERSION};"
                "COMMIT;"
            )

    def _connect(self, mode: str) -> sqlite3.Connection:
        # A reader must not make a file of its own in the place of one that was removed.
        place = "file::memory:" if self._path is None else f"file:{quote(self._path)}?mode={mode}"
        connection = sqlite3.connect(
            place, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            # Some systems build SQLite so that it overwrites with zeros what is deleted: that doubles the cost of a journal.
            connection.executescript(
                f"PRAGMA synchronous = {self._synchronous}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
                "PRAGMA secure_delete = OFF;"
            )
        except BaseException:
            connection.close()
            raise
        _open.add(connection)
        return connection

    def _writable(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            self._leave_parent()
        if self._writer is None:
            if not self._is_open:
                raise sqlite3.ProgrammingError("the index is not open")
            self._writer = self._connect("rw")
        return self._writer

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        if self._path is None:
            with self._lock:
                return self._writable().execute(sql, parameters).fetchall()
        with fork_gate:
            if self._pid != os.getpid():
                self._leave_parent()
            # Kept in hand: should the index be replaced now, the connection goes back to where it came from.
            idle = self._idle
            try:
                connection = idle.pop()
            except IndexError:
                connection = self._connect("rw")
            try:
                return connection.execute(sql, parameters).fetchall()
            finally:
                idle.append(connection)

    def transaction(self) -> Transaction:
        """Begin a transaction, commit it, or roll it back if anything is raised: a `with` block.

        Raises:
            sqlite3.Error: nothing was written, or the commit is in doubt.
        """
        return Transaction(self._lock, self._writable)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._close()
            self._begin_anew()


class _Lock:
    """A reentrant lock that no fork finds taken by another thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        fork_gate.__enter__()
        try:
            self._lock.acquire()
        except BaseException:
            fork_gate.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        fork_gate.__exit__()


class Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK if anything is raised."""

    __slots__ = ("_connect", "_connection", "_lock")

    def __init__(self, lock: _Lock, connect: Callable[[], sqlite3.Connection]) -> None:
        self._lock = lock
        self._connect = connect

    def __enter__(self) -> sqlite3.Connection:
        self._lock.__enter__()
        try:
            self._connection = self._connect()
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.__exit__()
            raise
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        except sqlite3.Error as failure:
            error = failure
            raise
        finally:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                    self._bury()
            finally:
                self._lock.__exit__()

    def _bury(self) -> None:
        """Overwrite what a failed commit left in the write-ahead log.

        What was written whole and could only not be synced would come back to life with the next recovery, when nobody
        expects it any more.
        """
        with suppress(sqlite3.Error), self._connection:  # which commits, or rolls back
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(f"PRAGMA user_version = {VERSION}")  # writes the first page, changed or not
