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
    heads = ", ".join(f"s{number}" for number in range(len(names)))
    before = f"({', '.join(names)}) < ({', '.join(f'walk.s{number}' for number in range(len(names)))})"
    mine = ", ".join(f"here.{name}" for name in names)
    step = f"SELECT {key} FROM {source.name} WHERE {where} AND {known}"
    sql = (
        f"WITH RECURSIVE walk (k, {heads}) AS ("
        f"SELECT here.{key}, {mine} FROM {source.name} AS here WHERE here.{key} = ({step} ORDER BY {newest} LIMIT 1)"
        f" UNION ALL SELECT here.{key}, {mine} FROM walk JOIN {source.name} AS here"
        f" ON here.{key} = ({step} AND {before} ORDER BY {newest} LIMIT 1))"
        f" SELECT {columns} FROM walk JOIN {source.name} ON {source.name}.{key} = walk.k"
    )
    return Statement(sql, [*parameters, *parameters])
