"""A backend of one's own in a hundred lines: everything in one SQLite file, one row per item.

Only the five methods are written; all that users call is built on them. No index is kept: a query reads the collection
and asks `BoundQuery.select`, the reference, to filter and order it. That is complete and correct, and fast enough for a
few thousand items.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from truthstore import RESULTS
from truthstore.base import BaseStore, Collection, StoreConnectionError, StoreNotFoundError, StoreQuery, conflict
from truthstore.factory import register_store
from truthstore.model.record import ABSENT, ANY, NONE, Change, Expect, Options, Record
from truthstore.storage.objects.document import read_document, write_document

TABLE = """CREATE TABLE IF NOT EXISTS documents
    (collection TEXT, id TEXT, document BLOB, PRIMARY KEY (collection, id)) WITHOUT ROWID"""


@register_store("one_file")
class OneFileStore(BaseStore[Any]):
    """Keeps every collection in one SQLite file.

    Args:
        path: the file; it and its folder are created when needed.
        collection: what the public operations act on.
    """

    name = "one_file"

    def __init__(self, path: str | Path = "store.db", *, collection: Collection[Any] = RESULTS) -> None:
        super().__init__(collection)
        self._path = Path(path)

    @contextmanager
    def _connect(self, begin: str) -> Iterator[sqlite3.Connection]:
        # A connection for each call: nothing is shared between threads or with forked processes.
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None)) as connection:
                connection.execute(TABLE)
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")  # an error above closes the connection, which rolls back
        except (sqlite3.Error, OSError) as error:
            raise StoreConnectionError(self.name, f"{self._path}: {error}") from error

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        document = write_document(record, collection)
        with self._connect("BEGIN IMMEDIATE") as connection:
            known = self._find(connection, record.id, collection)
            if known is not None and known.revision == record.revision:
                return known.head()  # the same write, once more
            self._check_expect(known, record.id, collection, expect)
            insert = "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)"
            connection.execute(insert, (collection.name, record.id, document))
        self._announce([Change.of(collection.name, record)])
        return record.head()

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        with self._connect("BEGIN") as connection:
            record = self._find(connection, id, collection)
        if record is None:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return record

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        with self._connect("BEGIN IMMEDIATE") as connection:
            record = self._find(connection, id, collection)
            self._check_expect(record, id, collection, expect)
            connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", (collection.name, id))
        if record is None or record.meta.deleted:
            return False
        self._announce([Change(collection.name, id, None)])
        return True

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        bound = query.bind(collection)
        with self._connect("BEGIN") as connection:
            select = "SELECT document, id FROM documents WHERE collection = ?"
            rows = connection.execute(select, (collection.name,)).fetchall()
        found = bound.select(read_document(document, collection, id) for document, id in rows)
        return iter(found if bodies else [record.head() for record in found])

    def _find(self, connection: sqlite3.Connection, id: str, collection: Collection[Any]) -> Record | None:
        select = "SELECT document FROM documents WHERE collection = ? AND id = ?"
        row = connection.execute(select, (collection.name, id)).fetchone()
        return read_document(row[0], collection, id) if row else None

    def _check_expect(self, record: Record | None, id: str, collection: Collection[Any], expect: Expect) -> None:
        actual = record.revision if record else None
        # A tombstone, which a layer above may keep, is no item.
        absent = record is None or record.meta.deleted
        if expect is not ANY and not (absent if expect is ABSENT else actual == expect):
            raise conflict(id, expect, actual, backend=self.name, collection=collection.name)


if __name__ == "__main__":
    from datetime import datetime

    from truthstore import ValidationResult, get_store

    with get_store("one_file", path="example.db") as store:
        store.save(ValidationResult("run_1", datetime(2026, 1, 1, 6), "orders", "success"))  # type: ignore[arg-type]
        print(store.get_latest("orders"))
