"""The body objects of one collection in a store whose index is a log: reading and writing them with their lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreNotFoundError
from truthstore.model.record import Meta, Record
from truthstore.storage.log.entry import Confirmed, confirmed_of
from truthstore.storage.objects.document import Lineage, parse_document, unpacked, write_document
from truthstore.storage.objects.object_store import folder_of, object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truthstore.model.collection import Collection
    from truthstore.model.record import Revision
    from truthstore.storage.objects.blobs import BlobExpect, Blobs, Tag

__all__ = ["BodyObject", "BodyObjects", "tombstone"]

HISTORY: Final = 16


class BodyObject(NamedTuple):
    """A body object: a document, or the tombstone that a deleted one left."""

    record: Record
    lineage: Lineage
    tag: Tag

    @property
    def revision(self) -> Revision:
        """The write id."""
        return self.record.revision

    @property
    def stamp(self) -> int:
        """The stamp of the write."""
        return self.lineage.stamp

    @property
    def removed(self) -> bool:
        """True for a tombstone."""
        return self.lineage.removed

    def descends_from(self, revision: Revision) -> bool:
        """Return True if a write id is this one's or among its predecessors'."""
        return revision == self.revision or revision in self.lineage.predecessors

    def successor(self, stamp: int, *, removed: bool = False) -> Lineage:
        """Return the lineage of a write that replaces this body."""
        known = self.lineage
        return Lineage(
            stamp, (self.revision, *known.predecessors)[:HISTORY], (known.stamp, *known.stamps)[:HISTORY], removed
        )

    def restamped(self, stamp: int) -> Lineage:
        """Return the lineage of the same write under a larger stamp."""
        return msgspec.structs.replace(self.lineage, stamp=stamp)


class BodyObjects:
    """The body objects of one collection, whose names end with an extension."""

    def __init__(
        self,
        blobs: Blobs,
        collection: Collection[Any],
        *,
        extension: str,
        compress: Callable[[bytes], bytes],
        decompress: Callable[[bytes], bytes],
    ) -> None:
        self.collection = collection
        self._blobs = blobs
        self._extension = extension
        self._compress = compress
        self._decompress = decompress

    def key(self, id: str) -> str:
        """Return the key of an id's body."""
        return object_key(self.collection.name, id, self._extension)

    def get(self, id: str) -> BodyObject | None:
        """Return the body of an id, or None if there is no such object.

        Raises:
            StoreCorruptError: it is damaged.
        """
        return self.read(self.key(id), id)

    def read(self, key: str, id: str | None = None) -> BodyObject | None:
        """Return the body at a key, or None if there is no such object; raise as `get` does."""
        try:
            data, tag = self._blobs.get(key)
        except StoreNotFoundError:
            return None
        data = unpacked(data, self._decompress, self.collection, id, file=key)
        return BodyObject(*parse_document(data, self.collection, id, file=key), tag)

    def stand_in(self, id: str, stamp: int) -> BodyObject | None:
        """Return a stand-in for an unreadable object that an unconditional write may replace; None if it is gone."""
        try:
            tag = self._blobs.get(self.key(id))[1]
        except StoreNotFoundError:
            return None
        return BodyObject(tombstone(id, ""), Lineage(stamp), tag)

    def put(self, record: Record, lineage: Lineage, *, expect: BlobExpect) -> Tag:
        """Write a body.

        Raises:
            StoreConflictError: the condition did not hold.
        """
        data = self._compress(write_document(record, self.collection, lineage))
        return self._blobs.put(self.key(record.id), data, expect=expect)

    def remove(self, body: BodyObject) -> bool:
        """Remove the object of a tombstone, if it is still the same; return False if it is gone."""
        return self._blobs.delete(self.key(body.record.id), expect=body.tag)

    def keys(self) -> Iterator[str]:
        """List the keys of all bodies."""
        folder = folder_of(self.collection.name)
        for key in self._blobs.list(folder):
            rest = key[len(folder) :]
            if "/" not in rest and rest.endswith(self._extension) and not rest.startswith("_"):
                yield key

    def confirmed(self, body: BodyObject) -> Confirmed:
        """Return the confirmed row of a body that was seen."""
        if body.removed:
            return Confirmed(body.record.id, body.stamp, body.revision, None)
        return confirmed_of(body.record, body.stamp, self.collection)


def tombstone(id: str, revision: Revision) -> Record:
    """Return the record that a delete writes in the place of a document."""
    return Record(Meta(id, fields={}, tags={}, text="", deleted=True), b"", revision)
