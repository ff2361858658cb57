"""Reads over several tiers: ordered scans merged, figures added; what moves meanwhile is looked up item by item."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from truthstore.errors import StoreNotFoundError
from truthstore.model.aggregate import Aggregation, Groups, Row
from truthstore.model.query import TIME_ALIAS, BoundQuery, StoreQuery
from truthstore.model.record import NONE, Options, Record
from truthstore.store.records import RecordStore, rows_collection, series_of
from truthstore.tiering.intents import IntentLog

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["MARK", "Copy", "TierReads", "is_marker", "logical"]

R = TypeVar("R")

HEADS: Final = 1_000
BODIES: Final = 100
MARK: Final = "tiering"
"""The annotation of copies, which names the item's revision and the copy that it was made of, and of markers."""


def is_marker(record: Record) -> bool:
    """Return True for the tombstone that keeps the place of a copy."""
    return record.meta.deleted and MARK in record.meta.annotations


def logical(record: Record) -> Record:
    """Return a copy as it was saved: with the item's revision, and without the annotation."""
    annotations = record.meta.annotations
    if not annotations or MARK not in annotations:
        return record
    rest = {name: value for name, value in annotations.items() if name != MARK}
    return Record(record.meta.replace(annotations=rest), record.body, annotations[MARK]["revision"])


class Copy(NamedTuple):
    """A copy, as a tier keeps it: the number of the store, and the record with the revision that it has there."""

    place: int
    record: Record

    def is_of(self, other: Copy) -> bool:
        """Return True if it was made of another copy."""
        return bool(self.record.meta.annotations.get(MARK, {}).get("of") == other.record.revision)


class TierReads(RecordStore):
    """Read from several stores as if they were one.

    Args:
        stores: the stores, the default tier's first, then from hot to cold.
    """

    name = "tiered"

    def __init__(self, stores: Sequence[BaseStore[Any]]) -> None:
        self.stores = tuple(stores)
        self.first = stores[0]
        self.intents = IntentLog(stores[0])

    def find(self, id: str, collection: Collection[Any], options: Options = NONE, *, body: bool = False) -> Copy | None:
        """Return the copy that counts.

        A pass over the tiers can miss what moves against its direction: None is right if nothing of the kind happened
        meanwhile, or if a second pass under the same intents, each of which moves an id once, finds nothing either.
        """
        before, is_second = self.intents.known(collection), False
        while True:
            for place, store in enumerate(self.stores):
                with suppress(StoreNotFoundError):
                    read = store.get_record if body else store.head_record
                    record = read(id, collection=collection, options=options)
                    if not is_marker(record):
                        return Copy(place, record)
            now = self.intents.read(collection)
            touched, is_same = now.touched_since(before), now.revision == before.revision
            if (touched is not None and id not in touched) or (is_same and is_second):
                return None
            before, is_second = now, is_same

    def _found(self, id: str, collection: Collection[Any], options: Options, *, body: bool) -> Record:
        copy = self.find(id, collection, options, body=body)
        if copy is None:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return logical(copy.record)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record, from the first tier that has it."""
        return self._found(id, collection, options, body=True)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of the record."""
        return self._found(id, collection, options, body=False)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids, tier by tier."""
        found: dict[str, Record] = {}
        before = self.intents.known(collection)
        for store in self.stores:
            if rest := [id for id in ids if id not in found]:
                some = store.get_records(rest, collection=collection, options=options)
                found.update((id, logical(record)) for id, record in some.items() if not is_marker(record))
        rest = [id for id in ids if id not in found]
        touched = self.intents.read(collection).touched_since(before) if rest else ()
        again = [id for id in rest if touched is None or id in touched]
        found.update(super().get_records(again, collection=collection, options=options))
        return {id: found[id] for id in ids if id in found}

    def definitely_absent(self, id: str, *, collection: Collection[Any]) -> bool:
        """Return True if no tier has anything under an id."""
        return all(store.definitely_absent(id, collection=collection) for store in self.stores)

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the items that a query finds, in its order, a page at a time."""

        def read(store: BaseStore[Any], part: StoreQuery) -> Iterator[Record]:
            return map(logical, store.scan(part, collection=collection, bodies=bodies, options=options))

        def find(ids: Iterable[str]) -> list[Record]:
            copies = [self.find(id, collection, body=bodies) for id in ids]
            return [logical(copy.record) for copy in copies if copy is not None]

        bound = query.bind(collection)
        return self._pages(bound, BODIES if bodies else HEADS, read, lambda one: one.meta.id, find, collection)

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Iterate over the rows that a query finds, in its order, a page at a time."""
        bound = query.bind(rows_collection(collection))
        item = collection.projection.item if collection.projection is not None else ""

        def read(store: BaseStore[Any], part: StoreQuery) -> Iterator[Record]:
            return store.scan_rows(part, collection=collection, options=options)

        def find(ids: Iterable[str]) -> list[Record]:
            copies = [self.find(id, collection, body=True) for id in ids]
            return [row for copy in copies if copy is not None for row in collection.rows_of(logical(copy.record))]

        return self._pages(bound, HEADS, read, lambda row: str(row.meta.fields[item]), find, collection)

    def _pages(
        self,
        bound: BoundQuery,
        size: int,
        read: Callable[[BaseStore[Any], StoreQuery], Iterator[Record]],
        item_of: Callable[[Record], str],
        find: Callable[[Iterable[str]], list[Record]],
        collection: Collection[Any],
    ) -> Iterator[Record]:
        left, skipped, query = bound.limit, bound.offset, bound.query.replace(offset=0)
        while left is None or left > 0:
            wanted = size if left is None else min(size, left + skipped)
            part = query.replace(limit=wanted).bind(bound.collection)
            page = self._page(part, wanted, read, item_of, find, collection)
            yield from page[skipped:]
            if len(page) < wanted:
                return
            left = None if left is None else left - max(0, len(page) - skipped)
            skipped = max(0, skipped - len(page))
            query = query.replace(after=bound.cursor(page[-1].meta))

    def _page(
        self,
        bound: BoundQuery,
        wanted: int,
        read: Callable[[BaseStore[Any], StoreQuery], Iterator[Record]],
        item_of: Callable[[Record], str],
        find: Callable[[Iterable[str]], list[Record]],
        collection: Collection[Any],
    ) -> list[Record]:
        """Return the first records of a query; those of items that may lie in two tiers are looked up by themselves."""
        more = 0
        while True:
            before = self.intents.known(collection)
            part = bound.query.replace(limit=wanted + more)
            if not (before.body.held or more or bound.include_deleted):
                page = self._quiet_page(
                    bound, wanted, lambda store, limit: read(store, bound.query.replace(limit=limit))
                )
                touched = self.intents.read(collection).touched_since(before)
                if touched is not None and not touched:
                    return page
                continue
            lists = [list(read(store, part)) for store in self.stores]
            touched = self.intents.read(collection).touched_since(before)
            if touched is None:
                continue
            kept = [[one for one in some if item_of(one) not in touched and not is_marker(one)] for some in lists]
            if all(len(some) < wanted + more or len(rest) >= wanted for some, rest in zip(lists, kept, strict=True)):
                return list(islice(_merged([*kept, bound.select(find(touched))], bound), wanted))
            more = 2 * more + len(touched) + 1

    def _quiet_page(
        self, bound: BoundQuery, wanted: int, read: Callable[[BaseStore[Any], int], Iterator[Record]]
    ) -> list[Record]:
        """Return the first records of a query, each of which lies in one tier.

        Most often all are in the default tier. That takes the keys of three records; keys of all take as long as the query.
        """
        first = list(read(self.first, wanted))
        if len(first) == wanted:
            tops = [bound.sort_key(top.meta) for store in self.stores[1:] for top in read(store, 1)]
            last = bound.sort_key(first[-1].meta)
            if all(last < top if bound.ascending else last > top for top in tops):
                return first
        return list(islice(_merged([first, *(read(store, wanted) for store in self.stores[1:])], bound), wanted))

    def _figures(self, collection: Collection[Any], ask: Callable[[BaseStore[Any]], R]) -> list[R] | None:
        """Return the answer of each tier, or None if an item lay in two of them meanwhile."""
        before = self.intents.known(collection)
        answers = [ask(store) for store in self.stores]
        touched = self.intents.read(collection).touched_since(before)
        return None if touched is None or touched else answers

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Return the number of records that fulfil the conditions of a query."""
        call: dict[str, Any] = {"collection": collection, "options": options}
        found = self._figures(collection, lambda store: store.count_records(query, **call))
        if found is None or query.include_deleted:
            return super().count_records(query, **call)
        return sum(found)

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over the records that fulfil the conditions of a query."""
        call: dict[str, Any] = {"collection": collection, "options": options}
        groups = Groups.like(aggregation, aggregation.collection)
        found = self._figures(collection, lambda store: store.aggregate_records(query, groups, **call))
        if found is None or query.include_deleted:
            return super().aggregate_records(query, aggregation, **call)
        return aggregation.rows(cast("Any", chain(*found)))

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over the rows that fulfil the conditions of a query."""
        call: dict[str, Any] = {"collection": collection, "options": options}
        groups = Groups.like(aggregation, aggregation.collection)
        found = self._figures(collection, lambda store: store.aggregate_rows(query, groups, **call))
        if found is None:
            return aggregation.over(self.scan_rows(query.replace(limit=None, offset=0, after=None), **call))
        return aggregation.rows(cast("Any", chain(*found)))

    def latest_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[Record]:
        """Return the newest row of each series: of those that the tiers name."""
        call: dict[str, Any] = {"collection": collection, "options": options}
        plain = query.replace(order_by=TIME_ALIAS, limit=None, offset=0, after=None, ascending=True)
        found = self._figures(collection, lambda store: store.latest_rows(query, **call))
        rows: Iterable[Record] = self.scan_rows(plain, **call)
        if found is not None:
            key = plain.bind(rows_collection(collection)).sort_key
            rows = sorted((row for some in found for row in some), key=lambda row: key(row.meta))
        series = series_of(collection)
        newest = {series(row): row for row in rows}
        return [newest[key] for key in sorted(key for key in newest if None not in key)]

    def held_ids(self, query: StoreQuery, *, collection: Collection[Any]) -> frozenset[str]:
        """Return the ids that a layer in a tier keeps under a legal hold."""
        held = (store.held_ids(query, collection=collection) for store in self.stores)
        return frozenset[str]().union(*held)

    def close(self) -> None:
        """Close every tier."""
        for store in self.stores:
            store.close()


def _merged(parts: Iterable[Iterable[Record]], bound: BoundQuery) -> Iterator[Record]:
    """Iterate over records in order, without the second of two equal ones."""
    last: tuple[str, str] | None = None
    key = bound.sort_key
    for record in heapq.merge(*parts, key=lambda record: key(record.meta), reverse=not bound.ascending):
        if (this := (record.meta.id, record.revision)) != last:
            yield record
        last = this
