"""Copy the rows of items into the table of rows, for all items past a watermark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from truthstore.errors import StoreCorruptError
from truthstore.storage.catalog.table import PLACE, UNREAD, Bodies, Location, as_location
from truthstore.storage.sql.compile import Statement
from truthstore.storage.sql.paging import PAGE

if TYPE_CHECKING:
    from truthstore.storage.catalog.connections import Connections
    from truthstore.storage.catalog.rows import RowTable

__all__ = ["spread"]


def spread(catalog: Connections, table: RowTable, bodies: Bodies) -> None:
    """Copy the rows of every item that the table does not have yet, some hundred items at a time.

    Raises:
        StoreCorruptError: an item is damaged. The rows of all others are there.
    """
    parent, kind = table.parent, table.kind
    name, unread = parent.collection.name, f"{table.kind}{UNREAD}"
    watermark = "SELECT ifnull(max(mark), 0) FROM marks WHERE collection = ? AND kind = ?"
    while True:
        mark, top = catalog.read(f"SELECT ({watermark}), max(seq) FROM {parent.name}", (name, kind))[0]
        if top is None or top <= mark:
            break
        top = min(top, mark + PAGE)
        found, damaged = _made(catalog, table, bodies, Statement("seq > ? AND seq <= ?", (mark, top)))
        with catalog.transaction() as connection:
            # Another process may have done the same meanwhile.
            if connection.execute(watermark, (name, kind)).fetchone()[0] == mark:
                connection.executemany(table.insert, found)
                connection.execute(*table.without_items(mark, top))
                connection.executemany(
                    f"INSERT OR IGNORE INTO {parent.postings} VALUES (?, ?)", [(unread, seq) for seq in damaged]
                )
                connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (name, kind, top))
    again = f"seq IN (SELECT item FROM {parent.postings} WHERE term = ?)"
    for seq, *place in catalog.read(f"SELECT seq, {PLACE} FROM {parent.name} WHERE {again}", (unread,)):
        _read(table, bodies, [as_location(place)])  # raises and says what is wrong with it, if it still is
        found, _ = _made(catalog, table, bodies, Statement("seq = ?", (seq,)))
        with catalog.transaction() as connection:
            connection.executemany(table.insert, found)
            connection.execute(*table.without_items(seq, seq))
            connection.execute(f"DELETE FROM {parent.postings} WHERE term = ? AND item = ?", (unread, seq))


def _made(
    catalog: Connections, table: RowTable, bodies: Bodies, items: Statement
) -> tuple[list[tuple[Any, ...]], list[int]]:
    """Return the rows of some items as they are inserted, and the numbers of damaged items."""
    parent = table.parent
    above = "".join(f", {parent.names[name]}" for name in table.projection.inherits)
    found: list[tuple[Any, ...]] = []
    lacking: list[tuple[int, Location, Sequence[Any]]] = []
    for seq, id, revision, deleted, name, packed, *values in catalog.read(
        f"SELECT seq, {PLACE}, rows{above} FROM {parent.name} WHERE deleted = 0 AND {items.sql}", items.parameters
    ):
        if packed is None:
            lacking.append((seq, as_location((id, revision, deleted, name)), values))
        else:
            found.extend(table.rows(seq, values, packed))
    try:
        packed_rows = _read(table, bodies, [location for _, location, _ in lacking])
        damaged: list[int] = []
    except StoreCorruptError:
        packed_rows, damaged = {}, []
        for seq, location, _ in lacking:
            try:
                packed_rows |= _read(table, bodies, [location])
            except StoreCorruptError:
                # A damaged item keeps no question from the others' rows for ever.
                damaged.append(seq)
    for seq, location, inherited in lacking:
        if location.revision in packed_rows:
            found.extend(table.rows(seq, inherited, packed_rows[location.revision]))
    return found, damaged


def _read(table: RowTable, bodies: Bodies, locations: Sequence[Location]) -> dict[str, bytes]:
    """Return the packed rows of items, made of their bodies, by revision."""
    collection = table.parent.collection
    return {record.revision: collection.packed_rows(record) for record in bodies(collection, locations)}
