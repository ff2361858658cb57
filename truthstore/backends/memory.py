"""A store in memory, for tests and for results that need not outlive the process: a dict for each collection."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from truthstore.errors import StoreConfigError, StoreNotFoundError
from truthstore.items.expectations import SUITES, ExpectationSuite
from truthstore.items.results import RESULTS
from truthstore.model.record import ANY, NONE, Change, Condition, Expect, Options, Record
from truthstore.runtime.forks import in_child
from truthstore.store.config import StoreConfig, configure
from truthstore.store.records import conflict
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery

__all__ = ["MemoryConfig", "MemoryData", "MemoryExpectationStore", "MemoryStore"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig(StoreConfig):
    """Options of the memory store.

    Attributes:
        max_items: keep at most so many items of a collection, dropping those stored first; 0 means no limit.
        deep_copy: saved and read items are copies; always so, kept for users of the first system.
    """

    max_items: int = 0
    deep_copy: bool = True

    def __post_init__(self) -> None:
        StoreConfig.__post_init__(self)
        if self.algorithm is not None:
            raise StoreConfigError("the memory store does not compress: leave compression out")
        if self.max_items < 0:
            raise ValueError("max_items cannot be negative")


class MemoryData:
    """The records of memory stores by namespace, prefix and collection; stores that share it see each other's items."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str], defaultdict[str, _Records]] = {}
        self._renew_lock()
        in_child(self._renew_lock)

    def _renew_lock(self) -> None:
        self.lock = threading.Lock()


class _Records(dict[str, Record]):
    """The records of one collection by id, and the declarations of it with which they were written."""

    def __init__(self) -> None:
        super().__init__()
        self.declarations: set[str] = set()


class MemoryStore(BaseStore[T]):
    """Keep items in this process, and forget them with it.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: the collection that the public operations act on.
        data: where the records are kept; by default a place of this store's own.
    """

    name: ClassVar[str] = "memory"

    @overload
    def __init__(
        self: MemoryStore[ValidationResult],
        config: MemoryConfig | None = ...,
        *,
        collection: Collection[ValidationResult] = ...,
        data: MemoryData | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self,
        config: MemoryConfig | None = ...,
        *,
        collection: Collection[T],
        data: MemoryData | None = ...,
        **options: Any,
    ) -> None: ...
    def __init__(
        self,
        config: MemoryConfig | None = None,
        *,
        collection: Collection[Any] = RESULTS,
        data: MemoryData | None = None,
        **options: Any,
    ) -> None:
        super().__init__(collection)
        self._settings = configure(MemoryConfig, config, options, "MemoryStore")
        self.encoding = self._settings.serialization_format
        self.aliases = self._settings.aliases
        self._data = MemoryData() if data is None else data
        place = self._settings.namespace, self._settings.prefix
        self._records = self._data.places.setdefault(place, defaultdict(_Records))

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record."""
        if self._lifecycle.closed:
            self._check()
        name, id, limit = collection.name, record.meta.id, self._settings.max_items
        dropped: list[Change] = []
        with self._data.lock:
            records = self._records[name]
            known = records.get(id)
            if known is None or known.revision != record.revision:  # else the same write, once more
                self._compare(known, id, expect, name)
            if limit:
                records.pop(id, None)  # a dict is in the order in which its keys came
            records[id] = record
            records.declarations.add(collection.fingerprint)
            while limit and len(records) > limit:
                oldest = next(iter(records))
                del records[oldest]
                dropped.append(Change(name, oldest, None))
        if self._lifecycle.subscribers:
            self._announce([Change.of(name, record), *dropped])
        return record.head()

    def _compare(self, known: Record | None, id: str, expect: Expect, name: str) -> None:
        if expect is ANY:
            return
        actual = None if known is None else known.revision
        is_live = known is not None and not known.meta.deleted
        if is_live if isinstance(expect, Condition) else actual != expect:
            raise conflict(id, expect, actual, backend=self.name, collection=name)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record with its body."""
        if self._lifecycle.closed:
            self._check()
        record = self._records[collection.name].get(id)
        if record is None:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return record

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record; return False if there was none, or a tombstone."""
        self._check()
        with self._data.lock:
            records = self._records[collection.name]
            self._compare(records.get(id), id, expect, collection.name)
            removed = records.pop(id, None)
        if removed is None or removed.meta.deleted:
            return False
        self._announce([Change(collection.name, id, None)])
        return True

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Answer a query by looking at every record, or at those with the ids that it names."""
        bound = query.bind(collection)
        self._check()
        with self._data.lock:
            records = self._records[collection.name]
            found = list(records.values() if bound.ids is None else filter(None, map(records.get, bound.ids)))
            is_as_declared = records.declarations <= {collection.fingerprint} or collection.opaque
        if not is_as_declared:
            found = [*map(collection.as_declared, found)]
        return iter([record if bodies else record.head() for record in bound.select(found)])

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections that hold records."""
        self._check()
        with self._data.lock:
            return frozenset(name for name, records in self._records.items() if records)

    def definitely_absent(self, id: str, *, collection: Collection[Any]) -> bool:
        """Return whether nothing is kept under an id."""
        return id not in self._records[collection.name]

    def clear_all(self) -> int:
        """Remove every item of the collection and return how many there were."""
        return self.clear(everything=True)

    def stats(self) -> dict[str, Any]:
        """Return figures about the store, and the labels of its configuration."""
        return {**super().stats(), "metadata": dict(self._settings.metadata)}


class MemoryExpectationStore(MemoryStore[ExpectationSuite]):
    """A memory store of expectation suites."""

    def __init__(self, config: MemoryConfig | None = None, **options: Any) -> None:
        super().__init__(config, collection=SUITES, **options)
