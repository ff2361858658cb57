"""Read the checks of a run one after the other, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from truthstore.checks.notes import Notes
from truthstore.errors import StoreCorruptError, StoreNotFoundError, shown
from truthstore.items.check_rows import has_checks, require_checks
from truthstore.items.parts import STREAM_TAG, part_id, parts_of
from truthstore.model.fields import check_id

if TYPE_CHECKING:
    from truthstore.items.checks import ValidatorResult
    from truthstore.items.parts import Part
    from truthstore.model.collection import Collection
    from truthstore.streaming.target import Target

__all__ = ["PARTS", "damaged", "iter_checks", "kept_parts"]

PARTS: Final = "truthstore.parts"
"""Key in the metadata of a run that was finished: the number of its parts."""


def iter_checks(store: Target, collection: Collection[Any], run_id: str) -> Iterator[ValidatorResult]:
    """Iterate over the checks of a run: those in its parts, then those in itself; see `BaseStore.iter_checks`."""
    require_checks(collection)
    record = store.get_record(check_id(run_id), collection=collection)
    if record.meta.deleted:
        raise StoreNotFoundError(collection.name, run_id)
    return _checks(store, collection, collection.decode(record))


def _checks(store: Target, collection: Collection[Any], result: Any) -> Iterator[ValidatorResult]:
    stream = result.tags.get(STREAM_TAG)
    if stream is not None:
        found = 0
        for part in kept_parts(store, collection, result.run_id, stream):
            found += 1
            yield from part.results
        expected = result.metadata.get(PARTS, found)  # a run that was not finished has those that are there
        if found < expected:
            missing = part_id(result.run_id, stream, found)
            raise StoreCorruptError(
                f"{collection.name} {shown(result.run_id)} has lost part {found + 1} of {expected}, {shown(missing)} of "
                f"{parts_of(collection).name}: restore it from a backup, or delete the run",
                collection=collection.name,
                identifier=result.run_id,
            )
    yield from result.results


def damaged(store: Target, collection: Collection[Any]) -> dict[str, str]:
    """Return what is wrong with runs in parts, by their ids: a part is lost, or cannot be read."""
    found: dict[str, str] = {}
    streamed = Notes.read(store, collection).streamed if has_checks(collection) else []
    for id in sorted({note.check_id for note in streamed}):
        try:
            deque(iter_checks(store, collection, id), maxlen=0)
        except StoreNotFoundError:
            continue  # it was deleted
        except StoreCorruptError as error:
            found[id] = str(error)
    return found


def kept_parts(store: Target, collection: Collection[Any], run_id: str, stream: str) -> Iterator[Part]:
    """Iterate over the parts of a run that are there, in order."""
    parts = parts_of(collection)
    for number in count():
        try:
            record = store.get_record(part_id(run_id, stream, number), collection=parts)
        except StoreNotFoundError:
            return
        yield parts.decode(record)
