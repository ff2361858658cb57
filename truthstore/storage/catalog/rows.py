"""The index table of the rows of one collection: made of what lies in the items' own rows, or of their bodies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.model.projection import SEPARATOR
from truthstore.model.record import Meta, Record
from truthstore.storage.catalog.table import SQL_TYPES, tag_term
from truthstore.storage.sql.compile import Source, Statement, contained
from truthstore.storage.sql.dialect import CATALOG

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.projection import Projection
    from truthstore.storage.catalog.table import Table

__all__ = ["RowTable"]

PER_ITEM: Final = 1 << 24
"""An item has fewer rows than this; the place of a row is its item's number times this, plus its own number."""

_from_json: Final = msgspec.json.decode


class RowTable(Source):
    """The SQL of the rows of one collection.

    Args:
        parent: the table of the items.
        collection: the rows.
        projection: how items become rows.
    """

    __slots__ = ("booleans", "collection", "heads", "insert", "kind", "parent", "projection")

    def __init__(self, parent: Table, collection: Collection[Any], projection: Projection) -> None:
        self.parent = parent
        self.collection = collection
        self.projection = projection
        self.dialect = replace(CATALOG, live="1 = 1")
        # Rows that are declared otherwise are another table.
        self.kind = f"r{collection.fingerprint}"
        self.name = CATALOG.quoted(f"r_{collection.name}_{collection.fingerprint}")
        # What all rows of an item share is looked up there, by its number, and not kept twenty times.
        above = f"(SELECT {{}} FROM {parent.name} WHERE seq = place / {PER_ITEM})"
        item = above.format("id")
        kept = {name: CATALOG.quoted(f"f:{name}") for name in collection.fields if name != projection.item}
        self.names = {
            projection.item: item,
            **kept,
            "id": f"({item} || '{SEPARATOR}' || printf('%08d', place % {PER_ITEM}))",
            "size": "CAST(0 AS INTEGER)",  # a bare number would be the place of a column where rows are ordered
            "stored_at": above.format("stored_at"),
        }
        self.beginnings = {}
        self.booleans = [name for name, field in collection.fields.items() if field.type is bool]
        fields = [self.names[name] for name in collection.fields]
        self.heads = ", ".join([self.names["id"], self.names["stored_at"], above.format("tags"), *fields])
        self.insert = (
            f"INSERT OR REPLACE INTO {self.name} (place, {', '.join(kept.values())})"
            f" VALUES ({', '.join('?' * (1 + len(kept)))})"
        )

    def with_ids(self, ids: Iterable[str]) -> Statement:
        """Return the condition that a row has one of some ids."""
        return contained(CATALOG, self.names["id"], list(ids))

    def with_tag(self, name: str, value: str) -> Statement:
        """Return the condition that the item of a row has a tag."""
        items = f"SELECT item FROM {self.parent.postings} WHERE term = ?"
        return Statement(f"place / {PER_ITEM} IN ({items})", [tag_term(name, value)])

    def tag(self, name: str) -> Statement:
        """Return the expression for a tag of the item of a row, NULL if it has none of that name."""
        tags = f"(SELECT tags FROM {self.parent.name} WHERE seq = place / {PER_ITEM})"
        return Statement(f"(SELECT value FROM json_each({tags}) WHERE key = ?)", [name])

    def make(self, connection: sqlite3.Connection) -> None:
        """Make the table, without indexes, and the trigger that removes rows with their item."""
        fields = [(name, field) for name, field in self.collection.fields.items() if name != self.projection.item]
        columns = ", ".join(f"{self.names[name]} {SQL_TYPES[field.type]}" for name, field in fields)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {self.name} (place INTEGER PRIMARY KEY, {columns})")
        connection.execute(
            f"CREATE TRIGGER IF NOT EXISTS {CATALOG.quoted(f'rows_{self.kind}_{self.collection.name}')}"
            f" AFTER DELETE ON {self.parent.name} BEGIN DELETE FROM {self.name}"
            f" WHERE place >= OLD.seq * {PER_ITEM} AND place < (OLD.seq + 1) * {PER_ITEM}; END"
        )

    def indexes(self) -> Iterator[tuple[str, str]]:
        """Iterate over the indexes: the name of each, and the statement that makes it."""
        time = self.collection.time or "stored_at"
        for lookup in [(), *self.collection.lookups]:
            indexed = [name for name in dict.fromkeys([*lookup, time]) if name in self.collection.fields]
            if indexed and self.projection.item not in indexed:
                name = f"i_{self.kind}_{self.collection.name}_{'_'.join(indexed)}"
                on = ", ".join(self.names[name] for name in indexed)
                yield name, f"CREATE INDEX IF NOT EXISTS {CATALOG.quoted(name)} ON {self.name} ({on})"

    def without_items(self, first: int, last: int) -> Statement:
        """Return the statement that removes rows, of items with numbers in a range, that were replaced meanwhile."""
        return Statement(
            f"DELETE FROM {self.name} WHERE place >= ? AND place < ?"
            f" AND place / {PER_ITEM} NOT IN (SELECT seq FROM {self.parent.name} WHERE seq >= ? AND seq <= ?)",
            (first * PER_ITEM, (last + 1) * PER_ITEM, first, last),
        )

    def rows(self, number: int, inherited: Sequence[Any], packed: bytes) -> Iterator[tuple[Any, ...]]:
        """Return the parameters of inserts for the rows of an item.

        Args:
            number: that of the item.
            inherited: the fields that the rows take over.
            packed: the rows.
        """
        for place, values in enumerate(self.projection.values(packed), number * PER_ITEM):
            yield (place, *inherited, *values)

    def head(self, row: Sequence[Any]) -> Record:
        """Return a row as a head, from the columns of `heads`."""
        id, stored_at, tags, *values = row
        fields: dict[str, Any] = dict(zip(self.collection.fields, values, strict=True))
        for name in self.booleans:
            if fields[name] is not None:
                fields[name] = bool(fields[name])
        return Record(Meta(id, fields, {} if tags is None else _from_json(tags), "", stored_at=stored_at))
