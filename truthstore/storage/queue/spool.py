"""A durable queue in a local file: what was put in is there after a crash, until it was delivered.

Write-behind, batching and asynchronous delivery share it. Several threads and processes may put in and deliver; one of
them delivers at a time, and entries with the same topic and key are delivered in the order in which they came.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from truthstore.errors import StoreClosedError, StoreConnectionError, StoreWriteError
from truthstore.runtime.forks import Rank, watch_forks

# Without it, on Windows, several processes must not share a file.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

__all__ = ["Entry", "Spool"]

Send = Callable[[Sequence["Entry"]], Mapping[int, Exception]]
"""Delivers entries of one topic; the error for each number that could not be delivered."""

BATCH: Final = 100
WAIT: Final = 30.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS queue (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, payload BLOB NOT NULL,
    tried INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS queue_key ON queue (topic, key, number);
"""


class Entry(NamedTuple):
    """What waits for delivery.

    Attributes:
        number: its place in the queue.
        topic: what it belongs to, such as the name of a collection.
        key: entries of one key are delivered in order, and one that fails holds up those behind it.
        payload: the bytes.
        tried: whether somebody began to deliver it and did not come to the end: it may have arrived.
    """

    number: int
    topic: str
    key: str
    payload: bytes
    tried: int = 0


class Spool:
    """A queue in an SQLite file.

    Args:
        path: the file; it is made when the first entry is put in, its folder too.
        durability: ``fsync``: what `append` took survives a power cut; ``os``: the death of the process.
        purpose: users of one file with different purposes do not wait for each other: what one delivers may make the
            other deliver. Their topics differ.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, durability: Literal["fsync", "os"] = "fsync", purpose: str = ""
    ) -> None:
        self._path = os.fspath(path)
        self._lock_path = f"{self._path}.{purpose}lock"
        self._durability = durability
        self._lock = threading.RLock()
        self._delivering = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._deliverer = 0
        self._handle: int | None = None
        self._closed = False
        watch_forks(self, Rank.SPOOL)

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self._closed:
            raise StoreClosedError(f"the queue in {self._path} was closed")
        try:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durability == 'fsync' else 'NORMAL'}")
            connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreConnectionError("spool", f"the queue in {self._path} cannot be opened: {error}") from error
        self._connection = connection
        return connection

    @contextlib.contextmanager
    def _using(self, what: str) -> Generator[sqlite3.Connection]:
        with self._lock:
            connection = self._open()
            try:
                yield connection
            except sqlite3.Error as error:
                raise StoreWriteError(f"the queue in {self._path} could not {what}: {error}", retryable=True) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], *, instead_of: Collection[int] = ()
    ) -> list[int]:
        """Takes keys and payloads, all or none, and returns their numbers.

        Args:
            topic: what they belong to.
            entries: keys and payloads.
            instead_of: numbers of entries that are given up in the same step.

        Raises:
            StoreWriteError: they could not be kept.
        """
        numbers: list[int] = []
        with self._using("take an entry") as connection:
            connection.execute("BEGIN IMMEDIATE")
            for key, payload in entries:
                cursor = connection.execute(
                    "INSERT INTO queue (topic, key, payload) VALUES (?, ?, ?)", (topic, key, payload)
                )
                numbers.append(cursor.lastrowid or 0)
            connection.executemany("DELETE FROM queue WHERE number = ?", [(number,) for number in instead_of])
            connection.execute("COMMIT")
        return numbers

    def _is_new(self) -> bool:
        """Whether nothing was ever put in: then nothing need be made to read it."""
        return self._connection is None and not self._closed and not os.path.exists(self._path)

    def find(self, topic: str, key: str) -> Entry | None:
        """The newest entry of a key that still waits."""
        if self._is_new():
            return None
        with self._using("be read") as connection:
            row = connection.execute(
                "SELECT number, topic, key, payload, tried FROM queue WHERE topic = ? AND key = ? ORDER BY number DESC LIMIT 1",
                (topic, key),
            ).fetchone()
        return None if row is None else Entry(*row)

    def entries(self, topic: str, key: str) -> list[Entry]:
        """All entries of a key that wait, oldest first."""
        if self._is_new():
            return []
        with self._using("be read") as connection:
            rows = connection.execute(
                "SELECT number, topic, key, payload, tried FROM queue WHERE topic = ? AND key = ? ORDER BY number",
                (topic, key),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def keys(self, topic: str) -> list[str]:
        """Of what entries of a topic wait, each once."""
        if self._is_new():
            return []
        with self._using("be read") as connection:
            rows = connection.execute(
                "SELECT DISTINCT key FROM queue WHERE topic = ? ORDER BY key", (topic,)
            ).fetchall()
        return [str(row[0]) for row in rows]

    def move(self, numbers: Collection[int], topic: str, *, of: str | None = None) -> None:
        """Puts entries into another topic, in which they keep their order; those that are in the topic `of`, if given."""
        with self._using("move an entry") as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "UPDATE queue SET topic = ?, tried = 0 WHERE number = ? AND topic = ifnull(?, topic)",
                [(topic, number, of) for number in numbers],
            )
            connection.execute("COMMIT")

    def waiting(self, topic: str, *, after: int = 0, limit: int = BATCH) -> list[Entry]:
        """The oldest entries of a topic behind a number."""
        if self._is_new():
            return []
        with self._using("be read") as connection:
            rows = connection.execute(
                "SELECT number, topic, key, payload, tried FROM queue"
                " WHERE topic = ? AND number > ? ORDER BY number LIMIT ?",
                (topic, after, limit),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def topics(self) -> list[str]:
        """What entries wait for."""
        if self._is_new():
            return []
        with self._using("be read") as connection:
            return [str(row[0]) for row in connection.execute("SELECT DISTINCT topic FROM queue ORDER BY topic")]

    def count(self, topic: str | None = None) -> int:
        """How many entries wait, of one topic or of all."""
        if self._is_new():
            return 0
        with self._using("be read") as connection:
            if topic is None:
                row = connection.execute("SELECT count(*) FROM queue").fetchone()
            else:
                row = connection.execute("SELECT count(*) FROM queue WHERE topic = ?", (topic,)).fetchone()
        return int(row[0])

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True

    def remove(self, numbers: Collection[int]) -> int:
        """Gives entries up and returns how many there were."""
        with self._using("remove an entry") as connection:
            connection.execute("BEGIN IMMEDIATE")
            cursor = connection.executemany("DELETE FROM queue WHERE number = ?", [(number,) for number in numbers])
            connection.execute("COMMIT")
            return cursor.rowcount

    def _mark(self, entries: Sequence[Entry]) -> None:
        with self._using("mark an entry") as connection:
            numbers = [(entry.number,) for entry in entries]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("UPDATE queue SET tried = 1 WHERE number = ?", numbers)
            connection.execute("COMMIT")

    def deliver(self, topic: str, send: Send, *, batch: int = BATCH) -> dict[int, Exception]:
        """Sends what waits, in order, and removes what was sent.

        An entry that cannot be sent stays, and so do those behind it with the same key; all others are sent. Whoever
        dies between sending and removing leaves entries that are `tried`: `send` finds out whether they arrived.

        Args:
            topic: whose entries.
            send: delivers entries; it may also raise, and then nothing of the batch counts as sent.
            batch: at most so many at once.

        Returns:
            The errors of those that stay, by number.
        """
        failed: dict[int, Exception] = {}
        if self._deliverer == threading.get_ident() or not self.count(topic):
            return failed  # what this thread is delivering is on its way
        # No generators around the locks: an interrupt within one of them would leave them taken.
        with self._delivering:
            self._deliverer = threading.get_ident()
            try:
                self._lock_file()
                self._deliver(topic, send, batch, failed)
            finally:
                self._deliverer = 0  # first, for it takes no call that could be interrupted
                self._unlock_file()
        return failed

    def _deliver(self, topic: str, send: Send, batch: int, failed: dict[int, Exception]) -> None:
        held: dict[str, Exception] = {}
        last = 0
        while entries := self.waiting(topic, after=last, limit=batch):
            last = entries[-1].number
            ready = [entry for entry in entries if entry.key not in held]
            self._mark(ready)
            errors = send(ready) if ready else {}
            sent: list[int] = []
            for entry in entries:
                error = errors.get(entry.number) or held.get(entry.key)
                if error is None:
                    sent.append(entry.number)
                else:
                    failed[entry.number] = error
                    held.setdefault(entry.key, error)
            self.remove(sent)

    def _lock_file(self) -> None:
        """Waits until no other process delivers."""
        if fcntl is None:
            return
        self._unlock_file()  # an interrupt kept it from that
        with self._lock:  # a fork comes when the handle is known, so that the child can close it
            self._handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def _unlock_file(self) -> None:
        with self._lock:
            handle, self._handle = self._handle, None
            if handle is not None:
                os.close(handle)

    def before_fork(self) -> None:
        """Closes the connection: SQLite's locks do not cross a fork."""
        self._lock.acquire()
        self._disconnect()

    def after_fork(self, *, child: bool) -> None:
        """The next use opens it again. A child gives up the turn of a thread that it does not have."""
        if child:
            self._delivering = threading.Lock()
            self._deliverer = 0
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
        self._lock.release()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Closes the file; what waits stays in it."""
        with self._lock:
            self._disconnect()
            self._closed = True
