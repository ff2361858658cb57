"""The SQLite file of a queue: one connection per process, transactions, and errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final

from truthstore.errors import (
    StoreClosedError,
    StoreConfigError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.runtime.exits import at_exit
from truthstore.runtime.forks import before_fork, fork_gate, in_child
from truthstore.storage.leftovers import remove_leftovers
from truthstore.storage.queue.turn import Turns

__all__ = ["QueueFile"]

VERSION: Final = 1
BUSY_SECONDS: Final = 30.0
CHECKPOINT_PAGES: Final = 4_000
SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_key ON entries (topic, key);
CREATE TABLE IF NOT EXISTS rejected (
    number INTEGER PRIMARY KEY, topic TEXT NOT NULL, key TEXT NOT NULL, payload BLOB NOT NULL,
    error TEXT NOT NULL, outdated INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS rejected_key ON rejected (topic, key);
PRAGMA user_version = {VERSION};
COMMIT;
"""
DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class QueueFile:
    """A file of entries, opened and made, with its folder, when it is first needed.

    Args:
        path: the file, absolute; None for a queue in the memory of this process, of which a forked child has none.
        sync: wait for the disk at the end of each transaction.
    """

    def __init__(self, path: str | None, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self._lock = threading.RLock()  # only inside the gate, so that no fork finds it taken
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._closed = False
        self.turns = Turns(path)
        (in_child if path is None else before_fork)(self._disconnect)
        in_child(self.turns.forget)
        at_exit(self._end, last=True)

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreClosedError(f"{self} was closed")
        if self._connection is not None and self.path is not None and _inode(self.path) != self._inode:
            # The file was removed: what is put in now must not go with it. Closing would remove the log of a successor.
            self._connection = None
        if self._connection is None:
            try:
                self._connection = self._connect_in_turn()
            except (OSError, sqlite3.Error) as error:
                raise StoreConnectionError("queue", self._broken("be opened", error)) from error
            weakref.finalize(self, self._connection.close).atexit = False  # that is `_end`, after the last delivery
            self._inode = 0 if self.path is None else _inode(self.path)
        return self._connection

    def _connect_in_turn(self) -> sqlite3.Connection:
        """Connect; again where other processes turn on the write-ahead log just then, for which SQLite does not wait."""
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random  # which is rarely needed

        again, end = retry_if_exception(_is_busy), stop_after_delay(BUSY_SECONDS)
        return Retrying(retry=again, wait=wait_random(0.01, 0.05), stop=end, reraise=True)(self._connect)

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            _make_folder(os.path.dirname(self.path), sync=self._sync)
            remove_leftovers(self.path)
        path = self.path or ":memory:"
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreConfigError(
                f"{self} has format {version}, this library reads up to {VERSION}: upgrade truthstore"
            )
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")  # each waits for the disk
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != ("memory" if self.path is None else "wal"):
            raise sqlite3.OperationalError("there can be no write-ahead log here")
        if version == 0:
            connection.executescript(SCHEMA)

    def _broken(self, step: str, error: Exception) -> str:
        hint = ""
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
            hint = ": move the file aside, `sqlite3 FILE .recover` shows what can still be read of it"
        return f"{self} could not {step}: {error}{hint}"

    def __str__(self) -> str:
        return "the queue in memory" if self.path is None else f"the queue in {self.path}"

    def read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Return rows; none, and make nothing, where there is no file yet."""
        with fork_gate, self._lock:
            if self._connection is None and not self._closed and (self.path is None or not _inode(self.path)):
                return []
            connection = self._open()
            try:
                return connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0)
                kind: type[StoreError] = StoreCorruptError if code & 0xFF in DAMAGED else StoreReadError
                raise kind(self._broken("be read", error), retryable=kind is StoreReadError) from error

    @contextlib.contextmanager
    def writing(self, step: str) -> Generator[sqlite3.Connection]:
        """Run one transaction; nothing of it remains if it raises. The step names it in the message."""
        with fork_gate, self._lock:
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreWriteError(self._broken(step, error), retryable=True, store_unavailable=True) from error
            finally:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):  # the first error counts; SQLite may have ended it itself
                        connection.execute("ROLLBACK")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _end(self) -> None:
        with fork_gate, self._lock:
            self._disconnect()

    def close(self) -> None:
        """Close the file; every later use raises."""
        with fork_gate, self._lock:
            self._closed = True
            self._disconnect()


def _inode(path: str) -> int:
    """Return the number of a file; 0 if there is surely none, -1 if it cannot be seen."""
    try:
        return os.stat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError:
        return -1


def _make_folder(folder: str, *, sync: bool) -> None:
    """Make a folder and those above it, durably: a file survives a power cut only where its folder does."""
    missing: list[str] = []
    parent = folder
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    os.makedirs(folder, exist_ok=True)
    for made in missing if sync else ():
        handle = os.open(os.path.dirname(made), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
