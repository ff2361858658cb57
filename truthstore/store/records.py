"""The waist: five operations on records, which each backend has, and their bulk, head and count forms made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from truthstore.errors import (
    StoreBulkError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreQueryError,
)
from truthstore.model.digest import Digest, digests, key_of
from truthstore.model.query import EVERYTHING, TIME_ALIAS, StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Condition, Expect, Listed, Options, Record
from truthstore.runtime.recipe import Recipe

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import BoundQuery

ChangeCopy = Callable[[str, Any], Any]

__all__ = ["ChangeCopy", "RecordStore", "check_expect", "conflict", "item_of", "rows_collection", "series_of"]


class RecordStore(Recipe, ABC):
    """The five operations of a backend or a wrapper, and forms of them that are correct over any.

    A backend overrides the forms that it can do faster.
    """

    name: ClassVar[str] = "store"
    OPTIONS: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType({})
    """For each operation the options that this layer takes."""

    @abstractmethod
    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record, durably, with the revision that it brings, and return its head as stored.

        Where that revision is stored already, nothing is done. A tombstone (`meta.deleted`) counts as absent for
        `ABSENT`; its revision can be expected like any other.

        Raises:
            StoreConflictError: `expect` did not hold.
            StoreWriteError: it was not stored, or may not have been; the message says which.
        """

    @abstractmethod
    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record with its body.

        Raises:
            StoreNotFoundError: there is none.
        """

    @abstractmethod
    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record; return False if there was none, or a tombstone.

        Raises:
            StoreConflictError: `expect` did not hold.
        """

    @abstractmethod
    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the answer to a query, in its order, lazily; heads unless bodies are asked for."""

    @abstractmethod
    def close(self) -> None:
        """Give up connections and files. Closing twice is harmless."""

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of a record.

        Raises:
            StoreNotFoundError: there is none.
        """
        return self.get_record(id, collection=collection, options=options).head()

    def definitely_absent(self, id: str, *, collection: Collection[Any]) -> bool:
        """Return True if no tombstone and, as far as is known, no item lies under an id; False where asking takes as long as reading.

        A layer asks before it creates. There may be an item all the same, so that needs `ABSENT`.
        """
        return False

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store many records and return their heads in order.

        Raises:
            StoreBulkError: some were not stored.
        """
        stored: list[Record] = []
        failed: dict[str, Exception] = {}
        for record in records:
            try:
                stored.append(self.put_record(record, collection=collection, expect=expect, options=options))
            except StoreError as error:
                failed[record.id] = error
        if failed:
            raise StoreBulkError([r.id for r in stored], failed, backend=self.name, collection=collection.name)
        return stored

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids."""
        found: dict[str, Record] = {}
        for id in ids:
            try:
                found[id] = self.get_record(id, collection=collection, options=options)
            except StoreNotFoundError:
                continue
        return found

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove many records and return the ids of those that existed.

        Raises:
            StoreBulkError: some could not be removed.
        """
        deleted: list[str] = []
        failed: dict[str, Exception] = {}
        for id in ids:
            try:
                if self.delete_record(id, collection=collection, options=options):
                    deleted.append(id)
            except StoreError as error:
                failed[id] = error
        if failed:
            raise StoreBulkError(deleted, failed, backend=self.name, collection=collection.name)
        return deleted

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Return the ids that a query finds, in its order."""
        return [record.meta.id for record in self.scan(query, collection=collection, options=options)]

    def scan_revisions(
        self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE
    ) -> Iterator[Listed]:
        """Iterate over ids, revisions and sizes of the records that a query finds, in its order, lazily."""
        records = self.scan(query, collection=collection, options=options)
        return (Listed(record.meta.id, record.revision, record.meta.size) for record in records)

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections that may hold records here, the library's own among them.

        Raises:
            StoreNotSupportedError: this backend cannot list them.
        """
        raise StoreNotSupportedError(f"{self.name} cannot list its collections: name them", backend=self.name)

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Return the number of records that fulfil the conditions of a query."""
        query.bind(collection)  # a wrong cursor is an error, though it plays no part
        everything = query.replace(limit=None, offset=0, after=None)
        return sum(1 for _ in self.scan(everything, collection=collection, options=options))

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over the records that fulfil the conditions of a query."""
        query.bind(collection)  # a wrong cursor is an error, though it plays no part
        everything = query.replace(limit=None, offset=0, after=None)
        return aggregation.over(self.scan(everything, collection=collection, options=options))

    def digest_records(self, prefixes: Sequence[str], *, collection: Collection[Any]) -> dict[str, Digest]:
        """Return the digests of the places below some beginnings of keys, tombstones included: see `model.digest`."""
        listed = self.scan_revisions(StoreQuery(include_deleted=True), collection=collection)
        return digests(((one.id, one.revision) for one in listed), prefixes)

    def revision_records(self, prefixes: Sequence[str], *, collection: Collection[Any]) -> dict[str, str]:
        """Return the revisions, by id, of the records whose keys begin so, tombstones included."""
        listed = self.scan_revisions(StoreQuery(include_deleted=True), collection=collection)
        wanted = tuple(prefixes)
        return {one.id: one.revision for one in listed if key_of(one.id).startswith(wanted)}

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Iterate over the rows of items that a query finds, in its order, as heads: see `Projection`."""
        bound = query.bind(rows_collection(collection))
        return iter(bound.select(self._rows_made(bound, collection, options)))

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over the rows that fulfil the conditions of a query."""
        bound = query.bind(rows_collection(collection))
        rows = self._rows_made(bound, collection, options)
        return aggregation.over(row for row in rows if bound.matches(row.meta))

    def latest_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[Record]:
        """Return the newest row of each series among those that fulfil the conditions of a query, ordered by series."""
        rows = rows_collection(collection)
        bound = query.replace(order_by=TIME_ALIAS, limit=None, offset=0, after=None, ascending=True).bind(rows)
        series = series_of(collection)
        newest = {series(row): row for row in bound.select(self._rows_made(bound, collection, options))}
        return [newest[key] for key in sorted(key for key in newest if None not in key)]

    def newest_rows(
        self,
        query: StoreQuery,
        keep: StoreQuery = EVERYTHING,
        *,
        collection: Collection[Any],
        series: Iterable[tuple[Any, ...]] | None = None,
        options: Options = NONE,
    ) -> list[Record]:
        """Return those of `latest_rows` that fulfil the conditions of another query; of some series, where they are given."""
        bound, of = keep.bind(rows_collection(collection)), series_of(collection)
        wanted = None if series is None else frozenset(series)
        rows = self.latest_rows(query, collection=collection, options=options)
        return [row for row in rows if (wanted is None or of(row) in wanted) and bound.matches(row.meta)]

    def _rows_made(self, bound: BoundQuery, collection: Collection[Any], options: Options) -> Iterator[Record]:
        """Iterate over the rows of all items, made of their bodies; of one item where a query is about one."""
        item = item_of(bound, collection)
        wanted = StoreQuery() if item is None else StoreQuery(ids=[item])
        for record in self.scan(wanted, collection=collection, bodies=True, options=options):
            yield from collection.rows_of(record)

    def sealed(self, record: Record, collection: str) -> Record:
        """Return a record as layers may keep it outside of the store, in a queue or a shared cache: encrypted, where a layer encrypts."""
        return record

    def opened(self, record: Record, collection: str) -> Record:
        """Return the record that `sealed` was given.

        Raises:
            StoreCorruptError: it is damaged, or was sealed for another place.
        """
        return record

    def held_ids(self, query: StoreQuery, *, collection: Collection[Any]) -> frozenset[str]:
        """Return the ids among those that a query finds which a layer keeps under a legal hold."""
        return frozenset()

    def copied_ids(self, ids: Sequence[str], *, collection: Collection[Any]) -> frozenset[str]:
        """Return those ids of which a layer keeps copies that may become items again, such as older versions."""
        return frozenset()

    def change_copies(self, change: ChangeCopy, *, collection: Collection[Any]) -> None:
        """Replace copies of items that layers keep, such as older versions, by what `change` returns for them.

        Args:
            change: takes the name of a place and the copy there, and returns another copy, or None to leave it.
            collection: the collection of the items.
        """


def rows_collection(collection: Collection[Any]) -> Collection[Any]:
    """Return the collection of the rows of a collection's items.

    Raises:
        StoreQueryError: it has no projection.
    """
    if collection.rows is None:
        raise StoreQueryError(f"{collection.name} has no rows: declare a Projection", collection=collection.name)
    return collection.rows


def series_of(collection: Collection[Any]) -> Callable[[Record], tuple[Any, ...]]:
    """Return the function that names the series of a row.

    Raises:
        StoreQueryError: the rows have none.
    """
    names = collection.projection.series if collection.projection is not None else ()
    if not names:
        raise StoreQueryError(f"{collection.name} has no series of rows", collection=collection.name)

    def series(row: Record) -> tuple[Any, ...]:
        fields = row.meta.fields
        return tuple([fields[name] for name in names])

    return series


def item_of(bound: BoundQuery, collection: Collection[Any]) -> str | None:
    """Return the id of the only item that a query of rows is about, if it names one."""
    name = collection.projection.item if collection.projection is not None else ""
    wanted = [value for field, sign, value in bound.comparisons if field == name and sign == "=="]
    return wanted[0] if wanted else None


def check_expect(expect: object) -> None:
    """Check that a value can be an expectation.

    Raises:
        TypeError: it is neither a condition nor a revision.
    """
    if not isinstance(expect, Condition | str) or expect == "":
        raise TypeError(f"expect is ANY, ABSENT or a revision, not {expect!r}")


def conflict(id: str, expect: Expect, actual: str | None, *, backend: str, collection: str) -> StoreConflictError:
    """Return the error for an expectation that did not hold."""
    if expect is ABSENT:
        message = f"{collection} {id!r:.90} exists already: use expect=ANY to overwrite it"
    elif actual is None:
        message = f"{collection} {id!r:.90} does not exist, so it is not at revision {expect}"
    else:
        message = f"{collection} {id!r:.90} is at revision {actual}, not {expect}: read it again and repeat the change"
    return StoreConflictError(message, backend=backend, collection=collection, identifier=id)
