"""The SQLite index that answers queries for file-like backends.

It is derived: everything in it can be rebuilt from the bodies. A table per collection has a row per item with a column
per declared field. Inserts are kept cheap: tags lie in the row as JSON and words in the body; both are copied into
postings, for the rows past a watermark, by the first query that needs them. Row numbers are never used twice below the
watermarks, so that postings of replaced rows match nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ANY, Condition, Expect, Listed, Record
from truthstore.storage.catalog.connections import Connections
from truthstore.storage.catalog.rows import RowTable
from truthstore.storage.catalog.spread import spread
from truthstore.storage.catalog.table import (
    PLACE,
    UNREAD,
    Bodies,
    Committed,
    Location,
    Put,
    Table,
    as_location,
    tag_term,
)
from truthstore.storage.sql.compile import Statement, aggregate_statement, condition, partials
from truthstore.storage.sql.latest import latest_statement, newest_statement
from truthstore.storage.sql.paging import LISTED, PAGE, Position, pages, read_page

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import BoundQuery

__all__ = ["Catalog", "Committed", "Location", "Put"]

BACKFILL_LIMIT: Final = 10_000

_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.decode


class Catalog(Connections):
    """One SQLite database with a table per collection.

    Args:
        bodies: reads bodies, for words and for fields that were declared later.
        synchronous: ``NORMAL``, or ``FULL`` to sync every commit.
        words: keep the words of every item in its row, so that no body has to be read for them.
    """

    def __init__(self, bodies: Bodies, *, synchronous: str = "NORMAL", words: bool = False) -> None:
        super().__init__(synchronous)
        self._bodies = bodies
        self._words = words
        self._tables: dict[Collection[Any], Table] = {}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._prepared: dict[tuple[str, str], Table] = {}
        self._row_tables: dict[tuple[str, str], RowTable] = {}

    def prepare(self, collection: Collection[Any], load: Callable[[], Iterable[Put]]) -> None:
        """Makes sure that the collection has its table, with a column for each of its fields.

        `load` gives all items there are, for a collection that this catalog has never seen.

        Raises:
            StoreConfigError: fields were declared differently before, and there are too many items to read them all now.
        """
        key = (collection.name, collection.fingerprint)
        if key in self._prepared:
            self._tables[collection] = self._prepared[key]
            return
        with self._lock:
            known = self._writable().execute(
                "SELECT number FROM definitions WHERE (collection, fingerprint) = (?, ?)", key
            )
            number = next(known, (None,))[0]
            if number is None:
                with self.transaction() as connection:
                    number = self._define(connection, collection, load)
            table = Table(collection, number, words=self._words)
            if collection.projection is not None and not table.has_rows(self._writable()):
                with self.transaction() as connection:  # an earlier version of this library made the table
                    table.make(connection)
            self._tables[collection] = self._prepared[key] = table

    def _define(
        self, connection: sqlite3.Connection, collection: Collection[Any], load: Callable[[], Iterable[Put]]
    ) -> int:
        others = connection.execute(
            "SELECT fingerprint, number FROM definitions WHERE collection = ?", (collection.name,)
        )
        numbers = dict(others.fetchall())
        if collection.fingerprint in numbers:
            return int(numbers[collection.fingerprint])
        table = Table(collection, 1 + max(numbers.values(), default=0), words=self._words)
        table.make(connection)
        if not numbers:
            for put in load():
                connection.execute(table.insert, table.row(put))
        connection.execute(
            "INSERT INTO definitions VALUES (?, ?, ?, 0, ?)",
            (collection.name, collection.fingerprint, table.number, _to_json(table.columns).decode()),
        )
        return table.number

    def commit(self, collection: Collection[Any], puts: Sequence[Put], deletes: Sequence[str] = ()) -> None:
        """Write and remove rows in one transaction.

        Raises:
            sqlite3.Error: nothing was written, or the commit is in doubt.
        """
        with self.transaction() as connection:
            self.write(connection, collection, puts, deletes, expect=ANY)

    def write(
        self,
        connection: sqlite3.Connection,
        collection: Collection[Any],
        puts: Sequence[Put],
        deletes: Sequence[str],
        *,
        expect: Expect,
    ) -> Committed:
        """Write and remove rows in a transaction that has begun; those for which `expect` does not hold are left out."""
        table = self._tables[collection]
        rows = list(map(table.row, puts))
        if isinstance(expect, Condition) and connection.executemany(table.insert, rows).rowcount == len(rows) > 0:
            return Committed({}, {})
        changes: dict[str, tuple[Any, ...] | None] = {row[0]: row for row in rows} | dict.fromkeys(deletes)
        where = table.with_ids(changes)
        found = connection.execute(f"SELECT {PLACE} FROM {table.name} WHERE {where.sql}", where.parameters)
        known = {row[0]: as_location(row) for row in found}
        before: dict[str, Location] = {}
        refused: dict[str, str | None] = {}
        written: list[tuple[Any, ...]] = []
        for id, row in changes.items():
            location = known.get(id)
            actual = None if location is None else location.revision
            if row is not None and actual == row[1] and expect is not ANY:
                continue  # the same write, once more; without a condition its row is written again
            if not _holds(expect, location):
                refused[id] = actual
                continue
            if location is not None:
                before[id] = location
            if row is not None:
                written.append(row)
        connection.executemany(f"DELETE FROM {table.name} WHERE id = ?", [(id,) for id in before])
        connection.executemany(table.insert, written)
        return Committed(before, refused)

    def find(self, collection: Collection[Any], id: str) -> Location | None:
        """Where an item lies, or None if the index has no such row."""
        table = self._tables[collection]
        rows = self.read(f"SELECT {PLACE} FROM {table.name} WHERE id = ?", (id,))
        return as_location(rows[0]) if rows else None

    def _source(self, bound: BoundQuery, collection: Collection[Any] | None) -> Table | RowTable:
        """Return the complete table that a query is about: of items, or of the rows of the items of a collection."""
        return self._complete(bound) if collection is None else self._rows(bound, collection)

    def locations(self, bound: BoundQuery) -> Iterator[list[Location]]:
        """Read the locations of the items that a query finds, in its order, a page at a time."""
        for page in self._pages(bound, PLACE):
            yield [as_location(row) for row in page]

    def location_page(self, bound: BoundQuery, position: Position | None) -> tuple[list[Location], Position | None]:
        """Return one page of locations, and where the next one begins."""
        rows, after = read_page(bound, self._complete(bound), PLACE, self._select, position)
        return [as_location(row) for row in rows], after

    def head_page(
        self, bound: BoundQuery, position: Position | None, rows_of: Collection[Any] | None = None
    ) -> tuple[list[Record], Position | None]:
        """Return one page of heads, of items or of the rows of the items of a collection, and where the next one begins."""
        table = self._source(bound, rows_of)
        rows, after = read_page(bound, table, table.heads, self._select, position)
        return [table.head(row) for row in rows], after

    def listed_page(self, bound: BoundQuery, position: Position | None) -> tuple[list[Listed], Position | None]:
        """Return one page of ids, revisions and sizes, and where the next one begins."""
        columns = ", ".join(Listed._fields)
        rows, after = read_page(bound, self._complete(bound), columns, self._select, position, LISTED)
        return [Listed(*row) for row in rows], after

    def latest(
        self,
        bound: BoundQuery,
        keep: BoundQuery,
        rows_of: Collection[Any],
        series: Sequence[tuple[Any, ...]] | None = None,
    ) -> list[Record]:
        """Read the newest row of each series among those that fulfil the conditions of a query; of these, those that fulfil another."""
        table = self._rows(bound, rows_of, keep.tags)
        names = table.projection.series
        if series is None:
            statements = [latest_statement(bound, keep, table, names, "place", table.heads)]
        else:
            statements = [
                newest_statement(bound, keep, table, names, series[start : start + PAGE], "place", table.heads)
                for start in range(0, len(series), PAGE)
            ]
        return [table.head(row) for statement in statements for row in self._select(statement)]

    def ids(self, bound: BoundQuery) -> list[str]:
        """Return the ids that a query finds, in its order."""
        return [row[0] for page in self._pages(bound, "id") for row in page]

    def _pages(self, bound: BoundQuery, columns: str) -> Iterator[list[Sequence[Any]]]:
        """Read rows with these columns, of which the id is the first."""
        return pages(bound, self._complete(bound), columns, self._select)

    def _select(self, statement: Statement) -> list[tuple[Any, ...]]:
        return self.read(statement.sql, statement.parameters)

    def count(self, bound: BoundQuery) -> int:
        """Return how many items fulfil the conditions of a query."""
        table = self._complete(bound)
        sql, parameters = condition(bound, table)
        return int(self.read(f"SELECT count(*) FROM {table.name} WHERE {sql}", parameters)[0][0])

    def aggregate(
        self, bound: BoundQuery, aggregation: Aggregation, rows_of: Collection[Any] | None = None
    ) -> list[Row]:
        """Compute figures over the items that fulfil the conditions of a query.

        Raises:
            sqlite3.OperationalError: a sum does not fit 64 bits.
        """
        table = self._source(bound, rows_of)
        sql, parameters = aggregate_statement(bound, aggregation, table)
        return aggregation.rows(partials(aggregation, bound, table, self.read(sql, parameters)))

    def _complete(self, bound: BoundQuery) -> Table:
        """Return the table, after everything that the query needs was copied into it."""
        table = self._tables[bound.collection]
        name = table.collection.name
        definitions = self.read("SELECT number, mark, columns FROM definitions WHERE collection = ?", (name,))
        if len(definitions) > 1:
            # Rows of processes that declare all fields that this one does are complete.
            lacking = [
                number for number, _, columns in definitions if not set(table.columns) <= set(_from_json(columns))
            ]
            marks = {number: mark for number, mark, _ in definitions}
            if lacking:
                self._backfill(table, marks[table.number], lacking)
        if bound.tags:
            self._post(table, "tags", self._tag_terms)
        if bound.words:
            self._post(table, table.word_kind, self._word_terms)
            self._read_unread(table, bound)
        return table

    def _backfill(self, table: Table, mark: int, lacking: Sequence[int]) -> None:
        """Fill the columns of this definition in rows that processes with other ones wrote."""
        where = f"FROM {table.name} WHERE seq > ? AND shape IN ({','.join('?' * len(lacking))})"
        (top, waiting) = self.read(f"SELECT max(seq), count(*) {where}", (mark, *lacking))[0]
        if not waiting:
            return
        name = table.collection.name
        if waiting > BACKFILL_LIMIT:
            raise StoreConfigError(
                f"the fields of {name} were declared differently before, and {waiting} items must be read once: call rebuild_index()",
                collection=name,
            )
        rows = self.read(f"SELECT {PLACE} {where}", (mark, *lacking))
        # Bodies are read outside the transaction: reading may need the lock that a writer holds who waits for us.
        values = [
            (*(record.meta.fields.get(field) for field in table.collection.fields), record.id, record.revision)
            for record in self._bodies(table.collection, [as_location(row) for row in rows])
        ]
        sets = ", ".join(f"{field} = ?" for field in table.columns)
        with self.transaction() as connection:
            connection.executemany(f"UPDATE {table.name} SET {sets} WHERE id = ? AND revision = ?", values)
            connection.execute(
                "UPDATE definitions SET mark = max(mark, ?) WHERE collection = ? AND number = ?",
                (top, name, table.number),
            )

    def _rows(self, bound: BoundQuery, collection: Collection[Any], tags: Mapping[str, str] = {}) -> RowTable:
        """Return the table of the rows of a collection, with the rows of all items in it."""
        assert collection.projection is not None
        parent = self._complete(EVERYTHING.replace(tags=bound.tags or tags).bind(collection))
        key = (bound.collection.name, bound.collection.fingerprint)
        table = self._row_tables.get(key)
        if table is not None:
            spread(self, table, self._bodies)
            return table
        table = RowTable(parent, bound.collection, collection.projection)
        with self.transaction() as connection:
            table.make(connection)
        spread(self, table, self._bodies)
        present = {row[0] for row in self.read("SELECT name FROM sqlite_master WHERE type = 'index'")}
        for name, index in table.indexes():
            if name not in present:
                # Made of all rows at once, an index takes half the time.
                with self.transaction() as connection:
                    connection.execute(index)
        self._row_tables[key] = table
        return table

    def _tag_terms(self, table: Table, mark: int, top: int) -> list[tuple[str, int]]:
        rows = self.read(
            f"SELECT seq, tags FROM {table.name} WHERE seq > ? AND seq <= ? AND tags IS NOT NULL", (mark, top)
        )
        return [(tag_term(key, value), seq) for seq, tags in rows for key, value in _from_json(tags).items()]

    def _word_terms(self, table: Table, mark: int, top: int) -> list[tuple[str, int]]:
        rows = self.read(
            f"SELECT seq, {PLACE}, CASE WHEN shape = ? OR extra IS NOT NULL THEN text END"
            f" FROM {table.name} WHERE seq > ? AND seq <= ?",
            (table.number, mark, top),
        )
        found: list[tuple[str, int]] = []
        for row in rows:
            seq, text = row[0], row[5]
            if text is None:
                try:
                    text = self._text_of(table, as_location(row[1:5]))
                except StoreCorruptError:
                    # A damaged item keeps no query from the others; one that might find it asks again and raises.
                    found.append((table.word_term(UNREAD), seq))
                    continue
            found.extend((table.word_term(word), seq) for word in text.split())
        return found

    def _text_of(self, table: Table, location: Location) -> str:
        """Return the words of an item; none if it was replaced meanwhile."""
        records = self._bodies(table.collection, [location])
        return next((record.meta.text for record in records if record.revision == location.revision), "")

    def _read_unread(self, table: Table, bound: BoundQuery) -> None:
        """Look again at damaged items that fulfil all other conditions of a query.

        Raises:
            StoreCorruptError: one is damaged still.
        """
        unread = table.word_term(UNREAD)
        if not self.read(f"SELECT 1 FROM {table.postings} WHERE term = ? LIMIT 1", (unread,)):
            return
        sql, parameters = condition(bound, table, [UNREAD])
        rows = self.read(f"SELECT seq, {PLACE} FROM {table.name} WHERE {sql}", parameters)
        texts = [(row[0], self._text_of(table, as_location(row[1:5]))) for row in rows]
        with self.transaction() as connection:
            for seq, text in texts:
                connection.execute(f"DELETE FROM {table.postings} WHERE term = ? AND item = ?", (unread, seq))
                terms = [(table.word_term(word), seq) for word in text.split()]
                connection.executemany(f"INSERT OR IGNORE INTO {table.postings} VALUES (?, ?)", terms)

    def _post(self, table: Table, kind: str, terms: Callable[[Table, int, int], list[tuple[str, int]]]) -> None:
        """Copy tags or words of the rows past the watermark into the postings, and moves the watermark."""
        name = table.collection.name
        watermark = "SELECT ifnull(max(mark), 0) FROM marks WHERE collection = ? AND kind = ?"
        while True:
            mark, top = self.read(f"SELECT ({watermark}), max(seq) FROM {table.name}", (name, kind))[0]
            if top is None or top <= mark:
                return
            top = min(top, mark + PAGE)
            found = terms(table, mark, top)
            with self.transaction() as connection:
                # Another process may have done the same meanwhile.
                if connection.execute(watermark, (name, kind)).fetchone()[0] == mark:
                    connection.executemany(f"INSERT OR IGNORE INTO {table.postings} VALUES (?, ?)", found)
                    connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (name, kind, top))

    def forget(self, collection: Collection[Any], until: Callable[[], bool]) -> int:
        """Remove postings that belong to no row any more, some thousands at a time `until` it is time, and return how many."""
        table = self._tables[collection]
        stale = f"SELECT term, item FROM {table.postings} WHERE item NOT IN (SELECT seq FROM {table.name}) LIMIT {PAGE}"
        removed = 0
        while not until():
            with self.transaction() as connection:
                step = connection.execute(f"DELETE FROM {table.postings} WHERE (term, item) IN ({stale})").rowcount
            removed += step
            if step < PAGE:
                break
        return removed

    def check(self) -> None:
        """Looks for damage in the database file (sqlite.org/pragma.html#pragma_quick_check).

        Raises:
            sqlite3.DatabaseError: it is damaged.
        """
        (found,) = self.read("PRAGMA quick_check(1)")[0]
        if found != "ok":
            error = sqlite3.DatabaseError(f"the index is damaged: {found}")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error


def _holds(expect: Expect, known: Location | None) -> bool:
    if isinstance(expect, Condition):
        return expect is ANY or known is None or known.deleted
    return known is not None and known.revision == expect
