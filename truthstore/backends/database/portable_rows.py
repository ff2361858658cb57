"""Rows of a database of any other kind: no lock, no statement of one database's own.

Whoever changes or deletes a row says which revision it read; if that is no longer there, somebody else was quicker, and
the transaction is repeated. Whoever inserts a row that is there already is told so by the unique constraint.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import bindparam, delete, insert, select, update

from truthstore.backends.database.failures import RacedError
from truthstore.backends.database.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Collection as Sized

    from sqlalchemy import Connection

    from truthstore.backends.database.portable import PortableTables
    from truthstore.backends.database.schema import Definition
    from truthstore.model.record import Record

__all__ = ["PortableRows"]

ITEM_BITS = 62


class PortableRows(Rows):
    """The rows of one collection in one namespace.

    Args:
        tables: the tables.
        definition: what the database knows of the declaration of fields.
        space: the namespace.
    """

    creates: ClassVar[bool] = False

    def __init__(self, tables: PortableTables, definition: Definition, space: str) -> None:
        super().__init__(tables, definition, space)
        self._portable = tables
        main, words = tables.main, tables.words
        self._insert_word = insert(words)
        as_read = (main.c.item == bindparam("which"), main.c.revision == bindparam("was"))
        belongs = {"item", "namespace", "namespace$key", "key", "id", "id$order"}
        self._changing = [column.name for column in main.columns if column.name not in belongs]
        self._update = update(main).where(*as_read).values({name: bindparam(name) for name in self._changing})
        self._delete = delete(main).where(*as_read)
        self._revision = select(main.c.revision).where(main.c.item == bindparam("which"))

    def row(self, record: Record) -> dict[str, Any]:
        """The values of an insert or update, each in all columns that hold it."""
        return self.spread(super().row(record))

    def spread(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row's values, also for the columns in which they are compared and looked up."""
        for others in (self._portable.shadows, self._portable.hashes):
            row.update({other: row[name] for name, other in others.items() if name in row})
        return row

    def _known(self, connection: Connection, keys: Sized[str]) -> dict[str, Any]:
        return {row.key: row for row in connection.execute(self._find(keys))}

    def _add(self, connection: Connection, records: Sequence[Record]) -> list[tuple[int, Record]]:
        # Every database counts rows in a way of its own; chance does without.
        written = [(1 + secrets.randbits(ITEM_BITS), record) for record in records]
        connection.execute(self._insert, [{"item": item, **self.row(record)} for item, record in written])
        self._add_words(connection, written)
        return written

    def _change(self, connection: Connection, changed: Sequence[tuple[Any, Record]]) -> None:
        for row, record in changed:
            values = {**self._changes(row.item, record), "was": row.revision}
            done = connection.execute(self._update, values).rowcount
            if done < 0:  # a driver that does not count
                now = connection.execute(self._revision, {"which": row.item}).scalar()
                done = int(now == record.revision)
            if done != 1:
                raise RacedError

    def _remove(self, connection: Connection, rows: Sequence[Any]) -> None:
        for row in rows:
            done = connection.execute(self._delete, {"which": row.item, "was": row.revision}).rowcount
            if done < 0 and connection.execute(self._revision, {"which": row.item}).first() is not None:
                done = 0
            if done == 0:
                raise RacedError

    def _add_words(self, connection: Connection, written: Iterable[tuple[int, Record]]) -> None:
        if not self.tables.has_words:
            return
        words = [{"item": item, "word": word} for item, record in written for word in record.meta.text.split()]
        if words:
            connection.execute(self._insert_word, words)

    def _remove_words(self, connection: Connection, items: Sequence[int]) -> None:
        if self.tables.has_words:
            words = self.tables.words
            for item in items:
                connection.execute(delete(words).where(words.c.item == item))

    def _change_words(self, connection: Connection, records: Iterable[tuple[int, Record]]) -> None:
        written = list(records)
        self._remove_words(connection, [item for item, _ in written])
        self._add_words(connection, written)
