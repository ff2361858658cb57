"""Many rows, a page at a time; many records, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from truthstore.backends.database.query import limited, page_statements

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database.pool import Database
    from truthstore.backends.database.rows import Rows
    from truthstore.backends.database.templates import Start
    from truthstore.model.query import BoundQuery
    from truthstore.model.record import Record

__all__ = ["Wanted", "batches", "pages"]

PAGE: Final = 1_000

Wanted: TypeAlias = Literal["ids", "heads", "whole"]
"""What is wanted of each row."""


def pages(database: Database, rows: Rows, bound: BoundQuery, wanted: Wanted) -> Iterator[list[Sequence[Any]]]:
    """The rows that a query finds, in its order; no connection is held between two pages.

    Args:
        database: where.
        rows: the rows of the collection.
        bound: the query.
        wanted: which columns.
    """
    left, start, offset = bound.limit, bound.start, bound.offset
    goes_on = left is None or left > PAGE
    while left is None or left > 0:
        most = PAGE if left is None else min(PAGE, left)
        found: list[Sequence[Any]] = []
        part = 0
        while len(found) < most:
            limit = most - len(found)
            statement, values = _statement(rows, bound, wanted, start, part, limit, offset, goes_on=goes_on)
            if statement is None:
                break
            found.extend(_all(database, statement, values))
            part += 1
        if found:
            yield [row[:-1] for row in found] if goes_on else found
        if len(found) < most:
            return
        left = None if left is None else left - len(found)
        start = (found[-1][-1], found[-1][0])
        offset = 0


def _statement(
    rows: Rows, bound: BoundQuery, wanted: Wanted, start: Start, part: int, limit: int, offset: int, *, goes_on: bool
) -> tuple[Any, dict[str, Any]]:
    """A page's statement; None if the page has no such part."""
    tables = rows.tables

    def build(query: BoundQuery, after: Any) -> Any:
        columns: list[Any] = [*rows.columns[wanted]]
        if goes_on:
            # The value that the order goes by comes last, so that the next page can start after it.
            columns.append(tables.fields[query.order].label("ordered_by"))
        parts = list(page_statements(query, tables, rows.space, columns, after))
        return limited(parts[part], query, tables, limit, offset) if part < len(parts) else None

    return rows.templates.statement((wanted, part, limit, offset, goes_on), bound, start, build)


def _all(database: Database, statement: Any, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
    def work(connection: Connection) -> Sequence[Sequence[Any]]:
        return connection.execute(statement, values).all()

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
