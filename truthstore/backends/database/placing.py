"""Put rows of items into SQLite's indexes: a save leaves that to the next question.

A page is written whole to SQLite's log, and each of the twenty rows of a run goes to another page of each index. A question
puts the rows of all runs since the last one there, which is a few pages for each series.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from truthstore.backends.database.engine import execute
from truthstore.backends.database.fill import fill_rows
from truthstore.backends.database.projected import PLACED_AT_ONCE
from truthstore.errors import StoreReadError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database.pool import Database
    from truthstore.backends.database.rows import Rows

__all__ = ["place_rows", "settled"]

T = TypeVar("T")


def settled(database: Database, rows: Rows, work: Callable[[Connection], T]) -> T:
    """Read rows while every one of them is there and in the indexes, where saves leave both to questions."""
    fill_rows(database, rows)
    projected = rows.projected
    assert projected is not None
    if not projected.waiting:
        return database.read(work)
    found = database.read(partial(_unless_waiting, waiting=projected.waiting, work=work))

    def place(connection: Connection) -> tuple[T] | None:
        # In the transaction that places the last ones: what is overwritten meanwhile would be in no index.
        more = execute(connection, projected.place).rowcount >= PLACED_AT_ONCE
        return None if more else (work(connection),)

    while found is None:
        found = database.write(place, kind=StoreReadError)
    return found[0]


def _unless_waiting(connection: Connection, waiting: str, work: Callable[[Connection], T]) -> tuple[T] | None:
    """Do something unless the indexes lack a row, both in one transaction."""
    connection.exec_driver_sql("BEGIN")
    try:
        return None if execute(connection, waiting).all() else (work(connection),)
    finally:
        connection.exec_driver_sql("COMMIT")


def place_rows(database: Database, rows: Rows, budget: float | None = None) -> int:
    """Put rows into the indexes that lack them, within about so many seconds; return how many."""
    projected = rows.projected
    if projected is None or not projected.waiting:
        return 0
    deadline = None if budget is None else monotonic() + budget
    total = 0
    while True:
        placed = database.write(lambda connection: execute(connection, projected.place).rowcount)
        total += placed
        if placed < PLACED_AT_ONCE or (deadline is not None and monotonic() >= deadline):
            return total
