"""A durable queue in one SQLite file: an appended entry stays there, through any crash, until it was delivered.

Batching, write-behind and the audit trail deliver through it. Any number of threads and processes may append and
deliver; of each topic one delivers at a time. No clock decides anything: an entry's number is its place.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from truthstore.errors import StoreClosedError, StoreConfigError, StoreConnectionError, StoreOverloadedError, one_of
from truthstore.storage.queue.file import QueueFile
from truthstore.storage.queue.rejected import Entry, Rejected, is_item_error

__all__ = ["Delivery", "DurableQueue", "Entry", "Rejected", "Send"]

UNREACHABLE: Final = (StoreConnectionError, StoreOverloadedError, StoreClosedError)
"""Errors after which the rest of a topic need not be tried: the receiver cannot be reached at all."""


class Delivery(NamedTuple):
    """The outcome of one call of `DurableQueue.deliver`.

    Attributes:
        delivered: entries that the receiver took.
        waiting: entries of the topic that are still queued.
        rejected: entries that the receiver will never take, moved aside.
        errors: by number, the errors of entries that failed, those that were rejected among them.
    """

    delivered: int
    waiting: int
    rejected: int
    errors: Mapping[int, Exception]


Send = Callable[[Sequence[Entry]], Mapping[int, Exception]]
"""Deliver entries and return the error of each that failed, by number; if it raises, all of them failed so.

It sends entries of one key in order, none behind one that failed, and may meet an entry again that it had delivered
before a crash: receivers tell by the revision, or a number of their own, that they have it.
"""


class DurableQueue:
    """A queue in an SQLite file, which is opened and made, with its folder, when it is first needed.

    Args:
        path: the file; None for a queue in memory, which ends with the process.
        durability: ``fsync``: an acknowledged entry survives a power cut; ``os``: the death of the process.

    Raises:
        StoreConfigError: an unknown durability.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, durability: Literal["fsync", "os"] = "fsync") -> None:
        if durability not in {"fsync", "os"}:
            raise StoreConfigError(one_of("durability", durability, ("fsync", "os")))
        self._file = QueueFile(
            None if path is None else os.path.abspath(os.path.expanduser(path)), sync=durability == "fsync"
        )

    @property
    def path(self) -> str | None:
        """The file, as an absolute path; None for a queue in memory."""
        return self._file.path

    def __str__(self) -> str:
        return str(self._file)

    def append(self, topic: str, entries: Sequence[tuple[str, bytes]]) -> list[int]:
        """Queue keys and payloads durably, all or none, and return their numbers.

        Raises:
            StoreWriteError: they were not queued, such as on a full disk.
            StoreConnectionError: the file cannot be opened.
        """
        return [entry.number for entry in self.exchange([(topic, *entry) for entry in entries])]

    def exchange(self, new: Sequence[tuple[str, str, bytes]], done: Sequence[Entry] = ()) -> list[Entry]:
        """Queue topics, keys and payloads, and remove entries that were delivered by another way, all or nothing.

        Raises:
            StoreWriteError: nothing was changed.
            StoreConnectionError: the file cannot be opened.
        """
        with self._file.writing("append") as connection:
            if done:
                self._remove(connection, done)
            insert = "INSERT INTO entries (topic, key, payload) VALUES (?, ?, ?)"
            return [Entry(connection.execute(insert, entry).lastrowid or 0, *entry) for entry in new]

    def _remove(self, connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
        # By their payloads, too: should the file be another one than when they were read, its numbers begin anew.
        connection.executemany(
            "DELETE FROM entries WHERE number = ? AND payload = ?", [(entry.number, entry.payload) for entry in entries]
        )

    def replace(
        self, topics: Sequence[str], key: str, topic: str, payload: bytes, *, queued_only: bool = False
    ) -> bool:
        """Remove what is queued under a key of some topics and append an entry to another, all or nothing; return if it did.

        Args:
            topics: whose entries are removed.
            key: of those entries, and of the new one.
            topic: of the new entry.
            payload: of the new entry.
            queued_only: do nothing if nothing is queued under the key of the first topic, so that of many only one does it.

        Raises:
            StoreWriteError: nothing was changed.
        """
        with self._file.writing("replace") as connection:
            is_queued = "SELECT 1 FROM entries WHERE topic = ? AND key = ?"
            if queued_only and not connection.execute(is_queued, (topics[0], key)).fetchone():
                return False
            connection.executemany("DELETE FROM entries WHERE topic = ? AND key = ?", [(each, key) for each in topics])
            connection.execute("INSERT INTO entries (topic, key, payload) VALUES (?, ?, ?)", (topic, key, payload))
        return True

    def pending(self, topic: str, *, key: str | None = None, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return queued entries of a topic, or of one key of it, in order, those behind a number.

        Raises:
            StoreReadError: the file cannot be read.
        """
        # Without a key by number: an index would have to be sorted.
        table, where = ("entries NOT INDEXED", "") if key is None else ("entries", " AND key = :key")
        rows = self._file.read(
            f"SELECT number, topic, key, payload FROM {table} WHERE topic = :topic AND number > :after{where}"
            " ORDER BY number LIMIT :limit",
            {"topic": topic, "key": key, "after": after, "limit": -1 if limit is None else limit},
        )
        return [Entry(*row) for row in rows]

    def count(self, topic: str | None = None) -> int:
        """Return the number of queued entries, of one topic or of all."""
        return self._figure("count(*)", topic)

    def size(self, topic: str | None = None) -> int:
        """Return the bytes of queued payloads, of one topic or of all."""
        return self._figure("coalesce(sum(length(payload)), 0)", topic)

    def _figure(self, figure: str, topic: str | None) -> int:
        where, parameters = ("", ()) if topic is None else (" WHERE topic = ?", (topic,))
        rows = self._file.read(f"SELECT {figure} FROM entries{where}", parameters)
        return int(rows[0][0]) if rows else 0

    def deliver(self, topic: str, send: Send, *, batch: int = 100, wait: float | None = 0) -> Delivery:
        """Send the entries that are queued now, in order, and remove those that were delivered.

        An entry that failed holds up those behind it with the same key and nothing else. It stays queued, unless
        its receiver judged the item itself: then it is rejected. A call that finds another thread or process
        delivering the topic waits for its turn, and returns without errors if it does not get one. A process that
        dies between sending and removing leaves entries that are sent again.

        Args:
            topic: the topic.
            send: delivers a batch.
            batch: at most so many entries at a time.
            wait: seconds to wait for the turn; None for ever.

        Raises:
            StoreReadError: the file cannot be read.
            StoreWriteError: delivered entries could not be removed, and will be sent again.
        """
        delivered, rejected = 0, 0
        errors: dict[int, Exception] = {}
        held: set[str] = set()
        if self.count(topic):
            with self._file.turns.take(topic, wait) as is_ours:
                last, end = 0, self._figure("coalesce(max(number), 0)", None) if is_ours else 0
                while entries := [e for e in self.pending(topic, after=last, limit=batch) if e.number <= end]:
                    last = entries[-1].number
                    ready = [entry for entry in entries if entry.key not in held]
                    failed = self._send(send, ready)
                    errors.update(failed)
                    done: list[Entry] = []
                    moved: list[tuple[Entry, Exception]] = []
                    for entry in ready:
                        error = failed.get(entry.number)
                        if entry.key in held:
                            continue  # whatever its receiver says: it was sent too early
                        if error is None:
                            done.append(entry)
                        elif is_item_error(error):
                            moved.append((entry, error))
                        else:
                            held.add(entry.key)
                    self._finish(done, moved)
                    delivered += len(done)
                    rejected += len(moved)
                    if failed and len(failed) == len(ready) and _all_unreachable(failed.values()):
                        break
        return Delivery(delivered, self.count(topic), rejected, errors)

    @staticmethod
    def _send(send: Send, entries: Sequence[Entry]) -> Mapping[int, Exception]:
        if not entries:
            return {}
        try:
            return send(entries)
        except Exception as error:  # noqa: BLE001  # of all entries, and part of the outcome
            return {entry.number: error for entry in entries}

    def _finish(self, done: Sequence[Entry], moved: Sequence[tuple[Entry, Exception]]) -> None:
        if not done and not moved:
            return
        with self._file.writing("remove what was delivered") as connection:
            connection.executemany(
                "INSERT INTO rejected (number, topic, key, payload, error)"
                " SELECT number, topic, key, payload, ? FROM entries WHERE number = ? AND payload = ?",
                [(f"{type(error).__name__}: {error}", entry.number, entry.payload) for entry, error in moved],
            )
            self._remove(connection, (*done, *(entry for entry, _ in moved)))
            self._outdate(connection, [(entry.topic, entry.key, entry.number) for entry in done])

    @staticmethod
    def _outdate(connection: sqlite3.Connection, before: Sequence[tuple[str, str, int]]) -> None:
        connection.executemany("UPDATE rejected SET outdated = 1 WHERE topic = ? AND key = ? AND number < ?", before)

    def supersede(self, topic: str, keys: Sequence[str]) -> None:
        """Never retry rejected entries of these keys: their receiver is given something newer by another way.

        Raises:
            StoreWriteError: that could not be noted.
        """
        if self._file.read("SELECT 1 FROM rejected WHERE topic = ? LIMIT 1", (topic,)):
            with self._file.writing("mark what was rejected") as connection:
                self._outdate(connection, [(topic, key, 1 << 62) for key in keys])

    def rejected(self, topic: str) -> list[Rejected]:
        """Return the entries that their receiver rejected, in order."""
        sql = "SELECT number, topic, key, payload, error FROM rejected WHERE topic = ? ORDER BY number"
        rows = self._file.read(sql, (topic,))
        return [Rejected(Entry(*row[:4]), row[4]) for row in rows]

    def retry_rejected(self, topic: str, numbers: Sequence[int] | None = None) -> int:
        """Put rejected entries, all or those of some numbers, back at the end of the queue, and return how many.

        An entry stays rejected if a later one of its key is queued, was delivered since, or stays rejected itself:
        it would undo what came later.
        """
        chosen = set(self._chosen(topic, numbers))
        if not chosen:
            return 0
        with self._file.writing("put back what was rejected") as connection:
            queued = dict(
                connection.execute("SELECT key, max(number) FROM entries WHERE topic = ? GROUP BY key", (topic,))
            )
            rows = connection.execute(
                "SELECT number, key, outdated FROM rejected WHERE topic = ? ORDER BY number DESC",
                (topic,),
            ).fetchall()
            back: list[int] = []
            staying: set[str] = set()
            for number, key, outdated in rows:
                if outdated or number not in chosen or key in staying or queued.get(key, 0) > number:
                    staying.add(key)
                else:
                    back.append(number)
            for number in reversed(back):
                connection.execute(
                    "INSERT INTO entries (topic, key, payload) SELECT topic, key, payload FROM rejected WHERE number = ?",
                    (number,),
                )
                connection.execute("DELETE FROM rejected WHERE number = ?", (number,))
        return len(back)

    def discard_rejected(self, topic: str, numbers: Sequence[int] | None = None) -> int:
        """Remove rejected entries for ever, all or those of some numbers, and return how many."""
        chosen = self._chosen(topic, numbers)
        if not chosen:
            return 0
        with self._file.writing("discard what was rejected") as connection:
            rows = [(number,) for number in chosen]
            return connection.executemany("DELETE FROM rejected WHERE number = ?", rows).rowcount

    def change(self, topic: str, change: Callable[[Entry, bool], bytes | None]) -> None:
        """Put the bytes that `change` returns in the place of a payload, wherever it is not None.

        An entry that is being delivered meanwhile is delivered again, changed.

        Args:
            topic: whose entries.
            change: takes an entry, and whether it was rejected.

        Raises:
            StoreWriteError: they were not changed.
        """
        for table in ("entries", "rejected"):
            rows = self._file.read(
                f"SELECT number, topic, key, payload FROM {table} WHERE topic = ? ORDER BY number", (topic,)
            )
            found = [(change(entry, table == "rejected"), entry) for entry in (Entry(*row) for row in rows)]
            if changed := [(new, entry.number, entry.payload) for new, entry in found if new is not None]:
                with self._file.writing("change what is queued") as connection:
                    connection.executemany(f"UPDATE {table} SET payload = ? WHERE number = ? AND payload = ?", changed)

    def _chosen(self, topic: str, numbers: Sequence[int] | None) -> list[int]:
        """Return the numbers of rejected entries, all or those among some, in order."""
        wanted = None if numbers is None else set(numbers)
        rows = self._file.read("SELECT number FROM rejected WHERE topic = ? ORDER BY number", (topic,))
        return [number for (number,) in rows if wanted is None or number in wanted]

    def close(self) -> None:
        """Close the file; queued entries stay in it."""
        self._file.close()


def _all_unreachable(errors: Iterable[Exception]) -> bool:
    return all(isinstance(error, UNREACHABLE) for error in errors)
