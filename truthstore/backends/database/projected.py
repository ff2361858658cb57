"""The table of the rows of items: its queries, and how it is written together with the items."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from truthstore.backends.database.engine import execute, execute_many
from truthstore.backends.database.schema import PLACED, placing_index, row_column
from truthstore.errors import StoreCorruptError
from truthstore.model.fields import MAX_INT
from truthstore.model.projection import SEPARATOR
from truthstore.model.record import Meta, Record
from truthstore.storage.sql.compile import Source, Statement, condition, contained
from truthstore.storage.sql.paging import PAGE

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database.schema import Definition, Index
    from truthstore.model.collection import Collection
    from truthstore.model.projection import Projection
    from truthstore.model.query import BoundQuery, Comparison
    from truthstore.storage.sql.dialect import Dialect

__all__ = ["PLACED_AT_ONCE", "ProjectedRows"]

HALF: Final = 11
BITS: Final = 24
PER_ITEM: Final = 1 << BITS
"""An item has fewer rows than this."""
PLACED_AT_ONCE: Final = 10_000
MANY_ITEMS: Final = 500
"""The rows of so many items share the pages of the indexes, so that nobody leaves them to questions."""
JSON_TYPES: Final = {
    str: "TEXT",
    int: "BIGINT",
    bool: "BOOLEAN",
    float: "DOUBLE PRECISION",
    datetime: "TIMESTAMP WITH TIME ZONE",
}
NUMBERED: Final = {
    "sqlite": "printf('%08d', {})",
    "postgresql": "lpad(CAST({} AS TEXT), 8, '0')",
    "mysql": "LPAD({}, 8, '0')",
}

_to_json: Final = msgspec.json.Encoder().encode


class Items(Protocol):
    """What rows ask of the table of their items."""

    collection: Collection[Any]
    definition: Definition
    space: str
    dialect: Dialect
    name: str

    def with_ids(self, ids: Iterable[str]) -> Statement:
        """Return the condition that an item has one of some ids."""
        ...

    def with_tag(self, name: str, value: str) -> Statement:
        """Return the condition that the item of a row has a tag."""
        ...

    def tag(self, name: str, table: str = "") -> Statement:
        """Return the expression for a tag of the item of a row of a table."""
        ...


class ProjectedRows(Source):
    """The rows of the items of one collection in one namespace, and the statements that read and write them.

    Attributes:
        heads: the columns of a row as a head. The second says whether an item lacks its rows or an index some of them, so
            that nobody has to ask for it first; its parameter is the first one of a statement that begins with these (`headed`).
        waiting: the SELECT of a row that the indexes lack; empty where they lack none.
        place: the UPDATE that puts about `PLACED_AT_ONCE` of these into the indexes.
    """

    _by_series = True

    def __init__(self, items: Items, index: Index, collection: Collection[Any], projection: Projection) -> None:
        self._items = items
        self._projection = projection
        self.collection = collection
        dialect = items.dialect
        quoted = dialect.quoted
        self.dialect = replace(dialect, live="1 = 1")
        self.name = quoted(index.table.name)
        self.beginnings = index.beginnings
        self.names = {name: quoted(column.name) for name, column in index.fields.items()}
        number = NUMBERED[dialect.kind].format("number")
        separator = f"CHAR({ord(SEPARATOR)} USING utf8mb4)" if dialect.kind == "mysql" else f"'{SEPARATOR}'"
        joined = (self.names[projection.item], separator, number)
        above = f"(SELECT {{}} FROM {items.name} WHERE {items.name}.item = {self.name}.item)"
        self.names |= {
            "id": f"CONCAT({', '.join(joined)})" if dialect.kind == "mysql" else f"({' || '.join(joined)})",
            "size": "(number * 0)",  # a bare number would be the place of a column where rows are ordered
            "stored_at": above.format("stored_at"),
        }
        fields = collection.fields
        self._place_statements(index)
        lacking = f"EXISTS (SELECT 1 FROM {items.name} WHERE namespace = ? AND {items.definition.rows_lacking})"
        if self.waiting:
            lacking = f"({lacking} OR EXISTS ({self.waiting}))"
        shared = (self.names["id"], lacking, above.format("stored_at"), above.format("tags"))
        self.heads = ", ".join([*shared, *(self.names[name] for name in fields)])
        self._reads = [(name, read) for name, field in fields.items() if (read := dialect.read.get(field.type))]
        self._writes = [
            (place, write) for place, field in enumerate(fields.values()) if (write := dialect.write.get(field.type))
        ]
        self._floats = [place for place, field in enumerate(fields.values(), 3) if field.type is float]
        self._write_statements([quoted(row_column(name)) for name in fields])

    def _place_statements(self, index: Index) -> None:
        self.waiting = self.place = ""
        self._found = ["namespace = ?"]
        if PLACED in index.table.c:
            mark = self.dialect.quoted(PLACED)
            self._found.append(f"{mark} IS NOT NULL")
            name = f"{self.name} INDEXED BY {self.dialect.quoted(placing_index(index.table.name))}"
            self.waiting = f"SELECT 1 FROM {name} WHERE {mark} IS NULL LIMIT 1"
            beyond = f"SELECT item FROM {name} WHERE {mark} IS NULL ORDER BY item LIMIT 1 OFFSET {PLACED_AT_ONCE - 1}"
            self.place = (
                f"UPDATE {name} SET {mark} = 1 WHERE {mark} IS NULL AND item <= coalesce(({beyond}), {MAX_INT})"
            )

    def _write_statements(self, fields: list[str]) -> None:
        kinds = ["BIGINT", "INTEGER", "TEXT", *(JSON_TYPES[field.type] for field in self.collection.fields.values())]
        columns = ["item", "number", "series", *fields]
        self._keys = [f"c{place}" for place in range(len(columns))]
        listed = ", ".join(f"{key} {kind}" for key, kind in zip(self._keys, kinds, strict=True))
        # One parameter, which costs a third of what an array for each column does.
        self._insert = f"INSERT INTO {self.name} (namespace, {', '.join(columns)})"
        if self.dialect.kind == "postgresql":
            listed = f"json_to_recordset(CAST(? AS JSON)) AS listed({listed})"
            self._insert_many = f"{self._insert} SELECT ?, listed.* FROM {listed}"
            keys = ", ".join(f"listed.{key}" for key in self._keys[1:])
            self.insert_made = f"{self._insert} SELECT ?, made.item, {keys} FROM made, {listed}"
        else:
            self._insert_many = f"{self._insert} VALUES ({', '.join('?' * (1 + len(columns)))})"
            if self.waiting:
                places = ", ".join("?" * (1 + len(columns)))
                mark = self.dialect.quoted(PLACED)
                self._insert_placed = f"{self._insert[:-1]}, {mark}) VALUES ({places}, 1)"

    # Conditions of queries.

    def narrowed(self, bound: BoundQuery) -> tuple[list[Statement], Sequence[Comparison]]:
        """Return what leads to rows by an index: their items, or the namespace and the series; and what else is compared."""
        projection = self._projection
        items = self._named_items(bound)
        rest = [one for one in bound.comparisons if one not in items]
        found = [self._of_items([one.value] if one.operator == "==" else one.value) for one in items]
        if found or bound.ids is not None:
            return found, rest
        found.append(Statement(" AND ".join(self._found), [self._items.space]))
        least, beyond = self._series_range(bound) if self._by_series else ("", "")
        if len(least) > HALF:
            # Other indexes would look as good.
            found.append(Statement("series = ?", [least]))
            rest = [one for one in rest if one.operator != "==" or one.field not in projection.series]
        elif least:
            found.append(Statement("series >= ? AND series < ?", [least, beyond]))
        return found, rest

    def _named_items(self, bound: BoundQuery) -> list[Comparison]:
        item = self._projection.item
        return [one for one in bound.comparisons if one.field == item and one.operator in {"==", "in"}]

    def _series_range(self, bound: BoundQuery) -> tuple[str, str]:
        """Return the least name of a series that a query can find, and one beyond the greatest."""
        wanted = {one.field: one.value for one in bound.comparisons if one.operator == "=="}
        named = [wanted.get(name) for name in self._projection.series]
        least = ""
        if named and named[0] is not None:
            least = hashed(named[0]) if None in named else series_key(tuple(named))
        return least, f"{least}~"

    def _of_items(self, ids: Iterable[str | None]) -> Statement:
        found = self._items.with_ids(id for id in ids if id is not None)
        items = f"SELECT item FROM {self._items.name} WHERE namespace = ? AND {found.sql}"
        return Statement(f"item IN ({items})", [self._items.space, *found.parameters])

    def with_ids(self, ids: Iterable[str]) -> Statement:
        """Return the condition that a row has one of some ids."""
        listed = list(ids)
        items = self._of_items({id.partition(SEPARATOR)[0] for id in listed})
        own = contained(self.dialect, self.names["id"], listed)
        return Statement(f"{items.sql} AND {own.sql}", [*items.parameters, *own.parameters])

    def with_tag(self, name: str, value: str) -> Statement:
        """Return the condition that the item of a row has a tag."""
        return self._items.with_tag(name, value)

    def tag(self, name: str) -> Statement:
        """Return the expression for a tag of the item of a row, NULL if it has none of that name."""
        return self._items.tag(name, self.name)

    def _without_series(self) -> ProjectedRows:
        """Return this source for conditions beside which the series is given otherwise."""
        other = copy(self)
        other._by_series = False  # noqa: SLF001  # a copy of this class, made nowhere else
        return other

    def headed(self, statement: Statement) -> Statement:
        """Return a statement that begins with `heads`, with their parameter."""
        return Statement(statement.sql, [self._items.space, *statement.parameters])

    def newest(self, bound: BoundQuery, keep: BoundQuery, series: Sequence[tuple[Any, ...]] | None = None) -> Statement:
        """Compile the SELECT of the newest row of each series, or of some, that fulfils the conditions of a query, if it fulfils those of another."""
        newest = f"{self.names[bound.order]} DESC{self.dialect.nulls[1]}, {self.names['id']} DESC"
        keys = None if series is None else sorted({series_key(one) for one in series if None not in one})
        wide = bound.ids is None and not self._named_items(bound)
        # MariaDB and MySQL find no next series by an index.
        find = self._walked if wide and self.dialect.kind != "mysql" else self._ranked
        return find(bound, condition(keep, self._without_series()), newest, keys)

    def _walked(self, bound: BoundQuery, keep: Statement, newest: str, keys: Sequence[str] | None) -> Statement:
        """Find the series one after the other in their index, and the newest row of each by a step in the same index.

        It is the *loose index scan* (wiki.postgresql.org/wiki/Loose_indexscan): a step finds the next series, and the row
        of the last one, so that nothing is looked up twice.
        """
        where, parameters = condition(bound, self._without_series())
        parameters = [*keep.parameters, *parameters]
        row = (
            f"(SELECT CASE WHEN {keep.sql} THEN item * {PER_ITEM} + number END FROM {self.name}"
            f" WHERE series = walk.s AND {where} ORDER BY {newest} LIMIT 1)"
        )
        key = f"{self.name}.item = found.k >> {BITS} AND {self.name}.number = found.k & {PER_ITEM - 1}"
        joined = f"{self.name} ON {key}"
        is_postgresql = self.dialect.kind == "postgresql"
        if is_postgresql:
            # With a limit, a row is looked up by its key, whatever the server believes of a table that it has not analysed.
            joined = f"LATERAL (SELECT * FROM {self.name} WHERE {key} LIMIT 1) AS {self.name} ON TRUE"
        # One row without values is always there, and says whether rows are lacking.
        found = (
            "found (k) AS (SELECT k FROM kept WHERE k IS NOT NULL UNION ALL SELECT CAST(NULL AS BIGINT))"
            f" SELECT {self.heads} FROM found LEFT JOIN {joined}"
        )
        space = self._items.space
        if keys is not None:
            listed = "unnest(CAST(? AS TEXT[])) AS listed (value)" if is_postgresql else "json_each(?)"
            # With a limit, it is no part of the query around it, which would look each row up twice.
            sql = f"WITH walk (s) AS (SELECT value FROM {listed}), kept (k) AS (SELECT {row} FROM walk LIMIT {PAGE}), {found}"
            return Statement(sql, [self.dialect.array(list(keys)), *parameters, space])
        least, beyond = self._series_range(bound)
        ends = [*self._found, "series > walk.s", *(["series < ?"] if least else [])]
        collated = ' COLLATE "C"' if is_postgresql else ""
        sql = (
            f"WITH RECURSIVE walk (s, k) AS (SELECT CAST(? AS VARCHAR){collated}, CAST(NULL AS BIGINT) UNION ALL SELECT"
            f" (SELECT min(series) FROM {self.name} WHERE {' AND '.join(ends)}), {row} FROM walk WHERE walk.s IS NOT NULL),"
            f" kept (k) AS (SELECT k FROM walk), {found}"
        )
        return Statement(sql, [least[:-1], space, *([beyond] if least else []), *parameters, space])

    def _ranked(self, bound: BoundQuery, keep: Statement, newest: str, keys: Sequence[str] | None) -> Statement:
        """Rank the rows of each series by time: as long as it takes to read all that fulfil the conditions."""
        where, parameters = condition(bound, self)
        known = Statement("series IS NOT NULL") if keys is None else contained(self.dialect, "series", keys)
        sql = (
            f"SELECT {self.heads} FROM (SELECT item AS i, number AS n,"
            f" row_number() OVER (PARTITION BY series ORDER BY {newest}) AS place"
            f" FROM {self.name} WHERE {where} AND {known.sql}) AS ranked"
            f" JOIN {self.name} ON {self.name}.item = ranked.i AND {self.name}.number = ranked.n"
            f" WHERE ranked.place = 1 AND {keep.sql}"
        )
        return Statement(sql, [self._items.space, *parameters, *known.parameters, *keep.parameters])

    def head(self, row: Sequence[Any]) -> Record:
        """Return a row as a head, from the columns of `heads`."""
        id, _, stored_at, tags, *values = row
        fields: dict[str, Any] = dict(zip(self.collection.fields, values, strict=True))
        for name, read in self._reads:
            if fields[name] is not None:
                fields[name] = read(fields[name])
        read = self.dialect.read[datetime]
        tags = {} if tags is None else msgspec.json.decode(tags)
        return Record(Meta(id, fields, tags, "", stored_at=read(stored_at)), None, "")

    # Writing, in the transaction of the items.

    def packed(self, record: Record) -> bytes | None:
        """Return the rows of an item, packed; None if they cannot be made of it."""
        try:
            return b"" if record.meta.deleted else self._items.collection.packed_rows(record)
        except StoreCorruptError:
            return None

    def values(self, item: int, record: Record) -> list[list[Any]]:
        """Return the rows of an item as they are inserted, without the namespace."""
        meta = record.meta
        above = [meta.id, *(meta.fields.get(name) for name in self._projection.inherits)]
        # What all rows of an item share is converted once.
        shared = self._written(above, 0)
        names = list(self.collection.fields)
        places = [names.index(name) for name in self._projection.series]
        rows = []
        for number, own in enumerate(self._projection.values(self.packed(record) or b"")):
            named = tuple([above[place] if place < len(above) else own[place - len(above)] for place in places])
            key = series_key(named) if named and None not in named else None
            rows.append([item, number, key, *shared, *self._written(own, len(above))])
        return rows

    def _written(self, values: list[Any], first: int) -> list[Any]:
        """Return the values of some fields, beginning with the first of these, as the database keeps them."""
        for place, write in self._writes:
            if 0 <= (here := place - first) < len(values) and values[here] is not None:
                values = [*values[:here], write(values[here]), *values[here + 1 :]]
        return values

    def json(self, rows: Iterable[list[Any]]) -> str:
        """Return rows as the one parameter that PostgreSQL takes."""
        listed = []
        for row in rows:
            for place in self._floats:
                if row[place] is not None and math.isinf(row[place]):
                    row[place] = str(row[place])
            listed.append({key: value for key, value in zip(self._keys, row, strict=True) if value is not None})
        return _to_json(listed).decode()

    def add(self, connection: Connection, written: Iterable[tuple[int, Record]]) -> None:
        """Insert the rows of items, in one statement."""
        items = list(written)
        rows = [row for item, record in items for row in self.values(item, record)]
        space = self._items.space
        if rows and self.dialect.kind == "postgresql":
            execute(connection, self._insert_many, (space, self.json(rows)))
        elif rows:
            insert = self._insert_placed if self.waiting and len(items) >= MANY_ITEMS else self._insert_many
            execute_many(connection, insert, [(space, *row) for row in rows])

    def remove(self, connection: Connection, items: Sequence[int]) -> None:
        """Remove the rows of items."""
        where, parameters = contained(self.dialect, "item", items)
        execute(connection, f"DELETE FROM {self.name} WHERE {where}", parameters)


def hashed(value: Any) -> str:
    """Return a hash of 66 bits."""
    digest = hashlib.blake2b(repr(value).encode(), digest_size=9).digest()
    return base64.urlsafe_b64encode(digest)[:HALF].decode()


@lru_cache(10_000)
def series_key(named: tuple[Any, ...]) -> str:
    """Return the name of a series as it is kept: a hash of its first field, by which all of these are found, and one of all."""
    return hashed(named[0]) + hashed(named)
