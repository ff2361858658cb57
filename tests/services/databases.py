"""Places in the servers of the tests: each test gets a namespace of its own in tables that are made once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, inspect

from truthstore.backends.database import DatabaseStore
from truthstore.results import RESULTS

_numbers = itertools.count()


class Place(NamedTuple):
    """A namespace in a database."""

    url: str
    space: str

    def open(self, collection: Any = RESULTS, *, namespace: str = "default", **options: Any) -> DatabaseStore[Any]:
        """A store in this place."""
        return DatabaseStore(
            connection_url=self.url, collection=collection, namespace=f"{self.space}/{namespace}", **options
        )


def new_place(url: str) -> Place:
    """A place that nobody has used."""
    return Place(url, f"{os.getpid()}-{next(_numbers)}")


def drop_tables(url: str, prefix: str = "") -> None:
    """Drop all tables whose names begin with a prefix, as somebody else may do under open stores."""

    def drop(connection: Connection) -> None:
        names = _tables(connection, prefix)
        if connection.dialect.name == "sqlite":
            for name in names:
                connection.exec_driver_sql(f"DROP TABLE {name}")
        elif names and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"DROP TABLE {', '.join(names)} CASCADE")
        elif names:
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
            connection.exec_driver_sql(f"DROP TABLE {', '.join(names)}")
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 1")

    _run(url, drop)


def delete_rows(url: str, prefix: str = "") -> None:
    """Delete all rows of the tables whose names begin with a prefix, but for the list of what was made."""

    def delete(connection: Connection) -> None:
        for name in _tables(connection, prefix):
            if "truthstore_schema" not in name:
                connection.exec_driver_sql(f"DELETE FROM {name}")

    _run(url, delete)


def _tables(connection: Connection, prefix: str) -> list[str]:
    """Return the names of tables as SQL has them; on SQLite without those that belong to a virtual table."""
    if connection.dialect.name == "sqlite":
        listed = connection.exec_driver_sql("PRAGMA table_list").mappings()
        names = [row["name"] for row in listed if row["type"] != "shadow" and not row["name"].startswith("sqlite_")]
    else:
        names = inspect(connection).get_table_names()
    quote = connection.dialect.identifier_preparer.quote
    return [quote(name) for name in names if name.startswith(prefix)]


def _run(url: str, work: Callable[[Connection], None]) -> None:
    with DatabaseStore(connection_url=url) as store:
        store.execute_with_retry(work)
