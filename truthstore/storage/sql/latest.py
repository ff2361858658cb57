"""Compile the search for the newest row of each series: a walk through an index, from one series to the next.

It is the *loose index scan* (wiki.postgresql.org/wiki/Loose_indexscan), backwards: the last row of a series by time is the
first one met, and the next step goes to the series before it. So it costs a few steps a series, however many rows it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from truthstore.storage.sql.compile import Source, Statement, condition

if TYPE_CHECKING:
    from truthstore.model.query import BoundQuery

__all__ = ["latest_statement"]


def latest_statement(bound: BoundQuery, source: Source, series: Sequence[str], key: str, columns: str) -> Statement:
    """Compile the SELECT of the newest row of each series that fulfils the conditions of a query; its order and page play no part.

    Args:
        bound: the query.
        source: the table.
        series: the fields that name a series.
        key: the column by which the table finds a row.
        columns: the columns wanted, as SQL lists them.
    """
    where, parameters = condition(bound, source)
    names = [source.names[name] for name in series]
    known = " AND ".join(f"{name} IS NOT NULL" for name in names)
    newest = ", ".join(f"{name} DESC" for name in [*names, source.names[bound.order], source.names["id"]])

    def last(*conditions: str) -> str:
        every = " AND ".join([where, known, *conditions])
        return f"(SELECT {key} FROM {source.name} WHERE {every} ORDER BY {newest} LIMIT 1)"

    # Databases do not look up `(a, b) < (x, y)` in an index: it is said as `a = x AND b < y`, else `a < x`.
    steps = [
        last(*(f"{names[number]} = walk.s{number}" for number in range(place)), f"{names[place]} < walk.s{place}")
        for place in reversed(range(len(names)))
    ]
    step = f"coalesce({', '.join(steps)})" if len(steps) > 1 else steps[0]
    mine = ", ".join(f"here.{name}" for name in names)
    sql = (
        f"WITH RECURSIVE walk (k, {', '.join(f's{number}' for number in range(len(names)))}) AS ("
        f"SELECT here.{key}, {mine} FROM {source.name} AS here WHERE here.{key} = {last()}"
        f" UNION ALL SELECT here.{key}, {mine} FROM walk JOIN {source.name} AS here ON here.{key} = {step})"
        f" SELECT {columns} FROM walk JOIN {source.name} ON {source.name}.{key} = walk.k"
    )
    return Statement(sql, list(parameters) * (1 + len(steps)))
