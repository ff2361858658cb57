"""Queries in SQLite's SQL. The meaning is that of `BoundQuery.matches` and `sort_key`; the suite compares the two."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.model.aggregate import DAY, HOUR, Aggregation, Partial
from truthstore.model.query import HEAD_FIELDS

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import BoundQuery
    from truthstore.model.record import FieldValue

__all__ = [
    "Statement",
    "aggregate_statement",
    "condition",
    "page_statements",
    "partials",
    "tag_term",
    "word_kind",
    "word_term",
]

NEVER_NULL: Final = frozenset({"id", "size", "stored_at"})


class Statement(NamedTuple):
    """SQL text and its parameters."""

    sql: str
    parameters: list[Any]


def quoted(name: str) -> str:
    """A name as SQL writes identifiers; names of collections and fields hold no quotes."""
    return f'"{name}"'


def column(collection: Collection[Any], name: str) -> str:
    """The column of a field. It names type and path too: declared otherwise, a field is another column."""
    if name in HEAD_FIELDS:
        return name
    field = collection.fields[name]
    return quoted(f"{name}:{field.type.__name__}:{field.path}")


def tag_term(key: str, value: str) -> str:
    """How a tag stands in the postings; U+0000 is not allowed in tags."""
    return f"t{key}\0{value}"


def word_kind(collection: Collection[Any]) -> str:
    """Names what words are drawn from: collections that declare other text fields have postings of their own."""
    return f"w{zlib.crc32(repr(collection.text).encode()):08x}"


def word_term(collection: Collection[Any], word: str) -> str:
    """How a word stands in the postings."""
    return f"{word_kind(collection)}{word}"


def condition(bound: BoundQuery, postings: str, words: Iterable[str] | None = None) -> Statement:
    """The WHERE clause, without the word itself; with other words than the query's where some are given."""
    parts: list[str] = []
    parameters: list[Any] = []
    for name, operator, value in bound.comparisons:
        field = column(bound.collection, name)
        if operator == "in":
            values = [one for one in value if one is not None]
            inner = f"{field} IN (SELECT value FROM json_each(?))" if len(values) > 50 else _in(field, values)  # noqa: PLR2004
            parameters.extend([_json(values)] if len(values) > 50 else values)  # noqa: PLR2004
            parts.append(f"({inner} OR {field} IS NULL)" if len(values) < len(value) else inner)
        elif operator == "==":
            parts.append(f"{field} IS NULL" if value is None else f"{field} = ?")
            parameters.extend([] if value is None else [value])
        elif operator == "!=":
            parts.append(f"{field} IS NOT ?")
            parameters.append(value)
        else:
            parts.append(f"{field} {operator} ?")
            parameters.append(value)
    if bound.ids is not None:
        parts.append("id IN (SELECT value FROM json_each(?))")
        parameters.append(_json(list(bound.ids)))
    terms = [tag_term(key, value) for key, value in bound.tags.items()]
    terms.extend(word_term(bound.collection, word) for word in sorted(bound.words if words is None else words))
    for term in terms:
        parts.append(f"seq IN (SELECT item FROM {postings} WHERE term = ?)")
        parameters.append(term)
    if not bound.include_deleted:
        parts.append("deleted = 0")
    return Statement(" AND ".join(parts) or "1", parameters)


def _in(field: str, values: list[Any]) -> str:
    return f"{field} IN ({','.join('?' * len(values))})"


def _json(values: list[Any]) -> str:
    import json  # rare: long lists only

    # JSON has no infinity; SQLite reads a number beyond all floats as one.
    infinities = {math.inf: "9e999", -math.inf: "-9e999"}
    return f"[{','.join(infinities.get(value) or json.dumps(value, ensure_ascii=False) for value in values)}]"


def page_statements(
    bound: BoundQuery, columns: str, table: str, postings: str, start: tuple[FieldValue, str] | None
) -> Iterator[Statement]:
    """The statements that, one after the other, give all rows after a start, each still without LIMIT.

    There are two where the order passes from values to NULLs, so that each is one range of an index.
    """
    where, parameters = condition(bound, postings)
    field = column(bound.collection, bound.order)
    ascending = bound.ascending
    direction = "ASC" if ascending else "DESC"
    order = f"ORDER BY {direction_of(field, direction)}"
    select = f"SELECT {columns} FROM {table} WHERE {where}"
    if start is None:
        yield Statement(f"{select} {order}", parameters)
        return
    value, id = start
    beyond = ">" if ascending else "<"
    if field == "id":
        yield Statement(f"{select} AND id {beyond} ? {order}", [*parameters, id])
        return
    if value is None:
        yield Statement(f"{select} AND {field} IS NULL AND id {beyond} ? {order}", [*parameters, id])
        if ascending:
            yield Statement(f"{select} AND {field} IS NOT NULL {order}", parameters)
        return
    yield Statement(
        f"{select} AND {field} {beyond}= ? AND ({field} {beyond} ? OR id {beyond} ?) {order}",
        [*parameters, value, value, id],
    )
    if not ascending and field not in NEVER_NULL:
        yield Statement(f"{select} AND {field} IS NULL {order}", parameters)


def direction_of(field: str, direction: str) -> str:
    """The ORDER BY list: the field, then the id, in one direction."""
    return f"id {direction}" if field == "id" else f"{field} {direction}, id {direction}"


def aggregate_statement(bound: BoundQuery, aggregation: Aggregation, table: str, postings: str) -> Statement:
    """Partial groups: keys, the bucket's hour or day, count, then count, sum, min and max of each measured field."""
    where, parameters = condition(bound, postings)
    keys = [column(bound.collection, name) for name in aggregation.by]
    if aggregation.bucket is not None:
        step = HOUR if aggregation.bucket == "hour" else DAY
        time = column(bound.collection, aggregation.time)
        # SQLite's % takes the sign of the dividend; times before 1970 need the floor.
        keys.append(f"({time} - (({time} % {step}) + {step}) % {step})")
    figures = ["count(*)"]
    for name in aggregation.measured:
        field = column(bound.collection, name)
        total = f"sum({field})" if bound.field(name).type in {int, float, bool} else "NULL"
        figures.extend([f"count({field})", total, f"min({field})", f"max({field})"])
    group = f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else " HAVING count(*) > 0"
    return Statement(f"SELECT {', '.join([*keys, *figures])} FROM {table} WHERE {where}{group}", parameters)


def partials(
    aggregation: Aggregation, bound: BoundQuery, rows: list[tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], Partial]]:
    """The rows of an aggregate statement as groups."""
    width = len(aggregation.by) + (aggregation.bucket is not None)
    booleans = [n for n, name in enumerate(aggregation.by) if bound.field(name).type is bool]
    for row in rows:
        key = list(row[:width])
        for n in booleans:
            key[n] = None if key[n] is None else bool(key[n])
        count, *rest = row[width:]
        figures = []
        for n, name in enumerate(aggregation.measured):
            known, total, least, greatest = rest[4 * n : 4 * n + 4]
            if bound.field(name).type is bool and known:
                least, greatest = bool(least), bool(greatest)
            figures.append((known, total, least, greatest))
        yield tuple(key), Partial(count, figures)


SQL_TYPES: Final = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL", datetime: "INTEGER"}
