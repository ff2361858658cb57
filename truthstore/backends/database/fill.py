"""Filling in what a row lacks: fields that were declared after it was written, and words that SQLite's index has not seen."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database.pool import Database
    from truthstore.backends.database.rows import Rows

__all__ = ["fill_fields", "fill_words", "refill"]

BATCH: Final = 500
BACKFILL_LIMIT: Final = 10_000


def fill_fields(database: Database, rows: Rows) -> None:
    """Fills the declared fields of rows that were written under another declaration.

    Raises:
        StoreConfigError: there are too many of them.
    """
    main = rows.tables.main.c
    where = (rows.tables.space == rows.space, main.shape.in_(rows.definition.lacking))
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
        return _add_words(connection, rows)

    # Looking first, without a transaction, keeps queries out of the way of writers.
    while database.read(lambda connection: _lacks_words(connection, rows)) and (
        deadline is None or monotonic() < deadline
    ):
        total += database.write(batch)
    return total


def _lacks_words(connection: Connection, rows: Rows) -> bool:
    """Whether there are rows whose words are not in SQLite's index."""
    item = rows.tables.main.c.item
    return connection.execute(select(item).where(item > _last_with_words(rows)).limit(1)).first() is not None


def _last_with_words(rows: Rows) -> Any:
    words = rows.tables.words
    return func.coalesce(select(words.c.rowid).order_by(words.c.rowid.desc()).limit(1).scalar_subquery(), 0)


def _add_words(connection: Connection, rows: Rows) -> int:
    """Puts the words of some rows that have none yet into SQLite's index; how many rows there were.

    Saving leaves this to the first query that asks for words: it would take as long as all the rest.
    """
    item = rows.tables.main.c.item
    wordless = select(item, *rows.whole).where(item > _last_with_words(rows)).order_by(item)
    found = connection.execute(wordless.limit(BATCH)).all()
    values = [{"rowid": item, "words": rows.words(rows.record(columns).meta)} for item, *columns in found]
    if values:
        connection.execute(rows.insert_words, values)
    return len(values)
