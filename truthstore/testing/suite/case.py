"""The base of the parts of the store suite: opening a store, its abilities, and the oracle that it is compared with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import pytest

from truthstore.items.results import RESULTS
from truthstore.testing.sample import SAMPLES, Sample, make_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore

__all__ = ["THREADS", "OpenStore", "StoreCase", "at_once", "oracle_of", "same_items"]

W = TypeVar("W")

THREADS = 8


class OpenStore(Protocol):
    """A function that opens a store at the place of the test, and closes it when the test ends."""

    def __call__(self, collection: Collection[Any] = RESULTS, **options: Any) -> BaseStore[Any]:
        """Open a store at the place of the test."""
        ...


def same_items(collection: Collection[Any], one: Iterable[Any], other: Iterable[Any]) -> bool:
    """Return whether items are equal, in order; NaN equals itself."""
    return [collection.encode(item).body for item in one] == [collection.encode(item).body for item in other]


def oracle_of(store: BaseStore[Any], collection: Collection[Any], items: Iterable[Any]) -> list[Record]:
    """Return the records that a store ought to hold for items that were saved.

    Fields, tags and text come from the items. Only what the store itself decides, size and time of writing, is taken
    from its heads.
    """
    heads = {head.id: head.meta for head in store.entries()}
    records: list[Record] = []
    for item in items:
        record = collection.encode(item)
        stored = heads[record.id]
        meta = record.meta.replace(size=stored.size, stored_at=stored.stored_at)
        records.append(type(record)(meta, record.body, record.revision))
    return records


class StoreCase:
    """The way to open a store, and its abilities.

    Attributes:
        persistent: a store opened later at the same place holds what was saved.
        concurrent: two stores open at the same place at the same time see each other's writes.
        shared_between_processes: so do stores of two processes, and a store may be used after a fork.
        namespaces: `make_store` takes ``namespace=``.
        transparent: keeps the records that it is given as they are. A layer that adds annotations or tombstones of its
            own, or does not let tombstones pass, is not.
    """

    persistent: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True
    shared_between_processes: ClassVar[bool] = True
    namespaces: ClassVar[bool] = True
    transparent: ClassVar[bool] = True

    def make_store(self, location: Any, *, collection: Collection[Any] = RESULTS, **options: Any) -> BaseStore[Any]:
        """Open the store under test. The one method that must be written.

        Args:
            location: the place: the same object means the same place, a new one an empty place.
            collection: the collection that the store's public operations act on.
            options: ``namespace``, if `namespaces` is set.
        """
        raise NotImplementedError("write make_store()")

    def reopen(
        self, store: BaseStore[Any], location: Any, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> BaseStore[Any]:
        """Close a store and opens another one at its place."""
        store.close()
        return self.make_store(location, collection=collection, **options)

    @pytest.fixture
    def location(self, tmp_path: Path) -> Any:
        """Return an empty place: a folder that does not exist yet. Override it if a place is something else."""
        return tmp_path / "store"

    @pytest.fixture
    def open_store(self, location: Any) -> Iterator[OpenStore]:
        """Open stores at the place of the test."""
        with ExitStack() as opened:

            def open_store(collection: Collection[Any] = RESULTS, **options: Any) -> BaseStore[Any]:
                store = self.make_store(location, collection=collection, **options)
                opened.callback(store.close)
                return store

            yield open_store

    @pytest.fixture
    def store(self, open_store: OpenStore) -> BaseStore[Sample]:
        """Return an empty store of samples."""
        return open_store(SAMPLES)

    @pytest.fixture
    def filled(self, store: BaseStore[Sample]) -> BaseStore[Sample]:
        """Return a store that holds `make_samples()`."""
        store.save_many(make_samples())
        return store

    @pytest.fixture
    def oracle(self, filled: BaseStore[Sample]) -> Callable[[StoreQuery], list[str]]:
        """Answer a query over `filled` with ids, by the reference."""
        records = oracle_of(filled, SAMPLES, make_samples())

        def answer(query: StoreQuery) -> list[str]:
            return [record.id for record in query.bind(SAMPLES).select(records)]

        return answer


def at_once(work: Callable[[int], W], threads: int = THREADS) -> list[W]:
    """Run some work in several threads that start together, and return its results; an error of one is raised."""
    barrier = threading.Barrier(threads)

    def start(number: int) -> W:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(start, range(threads)))
