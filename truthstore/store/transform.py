"""A layer that stores each record in another form than it is given, and gives it back."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery

__all__ = ["TransformingStore"]

T = TypeVar("T")


class TransformingStore(WrapperStore[T]):
    """Change records one by one on their way down and up; a subclass writes `encoded` and `decoded`."""

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
        """Store a record as `encoded` makes it."""
        encoded = self.encoded(record, collection)
        stored = self._base.put_record(encoded, collection=collection, expect=expect, options=options)
        return self._answer(stored, record, collection)

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store many records as `encoded` makes them, with one call."""
        encoded = [self.encoded(record, collection) for record in records]
        stored = self._base.put_records(encoded, collection=collection, expect=expect, options=options)
        return [self._answer(*both, collection) for both in zip(stored, records, strict=True)]

    def _answer(self, stored: Record, given: Record, collection: Collection[Any]) -> Record:
        """Return the head of a record that was stored."""
        return self.decoded(stored.head(), collection)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return a record as `decoded` makes it."""
        return self.decoded(self._base.get_record(id, collection=collection, options=options), collection)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of a record."""
        return self.decoded(self._base.head_record(id, collection=collection, options=options), collection)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids."""
        found = self._base.get_records(ids, collection=collection, options=options)
        return {id: self.decoded(record, collection) for id, record in found.items()}

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the answer of the store below."""
        found = self._base.scan(query, collection=collection, bodies=bodies, options=options)
        return (self.decoded(record, collection) for record in found)

    # What is answered from the index below is no affair of a layer that leaves what is indexed as it is.
    definitely_absent = WrapperStore.definitely_absent
    scan_ids = WrapperStore.scan_ids
    scan_revisions = WrapperStore.scan_revisions
    digest_records = WrapperStore.digest_records
    revision_records = WrapperStore.revision_records
    count_records = WrapperStore.count_records
    aggregate_records = WrapperStore.aggregate_records
    scan_rows = WrapperStore.scan_rows
    aggregate_rows = WrapperStore.aggregate_rows
    latest_rows = WrapperStore.latest_rows
    newest_rows = WrapperStore.newest_rows
