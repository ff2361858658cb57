"""Compile queries to SQL text. The meaning is that of `BoundQuery.matches` and `sort_key`; the suite compares the two.

A `Source` says what the columns of a table are called and how its tags and words are found; a `Dialect` how its database
writes what databases write differently. Every placeholder is a ``?``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.model.aggregate import Aggregation, Partial, tag_of

if TYPE_CHECKING:
    from truthstore.model.query import BoundQuery, Comparison
    from truthstore.storage.sql.dialect import Dialect

__all__ = ["INDEXED", "Source", "Statement", "aggregate_statement", "condition", "contained", "partials"]

INDEXED: Final = 120
"""So many characters of a string are in an index of PostgreSQL or MariaDB: 4 kB would not fit into one."""


class Statement(NamedTuple):
    """SQL text and its parameters."""

    sql: str
    parameters: Sequence[Any] = ()


class Source:
    """A table that queries are compiled for, with a row per item.

    Attributes:
        dialect: how its database writes a query.
        name: the table, as SQL writes it.
        names: the column of each field, and of ``id``, ``size`` and ``stored_at``, as SQL writes them.
        beginnings: for each string field of which an index holds only the first characters, the expression for them.
    """

    __slots__ = ("beginnings", "dialect", "name", "names")

    dialect: Dialect
    name: str
    names: Mapping[str, str]
    beginnings: Mapping[str, str]

    def narrowed(self, bound: BoundQuery) -> tuple[list[Statement], Sequence[Comparison]]:
        """Return the conditions that every query has or that follow from it, and the comparisons that remain."""
        return [], bound.comparisons

    def with_ids(self, ids: Iterable[str]) -> Statement:
        """Return the condition that a row has one of some ids."""
        raise NotImplementedError

    def with_tag(self, name: str, value: str) -> Statement:
        """Return the condition that a row has a tag."""
        raise NotImplementedError

    def tag(self, name: str) -> Statement:
        """Return the expression for a tag of a row, NULL if it has none of that name."""
        raise NotImplementedError

    def with_words(self, words: Sequence[str]) -> Iterable[Statement]:
        """Return the conditions that a row has all of some words, of which there is at least one."""
        raise NotImplementedError


def condition(bound: BoundQuery, source: Source, words: Iterable[str] | None = None) -> Statement:
    """Compile what follows WHERE; with other words than the query's where some are given."""
    parts, comparisons = source.narrowed(bound)
    if not bound.include_deleted:
        parts.append(Statement(source.dialect.live))
    for name, operator, value in comparisons:
        parts.extend(_compared(source, bound.field(name).type, name, operator, value))
    if bound.ids is not None:
        parts.append(source.with_ids(bound.ids))
    parts.extend(source.with_tag(name, value) for name, value in bound.tags.items())
    if wanted := sorted(bound.words if words is None else words):
        parts.extend(source.with_words(wanted))
    return Statement(
        " AND ".join([part.sql for part in parts]) or "1 = 1",
        [parameter for part in parts for parameter in part.parameters],
    )


def _compared(source: Source, kind: type, name: str, operator: str, value: Any) -> Iterator[Statement]:
    field = source.names[name]
    write = source.dialect.write.get(kind)
    if operator == "in":
        values = [write(one) if write else one for one in value if one is not None]
        inner = contained(source.dialect, field, values)
        yield Statement(f"({inner.sql} OR {field} IS NULL)", inner.parameters) if len(values) < len(value) else inner
        return
    if value is None:
        yield Statement(f"{field} IS NULL" if operator == "==" else f"{field} IS NOT NULL")
        return
    if write:
        value = write(value)
    if operator == "==":
        if name in source.beginnings:
            yield Statement(f"{source.beginnings[name]} = ?", [value[:INDEXED]])
        yield Statement(f"{field} = ?", [value])
    elif operator == "!=":
        yield Statement(f"({field} <> ? OR {field} IS NULL)", [value])
    else:
        yield Statement(f"{field} {operator} ?", [value])


def contained(dialect: Dialect, column: str, values: Sequence[Any]) -> Statement:
    """Compile the condition that a column has one of some values, given as the database keeps them."""
    if dialect.listed is not None and len(values) > dialect.listed:
        return Statement(dialect.many.replace("{}", column), [dialect.array(list(values))])
    return Statement(f"{column} IN ({','.join('?' * len(values)) or 'NULL'})", values)


def aggregate_statement(bound: BoundQuery, aggregation: Aggregation, source: Source) -> Statement:
    """Compile partial groups: keys, the bucket's hour or day, count, then count, sum, min and max of each measured field."""
    dialect = source.dialect
    where, parameters = condition(bound, source)
    keys: list[str] = []
    named: list[Any] = []
    for name in aggregation.by:
        sql, given = Statement(source.names[name]) if (tag := tag_of(name)) is None else source.tag(tag)
        keys.append(sql)
        named.extend(given)
    if aggregation.bucket is not None:
        cut = dialect.hour if aggregation.bucket == "hour" else dialect.day
        if aggregation.zone is not None:
            cut = dialect.minute  # the zone's own periods are cut of these
        keys.append(cut.replace("{}", source.names[aggregation.time]))
    figures = ["count(*)"]
    for name in aggregation.measured:
        field, kind = source.names[name], bound.field(name).type
        if kind is bool:
            field = dialect.number.replace("{}", field)
        total = f"sum({field})" if kind in {int, float, bool} else "NULL"
        figures.extend([f"count({field})", total, f"min({field})", f"max({field})"])
    group = f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else " HAVING count(*) > 0"
    return Statement(
        f"SELECT {', '.join([*keys, *figures])} FROM {source.name} WHERE {where}{group}", [*named, *parameters]
    )


def partials(
    aggregation: Aggregation, bound: BoundQuery, source: Source, rows: Iterable[Sequence[Any]]
) -> Iterator[tuple[tuple[Any, ...], Partial]]:
    """Return the rows of an aggregate statement as groups, their values in index form."""
    named = [*aggregation.by, *([aggregation.time] if aggregation.bucket is not None else [])]
    kinds = [bound.field(name).type if tag_of(name) is None else str for name in named]
    measured = [bound.field(name).type for name in aggregation.measured]
    read = source.dialect.read
    for row in rows:
        key = tuple(_read(read, kind, value) for kind, value in zip(kinds, row, strict=False))
        count, *rest = row[len(kinds) :]
        figures = []
        for n, kind in enumerate(measured):
            known, total, least, greatest = rest[4 * n : 4 * n + 4]
            if total is not None:
                # Databases sum up integers and bools as decimal numbers.
                total = _read(read, float, float(total)) if kind is float else int(total)
            if kind is bool and known:
                least, greatest = bool(least), bool(greatest)  # see `Dialect.number`
            figures.append((known, total, _read(read, kind, least), _read(read, kind, greatest)))
        yield key, Partial(count, figures)


def _read(read: Mapping[type, Any], kind: type, value: Any) -> Any:
    return value if value is None or kind not in read else read[kind](value)
