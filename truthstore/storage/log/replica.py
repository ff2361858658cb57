"""This machine's copy of the logs of one store: a catalog, and the tables for following a log.

It is a cache: it may be deleted at any time, and several processes may share it. The rows of an index object are written
in the same transaction as the object's name. Beside the rows that answer queries it holds the latest confirmed row of
each id, the open intents, and the floor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from truthstore.model.record import new_revision
from truthstore.storage.catalog.catalog import Catalog, Put
from truthstore.storage.catalog.connections import VERSION
from truthstore.storage.log.compact import Joined, Source, join
from truthstore.storage.log.entry import ANY_BODY, Confirmed, Head, Intent, LogObject, record_of

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.storage.catalog.table import Bodies

__all__ = ["Replica"]

OWN: Final = "*"
FORMAT: Final = 3
PREFIX: Final = f"replica{VERSION}.{FORMAT}-"
CHUNK: Final = 5_000
UNUSED: Final = 86_400.0
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
CACHE_KILOBYTES: Final = 65_536
KNOWN: Final = Head()
"""Stand-in for the head of an item that the replica holds already."""

_to_json: Final = msgspec.json.Encoder().encode
logger: Final = logging.getLogger("truthstore.storage")


class Replica(Catalog):
    """A catalog that follows logs.

    Args:
        bodies: reads bodies, for fields that were declared later.
    """

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
            self._writable().executescript(
                "BEGIN IMMEDIATE;"
                "CREATE TABLE IF NOT EXISTS log_confirmed (collection TEXT NOT NULL, id TEXT NOT NULL, stamp INTEGER NOT NULL,"
                " revision TEXT NOT NULL, live INTEGER NOT NULL, PRIMARY KEY (collection, id)) WITHOUT ROWID;"
                "CREATE TABLE IF NOT EXISTS log_intents (collection TEXT NOT NULL, id TEXT NOT NULL, base INTEGER NOT NULL,"
                " stamp INTEGER NOT NULL, revision TEXT NOT NULL,"
                " PRIMARY KEY (collection, id, stamp, revision, base)) WITHOUT ROWID;"
                "CREATE TABLE IF NOT EXISTS log_applied (collection TEXT NOT NULL, name TEXT NOT NULL,"
                " PRIMARY KEY (collection, name)) WITHOUT ROWID;"
                "CREATE TABLE IF NOT EXISTS log_floors (collection TEXT PRIMARY KEY, floor INTEGER NOT NULL) WITHOUT ROWID;"
                "COMMIT;"
            )

    def is_current(self) -> bool:
        """Return True if the file that is open still lies in the cache folder."""
        return self._path is None or _inode(self._path) == self._inode

    def replace(self, *, damaged: bool) -> None:
        """Give up the file and open another one.

        Args:
            damaged: remove the file; otherwise it was removed already, or cannot be used just now, like a full disk.
        """
        current = self.is_current()
        if self._path is not None and current and damaged:
            self._remove(self._path)
        self.open_cached(self._folder if damaged or not current else None, self.identity, self.born)

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

    def applied(self, collection: Collection[Any]) -> set[str]:
        """Return the names of the index objects whose content is here."""
        return {row[0] for row in self.read("SELECT name FROM log_applied WHERE collection = ?", (collection.name,))}

    def known(self, collection: Collection[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids that probably have a body, or a tombstone."""
        sql = "SELECT id FROM log_confirmed WHERE collection = ? AND id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self.read(sql, (collection.name, _to_json(ids).decode()))}

    def open_intents(self, collection: Collection[Any]) -> list[str]:
        """Return the ids that a writer may be replacing."""
        sql = "SELECT DISTINCT id FROM log_intents WHERE collection = ? ORDER BY id"
        return [row[0] for row in self.read(sql, (collection.name,))]

    def live(self, collection: Collection[Any]) -> dict[str, int]:
        """Return the stamps of all items."""
        return dict(self.read("SELECT id, stamp FROM log_confirmed WHERE collection = ? AND live", (collection.name,)))

    def news(self, collection: Collection[Any], confirmed: Iterable[Confirmed]) -> list[Confirmed]:
        """Return the rows that are not known here."""
        sql = "SELECT id, stamp, revision FROM log_confirmed WHERE collection = ?"
        known = {id: (stamp, revision) for id, stamp, revision in self.read(sql, (collection.name,))}
        return [row for row in confirmed if row.id not in known or row.rank > known[row.id]]

    def apply(self, collection: Collection[Any], sources: Sequence[Source], *, gone: Iterable[str] = ()) -> None:
        """Apply index objects, and forget the names of those that have left the log."""
        name = collection.name
        with self.transaction() as connection:
            compacted = any(source.content.coverage or source.content.floor for source in sources)
            applied = self.applied(collection) if compacted else set[str]()
            row = connection.execute("SELECT floor FROM log_floors WHERE collection = ?", (name,)).fetchone()
            floor = max(row[0] if row is not None else 0, self.born)
            news = [
                source
                for source in sources
                # A segment whose inputs are all here adds nothing but the floor.
                if not (source.content.coverage and source.content.coverage <= applied)
            ]
            known, joined = self._joined(connection, collection, news, applied, floor)
            self._write(connection, collection, known, joined)
            top = max([floor, joined.floor, *(source.content.floor for source in sources)])
            if top > floor:
                connection.execute("INSERT OR REPLACE INTO log_floors VALUES (?, ?)", (name, top))
            connection.executemany(
                "INSERT OR IGNORE INTO log_applied VALUES (?, ?)",
                [(name, each) for source in sources if source.name for each in (source.name, *source.content.coverage)],
            )
            connection.executemany(
                "DELETE FROM log_applied WHERE collection = ? AND name = ?", [(name, each) for each in gone]
            )

    def _joined(
        self,
        connection: sqlite3.Connection,
        collection: Collection[Any],
        sources: Sequence[Source],
        applied: set[str],
        floor: int,
    ) -> tuple[LogObject, Joined]:
        """Return the known rows of the ids in the sources, and those joined with the sources."""
        ids = {row.id for source in sources for row in source.content.confirmed}
        ids.update(intent.id for source in sources for intent in source.content.intents)
        for source in sources:
            if source.content.floor:
                # Rows that such an object does not hold may have been deleted and forgotten.
                rows = connection.execute(
                    "SELECT id FROM log_confirmed WHERE collection = ? AND live AND stamp <= ?",
                    (collection.name, source.content.floor),
                )
                ids.update(row[0] for row in rows)
        confirmed: list[Confirmed] = []
        intents: list[Intent] = []
        listed = sorted(ids)
        for start in range(0, len(listed), CHUNK):
            some = (collection.name, _to_json(listed[start : start + CHUNK]).decode())
            where = "WHERE collection = ? AND id IN (SELECT value FROM json_each(?))"
            confirmed.extend(
                Confirmed(id, stamp, revision, KNOWN if live else None)
                for id, stamp, revision, live in connection.execute(
                    f"SELECT id, stamp, revision, live FROM log_confirmed {where}", some
                )
            )
            intents.extend(
                Intent(*row)
                for row in connection.execute(f"SELECT id, base, stamp, revision FROM log_intents {where}", some)
            )
        known = LogObject(tuple(confirmed), tuple(intents), frozenset(applied), floor)
        return known, join([Source(OWN, known), *sources])

    def _write(
        self, connection: sqlite3.Connection, collection: Collection[Any], known: LogObject, joined: Joined
    ) -> None:
        """Write the rows that changed."""
        name = collection.name
        table = self._tables[collection]
        before = {row.id: row for row in known.confirmed}
        changed = [row for id, row in joined.confirmed.items() if before.get(id) is not row]
        doubted = [id for id in before if id not in joined.confirmed]
        stale = [(row.id,) for row in changed if row.id in before] + [(id,) for id in doubted]
        connection.executemany(f"DELETE FROM {table.name} WHERE id = ?", stale)
        connection.executemany(
            "DELETE FROM log_confirmed WHERE collection = ? AND id = ?", [(name, id) for id in doubted]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO log_confirmed VALUES (?, ?, ?, ?, ?)",
            [(name, row.id, row.stamp, row.revision, row.head is not None) for row in changed],
        )
        connection.executemany(
            table.insert,
            [
                table.row(Put(record_of(row, row.head)), self._number(connection, collection, row.head.shape))
                for row in changed
                if row.head is not None
            ],
        )
        if known.intents or joined.intents:
            before_ids = {intent.id for intent in known.intents}
            connection.executemany(
                "DELETE FROM log_intents WHERE collection = ? AND id = ?", [(name, id) for id in before_ids]
            )
            connection.executemany(
                "INSERT OR IGNORE INTO log_intents VALUES (?, ?, ?, ?, ?)",
                [
                    (name, intent.id, intent.base, intent.stamp, intent.revision)
                    for some in joined.intents.values()
                    for intent in some
                ],
            )

    def _number(self, connection: sqlite3.Connection, collection: Collection[Any], shape: str) -> int:
        """Return the number of the definition that a head follows, a new one if this machine did not know it."""
        if shape == collection.fingerprint:
            return 0
        shape = f"~{shape}"  # its fields are not columns here, as they are once a process declares them
        sql = "SELECT number FROM definitions WHERE collection = ? AND fingerprint = ?"
        row = connection.execute(sql, (collection.name, shape)).fetchone()
        if row is not None:
            return int(row[0])
        connection.execute(
            "INSERT INTO definitions (collection, fingerprint, number, mark, columns)"
            " SELECT ?, ?, 1 + max(number), 0, '[]' FROM definitions WHERE collection = ?",
            (collection.name, shape, collection.name),
        )
        return int(connection.execute(sql, (collection.name, shape)).fetchone()[0])

    def believe(self, collection: Collection[Any], confirmed: Mapping[str, Confirmed]) -> None:
        """Apply bodies that were seen. An intent stays open while the body is still the one that it wants to replace."""
        name = collection.name
        listed = (name, _to_json(list(confirmed)).decode())
        with self.transaction() as connection:
            rows = connection.execute(
                "SELECT id, stamp, revision, live FROM log_confirmed WHERE collection = ? AND id IN"
                " (SELECT value FROM json_each(?))",
                listed,
            )
            known = {row[0]: Confirmed(row[0], row[1], row[2], KNOWN if row[3] else None) for row in rows}
            now = known | {id: row for id, row in confirmed.items() if id not in known or row.rank >= known[id].rank}
            self._write(connection, collection, LogObject(tuple(known.values())), Joined(now, {}, 0))
            connection.executemany(
                "DELETE FROM log_intents WHERE collection = ? AND id = ? AND (base NOT IN (?, ?) OR stamp <= ?)",
                [(name, id, row.stamp, ANY_BODY, now[id].stamp) for id, row in confirmed.items()],
            )


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
