"""Many rows, a page at a time; many records, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.backends.database_query import limited, page_statements

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database_pool import Database
    from truthstore.backends.database_rows import Rows
    from truthstore.query import BoundQuery
    from truthstore.record import Record

__all__ = ["batches", "pages"]

PAGE: Final = 1_000


def pages(database: Database, rows: Rows, bound: BoundQuery, columns: Sequence[Any]) -> Iterator[list[Sequence[Any]]]:
    """The rows that a query finds, in its order; no connection is held between two pages.

    Args:
        database: where.
        rows: the rows of the collection.
        bound: the query.
        columns: what is wanted of each row; the id comes first.
    """
    tables = rows.tables
    left, start, offset = bound.limit, bound.start, bound.offset
    # The value that the order goes by comes last, so that the next page can start after it.
    asked = [*columns, tables.fields[bound.order].label("ordered_by")]
    while left is None or left > 0:
        wanted = PAGE if left is None else min(PAGE, left)
        found: list[Sequence[Any]] = []
        for statement in page_statements(bound, tables, rows.space, asked, start):
            found.extend(_all(database, limited(statement, bound, tables, wanted - len(found), offset)))
            if len(found) == wanted:
                break
        if found:
            yield [row[:-1] for row in found]
        if len(found) < wanted:
            return
        left = None if left is None else left - len(found)
        start = (found[-1][-1], found[-1][0])
        offset = 0


def _all(database: Database, statement: Any) -> Sequence[Sequence[Any]]:
    def work(connection: Connection) -> Sequence[Sequence[Any]]:
        return connection.execute(statement).all()

    return database.read(work)


def batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in order, in batches in which no id occurs twice."""
    batch: dict[str, Record] = {}
    for record in records:
        if record.id in batch:
            yield list(batch.values())
            batch = {}
        batch[record.id] = record
    if batch:
        yield list(batch.values())
