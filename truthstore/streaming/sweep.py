"""Remove the parts of runs that are gone."""

from __future__ import annotations

import time
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


def sweep(store: Target, collection: Collection[Any], budget: float | None = None) -> int:
    """Remove the parts of runs that were deleted and cannot come back, and return how many there were.

    Queries do not see them any more. A run has its note only after it is there itself, so one without a run is one whose
    run was deleted. The note stays until no part is found, for a writer may not know yet that the run is gone.

    Args:
        store: the outermost layer.
        collection: the runs.
        budget: begin with no other run after so many seconds.
    """
    end = None if budget is None else time.monotonic() + budget
    streamed = Notes.read(store, collection).streamed if has_checks(collection) else []
    alive = living(store, collection, streamed)
    gone = [note for note in streamed if note.value not in alive]
    kept = store.copied_ids([note.check_id for note in gone], collection=collection) if gone else frozenset[str]()
    alive = living(store, collection, gone)  # once more, for what was set aside may have been brought back meanwhile
    parts, removed = parts_of(collection), 0
    for note in gone:
        if note.check_id in kept or note.value in alive:
            continue
        if end is not None and time.monotonic() > end:
            break
        if ids := store.scan_ids(StoreQuery(where={"stream": note.value}), collection=parts):
            removed += len(store.delete_records(ids, collection=parts))
        else:
            store.delete_records([note.id], collection=notes_of(collection))
    return removed
