"""Fill in what a row lacks: fields declared later, the rows of its item, and words that SQLite's index has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from truthstore.backends.database.engine import execute, execute_many
from truthstore.backends.database.rows import FIELDS_FROM
from truthstore.errors import StoreConfigError, StoreCorruptError, shown
from truthstore.model.record import Record
from truthstore.storage.sql.compile import contained

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database.pool import Database
    from truthstore.backends.database.rows import Rows

__all__ = ["fill_fields", "fill_rows", "fill_words", "refill"]

BATCH: Final = 500
BACKFILL_LIMIT: Final = 10_000


def fill_fields(database: Database, rows: Rows) -> None:
    """Fill the declared fields of rows that were written under another declaration.

    Raises:
        StoreConfigError: there are too many of them.
    """
    lacking = f" AND {rows.definition.lacking}"
    sql = f"SELECT item FROM {rows.name} WHERE namespace = ?{lacking} LIMIT {BACKFILL_LIMIT + 1}"
    waiting = database.read(partial(_select, sql=sql, parameters=(rows.space,)))
    if len(waiting) > BACKFILL_LIMIT:
        name = rows.collection.name
        raise StoreConfigError(
            f"the fields of {name} were declared differently before, and more than {BACKFILL_LIMIT} items must be read "
            "once: call rebuild_index()",
            backend="database",
            collection=name,
        )
    if waiting:
        refill(database, rows, lacking)


def refill(database: Database, rows: Rows, lacking: str = "") -> None:
    """Fill the declared fields and words of rows from their bodies, a batch at a time: of all, or where a condition holds."""
    sql = (
        f"SELECT item, shape, {rows.whole} FROM {rows.name} "
        f"WHERE namespace = ?{lacking} AND item > ? ORDER BY item LIMIT {BATCH}"
    )
    last = 0
    while found := database.read(partial(_select, sql=sql, parameters=(rows.space, last))):
        database.write(partial(_refill, rows=rows, found=found))
        last = found[-1][0]


def fill_rows(database: Database, rows: Rows, lacking: str | None = None) -> None:
    """Make the rows of items that have none yet, a batch at a time: an earlier version wrote them.

    Raises:
        StoreCorruptError: an item is damaged. The rows of all others are there.
    """
    where = rows.definition.rows_lacking if lacking is None else lacking
    sql = (
        f"SELECT item, shape, {rows.whole} FROM {rows.name} "
        f"WHERE namespace = ? AND {where} AND item > ? ORDER BY item LIMIT {BATCH}"
    )
    last = 0
    damaged: StoreCorruptError | None = None
    while found := database.read(partial(_select, sql=sql, parameters=(rows.space, last))):
        last = found[-1][0]
        made: dict[int, tuple[int, Record]] = {}
        for item, shape, *columns in found:
            try:
                record = rows.collection.as_declared(rows.record(columns))
                # Derived now, outside the transaction.
                packed = b"" if record.meta.deleted else rows.collection.packed_rows(record)
            except StoreCorruptError as error:
                # A damaged item keeps no question from the others' rows for ever.
                damaged = _named(error, rows.collection.name, columns[0])
            else:
                made[item] = shape, Record(record.meta.replace(rows=packed), None, record.revision)
        database.write(partial(_project, rows=rows, made=made))
    if damaged is not None:
        raise damaged


def _named(error: StoreCorruptError, collection: str, id: str) -> StoreCorruptError:
    """Return an error that names the item."""
    if error.identifier is not None:
        return error
    named = StoreCorruptError(f"{collection} {shown(id)}: {error}", collection=collection, identifier=id)
    named.__cause__ = error
    return named


def _project(connection: Connection, rows: Rows, made: dict[int, tuple[int, Record]]) -> None:
    """Replace the rows of items that still have their revision."""
    projected = rows.projected
    assert projected is not None
    where, parameters = contained(rows.dialect, "item", list(made))
    sql = f"SELECT item, revision FROM {rows.name} WHERE {where} ORDER BY item"
    if rows.dialect.kind != "sqlite":
        sql += " FOR UPDATE"
    found = _select(connection, sql, parameters)
    same = [item for item, revision in found if revision == made[item][1].revision]
    if not same:
        return
    projected.remove(connection, same)
    projected.add(connection, [(item, made[item][1]) for item in same])
    definition = rows.definition
    # What another declaration made of these items is gone.
    shapes = [((made[item][0] & definition.fields) | definition.rows_bit, item) for item in same]
    execute_many(connection, f"UPDATE {rows.name} SET shape = ? WHERE item = ?", shapes)


def _select(connection: Connection, sql: str, parameters: Sequence[Any]) -> list[Any]:
    return list(execute(connection, sql, parameters))


def _refill(connection: Connection, rows: Rows, found: Sequence[Any]) -> None:
    """Fill some rows, each of ``item``, ``shape`` and the columns of `Rows.whole`."""
    changes: list[tuple[Any, ...]] = []
    filled: list[tuple[int, Record]] = []
    for item, shape, *columns in found:
        record = rows.collection.as_declared(rows.record(columns))
        changes.append((*rows.row(record)[FIELDS_FROM:], shape | rows.definition.bit, item, record.revision))
        filled.append((item, record))
    execute_many(connection, rows.refill, changes)
    rows.change_words(connection, filled)


def fill_words(database: Database, rows: Rows, budget: float | None = None) -> int:
    """Index the words of rows that SQLite's index has not seen, within about so many seconds; return how many rows."""
    deadline = None if budget is None else monotonic() + budget
    total = 0
    # Looking first, without a transaction, keeps queries out of the way of writers.
    while database.read(lambda connection: _wordless(connection, rows, "item", 1)) and (
        deadline is None or monotonic() < deadline
    ):
        total += database.write(lambda connection: _add_words(connection, rows))
    return total


def _wordless(connection: Connection, rows: Rows, columns: str, limit: int) -> list[Any]:
    """Return rows whose words are not in SQLite's index."""
    last = f"coalesce((SELECT rowid FROM {rows.word_index} ORDER BY rowid DESC LIMIT 1), 0)"
    sql = f"SELECT {columns} FROM {rows.name} WHERE item > {last} ORDER BY item LIMIT {limit}"
    return _select(connection, sql, ())


def _add_words(connection: Connection, rows: Rows) -> int:
    """Put the words of some rows that have none yet into SQLite's index; return how many rows there were.

    Saving leaves this to the first query that asks for words: it would take as long as all the rest.
    """
    found = _wordless(connection, rows, f"item, {rows.whole}", BATCH)
    values = [(item, rows.words(rows.record(columns).meta)) for item, *columns in found]
    if values:
        execute_many(connection, rows.insert_words, values)
    return len(values)
