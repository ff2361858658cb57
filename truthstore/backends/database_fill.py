"""Filling in what a row lacks: fields that were declared after it was written, and words that SQLite's index has not seen."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database_pool import Database
    from truthstore.backends.database_rows import Rows

__all__ = ["fill_fields", "fill_words", "refill"]

BATCH: Final = 500
BACKFILL_LIMIT: Final = 10_000


def fill_fields(database: Database, rows: Rows) -> None:
    """Fills the declared fields of rows that were written under another declaration.

    Raises:
        StoreConfigError: there are too many of them.
    """
    main = rows.tables.main.c
    where = (main.namespace == rows.space, main.shape.in_(rows.definition.lacking))
    some = select(main.item).where(*where).limit(BACKFILL_LIMIT + 1).subquery()
    waiting = database.read(lambda c: c.execute(select(func.count()).select_from(some)).scalar_one())
    if waiting > BACKFILL_LIMIT:
        name = rows.collection.name
        raise StoreConfigError(
            f"the fields of {name} were declared anew and more than {BACKFILL_LIMIT} items must be read once: "
            "call rebuild_index()",
            backend="database",
            collection=name,
        )
    if waiting:
        refill(database, rows, where)


def refill(database: Database, rows: Rows, where: tuple[Any, ...]) -> None:
    """Fills the declared fields and words of some rows anew from their bodies, a batch at a time."""
    main = rows.tables.main.c
    last = 0
    while True:
        statement = select(main.item, main.shape, *rows.whole).where(*where, main.item > last)
        found = _fill_batch(database, rows, statement.order_by(main.item).limit(BATCH))
        if not found:
            return
        last = found[-1][0]


def _fill_batch(database: Database, rows: Rows, statement: Any) -> list[Any]:
    found: list[Any] = database.read(lambda connection: list(connection.execute(statement)))
    if found:
        database.write(lambda connection: rows.refill(connection, found))
    return found


def fill_words(database: Database, rows: Rows, budget: float | None = None) -> int:
    """Indexes the words of rows that SQLite's index has not seen, within about so many seconds; how many rows."""
    deadline = None if budget is None else monotonic() + budget
    total = 0

    def batch(connection: Connection) -> int:
        return rows.add_words(connection, BATCH)

    # Looking first, without a transaction, keeps queries out of the way of writers.
    while database.read(rows.lacks_words) and (deadline is None or monotonic() < deadline):
        total += database.write(batch)
    return total
