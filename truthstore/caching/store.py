"""The store above a cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from truthstore.caching.base import BaseCache, CacheConfig, CacheMetrics, CacheMode, SharedCache, mode_of
from truthstore.caching.behind import WriteBehind
from truthstore.caching.keeping import Keeper
from truthstore.caching.memory import InMemoryCache
from truthstore.caching.options import check_beside
from truthstore.caching.tiers import MISSING, Identity, LocalTier, SharedTier
from truthstore.errors import StoreConfigError, StoreNotFoundError
from truthstore.model.fields import check_id
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.caching.coherence import Key
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.store.health import Verification
    from truthstore.store.store import BaseStore

__all__ = ["CachedStore"]

T = TypeVar("T")

FILLS_ON_WRITE: Final = frozenset({CacheMode.WRITE_THROUGH, CacheMode.READ_WRITE, CacheMode.WRITE_BEHIND})


class CachedStore(WrapperStore[T], Generic[T]):
    """Answers from a cache what was read or written before.

    Records are cached, not items: every `get` decodes anew, so nobody can change what others get. Queries are answered
    by the store below. What the store announces, by whomever in this process it was written, leaves the cache before
    the writer goes on. What other processes write is seen after the entry's life span, or at once with `revalidate`.

    Args:
        base: the store below.
        cache: where records are kept; by default an `InMemoryCache`. Several stores may share one.
        mode: how reads and writes use it.
        config: the options, or
        options: the same as keywords. Limits, life span and policy are those of `cache` if that is given.

    Raises:
        StoreConfigError: options that only a cache of its own would heed, beside `cache`, or a stack that cannot be.
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
        super().__init__(base)
        if any(isinstance(layer, CachedStore) and layer.mode is CacheMode.WRITE_BEHIND for layer in base.layers()):
            raise StoreConfigError(
                "a cache cannot stand above write-behind: it would keep revisions that do not last. "
                "Put write-behind above the other cache"
            )
        if cache is not None and not isinstance(cache, BaseCache):
            raise TypeError(f"cache is a cache of truthstore.caching, not {type(cache).__name__}")
        self._settings = configure(CacheConfig, config, options, "CachedStore")
        if cache is not None:
            check_beside(cache, self._settings, options)
        self._mode = mode_of(mode)
        self._owns_cache = cache is None
        self._cache: BaseCache[Any] = InMemoryCache(self._settings) if cache is None else cache
        identity = Identity(base)
        tier = SharedTier(self._cache, identity) if isinstance(self._cache, SharedCache) else LocalTier(self._cache)
        self._keeper = Keeper(
            base, tier, self._settings, self._load, fills_on_read=self._mode is not CacheMode.CACHE_ASIDE
        )
        self._behind: WriteBehind | None = None
        self._find: Callable[[str, Collection[Any]], Record | None] = self._keeper.find
        if self._mode is CacheMode.WRITE_BEHIND:
            self._behind = WriteBehind(base, self._settings, identity, self._forget)
            self._find = self._find_and_see
        self._fills_on_write = self._mode in FILLS_ON_WRITE
        base.subscribe(self._keeper.coherence.hear)
        # The shortest way to a hit: None where it cannot be taken.
        is_direct = isinstance(tier, LocalTier) and not self._settings.revalidate and self._behind is None
        lookup: Any = self._cache.get
        self._direct: Callable[[Any], Record | None] | None = lookup if is_direct else None
        self._token = tier.token if isinstance(tier, LocalTier) else 0

    @property
    def cache(self) -> BaseCache[Any]:
        """The cache."""
        return self._cache

    @property
    def mode(self) -> CacheMode:
        """How reads and writes use the cache."""
        return self._mode

    @property
    def metrics(self) -> CacheMetrics:
        """The figures of the cache."""
        return self._cache.metrics

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """From the cache, or from below and then kept."""
        if options or "." in collection.name:
            if options:
                self._drain(collection, (id,))
            return self._seen(self._base.get_record(id, collection=collection, options=options), collection)
        direct = self._direct
        record = direct((self._token, collection.name, id)) if direct is not None else self._find(id, collection)
        if record is None:
            record = self._keeper.load(id, collection)
        if record is MISSING:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return record

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """The head of what is cached, or that from below; a head from below is not cached, for it lacks the body."""
        if options or not collection.is_users or self._behind is not None:
            # What waits has no revision yet that would last.
            self._drain(collection, (id,))
            return self._seen(self._base.head_record(id, collection=collection, options=options), collection)
        record = self._keeper.find(id, collection)
        if record is None:
            return self._keeper.head(id, collection)
        if record is MISSING:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        meta = record.meta
        own = meta.replace(
            fields=dict(meta.fields), tags=dict(meta.tags), annotations=copy.deepcopy(dict(meta.annotations))
        )
        return Record(own, None, record.revision)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """What is cached, and the rest from below at once."""
        if options or not collection.is_users or self._behind is not None:
            self._drain(collection, ids)
            loaded = self._base.get_records(ids, collection=collection, options=options)
            for record in loaded.values():
                self._seen(record, collection)
            return loaded
        found: dict[str, Record] = {}
        unknown: list[str] = []
        for id in ids:
            kept = self._keeper.find(id, collection)
            if kept is None:
                unknown.append(id)
            elif kept is not MISSING:
                found[id] = kept
        return {**found, **self._keeper.load_many(unknown, collection)} if unknown else found

    def _load(self, id: str, collection: Collection[Any]) -> Record:
        waiting = self._behind.find(id, collection) if self._behind is not None else None
        if waiting is not None:
            return waiting
        return self._seen(self._base.get_record(id, collection=collection), collection)

    def _find_and_see(self, id: str, collection: Collection[Any]) -> Record | None:
        record = self._keeper.find(id, collection)
        return record if record is None or record is MISSING else self._seen(record, collection)

    def _seen(self, record: Record, collection: Collection[Any]) -> Record:
        """The record; what write-behind takes from now on is newer."""
        if self._behind is not None and collection.is_users:
            self._behind.saw(record, collection)
        return record

    def _forget(self, keys: Sequence[Key]) -> None:
        """Something else is found under these keys from now on: what is being loaded must not be kept either."""
        self._keeper.coherence.changed([(key, None) for key in keys])

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Writes below, or into the queue of write-behind, and keeps what was written as the mode says."""
        if self._behind is not None or "." in collection.name:
            return self._write(
                (record,),
                collection,
                expect,
                options,
                lambda: [self._base.put_record(record, collection=collection, expect=expect, options=options)],
            )[0]
        return self._keeper.write_one(
            record,
            collection,
            lambda: self._base.put_record(record, collection=collection, expect=expect, options=options),
            fill=self._fills_on_write and not options,
        )

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Writes many at once."""
        return self._write(
            records,
            collection,
            expect,
            options,
            lambda: self._base.put_records(records, collection=collection, expect=expect, options=options),
        )

    def _write(
        self,
        records: Sequence[Record],
        collection: Collection[Any],
        expect: Expect,
        options: Options,
        write: Callable[[], list[Record]],
    ) -> list[Record]:
        if not collection.is_users:
            return write()
        behind = self._behind
        # A tombstone is a removal, and removals are not delayed.
        if behind is not None and (expect is not ANY or options or any(record.meta.deleted for record in records)):
            self._drain(collection, [record.id for record in records])
            write = partial(behind.write, records, collection, write)
        elif behind is not None:
            write = lambda: behind.put(records, collection)  # noqa: E731  # one of two ways to write
        return self._keeper.write(records, collection, write, fill=self._fills_on_write and not options)

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Removes a record below and from the cache."""
        if not collection.is_users:
            return self._base.delete_record(id, collection=collection, expect=expect, options=options)
        self._drain(collection, (id,))
        try:
            with self._directly((id,), collection):
                return self._base.delete_record(id, collection=collection, expect=expect, options=options)
        finally:
            self._keeper.coherence.changed([((collection.name, id), None)])

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Removes many records below and from the cache."""
        if not collection.is_users:
            return self._base.delete_records(ids, collection=collection, options=options)
        self._drain(collection, ids)
        try:
            with self._directly(ids, collection):
                return self._base.delete_records(ids, collection=collection, options=options)
        finally:
            self._keeper.coherence.changed([((collection.name, id), None) for id in ids])

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """What the store below finds, after what waits was stored."""
        self._drain(collection)
        found = self._base.scan(query, collection=collection, bodies=bodies, options=options)
        return found if self._behind is None or not collection.is_users else self._behind.watch(found, collection)

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Ids of what the store below finds, after what waits was stored."""
        self._drain(collection)
        return self._base.scan_ids(query, collection=collection, options=options)

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """What the store below counts, after what waits was stored."""
        self._drain(collection)
        return self._base.count_records(query, collection=collection, options=options)

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Figures of the store below, after what waits was stored."""
        self._drain(collection)
        return self._base.aggregate_records(query, aggregation, collection=collection, options=options)

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Verifies the store below, after what waits was stored."""
        self._drain(collection)
        return self._base.verify_records(collection)

    def get_history(self, data_asset: str, limit: int = 10) -> list[Any]:
        """What the layers below make of it, after what waits was stored."""
        self._drain(self._collection)
        return super().get_history(data_asset, limit)

    def _directly(self, ids: Sequence[str], collection: Collection[Any]) -> AbstractContextManager[None]:
        return nullcontext() if self._behind is None else self._behind.directly(ids, collection)

    def _drain(self, collection: Collection[Any], ids: Sequence[str] | None = None) -> None:
        if self._behind is not None and collection.is_users:
            self._behind.drain(collection, ids)

    def initialize(self) -> None:
        """Opens the stack; write-behind stores what an earlier process could not."""
        super().initialize()
        if self._behind is not None:
            self._behind.recover(self._collection)

    def flush(self) -> None:
        """Stores what write-behind still has.

        Raises:
            StoreWriteError: something could not be stored, and waits, or was refused for good, which is said once.
        """
        self._check()
        if self._behind is not None:
            self._behind.flush(self._collection)

    def refused(self) -> list[T]:
        """What write-behind took and the store then refused for good, in the order in which it was saved."""
        self._check()
        if self._behind is None:
            return []
        return [self._collection.decode(record) for record in self._behind.find_refused(self._collection)]

    def discard_refused(self, ids: Iterable[str] | None = None) -> int:
        """Gives up what was refused, of these ids or of all, and returns how many writes that were."""
        self._check()
        wanted = None if ids is None else set(ids)
        return 0 if self._behind is None else self._behind.discard(self._collection, wanted)

    def retry_refused(self) -> int:
        """Lets what was refused wait for the store again, and returns how many writes that are.

        What was removed or replaced since it was refused stays where it is, and is logged.
        """
        self._check()
        return 0 if self._behind is None else self._behind.retry(self._collection)

    def warm(self, query: StoreQuery | None = None) -> int:
        """Fills the cache with what a query finds, and returns how many items that were."""
        self._check()
        collection = self._collection
        if not collection.is_users:
            return 0
        found = partial(self.scan, EVERYTHING if query is None else query, collection=collection, bodies=True)
        return self._keeper.warm(found, collection)

    def refresh(self, id: str) -> T:
        """The item as the store below has it now, which is then cached.

        Raises:
            StoreNotFoundError: there is none.
        """
        self._check()
        collection = self._collection
        record = self._keeper.refresh(check_id(id), collection)
        if record.meta.deleted:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return collection.decode(record)

    def invalidate(self, id: str) -> None:
        """Removes an item from the cache."""
        self._check()
        self._keeper.coherence.changed([((self._collection.name, id), None)])

    def invalidate_all(self) -> int:
        """Removes everything from the cache, also what other stores keep in it, and returns how much that was."""
        self._check()
        return self._cache.clear()

    def get_stats(self) -> dict[str, Any]:
        """The figures of the cache, ready for JSON."""
        stats = {**self._cache.get_stats(), "mode": self._mode.value}
        if self._behind is not None:
            stats["write_behind"] = self._behind.figures()
        return stats

    def stats(self) -> dict[str, Any]:
        """Figures about the store below, and those of the cache."""
        self._drain(self._collection)
        return {**super().stats(), "cache": self.get_stats()}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Stores what waits and forgets what is too old."""
        self.flush()
        done = super().maintain(budget)
        return {**done, "cache_expired": self._cache.cleanup_expired()}

    def rebuild_index(self) -> int:
        """Rebuilds the index of the store below; bodies may have been changed there, so the cache starts anew."""
        self._drain(self._collection)
        self._cache.clear()
        try:
            return super().rebuild_index()
        finally:
            self._cache.clear()  # somebody may have read meanwhile

    def close(self) -> None:
        """Stores what waits and closes the whole stack.

        Raises:
            StoreWriteError: something could not be stored; it waits for the next process.
        """
        try:
            if self._behind is not None and not self._lifecycle.closed:
                self._behind.close()
        finally:
            super().close()
            if isinstance(self._cache, SharedCache):
                self._cache.settle()
            if self._owns_cache:
                self._cache.clear()
