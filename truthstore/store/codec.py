"""A layer that changes the bytes of bodies on their way down, and restores them on their way up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.model.collection import Derivation
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.model.record import Meta
    from truthstore.store.store import BaseStore

__all__ = ["READERS", "CodecStore", "is_item", "readable"]

T = TypeVar("T")

READERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "batched": "it changes saves that wait when a value is forgotten, and could not read them: put it above",
        "migration": "it changes items of earlier versions, and could not read them: put it above",
        "retention": "it changes what is set aside when a value is forgotten, and could not read it: put it above",
        "versioning": "it compares versions, and could not read them: put it above",
    }
)
"""The layers that read bodies, and therefore stand above every codec."""


class CodecStore(WrapperStore[T]):
    """Append to `meta.encodings` on the way down, and remove it on the way up; a subclass writes `encoded` and `decoded`."""

    CANNOT_COVER: ClassVar[Mapping[str, str]] = READERS

    def __init__(self, base: BaseStore[T]) -> None:
        super().__init__(base)
        self._above: list[CodecStore[Any]] = []
        for layer in base.layers():
            if isinstance(layer, CodecStore):
                layer._above.append(self)  # noqa: SLF001  # the same stack

    def whole(self, records: Iterable[Record], collection: Collection[Any]) -> Iterator[Record]:
        """Return records of the store below decoded, by this layer and by all codecs above it."""
        for record in records:
            decoded = self.decoded(record, collection)
            for layer in self._above:
                decoded = layer.decoded(decoded, collection)
            yield decoded

    @abstractmethod
    def encoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record as it is stored below."""

    @abstractmethod
    def decoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record, or a head, as it was given.

        Raises:
            StoreCorruptError: it cannot be restored.
        """

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record, encoded."""
        encoded = self.encoded(record, collection)
        stored = self._base.put_record(encoded, collection=collection, expect=expect, options=options)
        return self._answer(stored, record, collection)

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store many records, encoded, with one call."""
        encoded = [self.encoded(record, collection) for record in records]
        stored = self._base.put_records(encoded, collection=collection, expect=expect, options=options)
        return [self._answer(*both, collection) for both in zip(stored, records, strict=True)]

    def _answer(self, stored: Record, given: Record, collection: Collection[Any]) -> Record:
        return given.head() if stored.revision == given.revision else self.decoded(stored.head(), collection)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return a record, decoded."""
        return self.decoded(self._base.get_record(id, collection=collection, options=options), collection)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of a record."""
        return self.decoded(self._base.head_record(id, collection=collection, options=options), collection)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids, decoded."""
        found = self._base.get_records(ids, collection=collection, options=options)
        return {id: self.decoded(record, collection) for id, record in found.items()}

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the answer of the store below, decoded."""
        found = self._base.scan(query, collection=collection, bodies=bodies, options=options)
        return (self.decoded(record, collection) for record in found)

    # What is answered from the index below is no affair of a codec's that leaves heads as they are.
    definitely_absent = WrapperStore.definitely_absent
    scan_ids = WrapperStore.scan_ids
    count_records = WrapperStore.count_records
    aggregate_records = WrapperStore.aggregate_records
    scan_rows = WrapperStore.scan_rows
    aggregate_rows = WrapperStore.aggregate_rows
    latest_rows = WrapperStore.latest_rows
    newest_rows = WrapperStore.newest_rows


def readable(record: Record, collection: Collection[Any], body: bytes, encodings: tuple[str, ...]) -> Record:
    """Return a record with another body, whose words and rows are made of it where nothing else encodes it."""
    meta = record.meta
    changes: dict[str, Any] = {"encodings": encodings}
    if is_item(meta, encodings, collection):
        changes |= {"text": None, "rows": None, "derive": Derivation(collection, body, meta.encoding)}
    return Record(meta.replace(**changes), body, record.revision)


def is_item(meta: Meta, encodings: tuple[str, ...], collection: Collection[Any]) -> bool:
    """Return True if the body is an item's as it was serialised, once it has these encodings only."""
    return not encodings and not meta.deleted and not collection.opaque
