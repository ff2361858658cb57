"""Read what a query finds a page at a time, each page after the last row of the one before (keyset paging)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.storage.sql.compile import INDEXED, Source, Statement, condition

if TYPE_CHECKING:
    from truthstore.model.query import BoundQuery

__all__ = ["LISTED", "PAGE", "Position", "page", "pages", "ranges", "read_page"]

PAGE: Final = 1_000
LISTED: Final = 10_000
"""Rows of a page where each is an id, a revision and a size."""
NEVER_NULL: Final = frozenset({"id", "size", "stored_at"})


class Position(NamedTuple):
    """Where a page begins.

    Attributes:
        left: so many rows are wanted from here on; None for all.
        offset: so many are left out before them.
        start: the value in order, as the database keeps it, and the id of the row before; None at the beginning.
    """

    left: int | None
    offset: int
    start: tuple[Any, str] | None


def pages(
    bound: BoundQuery, source: Source, columns: str, read: Callable[[Statement], list[Any]], most: int = PAGE
) -> Iterator[list[Sequence[Any]]]:
    """Read the rows that a query finds, in its order. Between two pages nothing is held; arguments as of `read_page`."""
    position: Position | None = None
    while True:
        rows, position = read_page(bound, source, columns, read, position, most)
        if rows:
            yield rows
        if position is None:
            return


def read_page(
    bound: BoundQuery,
    source: Source,
    columns: str,
    read: Callable[[Statement], list[Any]],
    position: Position | None = None,
    most: int = PAGE,
) -> tuple[list[Sequence[Any]], Position | None]:
    """Return the rows of one page, and where the next one begins; None if this is the last.

    Args:
        bound: the query.
        source: the table.
        columns: the columns wanted, as SQL lists them, ``id`` first.
        read: runs a statement and returns its rows.
        position: where the page begins; by default where the query does.
        most: a page has at most so many rows.
    """
    if position is None:
        write = source.dialect.write.get(bound.field(bound.order).type)
        start = bound.start
        if write and start is not None and start[0] is not None:
            start = write(start[0]), start[1]
        position = Position(bound.limit, bound.offset, start)
    left, offset, start = position
    wanted = most if left is None else min(most, left)
    goes_on = left is None or left > most
    if goes_on:
        # The value that the order goes by comes last, so that the next page can start after it.
        columns = f"{columns}, {source.names[bound.order]}"
    found: list[Any] = []
    for where in ranges(bound, source, start) if wanted else ():
        found.extend(read(page(bound, source, columns, where, wanted - len(found), offset)))
        if len(found) == wanted:
            break
    if not goes_on:
        return found, None
    rows = [row[:-1] for row in found]
    if len(found) < wanted:
        return rows, None
    return rows, Position(None if left is None else left - wanted, 0, (found[-1][-1], found[-1][0]))


def ranges(bound: BoundQuery, source: Source, start: tuple[Any, str] | None) -> Iterator[Statement]:
    """Compile the conditions that, one after the other, hold for all rows after a value, as the database keeps it, and an id.

    There are two where the order passes from values to NULLs, so that each is one range of an index.
    """
    where, parameters = condition(bound, source)
    if start is None:
        yield Statement(where, parameters)
        return
    field, id = source.names[bound.order], source.names["id"]
    ascending = bound.ascending
    beyond = ">" if ascending else "<"
    value, last = start
    if bound.order == "id":
        if "id" in source.beginnings:
            where, parameters = f"{where} AND {source.beginnings['id']} {beyond}= ?", [*parameters, last[:INDEXED]]
        yield Statement(f"{where} AND {id} {beyond} ?", [*parameters, last])
    elif value is None:
        yield Statement(f"{where} AND {field} IS NULL AND {id} {beyond} ?", [*parameters, last])
        if ascending:
            yield Statement(f"{where} AND {field} IS NOT NULL", parameters)
    else:
        yield Statement(
            f"{where} AND {field} {beyond}= ? AND ({field} {beyond} ? OR {id} {beyond} ?)",
            [*parameters, value, value, last],
        )
        if not ascending and bound.order not in NEVER_NULL:
            yield Statement(f"{where} AND {field} IS NULL", parameters)


def page(bound: BoundQuery, source: Source, columns: str, where: Statement, limit: int, offset: int) -> Statement:
    """Compile the SELECT of at most `limit` rows for which a condition holds, in the query's order."""
    dialect, id = source.dialect, source.names["id"]
    direction, nulls = ("ASC", dialect.nulls[0]) if bound.ascending else ("DESC", dialect.nulls[1])
    if bound.order == "id":
        # Ids in the order of their beginnings are nearly in order, and the beginnings are in an index.
        first, nulls = source.beginnings.get("id", id), ""
    else:
        first = source.names[bound.order]
    order = f"{first} {direction}{nulls}" + (f", {id} {direction}" if first != id else "")
    sql, parameters = where
    if dialect.ends_first:
        end = (
            f"(SELECT {first} FROM {source.name} WHERE {sql} ORDER BY {first} {direction} LIMIT 1"
            f" OFFSET {offset + limit - 1})"
        )
        near = f"{first} <= {end} OR {first} IS NULL" if bound.ascending else f"{first} >= {end}"
        sql, parameters = f"{sql} AND ({near} OR {end} IS NULL)", [*parameters, *parameters, *parameters]
    # Numbers are part of the text, so that PostgreSQL's plan for all values knows them.
    limits = f" LIMIT {limit} OFFSET {offset}" if offset else f" LIMIT {limit}"
    return Statement(f"SELECT {columns} FROM {source.name} WHERE {sql} ORDER BY {order}{limits}", parameters)
