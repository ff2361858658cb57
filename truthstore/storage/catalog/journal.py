"""The journal of an index: the contents of files that were committed with the rows, until the files are on the disk.

It is a redo log (Gray and Reuter, "Transaction Processing", 1993, chapter 9): an entry says how a file must be, so that
applying it twice does no harm. Of several entries for one file the last counts.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from truthstore.storage.catalog.catalog import Catalog

__all__ = ["Entry", "Journal", "salvage"]

# Without an index on the files: entries are appended, are few, and are looked for only after a write was cut short.
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS journal"
    " (number INTEGER PRIMARY KEY, file TEXT NOT NULL, revision TEXT NOT NULL, data BLOB, sync INTEGER NOT NULL)"
)
_LAST: Final = "SELECT file, revision, data FROM journal WHERE file = ? ORDER BY number DESC LIMIT 1"


class Entry(NamedTuple):
    """The state that a file must have.

    Attributes:
        file: its path below the folder of the store.
        revision: of the write.
        data: its bytes; or the name of a new file that holds them, or has become this one; None if it must not be there.
    """

    file: str
    revision: str
    data: bytes | str | None


class Journal:
    """The journal in one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def make(self) -> None:
        """Make the table if it is not there."""
        with self._catalog.transaction() as connection:
            connection.execute(_TABLE)

    def append(self, connection: sqlite3.Connection, entries: Iterable[Entry], *, sync: bool) -> None:
        """Add entries in a transaction that has begun; with `sync`, files must be on the disk before these are removed."""
        rows = [(*entry, sync) for entry in entries]
        connection.executemany("INSERT INTO journal (file, revision, data, sync) VALUES (?, ?, ?, ?)", rows)

    def read(self, file: str) -> Entry | None:
        """Return the entry of a file; None if the file is as it must be."""
        rows = self._catalog.read(_LAST, (file,))
        return Entry(*rows[0]) if rows else None

    def files(self, *, synced_only: bool = False) -> dict[str, bool]:
        """Return files that have entries, all or those that must be synced, and whether they must."""
        where = "WHERE sync" if synced_only else ""
        rows = self._catalog.read(f"SELECT file, max(sync) FROM journal {where} GROUP BY file")
        return {file: bool(sync) for file, sync in rows}

    def empty(self, keep: Sequence[str] = ()) -> None:
        """Remove all entries but those of some files."""
        self._delete(f"WHERE file NOT IN ({_places(keep)})" if keep else "", keep)

    def remove(self, files: Sequence[str]) -> None:
        """Remove the entries of some files."""
        self._delete(f"WHERE file IN ({_places(files)})", files)

    def _delete(self, where: str, files: Sequence[str]) -> None:
        with self._catalog.transaction() as connection:
            connection.execute(f"DELETE FROM journal {where}", files)


def _places(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def salvage(connection: sqlite3.Connection) -> Iterator[Entry]:
    """Return entries from a database that may be damaged, in their order, as far as it can be read."""
    with suppress(sqlite3.Error):
        for row in connection.execute("SELECT file, revision, data FROM journal ORDER BY number"):
            yield Entry(*row)
