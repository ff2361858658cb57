"""The index table of one collection: where an item lies, and how its head becomes a row and a row a head."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.model.query import HEAD_FIELDS
from truthstore.model.record import NO_ANNOTATIONS, Meta, Record
from truthstore.storage.sql.compile import Source, Statement, contained
from truthstore.storage.sql.dialect import CATALOG

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import FieldValue

__all__ = [
    "PLACE",
    "SQL_TYPES",
    "UNREAD",
    "Bodies",
    "Committed",
    "Location",
    "Put",
    "Table",
    "as_location",
    "tag_term",
]

PLACE: Final = "id, revision, deleted, name"
"""The columns of a `Location`."""

UNREAD: Final = ""
"""Stands among the postings for what could not be read of an item; no word is empty."""

SQL_TYPES: Final = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL", datetime: "INTEGER"}

_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.decode


class Location(NamedTuple):
    """The place of the body of an item: its revision, whether it is a tombstone, and its object if not under its usual name."""

    id: str
    revision: str = ""
    deleted: bool = False
    name: str | None = None


Bodies = Callable[["Collection[Any]", Sequence[Location]], Iterator[Record]]
"""Reads the bodies of some items, for what the index does not hold; leaves out what is gone."""


class Put(NamedTuple):
    """One row to write."""

    record: Record
    name: str | None = None


class Committed(NamedTuple):
    """The outcome of a write: the places of overwritten and removed items, and the revisions of refused ones, by id."""

    before: dict[str, Location]
    refused: dict[str, str | None]


def tag_term(key: str, value: str) -> str:
    """Return a tag as it stands in the postings; U+0000 is not allowed in tags."""
    return f"t{key}\0{value}"


class Table(Source):
    """The SQL of one collection, and the number of the definition under which this process writes.

    Args:
        collection: the collection.
        number: the number of its definition.
        words: keep the words and the rows of every item in its row.
    """

    __slots__ = (
        "booleans",
        "collection",
        "columns",
        "fields",
        "heads",
        "insert",
        "number",
        "postings",
        "word_kind",
        "words",
    )

    def __init__(self, collection: Collection[Any], number: int, *, words: bool = False) -> None:
        self.collection = collection
        self.number = number
        self.words = words
        self.dialect = CATALOG
        self.name = CATALOG.quoted(f"c_{collection.name}")
        self.postings = CATALOG.quoted(f"p_{collection.name}")
        # A column names type and path too: declared otherwise, a field is another column.
        declared = {
            name: CATALOG.quoted(f"{name}:{field.type.__name__}:{field.path}")
            for name, field in collection.fields.items()
        }
        self.names = {**declared, **{name: name for name in HEAD_FIELDS}}
        self.beginnings = {}
        # Collections that declare other text fields have postings of their own.
        self.word_kind = f"w{zlib.crc32(repr(collection.text).encode()):08x}"
        self.columns = list(declared.values())
        self.fields = tuple(collection.fields)
        self.booleans = [name for name, field in collection.fields.items() if field.type is bool]
        listed = ["seq", "id", "revision", "stored_at", "size", "deleted", "name", "tags", "text", "extra", "shape"]
        if collection.projection is not None:
            listed.append("rows")
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

    def word_term(self, word: str) -> str:
        """Return a word as it stands in the postings."""
        return self.word_kind + word

    def with_ids(self, ids: Iterable[str]) -> Statement:
        """Return the condition that a row has one of some ids."""
        return contained(CATALOG, "id", list(ids))

    def with_tag(self, name: str, value: str) -> Statement:
        """Return the condition that a row has a tag."""
        return self._posted(tag_term(name, value))

    def tag(self, name: str) -> Statement:
        """Return the expression for a tag of a row, NULL if it has none of that name."""
        return Statement("(SELECT value FROM json_each(tags) WHERE key = ?)", [name])

    def with_words(self, words: Sequence[str]) -> Iterator[Statement]:
        """Return the conditions that a row has all of some words."""
        return (self._posted(self.word_term(word)) for word in words)

    def _posted(self, term: str) -> Statement:
        return Statement(f"seq IN (SELECT item FROM {self.postings} WHERE term = ?)", [term])

    def make(self, connection: sqlite3.Connection) -> None:
        """Make the table, its postings, and what is lacking of columns and indexes."""
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.name} (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
            " revision TEXT NOT NULL, stored_at INTEGER NOT NULL, size INTEGER NOT NULL, deleted INTEGER NOT NULL,"
            " name TEXT, tags TEXT, text TEXT, extra TEXT, shape INTEGER NOT NULL)"
        )
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.postings} (term TEXT NOT NULL, item INTEGER NOT NULL,"
            " PRIMARY KEY (term, item)) WITHOUT ROWID"
        )
        # A number is never given twice, so that what was read of a row is not taken for what was written in its place.
        connection.execute(
            f"CREATE TRIGGER IF NOT EXISTS {CATALOG.quoted(f'gone_{self.collection.name}')} AFTER DELETE ON {self.name}"
            f" WHEN OLD.seq > ifnull((SELECT max(seq) FROM {self.name}), 0) BEGIN"
            f" INSERT INTO marks VALUES ('{self.collection.name}', 'gone', OLD.seq)"
            " ON CONFLICT (collection, kind) DO UPDATE SET mark = max(mark, excluded.mark); END"
        )
        present = {CATALOG.quoted(row[1]) for row in connection.execute(f"PRAGMA table_info({self.name})")}
        for name, field in self.collection.fields.items():
            added = self.names[name]
            if added not in present:
                connection.execute(f"ALTER TABLE {self.name} ADD COLUMN {added} {SQL_TYPES[field.type]}")
        if self.collection.projection is not None and '"rows"' not in present:
            connection.execute(f"ALTER TABLE {self.name} ADD COLUMN rows BLOB")
        time = self.collection.time or "stored_at"
        for lookup in [(), *self.collection.lookups]:
            # With id and deleted it holds all that a query of ids needs, in the order that it asks for.
            columns = [self.names[name] for name in dict.fromkeys([*lookup, time])] + ["id", "deleted"]
            index = CATALOG.quoted(f"i_{self.collection.name}_{'_'.join(columns)}".replace('"', ""))
            connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {self.name} ({', '.join(columns)})")

    def has_rows(self, connection: sqlite3.Connection) -> bool:
        """Return whether the table has a column for the rows of items."""
        return any(row[1] == "rows" for row in connection.execute(f"PRAGMA table_info({self.name})"))

    def row(self, put: Put, number: int = 0) -> tuple[Any, ...]:
        """Return the parameters of an insert; `number` is that of the definition that the fields follow, if another one."""
        record, name = put
        meta = record.meta
        fields = meta.fields
        tags = meta.tags
        extra = None
        text = None
        rows: tuple[bytes | None, ...] = ()
        if self.collection.projection is not None:
            # Where bodies are near, their rows are made when they are first asked for.
            rows = (meta.rows if self.words or meta.encodings else None,)
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
            *rows,
            *map(fields.get, self.fields),
        )

    def head(self, row: Sequence[Any]) -> Record:
        """Return a head from the columns of `heads`."""
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


def as_location(row: Sequence[Any]) -> Location:
    """Return a location from the columns id, revision, deleted, name."""
    return Location(row[0], row[1], bool(row[2]), row[3])
