"""The body objects of one collection in a store whose index is a log: reading and writing them with their lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreNotFoundError
from truthstore.model.record import ANY, Meta, Record
from truthstore.storage.log.entry import Fact, fact_of
from truthstore.storage.objects.document import Lineage, lineage_of, read_document, write_document
from truthstore.storage.objects.object_store import folder_of, object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truthstore.model.collection import Collection
    from truthstore.model.record import Revision
    from truthstore.storage.objects.blobs import BlobExpect, Blobs, Tag

__all__ = ["Bodies", "Body"]

HISTORY: Final = 16


class Body(NamedTuple):
    """A body object: a document, or the marker that a deleted one left."""

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
        """Whether it is a marker."""
        return self.lineage.removed

    def descends_from(self, revision: Revision) -> bool:
        """Whether a write id is this one's or among its predecessors'."""
        return revision == self.revision or revision in self.lineage.predecessors

    def successor(self, stamp: int, *, removed: bool = False) -> Lineage:
        """The lineage of a write that replaces this body."""
        known = self.lineage
        return Lineage(
            stamp, (self.revision, *known.predecessors)[:HISTORY], (known.stamp, *known.stamps)[:HISTORY], removed
        )

    def restamped(self, stamp: int) -> Lineage:
        """The lineage of the same write with a larger stamp."""
        return msgspec.structs.replace(self.lineage, stamp=stamp)


class Bodies:
    """The bodies of one collection.

    Args:
        blobs: where they lie.
        collection: what they are.
        extension: what their names end with.
        compress: applied to what is written.
        decompress: applied to what is read.
    """

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
        """The key of an id's body."""
        return object_key(self.collection.name, id, self._extension)

    def get(self, id: str) -> Body | None:
        """The body of an id, or None if there is no such object.

        Raises:
            StoreCorruptError: it is damaged.
        """
        try:
            return self._parse(*self._blobs.get(self.key(id)), id)
        except StoreNotFoundError:
            return None

    def _parse(self, data: bytes, tag: Tag, id: str | None) -> Body:
        plain = self._decompress(data)
        return Body(read_document(plain, self.collection, id), lineage_of(plain), tag)

    def tag(self, id: str) -> Tag | None:
        """The tag of an id's object, damaged or not."""
        try:
            return self._blobs.get(self.key(id))[1]
        except StoreNotFoundError:
            return None

    def put(self, record: Record, lineage: Lineage, *, expect: BlobExpect) -> Tag:
        """Writes a body.

        Raises:
            StoreConflictError: the condition did not hold.
        """
        data = self._compress(write_document(record, self.collection, lineage))
        return self._blobs.put(self.key(record.id), data, expect=expect)

    def remove(self, body: Body, *, conditional: bool = True) -> bool:
        """Removes the object of a marker, if it is still the same."""
        return self._blobs.delete(self.key(body.record.id), expect=body.tag if conditional else ANY)

    def keys(self) -> Iterator[str]:
        """The keys of all bodies there are."""
        folder = folder_of(self.collection.name)
        for key in self._blobs.list(folder):
            rest = key[len(folder) :]
            if "/" not in rest and rest.endswith(self._extension) and not rest.startswith("_"):
                yield key

    def read(self, key: str) -> Body | None:
        """The body at a key, or None if it is gone."""
        try:
            return self._parse(*self._blobs.get(key), None)
        except StoreNotFoundError:
            return None

    def fact(self, body: Body) -> Fact:
        """What is certain of an id once its body was seen."""
        if body.removed:
            return Fact(body.record.id, body.stamp, body.revision, None)
        return fact_of(body.record, body.stamp, self.collection)


def marker(id: str, revision: Revision) -> Record:
    """What a delete writes in the place of a document."""
    return Record(Meta(id, fields={}, tags={}, text="", deleted=True), b"", revision)
