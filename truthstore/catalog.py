"""The SQLite index that answers queries for file-like backends.

It is derived: everything in it can be made anew from the bodies. A table per collection has a row per item with a column
per declared field. Inserts are kept cheap: tags lie in the row as JSON and words in the body; both are copied into
postings, for the rows past a watermark, by the first query that needs them. Row numbers are never used twice below the
watermarks, so that postings of replaced rows match nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from truthstore.catalog_sql import (
    SQL_TYPES,
    aggregate_statement,
    column,
    condition,
    page_statements,
    partials,
    quoted,
    tag_term,
    word_kind,
    word_term,
)
from truthstore.collection import Collection
from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.forking import watch_forks
from truthstore.record import NO_ANNOTATIONS, Condition, Expect, Meta, Record
from truthstore.store import conflict

if TYPE_CHECKING:
    from truthstore.aggregate import Aggregation, Row
    from truthstore.errors import StoreConflictError
    from truthstore.query import BoundQuery
    from truthstore.record import FieldValue

__all__ = ["Catalog", "Committed", "Location", "Put"]

VERSION: Final = 1
PAGE: Final = 1_000
BACKFILL_LIMIT: Final = 10_000
UNREAD: Final = ""
"""Stands among the postings for the words of an item that could not be read; no word is empty."""
PAGE_SIZE: Final = 2_048
CHECKPOINT_PAGES: Final = 4_000
BUSY_SECONDS: Final = 60.0
_SYNCHRONOUS: Final = frozenset({"NORMAL", "FULL"})

_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.decode


class Location(NamedTuple):
    """Where an item's body lies: its revision, whether it is a tombstone, and its object if not under its usual name."""

    id: str
    revision: str = ""
    deleted: bool = False
    name: str | None = None


class Put(NamedTuple):
    """One row to write."""

    record: Record
    name: str | None = None


class Committed(NamedTuple):
    """What a commit did: where overwritten and removed items lay, and the puts that it refused, by id."""

    before: dict[str, Location]
    refused: dict[str, StoreConflictError]


Bodies = Callable[[Collection[Any], Sequence[Location]], Iterator[Record]]
"""Reads the bodies of some items, for what the index does not hold; leaves out what is gone."""


class _Table:
    """The SQL of one collection, and the number of the definition under which this process writes."""

    __slots__ = (
        "booleans",
        "collection",
        "columns",
        "fields",
        "heads",
        "insert",
        "name",
        "number",
        "postings",
        "upsert",
        "words",
    )

    def __init__(self, collection: Collection[Any], number: int, *, words: bool = False) -> None:
        self.collection = collection
        self.number = number
        self.words = words
        self.name = quoted(f"c_{collection.name}")
        self.postings = quoted(f"p_{collection.name}")
        self.columns = [column(collection, field) for field in collection.fields]
        self.fields = tuple(collection.fields)
        self.booleans = [name for name, field in collection.fields.items() if field.type is bool]
        listed = ["seq", "id", "revision", "stored_at", "size", "deleted", "name", "tags", "text", "extra", "shape"]
        places = ",".join("?" * (len(listed) - 1 + len(self.columns)))
        number_of_row = (
            f"1 + max(ifnull((SELECT max(seq) FROM {self.name}), 0), "
            f"ifnull((SELECT max(mark) FROM marks WHERE collection = '{collection.name}'), 0))"
        )
        self.insert = (
            f"INSERT INTO {self.name} ({', '.join(listed + self.columns)}) VALUES ({number_of_row}, {places}) "
            "ON CONFLICT (id) DO NOTHING"
        )
        self.heads = ", ".join(["id, revision, stored_at, size, deleted, tags, extra", *self.columns])

    def row(self, put: Put, number: int = 0) -> tuple[Any, ...]:
        """The parameters of an insert; `number` is that of the definition that the fields follow, if another one."""
        record, name = put
        meta = record.meta
        fields = meta.fields
        tags = meta.tags
        extra = None
        text = None
        if meta.annotations or meta.encodings or meta.deleted or meta.encoding != "json":
            extra = _to_json([meta.encoding, meta.encodings, dict(meta.annotations)]).decode()
            text = meta.text if meta.encodings or meta.deleted or self.collection.opaque else None
        return (
            meta.id,
            record.revision,
            meta.stored_at,
            meta.size,
            meta.deleted,
            name,
            _to_json(tags).decode() if tags else None,
            meta.text if self.words else text,
            extra,
            number or self.number,
            *map(fields.get, self.fields),
        )

    def head(self, row: tuple[Any, ...]) -> Record:
        """A head from the columns of `heads`."""
        id, revision, stored_at, size, deleted, tags, extra, *values = row
        encoding: str = "json"
        encodings: tuple[str, ...] = ()
        annotations: Any = NO_ANNOTATIONS
        if extra is not None:
            encoding, listed, annotations = _from_json(extra)
            encodings = tuple(listed)
        declared = self.collection.fields
        fields: dict[str, FieldValue] = dict(zip(declared, values, strict=True))
        for name in self.booleans:
            if fields[name] is not None:
                fields[name] = bool(fields[name])
        meta = Meta(
            id,
            fields=fields,
            tags=_from_json(tags) if tags is not None else {},
            size=size,
            encoding=encoding,
            encodings=encodings,
            stored_at=stored_at,
            deleted=bool(deleted),
            annotations=annotations,
        )
        return Record(meta, None, revision)


class Catalog:
    """One SQLite database with a table per collection.

    Args:
        bodies: reads bodies, for words and for fields that were declared later.
        synchronous: ``NORMAL``, or ``FULL`` to sync every commit.
        words: keep the words of every item in its row, so that no body has to be read for them.
    """

    def __init__(self, bodies: Bodies, *, synchronous: str = "NORMAL", words: bool = False) -> None:
        if synchronous not in _SYNCHRONOUS:
            raise ValueError(f"synchronous is one of {', '.join(sorted(_SYNCHRONOUS))}, not {synchronous!r}")
        self._bodies = bodies
        self._words = words
        self._synchronous = synchronous
        self._path: str | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._begin_anew()
        watch_forks(self)
        self._tables: dict[Collection[Any], _Table] = {}

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._resting = False
        self._readers = _Readers()
        self._prepared: dict[tuple[str, str], _Table] = {}

    def abandon(self) -> None:
        """Forgets all connections without closing them.

        After a fork, closing would touch the parent's locks; after the file was replaced, closing would remove the
        write-ahead log of its successor by name (sqlite.org/howtocorrupt.html).
        """
        self._abandoned.extend(self._readers.idle)
        if self._writer is not None:
            self._abandoned.append(self._writer)
        self._begin_anew()

    def before_fork(self) -> None:
        """Waits until no thread is inside SQLite, keeps them out, and closes the connections to a file."""
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
        """Lets threads in again; connections are made anew when they are needed."""
        lock, readers = self._lock, self._readers
        if child:
            self.abandon()
        readers.go_on()
        lock.release()

    def open(self, path: str | None) -> None:
        """Connects to a file, or to memory, and makes the catalog's own tables if they are not there.

        Raises:
            sqlite3.Error: it cannot be opened, or is damaged.
            StoreConfigError: a newer version of this library made it.
        """
        self._path = path
        writer = self._connect("rwc")
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            writer.close()
            raise StoreConfigError(
                f"the index has format {version}, this library reads up to {VERSION}: upgrade truthstore"
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

    def prepare(self, collection: Collection[Any], load: Callable[[], Iterable[Put]]) -> None:
        """Makes sure that the collection has its table, with a column for each of its fields.

        Args:
            collection: the collection.
            load: all items there are, for a collection that this catalog has never seen.

        Raises:
            StoreConfigError: fields were declared anew and there are too many items to read them all now.
        """
        key = (collection.name, collection.fingerprint)
        if key in self._prepared:
            self._tables[collection] = self._prepared[key]
            return
        with self._lock:
            known = self._connection.execute(
                "SELECT number FROM definitions WHERE collection = ? AND fingerprint = ?", key
            ).fetchone()
            if known is None:
                with self._transaction() as connection:
                    known = (self._define(connection, collection, load),)
            table = _Table(collection, known[0], words=self._words)
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
        table = _Table(collection, 1 + max(numbers.values(), default=0), words=self._words)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table.name} (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
            " revision TEXT NOT NULL, stored_at INTEGER NOT NULL, size INTEGER NOT NULL, deleted INTEGER NOT NULL,"
            " name TEXT, tags TEXT, text TEXT, extra TEXT, shape INTEGER NOT NULL)"
        )
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table.postings} (term TEXT NOT NULL, item INTEGER NOT NULL,"
            " PRIMARY KEY (term, item)) WITHOUT ROWID"
        )
        present = {quoted(row[1]) for row in connection.execute(f"PRAGMA table_info({table.name})")}
        for name, field in collection.fields.items():
            added = column(collection, name)
            if added not in present:
                connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {added} {SQL_TYPES[field.type]}")
        time = collection.time or "stored_at"
        for lookup in [(), *collection.lookups]:
            # With id and deleted it holds all that a query of ids needs, in the order that it asks for.
            columns = [column(collection, name) for name in dict.fromkeys([*lookup, time])] + ["id", "deleted"]
            index = quoted(f"i_{collection.name}_{'_'.join(columns)}".replace('"', ""))
            connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table.name} ({', '.join(columns)})")
        if not numbers:
            for put in load():
                connection.execute(table.insert, table.row(put))
        connection.execute(
            "INSERT INTO definitions VALUES (?, ?, ?, 0, ?)",
            (collection.name, collection.fingerprint, table.number, _to_json(table.columns).decode()),
        )
        return table.number

    def _transaction(self) -> _Transaction:
        return _Transaction(self._lock, lambda: self._connection)

    def _table(self, collection: Collection[Any]) -> _Table:
        return self._tables[collection]

    def commit(
        self,
        collection: Collection[Any],
        puts: Sequence[Put] = (),
        deletes: Sequence[str] = (),
        *,
        expect: Expect,
        backend: str,
    ) -> Committed:
        """Writes and removes rows in one transaction; puts for which `expect` does not hold are left out.

        Raises:
            sqlite3.Error: nothing was written, or the commit is in doubt.
        """
        try:
            return self._commit(self._table(collection), puts, deletes, expect=expect, backend=backend)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                self._bury()
            raise

    def _bury(self) -> None:
        """Overwrites what a failed commit left in the write-ahead log.

        What was written whole and could only not be synced would come back to life with the next recovery, when nobody
        expects it any more.
        """
        with suppress(sqlite3.Error), self._transaction() as connection:
            connection.execute(f"PRAGMA user_version = {VERSION}")  # writes the first page, changed or not

    def _commit(
        self, table: _Table, puts: Sequence[Put], deletes: Sequence[str], *, expect: Expect, backend: str
    ) -> Committed:
        if len(puts) == 1 and not deletes and isinstance(expect, Condition):
            # A new id, the usual case, is one statement that is its own transaction.
            with self._lock:
                if self._connection.execute(table.insert, table.row(puts[0])).rowcount == 1:
                    return Committed({}, {})
        before: dict[str, Location] = {}
        refused: dict[str, StoreConflictError] = {}
        with self._transaction() as connection:
            for put in puts:
                row = table.row(put)
                id = row[0]
                if isinstance(expect, Condition) and connection.execute(table.insert, row).rowcount == 1:
                    continue
                known = _location(connection, table, id)
                if not _holds(expect, known):
                    actual = known.revision if known is not None else None
                    refused[id] = conflict(id, expect, actual, backend=backend, collection=table.collection.name)
                    continue
                if known is not None:
                    before[id] = known
                    connection.execute(f"DELETE FROM {table.name} WHERE id = ?", (id,))
                connection.execute(table.insert, row)
            for id in deletes:
                known = _location(connection, table, id)
                if known is not None:
                    before[id] = known
                    connection.execute(f"DELETE FROM {table.name} WHERE id = ?", (id,))
        return Committed(before, refused)

    def find(self, collection: Collection[Any], id: str) -> Location | None:
        """Where an item lies, or None if the index has no such row."""
        table = self._table(collection)
        rows = self._read(f"SELECT id, revision, deleted, name FROM {table.name} WHERE id = ?", (id,))
        return _as_location(rows[0]) if rows else None

    def locations(self, bound: BoundQuery) -> Iterator[list[Location]]:
        """Where what a query finds lies, in its order, a page at a time."""
        for page in self._pages(bound, "id, revision, deleted, name"):
            yield [_as_location(row) for row in page]

    def heads(self, bound: BoundQuery) -> Iterator[list[Record]]:
        """Heads of what a query finds, in its order, a page at a time."""
        table = self._table(bound.collection)
        for page in self._pages(bound, table.heads):
            yield [table.head(row[:-1]) for row in page]

    def ids(self, bound: BoundQuery) -> list[str]:
        """Ids of what a query finds, in its order."""
        return [row[0] for page in self._pages(bound, "id") for row in page]

    def _pages(self, bound: BoundQuery, columns: str) -> Iterator[list[tuple[Any, ...]]]:
        """Rows with these columns, of which the id is the first, and with the value that the order goes by."""
        table = self._complete(bound)
        left = bound.limit
        order = column(bound.collection, bound.order)
        start = bound.start
        offset = bound.offset
        while left is None or left > 0:
            wanted = PAGE if left is None else min(PAGE, left)
            # The value that the order goes by comes last, so that the next page can start after it.
            rows: list[tuple[Any, ...]] = []
            for sql, parameters in page_statements(bound, f"{columns}, {order}", table.name, table.postings, start):
                limits = f" LIMIT {wanted - len(rows)}" + (f" OFFSET {offset}" if offset else "")
                rows.extend(self._read(sql + limits, parameters))
                if len(rows) == wanted:
                    break
            if rows:
                yield rows
            if len(rows) < wanted:
                return
            left = None if left is None else left - len(rows)
            start = (rows[-1][-1], rows[-1][0])
            offset = 0

    def count(self, bound: BoundQuery) -> int:
        """How many items fulfil the conditions of a query."""
        table = self._complete(bound)
        sql, parameters = condition(bound, table.postings)
        return int(self._read(f"SELECT count(*) FROM {table.name} WHERE {sql}", parameters)[0][0])

    def aggregate(self, bound: BoundQuery, aggregation: Aggregation) -> list[Row]:
        """Figures over what fulfils the conditions of a query.

        Raises:
            sqlite3.OperationalError: a sum does not fit 64 bits.
        """
        table = self._complete(bound)
        sql, parameters = aggregate_statement(bound, aggregation, table.name, table.postings)
        return aggregation.rows(partials(aggregation, bound, self._read(sql, parameters)))

    def _complete(self, bound: BoundQuery) -> _Table:
        """The table, after everything that the query needs was copied into it."""
        table = self._table(bound.collection)
        name = table.collection.name
        definitions = self._read("SELECT number, mark, columns FROM definitions WHERE collection = ?", (name,))
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
            self._post(table, word_kind(table.collection), self._word_terms)
            self._read_unread(table, bound)
        return table

    def _backfill(self, table: _Table, mark: int, lacking: Sequence[int]) -> None:
        """Fills the columns of this definition in rows that processes with other ones wrote."""
        where = f"FROM {table.name} WHERE seq > ? AND shape IN ({','.join('?' * len(lacking))})"
        (top, waiting) = self._read(f"SELECT max(seq), count(*) {where}", (mark, *lacking))[0]
        if not waiting:
            return
        name = table.collection.name
        if waiting > BACKFILL_LIMIT:
            raise StoreConfigError(
                f"the fields of {name} were declared anew and {waiting} items must be read once: call rebuild_index()",
                collection=name,
            )
        rows = self._read(f"SELECT id, revision, deleted, name {where}", (mark, *lacking))
        # Bodies are read outside the transaction: reading may need the lock that a writer holds who waits for us.
        values = [
            (*(record.meta.fields.get(field) for field in table.collection.fields), record.id, record.revision)
            for record in self._bodies(table.collection, [_as_location(row) for row in rows])
        ]
        sets = ", ".join(f"{field} = ?" for field in table.columns)
        with self._transaction() as connection:
            connection.executemany(f"UPDATE {table.name} SET {sets} WHERE id = ? AND revision = ?", values)
            connection.execute(
                "UPDATE definitions SET mark = max(mark, ?) WHERE collection = ? AND number = ?",
                (top, name, table.number),
            )

    def _tag_terms(self, table: _Table, mark: int, top: int) -> list[tuple[str, int]]:
        rows = self._read(
            f"SELECT seq, tags FROM {table.name} WHERE seq > ? AND seq <= ? AND tags IS NOT NULL", (mark, top)
        )
        return [(tag_term(key, value), seq) for seq, tags in rows for key, value in _from_json(tags).items()]

    def _word_terms(self, table: _Table, mark: int, top: int) -> list[tuple[str, int]]:
        rows = self._read(
            "SELECT seq, id, revision, deleted, name, CASE WHEN shape = ? OR extra IS NOT NULL THEN text END"
            f" FROM {table.name} WHERE seq > ? AND seq <= ?",
            (table.number, mark, top),
        )
        found: list[tuple[str, int]] = []
        for row in rows:
            seq, text = row[0], row[5]
            if text is None:
                try:
                    text = self._text_of(table, _as_location(row[1:5]))
                except StoreCorruptError:
                    # A damaged item keeps no query from the others; one that might find it asks again and raises.
                    found.append((word_term(table.collection, UNREAD), seq))
                    continue
            found.extend((word_term(table.collection, word), seq) for word in text.split())
        return found

    def _text_of(self, table: _Table, location: Location) -> str:
        """The words of an item; none if it was replaced meanwhile."""
        records = self._bodies(table.collection, [location])
        return next((record.meta.text for record in records if record.revision == location.revision), "")

    def _read_unread(self, table: _Table, bound: BoundQuery) -> None:
        """Looks again at damaged items that fulfil all other conditions of a query.

        Raises:
            StoreCorruptError: one is damaged still.
        """
        unread = word_term(table.collection, UNREAD)
        if not self._read(f"SELECT 1 FROM {table.postings} WHERE term = ? LIMIT 1", (unread,)):
            return
        sql, parameters = condition(bound, table.postings, [UNREAD])
        rows = self._read(f"SELECT seq, id, revision, deleted, name FROM {table.name} WHERE {sql}", parameters)
        texts = [(row[0], self._text_of(table, _as_location(row[1:5]))) for row in rows]
        with self._transaction() as connection:
            for seq, text in texts:
                connection.execute(f"DELETE FROM {table.postings} WHERE term = ? AND item = ?", (unread, seq))
                terms = [(word_term(table.collection, word), seq) for word in text.split()]
                connection.executemany(f"INSERT OR IGNORE INTO {table.postings} VALUES (?, ?)", terms)

    def _post(self, table: _Table, kind: str, terms: Callable[[_Table, int, int], list[tuple[str, int]]]) -> None:
        """Copies tags or words of the rows past the watermark into the postings, and moves the watermark."""
        name = table.collection.name
        watermark = "SELECT ifnull(max(mark), 0) FROM marks WHERE collection = ? AND kind = ?"
        while True:
            mark, top = self._read(f"SELECT ({watermark}), max(seq) FROM {table.name}", (name, kind))[0]
            if top is None or top <= mark:
                return
            top = min(top, mark + PAGE)
            found = terms(table, mark, top)
            with self._transaction() as connection:
                # Another process may have done the same meanwhile.
                if connection.execute(watermark, (name, kind)).fetchone()[0] == mark:
                    connection.executemany(f"INSERT OR IGNORE INTO {table.postings} VALUES (?, ?)", found)
                    connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (name, kind, top))

    def forget(self, collection: Collection[Any], until: Callable[[], bool]) -> int:
        """Removes postings that belong to no row any more, some thousands at a time, and returns how many.

        Args:
            collection: whose postings.
            until: asked between two steps whether to stop.
        """
        table = self._table(collection)
        stale = f"SELECT term, item FROM {table.postings} WHERE item NOT IN (SELECT seq FROM {table.name}) LIMIT {PAGE}"
        removed = 0
        while not until():
            with self._transaction() as connection:
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
        (found,) = self._read("PRAGMA quick_check(1)")[0]
        if found != "ok":
            error = sqlite3.DatabaseError(f"the index is damaged: {found}")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            connections = [*self._readers.idle, *([self._writer] if self._writer is not None else [])]
            self._begin_anew()
            for connection in connections:
                connection.close()


class _Readers:
    """The connections that nobody reads with just now, and how many threads are reading with others."""

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
        """Waits until nobody reads, and lets nobody begin before `go_on`."""
        self._changed.acquire()
        while self._number:
            self._changed.wait()

    def go_on(self) -> None:
        """Lets readers begin."""
        self._changed.release()


class _Transaction:
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


def _location(connection: sqlite3.Connection, table: _Table, id: str) -> Location | None:
    row = connection.execute(f"SELECT id, revision, deleted, name FROM {table.name} WHERE id = ?", (id,)).fetchone()
    return None if row is None else _as_location(row)


def _as_location(row: Sequence[Any]) -> Location:
    return Location(row[0], row[1], bool(row[2]), row[3])


def _holds(expect: Expect, known: Location | None) -> bool:
    if isinstance(expect, Condition):
        return not expect.requires_absence or known is None or known.deleted
    return known is not None and known.revision == expect
