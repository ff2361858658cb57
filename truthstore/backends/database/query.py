"""Queries as SQLAlchemy expressions. The meaning is that of `BoundQuery.matches` and `sort_key`; the suite compares the two."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    String,
    and_,
    any_,
    cast,
    column,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import mysql, postgresql

from truthstore.backends.database.schema import INDEXED, Tables
from truthstore.backends.database.templates import beginning, given, hash_of_tag
from truthstore.backends.database.types import Exact, Moment
from truthstore.model.aggregate import Aggregation, Partial

if TYPE_CHECKING:
    from sqlalchemy import Column, Select
    from sqlalchemy.types import TypeEngine

    from truthstore.backends.database.templates import Start
    from truthstore.model.query import BoundQuery

__all__ = [
    "aggregate_statement",
    "condition",
    "contained",
    "key_of",
    "limited",
    "page_statements",
    "partials",
    "tag_key",
    "term",
]

Condition = ColumnElement[bool]

NEVER_NULL: Final = frozenset({"id", "size", "stored_at"})
FEW: Final = 200
MAX_TERM: Final = 60


def key_of(id: str) -> str:
    """A hash of an id, short enough for an index."""
    return base64.urlsafe_b64encode(hashlib.blake2b(id.encode(), digest_size=16).digest())[:22].decode()


def tag_key(name: str, value: str) -> str:
    """A hash of a tag; U+0000 is not allowed in tags."""
    return key_of(f"{name}\0{value}")


def term(word: str) -> str:
    """A word as the database's own full-text index takes it: ASCII, no stop word, neither too short nor too long."""
    if word.isascii() and len(word) <= MAX_TERM:
        return f"ts_{word}"
    return f"tx_{hashlib.blake2b(word.encode(), digest_size=16).hexdigest()}"


def contained(field: ColumnElement[Any], values: Sequence[Any], dialect: str) -> Condition:
    """Whether a field has one of some values, of which there may be more than a statement has room for."""
    if dialect == "postgresql":
        return field == any_(literal(list(values), postgresql.ARRAY(field.type)))
    if dialect == "sqlite" and len(values) > FEW:
        listed = func.json_each(_json(field.type, values)).table_valued("value")
        return field.in_(select(listed.c.value))
    return field.in_(values)


def _json(kind: TypeEngine[Any], values: Iterable[Any]) -> str:
    # JSON has no infinity; SQLite reads a number beyond all floats as one.
    infinities = {math.inf: "9e999", -math.inf: "-9e999"}
    if isinstance(kind, Moment):
        values = [Moment.as_text(value) for value in values]
    return f"[{','.join(infinities.get(value) or json.dumps(value, ensure_ascii=False) for value in values)}]"


def _value(field: ColumnElement[Any], value: Any) -> ColumnElement[Any]:
    return given(value, field.type)


def condition(bound: BoundQuery, tables: Tables, space: str) -> Condition:
    """What follows WHERE."""
    main = tables.main.c
    parts: list[Condition] = [tables.space == space]
    if not bound.include_deleted:
        parts.append(_not_deleted(tables))
    for name, operator, value in bound.comparisons:
        field = tables.fields[name]
        if operator == "in":
            values = [one for one in value if one is not None]
            inner = contained(field, values, tables.dialect)
            parts.append(or_(inner, field.is_(None)) if len(values) < len(value) else inner)
        elif operator == "!=":
            parts.append(_different(field, value))
        elif value is None:
            parts.append(field.is_(None))
        elif operator == "==":
            parts.extend(_equal(tables, field, value))
        else:
            parts.append(field.op(operator, is_comparison=True)(_value(field, value)))
    if bound.ids is not None:
        parts.append(contained(main.key, sorted(map(key_of, bound.ids)), tables.dialect))
    tags = tables.tags.c
    for name, value in bound.tags.items():
        tagged = select(tags.item).where(tags.key == _value(tags.key, hash_of_tag(name, value, tag_key)))
        tagged = tagged.where(tags.name == _value(tags.name, name), tags.value == _value(tags.value, value))
        parts.append(main.item.in_(tagged))
    if bound.words:
        parts.append(_has_words(tables, sorted(map(term, bound.words))))
    return and_(*parts)


def _not_deleted(tables: Tables) -> Condition:
    deleted = tables.main.c.deleted
    return deleted.is_(False) if tables.dialect == "postgresql" else deleted == literal(0, Integer)


def _different(field: Column[Any], value: Any) -> Condition:
    if value is None:
        return field.is_not(None)
    return field.is_distinct_from(_value(field, value))


def _equal(tables: Tables, field: Column[Any], value: Any) -> Iterator[Condition]:
    if isinstance(field.type, Exact) and tables.dialect != "sqlite" and field.name != "id":
        # The index holds the first part only.
        yield tables.indexed(field) == given(beginning(value), Exact(INDEXED))
    yield field == _value(field, value)


def _has_words(tables: Tables, terms: Sequence[str]) -> Condition:
    if tables.dialect == "postgresql":
        wanted = cast(literal(" & ".join(f"'{one}'" for one in terms), String), postgresql.TSQUERY)
        return tables.main.c.words.op("@@", is_comparison=True)(wanted)
    if tables.dialect == "sqlite":
        words = tables.words
        found = column(words.name).op("MATCH", is_comparison=True)(" AND ".join(terms))
        return tables.main.c.item.in_(select(words.c.rowid).where(found))
    return mysql.match(tables.main.c.words, against=" ".join(f"+{one}" for one in terms)).in_boolean_mode()


def _ordered(statement: Select[Any], bound: BoundQuery, tables: Tables) -> Select[Any]:
    field, id = tables.fields[bound.order], tables.fields["id"]
    if bound.order == "id":
        # Ids in the order of their beginnings are nearly in order, and the beginnings are in an index.
        columns = [tables.indexed(id), id] if tables.indexes_beginnings else [id]
        return statement.order_by(*(column.asc() if bound.ascending else column.desc() for column in columns))
    if bound.ascending:
        first = field.asc().nulls_first() if _says_nulls(tables) else field.asc()
        return statement.order_by(first, id.asc())
    first = field.desc().nulls_last() if _says_nulls(tables) else field.desc()
    return statement.order_by(first, id.desc())


def _says_nulls(tables: Tables) -> bool:
    # The other databases hold NULL for the lowest value by themselves.
    return tables.dialect == "postgresql"


def page_statements(
    bound: BoundQuery, tables: Tables, space: str, columns: Sequence[Any], start: Start
) -> Iterator[Select[Any]]:
    """The statements that, one after the other, give all rows after a start, each still without LIMIT.

    There are two where the order passes from values to NULLs, so that each is one range of an index.
    """
    field, id = tables.fields[bound.order], tables.fields["id"]
    everything: Any = select(*columns)
    statement = _ordered(everything.where(condition(bound, tables, space)), bound, tables)
    ascending = bound.ascending
    if start is None:
        yield statement
        return
    value, last = start
    here_id = _value(id, last)
    beyond_id = id > here_id if ascending else id < here_id
    if bound.order == "id":
        if tables.indexes_beginnings:
            begins, after = tables.indexed(id), given(beginning(last), Exact(INDEXED))
            statement = statement.where(begins >= after if ascending else begins <= after)
        yield statement.where(beyond_id)
        return
    if value is None:
        yield statement.where(field.is_(None), beyond_id)
        if ascending:
            yield statement.where(field.is_not(None))
        return
    here = _value(field, value)
    if ascending:
        yield statement.where(field >= here, or_(field > here, beyond_id))
        return
    yield statement.where(field <= here, or_(field < here, beyond_id))
    if bound.order not in NEVER_NULL:
        yield statement.where(field.is_(None))


def limited(statement: Select[Any], bound: BoundQuery, tables: Tables, limit: int, offset: int) -> Select[Any]:
    """A page of a statement.

    MariaDB and MySQL sort everything that matches, because ids do not fit into an index beside the order's field. There
    the value at the end of the page is looked up first, in the index alone, and what lies beyond it is left out.
    """
    if tables.dialect == "mysql":
        field: ColumnElement[Any] = tables.fields[bound.order]
        if bound.order == "id":
            field = tables.indexed(tables.fields["id"])
        end = (
            statement.with_only_columns(field)
            .order_by(None)
            .order_by(field.asc() if bound.ascending else field.desc())
            .limit(1)
            .offset(offset + limit - 1)
            .scalar_subquery()
        )
        near = or_(field <= end, field.is_(None)) if bound.ascending else field >= end
        statement = statement.where(or_(near, end.is_(None)))
    # Part of the text, so that PostgreSQL's plan for all values knows it.
    statement = statement.limit(literal_column(str(limit)))
    return statement.offset(offset) if offset else statement


def _cut(time: ColumnElement[Any], bucket: str, dialect: str) -> ColumnElement[Any]:
    """The UTC hour or day of a time."""
    unit = "hour" if bucket == "hour" else "day"
    if dialect == "postgresql":
        return func.date_trunc(literal_column(f"'{unit}'"), time, literal_column("'UTC'"), type_=Moment())
    if dialect == "sqlite":
        shown, rest = (13, ":00:00.000000") if unit == "hour" else (10, " 00:00:00.000000")
        return func.substr(time, text("1"), text(str(shown)), type_=String()).concat(literal_column(f"'{rest}'"))
    shown_as = "%Y-%m-%d %H:00:00" if unit == "hour" else "%Y-%m-%d"
    return cast(func.date_format(time, shown_as), DateTime())


def aggregate_statement(bound: BoundQuery, aggregation: Aggregation, tables: Tables, space: str) -> Select[Any]:
    """Partial groups: keys, the bucket's hour or day, count, then count, sum, min and max of each measured field."""
    keys: list[ColumnElement[Any]] = [tables.fields[name] for name in aggregation.by]
    if aggregation.bucket is not None:
        cut = _cut(tables.fields[aggregation.time], aggregation.bucket, tables.dialect)
        keys.append(cut.label("bucket"))
    figures: list[ColumnElement[Any]] = [func.count()]
    for name in aggregation.measured:
        field: ColumnElement[Any] = tables.fields[name]
        kind = bound.field(name).type
        if kind is bool:
            field = cast(field, Integer)
        total: ColumnElement[Any] = func.sum(field) if kind in {int, float, bool} else null()
        figures.extend([func.count(field), total, func.min(field), func.max(field)])
    named = [figure.label(f"figure_{number}") for number, figure in enumerate(figures)]
    statement = select(*keys, *named).select_from(tables.main).where(condition(bound, tables, space))
    return statement.group_by(*keys) if keys else statement.having(func.count() > 0)


def partials(
    aggregation: Aggregation, bound: BoundQuery, rows: Iterable[Sequence[Any]]
) -> Iterator[tuple[tuple[Any, ...], Partial]]:
    """The rows of an aggregate statement as groups."""
    width = len(aggregation.by) + (aggregation.bucket is not None)
    for row in rows:
        key = list(row[:width])
        if aggregation.bucket is not None and key[-1] is not None and not isinstance(key[-1], int):
            key[-1] = Moment.as_number(key[-1])
        count, *rest = row[width:]
        figures = []
        for n, name in enumerate(aggregation.measured):
            known, total, least, greatest = rest[4 * n : 4 * n + 4]
            kind = bound.field(name).type
            if known and total is not None:
                total = float(total) if kind is float else int(total)
            if known and kind is bool:
                least, greatest = bool(least), bool(greatest)
            figures.append((known, total, least, greatest))
        yield tuple(key), Partial(count, figures)
