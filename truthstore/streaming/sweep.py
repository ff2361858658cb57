"""Remove the parts of runs that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truthstore.checks.notes import Notes, notes_of
from truthstore.checks.streamed import living
from truthstore.items.check_rows import has_checks
from truthstore.items.parts import parts_of
from truthstore.model.query import StoreQuery

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.streaming.target import Target

__all__ = ["sweep"]


def sweep(store: Target, collection: Collection[Any]) -> int:
    """Remove the parts of runs that were deleted and cannot come back, and return how many there were.

    Queries do not see them any more. A run has its note only after it is there itself, so one without a run is one whose
    run was deleted.
    """
    streamed = Notes.read(store, collection).streamed if has_checks(collection) else []
    alive = living(store, collection, streamed)
    gone = [note for note in streamed if note.value not in alive]
    kept = store.copied_ids([note.check_id for note in gone], collection=collection) if gone else frozenset[str]()
    removed = 0
    for note in gone:
        if note.check_id not in kept:
            parts = parts_of(collection)
            ids = store.scan_ids(StoreQuery(where={"stream": note.value}), collection=parts)
            removed += len(store.delete_records(ids, collection=parts))
            store.delete_records([note.id], collection=notes_of(collection))
    return removed
