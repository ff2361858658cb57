"""Compile the search for the newest row of each series: a walk through an index, from one series to the next.

It is the *loose index scan* (wiki.postgresql.org/wiki/Loose_indexscan), backwards: the last row of a series by time is the
first one met, and the next step goes to the series before it. So it costs a few steps a series, however many rows it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from truthstore.storage.sql.compile import Source, Statement, condition

if TYPE_CHECKING:
    from truthstore.model.query import BoundQuery

__all__ = ["latest_statement", "newest_statement"]


def latest_statement(
    bound: BoundQuery, keep: BoundQuery, source: Source, series: Sequence[str], key: str, columns: str
) -> Statement:
    """Compile the SELECT of the newest row of each series that fulfils the conditions of a query, if it fulfils those of another.

    Their order and page play no part.

    Args:
        bound: the query.
        keep: the other query.
        source: the table.
        series: the fields that name a series.
        key: the column by which the table finds a row.
        columns: the columns wanted, as SQL lists them.
    """
    names = [source.names[name] for name in series]
    # The series before one: that with the same beginning and the next smaller field after it, the longest beginning first.
    # SQLite searches an index for each, but not for `(a, b) < (x, y)`.
    steps = [
        _pick(
            bound,
            source,
            key,
            [
                *(f"{name} = walk.s{number}" for number, name in enumerate(names[:same])),
                f"{names[same]} < walk.s{same}",
                *(f"{name} IS NOT NULL" for name in names[same + 1 :]),
            ],
            names[same:],
        )
        for same in reversed(range(len(names)))
    ]
    first = _pick(bound, source, key, [f"{name} IS NOT NULL" for name in names], names)
    before = steps[0].sql if len(steps) == 1 else f"coalesce({', '.join(step.sql for step in steps)})"
    heads = ", ".join(f"s{number}" for number in range(len(names)))
    mine = ", ".join(f"here.{name}" for name in names)
    kept = condition(keep, source)
    sql = (
        f"WITH RECURSIVE walk (k, {heads}) AS ("
        f"SELECT here.{key}, {mine} FROM {source.name} AS here WHERE here.{key} = {first.sql}"
        f" UNION ALL SELECT here.{key}, {mine} FROM walk JOIN {source.name} AS here ON here.{key} = {before})"
        f" SELECT {columns} FROM walk JOIN {source.name} ON {source.name}.{key} = walk.k WHERE {kept.sql}"
    )
    return Statement(sql, [*(value for one in (first, *steps, kept) for value in one.parameters)])


def newest_statement(
    bound: BoundQuery,
    keep: BoundQuery,
    source: Source,
    series: Sequence[str],
    given: Sequence[tuple[Any, ...]],
    key: str,
    columns: str,
) -> Statement:
    """Compile the SELECT of the newest rows of some series; the rest is as in `latest_statement`."""
    names = [source.names[name] for name in series]
    heads = ", ".join(f"s{number}" for number in range(len(names)))
    values = ", ".join([f"({', '.join('?' * len(names))})"] * len(given))
    newest = _pick(bound, source, key, [f"{name} = given.s{number}" for number, name in enumerate(names)], ())
    kept = condition(keep, source)
    sql = (
        f"WITH given ({heads}) AS (VALUES {values}), walk (k) AS (SELECT {newest.sql} FROM given)"
        f" SELECT {columns} FROM walk JOIN {source.name} ON {source.name}.{key} = walk.k WHERE {kept.sql}"
    )
    return Statement(sql, [*(value for one in given for value in one), *newest.parameters, *kept.parameters])


def _pick(bound: BoundQuery, source: Source, key: str, conditions: Sequence[str], order: Sequence[str]) -> Statement:
    """Compile the search for the last row in an order, then by time, among those that fulfil a query and some conditions."""
    where, parameters = condition(bound, source)
    last = ", ".join(f"{name} DESC" for name in (*order, source.names[bound.order], source.names["id"]))
    return Statement(
        f"(SELECT {key} FROM {source.name} WHERE {' AND '.join([where, *conditions])} ORDER BY {last} LIMIT 1)",
        parameters,
    )
