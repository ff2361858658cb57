"""The store above a cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from truthstore.batching.store import BatchedStore
from truthstore.caching.backends.memory import InMemoryCache
from truthstore.caching.base import BaseCache, CacheConfig, CacheMetrics, CacheMode
from truthstore.caching.coherence import Coherence
from truthstore.caching.records import MISSING, RecordCache
from truthstore.errors import StoreConfigError, StoreNotFoundError
from truthstore.model.fields import check_id
from truthstore.model.record import ANY, NONE, Change, Expect, Options, Record
from truthstore.store.config import configure, member
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.store.store import BaseStore

__all__ = ["CachedStore"]

T = TypeVar("T")

OF_OWN_CACHE: Final = ("eviction_policy", "max_memory_mb", "max_size", "ttl_seconds")
WARM_AT_ONCE: Final = 1_000

QUEUE_OPTIONS: Final = {
    "durability": "durability",
    "flush_interval_seconds": "flush_interval_seconds",
    "max_batch_size": "max_batch_size",
    "spool_path": "path",
}
"""Options of the queue of `WRITE_BEHIND`, and their names there."""


class CachedStore(WrapperStore[T], Generic[T]):
    """Answers from a cache with items that were read or written before.

    Records are cached, not items: every `get` decodes its own, so no caller can change the answer of another. Queries are
    answered by the store below. A write in this process, in whichever layer below, removes the old item from the cache
    before it returns. A write by another process is seen after the entry's life span, or at once with `revalidate`.

    Args:
        base: the store below. `WRITE_BEHIND` puts a durable `BatchedStore` above it, if it is none already.
        cache: keeps the records; by default an `InMemoryCache`. Several stores may share one.
        mode: how reads and writes use it.
        config: the options, or
        options: the same as keywords. Limits, life span and policy are those of `cache` if that is given. With
            `WRITE_BEHIND` also ``durability``, ``flush_interval_seconds`` and ``max_batch_size`` of its queue, and
            ``spool_path``, the file of it.

    Attributes:
        cache: the cache.
        mode: how reads and writes use it.

    Raises:
        StoreConfigError: an unknown mode, or options that only a cache of its own would heed, beside `cache`.
    """

    name: ClassVar[str] = "cached"

    def __init__(
        self,
        base: BaseStore[T],
        cache: BaseCache[Any] | None = None,
        mode: CacheMode | str = CacheMode.WRITE_THROUGH,
        config: CacheConfig | None = None,
        **options: Any,
    ) -> None:
        self.mode = member(CacheMode, mode, "mode")
        queues = self.mode is CacheMode.WRITE_BEHIND and not isinstance(base, BatchedStore)
        queue = {known: options.pop(name) for name, known in QUEUE_OPTIONS.items() if queues and name in options}
        settings = configure(
            CacheConfig, config, options, "CachedStore", ("cache", "mode", *(QUEUE_OPTIONS if queues else ()))
        )
        if cache is not None:
            _check_beside(cache, settings, options)
        if queues:
            base = BatchedStore(base, durable=True, **queue)
        super().__init__(base)
        self.cache: BaseCache[Any] = InMemoryCache(settings) if cache is None else cache
        self._owns_cache = cache is None
        self._revalidates = settings.revalidate
        self._fills_on_read = self.mode is not CacheMode.CACHE_ASIDE
        self._fills_on_write = self.mode not in {CacheMode.READ_THROUGH, CacheMode.CACHE_ASIDE}
        self._records = RecordCache(self.cache, self._base, settings.negative_ttl_seconds)
        self._coherence = Coherence(self._records)
        self._base.subscribe(self._changed)

    @property
    def metrics(self) -> CacheMetrics:
        """The figures of the cache."""
        return self.cache.metrics

    def figures(self) -> dict[str, float]:
        """Return hits and misses of the cache, for the metrics of a layer above."""
        metrics = self.cache.metrics
        return {"cache_hits": metrics.hits, "cache_misses": metrics.misses}

    def _changed(self, changes: Sequence[Change]) -> None:
        """Remove items that the backend announces as changed: in the writer's thread, when the write is durable."""
        key = self._records.key
        self._coherence.changed(
            [(key(change.collection, change.id), change.revision) for change in changes if "." not in change.collection]
        )

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record from the cache, or else from below."""
        if options or "." in collection.name:
            return self._base.get_record(id, collection=collection, options=options)
        key = self._records.key(collection.name, id)
        record = self._records.get(key)
        if record is None:
            record = self._load(key, id, collection)
        elif self._revalidates and record.revision != self._revision(id, collection):
            self._coherence.forget(key)
            record = self._load(key, id, collection)
        if record is MISSING:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return record

    def _revision(self, id: str, collection: Collection[Any]) -> str:
        try:
            return self._base.head_record(id, collection=collection).revision
        except StoreNotFoundError:
            return MISSING.revision

    def _load(self, key: Hashable, id: str, collection: Collection[Any]) -> Record:
        """Return the record from below, or `MISSING`."""
        if self._revalidates:  # a load that began earlier may have read before another process wrote
            return self._load_many([id], collection, keep=self._fills_on_read).get(id, MISSING)

        def read() -> Record:
            try:
                return self._base.get_record(id, collection=collection)
            except StoreNotFoundError:
                return MISSING

        return self._coherence.load(key, read, keep=self._fills_on_read)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records from the cache, and the rest from below at once."""
        if options or not collection.is_users:
            return self._base.get_records(ids, collection=collection, options=options)
        keys = {self._records.key(collection.name, id): id for id in ids}
        kept = {} if self._revalidates else self._records.get_many(list(keys))
        found = {keys[key]: record for key, record in kept.items() if record is not MISSING}
        unknown = [id for key, id in keys.items() if key not in kept]
        if unknown:
            found |= self._load_many(unknown, collection, keep=self._fills_on_read)
        return {id: found[id] for id in ids if id in found}

    def _load_many(self, ids: Sequence[str], collection: Collection[Any], *, keep: bool) -> dict[str, Record]:
        keys = {self._records.key(collection.name, id): id for id in ids}
        epochs = self._coherence.epochs(list(keys))
        loaded = self._base.get_records(ids, collection=collection)
        if keep:
            self._coherence.loaded({key: loaded.get(id, MISSING) for key, id in keys.items()}, epochs)
        return loaded

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of the record in the cache, or else that from below, which is not kept: it has no body."""
        if options or not collection.is_users or self._revalidates:
            return self._base.head_record(id, collection=collection, options=options)
        key = self._records.key(collection.name, id)
        record = self._records.get(key)
        if record is MISSING:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        if record is not None:  # a head whose mappings the caller may change
            meta = record.meta
            annotations = copy.deepcopy(dict(meta.annotations))
            own = meta.replace(fields=dict(meta.fields), tags=dict(meta.tags), annotations=annotations)
            return Record(own, None, record.revision)
        try:
            return self._base.head_record(id, collection=collection)
        finally:
            self._coherence.forget(key)  # a load that began earlier would bring back what is older than this head

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Write below, and keep the record in the cache as the mode says."""
        put = partial(self._base.put_record, record, collection=collection, expect=expect, options=options)
        return self._write((record,), collection, options, put)[0]

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Write many records below at once, and keep them in the cache as the mode says."""
        put = partial(self._base.put_records, records, collection=collection, expect=expect, options=options)
        return self._write(records, collection, options, put)

    def _write(
        self,
        records: Sequence[Record],
        collection: Collection[Any],
        options: Options,
        write: Callable[[], Record | list[Record]],
    ) -> list[Record]:
        keys = [self._records.key(collection.name, record.meta.id) for record in records]
        epochs = self._coherence.epochs(keys)
        try:
            answer = write()
        except BaseException:
            self._coherence.changed([(key, None) for key in keys])  # it may have been written all the same
            raise
        heads = answer if isinstance(answer, list) else [answer]
        if "." in collection.name:
            return heads
        stored = [Record(head.meta, record.body, head.revision) for record, head in zip(records, heads, strict=True)]
        keep = self._fills_on_write and not options
        self._coherence.written(list(zip(keys, stored, strict=True)), epochs, keep=keep)
        return heads

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record below and from the cache."""
        try:
            return self._base.delete_record(id, collection=collection, expect=expect, options=options)
        finally:
            self._changed([Change(collection.name, id, None)])

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove many records below and from the cache."""
        try:
            return self._base.delete_records(ids, collection=collection, options=options)
        finally:
            self._changed([Change(collection.name, id, None) for id in ids])

    scan = WrapperStore.scan  # queries are answered by the store below

    def warm(self, query: StoreQuery | None = None) -> int:
        """Fill the cache with the items that a query finds, and return their number."""
        ids, collection = self.list_ids(query), self._collection
        if not collection.is_users:
            return 0
        parts = [ids[start : start + WARM_AT_ONCE] for start in range(0, len(ids), WARM_AT_ONCE)]
        return sum(len(self._load_many(part, collection, keep=True)) for part in parts)

    def refresh(self, id: str) -> T:
        """Return the item as the store below has it now, which is then cached.

        Raises:
            StoreNotFoundError: there is none.
        """
        self._check()
        collection = self._collection
        self.invalidate(id)
        loaded = self._load_many([id], collection, keep=collection.is_users)
        if id not in loaded or loaded[id].meta.deleted:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return collection.decode(loaded[id])

    def invalidate(self, id: str) -> None:
        """Remove an item from the cache."""
        self._check()
        self._coherence.forget(self._records.key(self._collection.name, check_id(id)))

    def invalidate_all(self) -> int:
        """Remove all entries from the cache, also those of other stores that use it, and return their number."""
        self._check()
        self._coherence.cleared()
        return self.cache.clear()

    def get_stats(self) -> dict[str, Any]:
        """Return the figures of the cache and the mode, ready for JSON."""
        return {**self.cache.get_stats(), "mode": self.mode.value}

    def stats(self) -> dict[str, Any]:
        """Return figures of the store below, and those of the cache."""
        return {**super().stats(), "cache": self.get_stats()}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintain the store below, and remove expired entries."""
        return {**super().maintain(budget), "cache_expired": self.cache.cleanup_expired()}

    def rebuild_index(self) -> int:
        """Rebuild the index of the store below, and clear the cache: bodies may have been changed there."""
        try:
            return super().rebuild_index()
        finally:
            self._coherence.cleared()
            self.cache.clear()

    def flush(self) -> None:
        """Store what waits in the queue of write-behind, as `BatchedStore.flush` does."""
        self._check()
        if isinstance(self._base, BatchedStore):
            self._base.flush()

    def close(self) -> None:
        """Close the whole stack."""
        try:
            super().close()
        finally:
            if self._owns_cache:
                self.cache.clear()


def _check_beside(cache: BaseCache[Any], config: CacheConfig, options: Mapping[str, Any]) -> None:
    """Refuse options that the cache which was given would not heed."""
    if not isinstance(cache, BaseCache):
        raise TypeError(f"cache is a cache of truthstore.caching, not {type(cache).__name__}")
    usual, heeded = CacheConfig(), getattr(cache, "config", None)
    unheeded = [
        name
        for name in OF_OWN_CACHE
        if name in options or getattr(config, name) not in {getattr(usual, name), getattr(heeded, name, None)}
    ]
    if unheeded:
        raise StoreConfigError(
            f"{', '.join(unheeded)}: the cache that was given has its own: set them in {type(cache).__name__} instead"
        )
