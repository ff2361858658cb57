"""Whether the rows of items, which questions about checks are answered from, are those that the bodies give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreNotFoundError
from truthstore.model.query import StoreQuery
from truthstore.model.record import Record

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.records import RecordStore

__all__ = ["RowCheck"]

PAGE: Final = 100
UNREADABLE: Final = (StoreCorruptError, StoreConfigError)
"""Of a damaged item, and of one in a newer format."""


class RowCheck:
    """Compare rows with bodies, some at a time; twice where they differ, for an item may be saved meanwhile.

    Args:
        store: the store.
        collection: of the items.
    """

    def __init__(self, store: RecordStore, collection: Collection[Any]) -> None:
        self._store = store
        self._collection = collection
        self._made: dict[str, list[Record]] = {}
        self._differing: list[str] = []

    def add(self, record: Record) -> None:
        """Look at an item, with its body, or soon.

        Raises:
            StoreCorruptError: it gives no rows.
        """
        if self._collection.rows is None:
            return
        # Made anew, whatever was kept beside the body.
        plain = Record(record.meta.replace(rows=None), record.body, record.revision)
        self._made[record.id] = self._collection.rows_of(plain)
        if len(self._made) >= PAGE:
            self._look()

    def changed(self) -> tuple[str, ...]:
        """Return the ids of the items whose rows are others."""
        self._look()
        again, self._differing = self._differing, []
        for id in again:
            with suppress(StoreNotFoundError, *UNREADABLE):  # removed meanwhile, or named as damaged
                self.add(self._store.get_record(id, collection=self._collection))
                self._look()
        return tuple(self._differing)

    def _look(self) -> None:
        made, self._made = self._made, {}
        if not made:
            return
        assert self._collection.projection is not None
        item = self._collection.projection.item
        kept: dict[str, list[Record]] = {id: [] for id in made}
        try:
            for row in self._store.scan_rows(StoreQuery(where={item: ("in", list(made))}), collection=self._collection):
                kept[str(row.meta.fields[item])].append(row)
        except UNREADABLE:
            return  # of an item, named by who reads all of them, that has no rows; it keeps the index from answering
        self._differing += [id for id in made if _shown(kept[id]) != _shown(made[id])]


def _shown(rows: Iterable[Record]) -> list[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    """Return all that rows say, in their order in the item. To an index, -0.0 is 0.0."""
    return sorted(((row.id, row.meta.fields, row.meta.tags) for row in rows), key=lambda row: row[0])
