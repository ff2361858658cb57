"""This machine's copy of the logs of one store: a catalog, and the tables for following a log.

It is a cache: it may be deleted at any time, and several processes may share it. The rows of an index object are written
in the same transaction as the object's name. Beside the rows that answer queries it holds the latest confirmed row of
each id, the open intents, the floor, and which writes the entries in the log tell of: when an entry is gone, that shows
whether it was compacted or the store was restored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.storage.catalog.catalog import Put
from truthstore.storage.log.cached import CachedCatalog
from truthstore.storage.log.compact import Joined, Source, join, said, unexplained
from truthstore.storage.log.entry import ANY_BODY, Confirmed, Head, Intent, LogObject, is_segment, record_of

if TYPE_CHECKING:
    from truthstore.model.collection import Collection

__all__ = ["Replica"]

OWN: Final = "*"
CHUNK: Final = 5_000
KNOWN: Final = Head()
"""Stand-in for the head of an item that the replica holds already."""
COVERED: Final = b""
"""What the replica remembers of an entry or a segment that another segment replaces: nothing, for it may go."""

_to_json: Final = msgspec.json.Encoder().encode


class Replica(CachedCatalog):
    """A catalog that follows logs.

    Args:
        bodies: reads bodies, for fields that were declared later.
    """

    schema = (
        "CREATE TABLE IF NOT EXISTS log_confirmed (collection TEXT NOT NULL, id TEXT NOT NULL, stamp INTEGER NOT NULL,"
        " revision TEXT NOT NULL, live INTEGER NOT NULL, PRIMARY KEY (collection, id)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS log_intents (collection TEXT NOT NULL, id TEXT NOT NULL, base INTEGER NOT NULL,"
        " stamp INTEGER NOT NULL, revision TEXT NOT NULL,"
        " PRIMARY KEY (collection, id, stamp, revision, base)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS log_applied (collection TEXT NOT NULL, name TEXT NOT NULL, said BLOB,"
        " PRIMARY KEY (collection, name)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS log_floors (collection TEXT PRIMARY KEY, floor INTEGER NOT NULL) WITHOUT ROWID;"
    )

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

    def ranks(self, collection: Collection[Any]) -> dict[str, tuple[int, str]]:
        """Return the rank of the latest confirmed row of each id."""
        sql = "SELECT id, stamp, revision FROM log_confirmed WHERE collection = ?"
        return {id: (stamp, revision) for id, stamp, revision in self.read(sql, (collection.name,))}

    def apply(self, collection: Collection[Any], sources: Sequence[Source], *, gone: Iterable[str] = ()) -> set[str]:
        """Apply index objects, and forget the names of those that have left the log.

        Return the names that left it although no segment replaces them, and `sources` do not tell what they told.
        """
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
                "INSERT OR IGNORE INTO log_applied VALUES (?, ?, ?)",
                [
                    (name, source.name, None if is_segment(source.name) else said(source.content))
                    for source in sources
                    if source.name
                ],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO log_applied VALUES (?, ?, ?)",
                [(name, each, COVERED) for source in sources for each in source.content.coverage],
            )
            return self._forget(connection, collection, gone, sources)

    def _forget(
        self,
        connection: sqlite3.Connection,
        collection: Collection[Any],
        gone: Iterable[str],
        sources: Sequence[Source],
    ) -> set[str]:
        """Forget names that left the log, but for those that ought to be there; return these."""
        left = sorted(gone)
        if not left:
            return set()
        sql = "SELECT name, said FROM log_applied WHERE collection = ? AND name IN (SELECT value FROM json_each(?))"
        told = dict(connection.execute(sql, (collection.name, _to_json(left).decode())).fetchall())
        strange = unexplained(told, sources)
        connection.executemany(
            "DELETE FROM log_applied WHERE collection = ? AND name = ?",
            [(collection.name, each) for each in told if each not in strange],
        )
        return strange

    def _joined(
        self,
        connection: sqlite3.Connection,
        collection: Collection[Any],
        sources: Sequence[Source],
        applied: set[str],
        floor: int,
    ) -> tuple[LogObject, Joined]:
        """Return the known rows of the ids in the sources, and those joined with the sources."""
        ids = {row.id for source in sources for row in (*source.content.confirmed, *source.content.late)}
        ids.update(intent.id for source in sources for intent in source.content.intents)
        for source in sources:
            if source.content.floor:
                # Rows that such an object does not hold may have been deleted and forgotten.
                rows = connection.execute(
                    "SELECT id FROM log_confirmed WHERE collection = ? AND live AND stamp <= ?",
                    (collection.name, source.content.floor),
                )
                ids.update(row[0] for row in rows)
        confirmed, intents = self._known(connection, collection, ids)
        known = LogObject(tuple(confirmed), tuple(intents), frozenset(applied), floor)
        return known, join([Source(OWN, known), *sources])

    def _known(
        self, connection: sqlite3.Connection, collection: Collection[Any], ids: Iterable[str]
    ) -> tuple[list[Confirmed], list[Intent]]:
        """Return the confirmed rows and the open intents of some ids."""
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
        return confirmed, intents

    def _write(
        self, connection: sqlite3.Connection, collection: Collection[Any], known: LogObject, joined: Joined
    ) -> None:
        """Write the rows that changed."""
        name = collection.name
        table = self._tables[collection]
        before = {row.id: row for row in known.confirmed}
        doubts = joined.doubts
        looked_at = {intent.id for intent in known.intents}  # of these a body may be shown that no row confirms
        changed = [row for id, row in joined.confirmed.items() if before.get(id) is not row]
        doubted = [id for id in before if id not in joined.confirmed]
        stale = [(row.id,) for row in changed if row.id in before or row.id in looked_at] + [(id,) for id in doubted]
        connection.executemany(f"DELETE FROM {table.name} WHERE id = ?", stale)
        connection.executemany(
            "DELETE FROM log_confirmed WHERE collection = ? AND id = ?", [(name, id) for id in doubted]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO log_confirmed VALUES (?, ?, ?, ?, ?)",
            [(name, row.id, row.stamp, row.revision, row.head is not None) for row in changed],
        )
        self._insert(connection, collection, changed)
        if known.intents or doubts:
            connection.executemany(
                "DELETE FROM log_intents WHERE collection = ? AND id = ?", [(name, id) for id in looked_at]
            )
            connection.executemany(
                "INSERT OR IGNORE INTO log_intents VALUES (?, ?, ?, ?, ?)",
                [
                    (name, intent.id, intent.base, intent.stamp, intent.revision)
                    for some in doubts.values()
                    for intent in some
                ],
            )

    def _insert(self, connection: sqlite3.Connection, collection: Collection[Any], rows: Iterable[Confirmed]) -> None:
        """Write the rows that answer queries."""
        table = self._tables[collection]
        connection.executemany(
            table.insert,
            [
                table.row(Put(record_of(row, row.head)), self._number(connection, collection, row.head.shape))
                for row in rows
                if row.head is not None
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

    def believe(
        self, collection: Collection[Any], confirmed: Mapping[str, Confirmed], absent: Iterable[str] = ()
    ) -> None:
        """Apply bodies that were looked at, and show what is not there any more no longer.

        An intent stays open while the body is still the one that it wants to replace, and while the body is ahead of all
        that is known of the log: that one is shown but not remembered, for a restored store may not have it.
        """
        missing = list(absent)
        with self.transaction() as connection:
            rows, listed = self._known(connection, collection, {*confirmed, *missing})
            known = {row.id: row for row in rows}
            intents: dict[str, set[Intent]] = {}
            for intent in listed:
                intents.setdefault(intent.id, set()).add(intent)
            now = known.copy()
            ahead: list[Confirmed] = []
            for id, row in confirmed.items():
                held, some = known.get(id), intents.get(id, set())
                if held is None or held.revision != row.revision:
                    if not some:
                        continue
                    if row.revision not in {each.revision for each in some}:
                        ahead.append(row)
                        continue
                if held is None or row.rank >= held.rank:
                    now[id] = row
                intents[id] = {
                    each for each in some if each.base in {row.stamp, ANY_BODY} and each.stamp > now[id].stamp
                }
            self._write(connection, collection, LogObject(tuple(rows), tuple(listed)), Joined(now, intents, 0))
            table = self._tables[collection].name
            gone = [row.id for row in ahead] + [id for id in missing if id not in known or known[id].head is None]
            connection.executemany(f"DELETE FROM {table} WHERE id = ?", [(id,) for id in gone])
            self._insert(connection, collection, ahead)
