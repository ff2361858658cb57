"""The parts of a head that are derived from its body when they are first asked for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from truthstore.model.record import FieldValue, Record

__all__ = ["Derivation", "as_declared"]


class Reading(Protocol):
    """The part of a collection that reads bodies."""

    text: tuple[str, ...]

    def read(self, body: bytes, encoding: str) -> Any:
        """Return a serialised item."""
        ...

    def index(
        self, item: Any, times: Mapping[str, int | None] | None
    ) -> tuple[Mapping[str, FieldValue], Mapping[str, str]]:
        """Return the fields and tags of an item that was read."""
        ...

    def text_of(self, item: Any) -> str:
        """Return the words for full-text queries."""
        ...


class Derivation(msgspec.Struct, frozen=True, gc=False):
    """Derive the fields, tags and text of a body when they are first asked for.

    Attributes:
        collection: the collection that the body belongs to.
        body: the serialised item.
        encoding: how it is serialised.
        times: the UTC microseconds of time fields that were kept with it.
        checksum: of the body that they belong to, by `zlib.crc32`: one that was edited since may hold other times.
    """

    collection: Reading
    body: bytes
    encoding: str
    times: Mapping[str, int | None] | None = None
    checksum: int | None = None

    @property
    def is_edited(self) -> bool:
        """True if the body is another than that to which the times belong."""
        return self.checksum is not None and self.checksum != zlib.crc32(self.body)

    def fields_and_tags(self) -> tuple[Mapping[str, FieldValue], Mapping[str, str]]:
        """Return the fields and the tags."""
        item = self.collection.read(self.body, self.encoding)
        return self.collection.index(item, None if self.is_edited else self.times)

    def text(self) -> str:
        """Return the words for full-text queries."""
        collection = self.collection
        return collection.text_of(collection.read(self.body, self.encoding)) if collection.text else ""


def as_declared(record: Record, collection: Reading) -> Record:
    """Return a record with the fields that a collection declares, which may not be those with which it was written."""
    meta = record.meta
    if record.body is None or meta.deleted or meta.encodings:
        return record
    item = collection.read(record.body, meta.encoding)
    fields, tags = collection.index(item, None)
    meta = meta.replace(fields=fields, tags=tags, text=collection.text_of(item), derive=None)
    return Record(meta, record.body, record.revision)
