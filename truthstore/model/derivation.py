"""The parts of a head that are derived from its body when they are first asked for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from truthstore.model.record import Record

if TYPE_CHECKING:
    from truthstore.model.collection import Collection  # noqa: TC004  # a circle; the annotation is never evaluated
    from truthstore.model.record import FieldValue

__all__ = ["Derivation", "as_declared"]


class Derivation(msgspec.Struct, frozen=True, gc=False):
    """Derive the fields, tags and text of a body when they are first asked for.

    Attributes:
        collection: the collection that the body belongs to.
        body: the serialised item.
        encoding: how it is serialised.
        times: the UTC microseconds of time fields that were kept with it.
        checksum: of the body that they belong to, by `zlib.crc32`: one that was edited since may hold other times.
    """

    collection: Collection[Any]
    body: bytes
    encoding: str
    times: Mapping[str, int | None] | None = None
    checksum: int | None = None

    def fields_and_tags(self) -> tuple[Mapping[str, FieldValue], Mapping[str, str]]:
        """Return the fields and the tags."""
        edited = self.checksum is not None and self.checksum != zlib.crc32(self.body)
        item = self.collection.read(self.body, self.encoding)
        return self.collection.index(item, None if edited else self.times)

    def text(self) -> str:
        """Return the words for full-text queries."""
        collection = self.collection
        return collection.text_of(collection.read(self.body, self.encoding)) if collection.text else ""


def as_declared(record: Record, collection: Collection[Any]) -> Record:
    """Return a record with the fields that a collection declares, which may not be those with which it was written."""
    meta = record.meta
    if record.body is None or meta.deleted or meta.encodings:
        return record
    fields, tags, text = collection.derive(record.body, meta.encoding)
    return Record(meta.replace(fields=fields, tags=tags, text=text, derive=None), record.body, record.revision)
