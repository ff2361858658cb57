"""Turn records into rows and back, and write rows in a transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Collection as Sized, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy.exc import IntegrityError

from truthstore.backends.database.engine import execute, execute_many
from truthstore.backends.database.failures import code_of, doubtful
from truthstore.backends.database.projected import ProjectedRows
from truthstore.backends.database.schema import Definition, Tables, field_column
from truthstore.errors import StoreCorruptError, StoreError, StoreWriteError, shown
from truthstore.model.collection import Derivation
from truthstore.model.digest import key_of
from truthstore.model.record import ANY, NO_ANNOTATIONS, Condition, Expect, Meta, Record
from truthstore.storage.sql.compile import Source, Statement, contained
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.model.collection import Collection
    from truthstore.model.query import BoundQuery, Comparison
    from truthstore.storage.sql.dialect import Converters

__all__ = ["FIELDS_FROM", "Rows", "key_of", "tag_key", "term"]

NAME: Final = "database"
MAX_TERM: Final = 60
DUPLICATE_KEY: Final = 1062
"""The number of MariaDB and MySQL for an id that is there already."""

# The columns of every collection that are written, fields follow. An update leaves out the first three.
PLACE: Final = ("namespace", "key", "id")
WRITTEN: Final = (*PLACE, "revision", "stored_at", "size", "deleted", "shape", "tags", "extra", "text", "body")
FIELDS_FROM: Final = len(WRITTEN)
READ: Final = ("id", "revision", "stored_at", "size", "deleted", "tags", "extra", "text")
KINDS: Final = {"stored_at": datetime, "deleted": bool}

HASHES: Final = {
    "postgresql": "CAST(CAST(('x' || {}) AS bit(60)) AS bigint)",
    "mysql": "CAST(CONV({}, 16, 10) AS UNSIGNED)",
}
"""Fifteen hexadecimal digits as a number."""

_to_json: Final = msgspec.json.Encoder(enc_hook=str.__str__).encode  # a string of NumPy is a string
_read_tags: Final = msgspec.json.Decoder(dict[str, str]).decode


def tag_key(name: str, value: str) -> str:
    """Return a hash of a tag; U+0000 is not allowed in tags."""
    return key_of(f"{name}\0{value}")


def term(word: str) -> str:
    """Return a word as a full-text index takes it: ASCII, no stop word, neither too short nor too long."""
    if word.isascii() and len(word) <= MAX_TERM:
        return f"ts_{word}"
    return f"tx_{hashlib.blake2b(word.encode(), digest_size=16).hexdigest()}"


class Extra(msgspec.Struct, array_like=True, omit_defaults=True):
    """What few items have: another encoding than JSON, additions of layers, and the rows where no body shows them."""

    encoding: str = "json"
    encodings: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = NO_ANNOTATIONS
    rows: bytes | None = None


_read_extra: Final = msgspec.json.Decoder(Extra).decode


class Known(NamedTuple):
    """The values of a row that a write looks at."""

    item: int
    revision: str
    deleted: bool


class Rows(Source):
    """The rows of one collection in one namespace, and the statements that read and write them.

    Attributes:
        heads: the columns of a head, as SQL lists them; `whole` has the body too.
        get: the SELECT of one record, with the parameters `at`; `head` that of its head.
        word_index: SQLite's full-text index.
        projected: the rows of these items, or None.
        refill: the UPDATE of fields, words and shape of a row that still has its revision.
    """

    def __init__(self, tables: Tables, definition: Definition, space: str) -> None:
        self.tables = tables
        self.definition = definition
        self.space = space
        self.collection = tables.collection
        self.dialect = dialect = tables.dialect
        quoted = dialect.quoted
        self.name = quoted(tables.main.name)
        self._tags = quoted(tables.tags.name)
        self.word_index = quoted(tables.words or "")
        self._key = quoted("key")  # a reserved word of MySQL
        self.names = {name: quoted(column.name) for name, column in tables.fields.items()}
        self.beginnings = tables.beginnings
        fields = self.collection.fields
        columns = [quoted(field_column(name)) for name in fields]
        self.heads = ", ".join([*map(quoted, READ), *columns])
        self.whole = f"{self.heads}, {quoted('body')}"
        self._writes = _converters(dialect.write, WRITTEN, self.collection)
        self._reads = _converters(dialect.read, READ, self.collection)
        self.projected: ProjectedRows | None = None
        if tables.rows is not None and self.collection.projection is not None and self.collection.rows is not None:
            self.projected = ProjectedRows(self, tables.rows, self.collection.rows, self.collection.projection)
        self._write_statements([*map(quoted, WRITTEN), *columns])

    def _write_statements(self, columns: list[str]) -> None:
        quoted, kind = self.dialect.quoted, self.dialect.kind
        places = ["?"] * len(columns)
        if self.tables.words_in_row:
            columns.append(quoted("words"))
            # The words as they are: PostgreSQL's own parser would cut them up.
            places.append("array_to_tsvector(CAST(? AS TEXT[]))" if kind == "postgresql" else "?")
        here = f"namespace = ? AND {self._key} = ? AND id = ?"
        self.get = f"SELECT {self.whole} FROM {self.name} WHERE {here}"
        self.head = f"SELECT {self.heads} FROM {self.name} WHERE {here}"
        changed = [f"{column} = {place}" for column, place in zip(columns, places, strict=True)]
        self._update = f"UPDATE {self.name} SET {', '.join(changed[len(PLACE) :])} WHERE item = ?"
        filled = ", ".join([*changed[FIELDS_FROM:], "shape = ?"])
        self.refill = f"UPDATE {self.name} SET {filled} WHERE item = ? AND revision = ?"
        self._insert = f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES ({', '.join(places)})"
        listed = f"item, name, value, {self._key}"
        self._insert_tags = f"INSERT INTO {self._tags} ({listed}) VALUES (?, ?, ?, ?)"
        self._create = self._insert
        if kind != "mysql":
            self._create += " ON CONFLICT (namespace, key) DO NOTHING"
        if kind == "postgresql":
            arrays = ", ".join(["CAST(? AS TEXT[])"] * 3)
            rows = f", projected AS ({self.projected.insert_made})" if self.projected is not None else ""
            self._create = (
                f"WITH made AS ({self._create} RETURNING item), tagged AS (INSERT INTO {self._tags} ({listed})"
                f" SELECT made.item, listed.* FROM made, unnest({arrays}) AS listed){rows} SELECT item FROM made"
            )
        self.insert_words = f"INSERT OR REPLACE INTO {self.word_index} (rowid, words) VALUES (?, ?)"
        same = f"SELECT item FROM {self.name} WHERE item = ? AND revision = ?"
        self._update_words = f"UPDATE {self.word_index} SET words = ? WHERE rowid = ({same})"

    def digests(self, prefixes: Sequence[str]) -> Statement | None:
        """Compile the SELECT of digests below beginnings of keys; None where the database cannot compute `hash_of`."""
        bits = HASHES.get(self.dialect.kind)
        if bits is None:
            return None
        key = self._key
        below = f"substr({key}, 1, {len(prefixes[0]) + 1})"
        where = self._beginning(prefixes)
        hashed = bits.format(f"substr(md5(concat({key}, revision)), 1, 15)")
        sql = f"SELECT {below}, count(*), sum({hashed}) FROM {self.name} WHERE {where.sql} GROUP BY {below}"
        return Statement(sql, where.parameters)

    def revisions(self, prefixes: Sequence[str]) -> Statement:
        """Compile the SELECT of ids and revisions by beginnings of keys."""
        where = self._beginning(prefixes)
        return Statement(f"SELECT id, revision FROM {self.name} WHERE {where.sql}", where.parameters)

    def _beginning(self, prefixes: Sequence[str]) -> Statement:
        listed = ", ".join("?" * len(prefixes))
        begins = f"substr({self._key}, 1, {len(prefixes[0])}) IN ({listed})"
        return Statement(f"namespace = ? AND {begins}", [self.space, *prefixes])

    # Conditions of queries.

    def narrowed(self, bound: BoundQuery) -> tuple[list[Statement], Sequence[Comparison]]:
        """Return the condition that a row is in the namespace, and all comparisons."""
        return [Statement("namespace = ?", [self.space])], bound.comparisons

    def with_ids(self, ids: Iterable[str]) -> Statement:
        """Return the condition that a row has one of some ids."""
        return contained(self.dialect, self._key, sorted(map(key_of, ids)))

    def with_tag(self, name: str, value: str) -> Statement:
        """Return the condition that a row has a tag."""
        return Statement(
            f"item IN (SELECT item FROM {self._tags} WHERE {self._key} = ? AND name = ? AND value = ?)",
            [tag_key(name, value), name, value],
        )

    def tag(self, name: str, table: str = "") -> Statement:
        """Return the expression for a tag of a row, of this table or another one, NULL if it has none of that name."""
        where = f"{self._tags}.item = {table or self.name}.item AND {self._tags}.name = ?"
        return Statement(f"(SELECT value FROM {self._tags} WHERE {where})", [name])

    def with_words(self, words: Sequence[str]) -> Iterable[Statement]:
        """Return the condition that a row has all of some words."""
        terms = sorted(map(term, words))
        if self.dialect.kind == "postgresql":
            found = Statement("words @@ CAST(? AS TSQUERY)", [" & ".join(f"'{one}'" for one in terms)])
        elif self.dialect.kind == "mysql":
            found = Statement("MATCH (words) AGAINST (? IN BOOLEAN MODE)", [" ".join(f"+{one}" for one in terms)])
        else:
            table = self.word_index
            found = Statement(f"item IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)", [" AND ".join(terms)])
        return (found,)

    # Records and rows.

    def at(self, id: str) -> tuple[str, str, str]:
        """Return the parameters of `get` and `head`."""
        return self.space, key_of(id), id

    def row(self, record: Record) -> tuple[Any, ...]:
        """Return the values of an insert."""
        meta = record.meta
        tags = meta.tags
        extra = None
        if meta.encoding != "json" or meta.encodings or meta.annotations:
            # Where no body shows the rows, they are kept.
            rows = meta.rows if self.projected is not None and meta.encodings else None
            extra = _to_json(Extra(meta.encoding, meta.encodings, dict(meta.annotations), rows)).decode()
        shape = self.definition.bit
        if self.projected is not None and self.projected.packed(record) is not None:
            shape |= self.definition.rows_bit
        row = [
            *self.at(meta.id),
            record.revision,
            meta.stored_at,
            meta.size,
            meta.deleted,
            shape,
            _to_json(tags).decode() if tags else None,
            extra,
            None if meta.derivable and not self.collection.opaque else meta.text,
            record.body or b"",
            *map(meta.fields.get, self.collection.fields),
        ]
        for place, write in self._writes:
            if row[place] is not None:
                row[place] = write(row[place])
        if self.tables.words_in_row:
            row.append(self.words(meta))
        return tuple(row)

    def words(self, meta: Meta) -> Any:
        """Return an item's words as the full-text index takes them."""
        terms = list(map(term, meta.text.split()))
        return terms if self.dialect.kind == "postgresql" else " ".join(terms)

    def record(self, row: Sequence[Any]) -> Record:
        """Return a record from the columns of `heads` or `whole`.

        Raises:
            StoreCorruptError: another program wrote what cannot be read.
        """
        read = list(row)
        collection = self.collection
        try:
            for place, convert in self._reads:
                if read[place] is not None:
                    read[place] = convert(read[place])
            id, revision, stored_at, size, deleted, tags, extra, text, *values = read
            tags = _read_tags(tags) if tags is not None else {}
            more = _read_extra(extra) if extra is not None else Extra()
            body = bytes(values.pop()) if len(values) > len(collection.fields) else None
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise StoreCorruptError(
                f"{collection.name} {shown(str(row[0]))} has a row that cannot be read: {error}",
                backend=NAME,
                collection=collection.name,
                identifier=str(row[0]),
            ) from error
        has_text = text is None and bool(collection.text)
        meta = Meta(
            id,
            fields=dict(zip(collection.fields, values, strict=True)),
            tags=tags,
            text=text,
            size=size,
            encoding=more.encoding,
            encodings=more.encodings,
            stored_at=stored_at,
            deleted=deleted,
            annotations=more.annotations or NO_ANNOTATIONS,
            derive=Derivation(collection, body, more.encoding) if has_text and body is not None else None,
            rows=more.rows,
        )
        return Record(meta, body, revision)

    # Writing, in a transaction.

    def create(self, connection: Connection, record: Record) -> bool:
        """Write one new row with its tags, on PostgreSQL in one statement; return False if there is a row with its id."""
        if self.dialect.kind == "postgresql":
            tags = _tag_rows(0, record)
            _, *columns = zip(*tags, strict=True) if tags else [()] * 4
            parameters = [*self.row(record), *map(list, columns)]
            if self.projected is not None:
                parameters += [self.space, self.projected.json(self.projected.values(0, record))]
            return execute(connection, self._create, parameters).rowcount == 1
        try:
            result = execute(connection, self._create, self.row(record))
        except IntegrityError as error:
            if code_of(error) != DUPLICATE_KEY:
                raise
            return False
        if result.rowcount != 1:
            return False
        self._add(connection, [(result.lastrowid, record)])
        return True

    def _add(self, connection: Connection, written: Sequence[tuple[int, Record]]) -> None:
        """Write the tags and the rows of items."""
        rows = [row for item, record in written for row in _tag_rows(item, record)]
        if rows:
            execute_many(connection, self._insert_tags, rows)
        if self.projected is not None:
            self.projected.add(connection, written)

    def write(
        self, connection: Connection, records: Sequence[Record], expect: Expect, *, in_doubt: bool
    ) -> dict[str, StoreError]:
        """Write records with different ids; return the errors of those for which `expect` does not hold.

        With `in_doubt`, an earlier attempt may have been committed: what does not hold now may have held then.
        """
        by_key = {key_of(record.id): record for record in records}
        known = self._known(connection, by_key)
        refused: dict[str, StoreError] = {}
        new: dict[str, Record] = {}
        changed: list[tuple[int, Record]] = []
        for key in sorted(by_key):
            record, row = by_key[key], known.get(key)
            if row is not None and row.revision == record.revision:
                continue  # an earlier attempt was committed after all
            if not _holds(expect, row):
                refused[record.id] = self.doubtful(record.id) if in_doubt else self._conflict(record.id, expect, row)
            elif row is None:
                new[key] = record
            else:
                changed.append((row.item, record))
        written = list(changed)
        if new:
            execute_many(connection, self._insert, [self.row(record) for record in new.values()])
            written += [(row.item, new[key]) for key, row in self._known(connection, new).items()]
        if changed:
            execute_many(
                connection, self._update, [(*self.row(record)[len(PLACE) :], item) for item, record in changed]
            )
            items = [item for item, _ in changed]
            self._delete(connection, self._tags, items)
            if self.projected is not None:
                self.projected.remove(connection, items)
            self.change_words(connection, changed)
        self._add(connection, written)
        return refused

    def _conflict(self, id: str, expect: Expect, row: Known | None) -> StoreError:
        actual = row.revision if row is not None else None
        return conflict(id, expect, actual, backend=NAME, collection=self.collection.name)

    def not_taken(self, id: str, error: StoreError) -> StoreWriteError:
        """Return the error for an item that the database does not take."""
        name = self.collection.name
        return StoreWriteError(f"{name} {shown(id)}: {error}", backend=NAME, collection=name, identifier=id)

    def doubtful(self, *ids: str) -> StoreWriteError:
        """Return the error for writes that may have happened."""
        what = shown(ids[0]) if len(ids) == 1 else f"{len(ids)} items"
        return doubtful(
            f"{self.collection.name} {what} may or may not have been changed",
            collection=self.collection.name,
            identifier=ids[0] if len(ids) == 1 else None,
        )

    def delete(
        self, connection: Connection, ids: Sequence[str], expect: Expect, doubtful: Sized[str]
    ) -> tuple[set[str], dict[str, StoreError]]:
        """Remove rows; return the ids of those that were live, and the errors where `expect` did not hold.

        Where an earlier attempt, which may have been committed, removed some already, those are `doubtful`.
        """
        by_key = {key_of(id): id for id in ids}
        known = self._known(connection, by_key)
        refused: dict[str, StoreError] = {}
        live: set[str] = set()
        gone: list[int] = []
        for key, id in by_key.items():
            row = known.get(key)
            if not _holds(expect, row):
                if id not in doubtful:
                    refused[id] = self._conflict(id, expect, row)
            elif row is not None:
                gone.append(row.item)
                if not row.deleted:
                    live.add(id)
        if gone:
            self._delete(connection, self._tags, gone)
            if self.tables.words:
                self._delete(connection, self.word_index, gone, "rowid")
            self._delete(connection, self.name, gone)
        return live, refused

    def _known(self, connection: Connection, keys: Iterable[str]) -> dict[str, Known]:
        """Look at rows, and lock them where databases lock rows."""
        where, parameters = contained(self.dialect, self._key, sorted(keys))
        columns = f"{self._key}, item, revision, deleted"
        sql = f"SELECT {columns} FROM {self.name} WHERE namespace = ? AND {where} ORDER BY {self._key}"
        if self.dialect.kind != "sqlite":
            sql += " FOR UPDATE"
        rows = execute(connection, sql, (self.space, *parameters))
        return {key: Known(*values) for key, *values in rows}

    def _delete(self, connection: Connection, table: str, items: Sequence[int], column: str = "item") -> None:
        where, parameters = contained(self.dialect, column, items)
        execute(connection, f"DELETE FROM {table} WHERE {where}", parameters)

    def change_words(self, connection: Connection, changed: Iterable[tuple[int, Record]]) -> None:
        """Replace words in SQLite's index, unless a row has another revision by now; `fill_words` adds new rows."""
        if self.tables.words:
            words = [(self.words(record.meta), item, record.revision) for item, record in changed]
            execute_many(connection, self._update_words, words)


def _converters(known: Converters, columns: Sequence[str], collection: Collection[Any]) -> list[tuple[int, Any]]:
    """Return the places of the values that are converted, and how: of these columns, then of the fields."""
    kinds = [*(KINDS.get(column, str) for column in columns), *(field.type for field in collection.fields.values())]
    return [(place, known[kind]) for place, kind in enumerate(kinds) if kind in known]


def _tag_rows(item: int, record: Record) -> list[tuple[int, str, str, str]]:
    return [(item, name, value, tag_key(name, value)) for name, value in record.meta.tags.items()]


def _holds(expect: Expect, row: Known | None) -> bool:
    if isinstance(expect, Condition):
        return expect is ANY or row is None or bool(row.deleted)
    return row is not None and row.revision == expect
