"""The rows of runs that are kept in parts, beside those of all others: one answer from two collections."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from truthstore.items.parts import STREAM_TAG, parts_of
from truthstore.model.aggregate import Aggregation, Groups
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import NONE, Meta, Options, Record

if TYPE_CHECKING:
    from truthstore.checks.notes import CheckNote
    from truthstore.checks.source import Source
    from truthstore.model.aggregate import Row
    from truthstore.model.collection import Collection

__all__ = ["WithParts", "living"]

AT_ONCE: Final = 500


def living(store: Source, collection: Collection[Any], streamed: Iterable[CheckNote]) -> frozenset[str]:
    """Return the tags of those runs in parts that are in the store."""
    found: set[str] = set()
    ids = iter({note.check_id for note in streamed})
    while some := list(islice(ids, AT_ONCE)):
        heads = store.scan(StoreQuery(ids=some), collection=collection)
        found.update(tag for head in heads if (tag := head.meta.tags.get(STREAM_TAG)) is not None)
    return frozenset(found)


class WithParts:
    """A store whose rows are those of its runs and of their parts. Everything else is that of the store.

    Args:
        store: the store.
        collection: the runs.
        streams: the tags of the runs that are kept in parts: rows of others have outlived their run.
    """

    def __init__(self, store: Source, collection: Collection[Any], streams: frozenset[str]) -> None:
        self._store = store
        self._parts = parts_of(collection)
        self._streams = tuple(sorted(streams))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _of_living(self, query: StoreQuery) -> StoreQuery:
        return query.replace(where={**(query.where or {}), "stream": ("in", self._streams)})

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Query the rows of both, in one order."""
        assert collection.rows is not None
        assert self._parts.rows is not None
        bound = query.bind(collection.rows)
        theirs = self._of_living(query).replace(after=None)
        if bound.start is not None:
            value: Any
            value, id = bound.start
            last = Meta(id, {bound.order: value}, stored_at=value if bound.order == "stored_at" else 0)
            theirs = theirs.replace(after=theirs.bind(self._parts.rows).cursor(last))
        found = [
            self._store.scan_rows(query, collection=collection, options=options),
            self._store.scan_rows(theirs, collection=self._parts, options=options),
        ]
        merged = heapq.merge(*found, key=lambda row: bound.sort_key(row.meta), reverse=not query.ascending)
        return islice(merged, query.limit)

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over the rows of both."""
        assert self._parts.rows is not None
        own = Groups.like(aggregation, aggregation.collection)
        theirs = Groups.like(aggregation, self._parts.rows)
        groups: Any = [
            *self._store.aggregate_rows(query, own, collection=collection, options=options),
            *self._store.aggregate_rows(self._of_living(query), theirs, collection=self._parts, options=options),
        ]
        return aggregation.rows(groups)

    def newest_rows(
        self,
        query: StoreQuery,
        keep: StoreQuery = EVERYTHING,
        *,
        collection: Collection[Any],
        series: Iterable[tuple[Any, ...]] | None = None,
        options: Options = NONE,
    ) -> list[Record]:
        """Return the newest row of each series among the rows of both, where it fulfils a query."""
        assert collection.rows is not None
        wanted = None if series is None else list(series)
        bound, names = query.bind(collection.rows), collection.projection.series if collection.projection else ()
        found = [
            *self._store.newest_rows(query, collection=collection, series=wanted, options=options),
            *self._store.newest_rows(self._of_living(query), collection=self._parts, series=wanted, options=options),
        ]
        found.sort(key=lambda row: bound.sort_key(row.meta))
        newest: dict[Any, Record] = {tuple(row.meta.fields[name] for name in names): row for row in found}
        kept = keep.bind(collection.rows)
        return [row for _, row in sorted(newest.items()) if kept.matches(row.meta)]
