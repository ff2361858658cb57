"""Connections to one SQLite database: a writer, a pool of readers, transactions, and what a fork means to them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

from truthstore.errors import StoreConfigError
from truthstore.runtime.forks import Rank, watch_forks

__all__ = ["VERSION", "Connections"]

VERSION: Final = 2
PAGE_SIZE: Final = 2_048
CHECKPOINT_PAGES: Final = 4_000
BUSY_SECONDS: Final = 60.0
_SYNCHRONOUS: Final = frozenset({"NORMAL", "FULL"})


class Connections:
    """One writer and any number of readers of one database, which may be a file or memory.

    Args:
        synchronous: ``NORMAL``, or ``FULL`` to sync every commit.
    """

    def __init__(self, synchronous: str) -> None:
        if synchronous not in _SYNCHRONOUS:
            raise ValueError(f"synchronous is one of {', '.join(sorted(_SYNCHRONOUS))}, not {synchronous!r}")
        self._synchronous = synchronous
        self._path: str | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._begin_anew()
        watch_forks(self, Rank.CONNECTION)

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._resting = False
        self._readers = _Readers()

    def abandon(self) -> None:
        """Forget all connections without closing them.

        After a fork, closing would touch the parent's locks; after the file was replaced, closing would remove the
        write-ahead log of its successor by name (sqlite.org/howtocorrupt.html).
        """
        self._abandoned.extend(self._readers.idle)
        if self._writer is not None:
            self._abandoned.append(self._writer)
        self._begin_anew()

    def before_fork(self) -> None:
        """Wait until no thread is inside SQLite, keep them out, and close the connections to a file."""
        self._lock.acquire()
        self._readers.stop()
        if self._path is None or self._writer is None or self._writer.in_transaction:
            return
        for connection in (*self._readers.idle, self._writer):
            connection.close()
        self._readers.idle.clear()
        self._writer = None
        self._resting = True

    def after_fork(self, *, child: bool) -> None:
        """Let threads in again; connections are made again when they are needed."""
        lock, readers = self._lock, self._readers
        if child:
            self.abandon()
        readers.go_on()
        lock.release()

    def open(self, path: str | None) -> None:
        """Connect to a file, or to memory, and make the tables of the catalog itself if they are not there.

        Raises:
            sqlite3.Error: it cannot be opened, or is damaged.
            StoreConfigError: another version of this library made it.
        """
        self._path = path
        writer = self._connect("rwc")
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            writer.close()
            raise StoreConfigError(
                f"the index has format {version}, this library reads up to {VERSION}: upgrade truthstore"
            )
        if 0 < version < VERSION:
            writer.close()
            raise StoreConfigError(
                f"the index {path} has format {version}, of an earlier version of this library: remove it while no "
                "store is open, and it is made again from the items"
            )
        if version == 0:
            if path is not None:
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
        self._writer = writer

    def _connect(self, mode: str) -> sqlite3.Connection:
        # A reader must not make a file of its own in the place of one that was removed.
        place = "file::memory:" if self._path is None else f"file:{quote(self._path)}?mode={mode}"
        connection = sqlite3.connect(
            place, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        # Some systems build SQLite so that it overwrites with zeros what is deleted: that doubles the cost of a journal.
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._writer is None:
            if not self._resting:
                raise sqlite3.ProgrammingError("the index is not open")
            self._writer = self._connect("rw")
            self._resting = False
        return self._writer

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self._path is None:
            with self._lock:
                return self._connection.execute(sql, parameters).fetchall()
        # Kept in hand: should the index be replaced now, the connection goes back to where it came from.
        readers = self._readers
        with readers:
            try:
                connection = readers.idle.pop()
            except IndexError:
                connection = self._connect("rw")
            rows = connection.execute(sql, parameters).fetchall()
            readers.idle.append(connection)
        return rows

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self._read(sql, parameters)

    def _transaction(self) -> Transaction:
        return Transaction(self._lock, lambda: self._connection)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            connections = [*self._readers.idle, *([self._writer] if self._writer is not None else [])]
            self._begin_anew()
            for connection in connections:
                connection.close()


class _Readers:
    """The connections that no thread reads with just now, and the number of threads that read with others."""

    __slots__ = ("_changed", "_number", "idle")

    def __init__(self) -> None:
        self.idle: list[sqlite3.Connection] = []
        self._changed = threading.Condition(threading.Lock())
        self._number = 0

    def __enter__(self) -> None:
        with self._changed:
            self._number += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._number -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Wait until no thread reads, and let none begin before `go_on`."""
        self._changed.acquire()
        while self._number:
            self._changed.wait()

    def go_on(self) -> None:
        """Let readers begin."""
        self._changed.release()


class Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK if anything is raised."""

    __slots__ = ("_connect", "_connection", "_lock")

    def __init__(self, lock: threading.RLock, connect: Callable[[], sqlite3.Connection]) -> None:
        self._lock = lock
        self._connect = connect

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        try:
            self._connection = self._connect()
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            finally:
                self._lock.release()
