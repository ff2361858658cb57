"""A store in memory, for tests and for results that need not outlive the process."""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from truthstore.backends.shelves import Documents, Records
from truthstore.errors import StoreBulkError, StoreConflictError, StoreError, StoreNotFoundError, StoreWriteError, shown
from truthstore.items.expectations import SUITES, ExpectationSuite
from truthstore.items.results import RESULTS
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Change, Condition, Expect, Options, Record, new_revision
from truthstore.storage.catalog.catalog import Location, Put
from truthstore.storage.objects.names import path_of
from truthstore.storage.objects.object_store import Format, ObjectStore
from truthstore.store.config import StoreConfig, configure
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import BlobExpect, Blobs, Tag

__all__ = ["MemoryBlobs", "MemoryConfig", "MemoryExpectationStore", "MemoryStore"]

T = TypeVar("T")


class MemoryBlobs:
    """Named bytes in a dict."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, Tag]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[bytes, Tag]:
        """The bytes and their tag."""
        try:
            return self._objects[key]
        except KeyError:
            raise StoreNotFoundError("object", key, backend="memory") from None

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Stores bytes."""
        tag = new_revision()
        if expect is ANY:
            self._objects[key] = (data, tag)
            return tag
        with self._lock:
            self._check(key, expect)
            self._objects[key] = (data, tag)
        return tag

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Removes a key."""
        with self._lock:
            if expect is not ANY and key in self._objects:
                self._check(key, expect)
            return self._objects.pop(key, None) is not None

    def _check(self, key: str, expect: BlobExpect) -> None:
        stored = self._objects.get(key)
        actual = None if stored is None else stored[1]
        if (actual is not None) if expect is ABSENT else (expect is not ANY and actual != expect):
            raise conflict(key, expect, actual, backend="memory", collection="object")

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Keys in ascending order."""
        keys = sorted(key for key in self._objects.copy() if key.startswith(prefix))
        return iter(keys if after is None else keys[bisect_right(keys, after) :])

    def close(self) -> None:
        """Keeps everything: another store may be opened over the same object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig(StoreConfig):
    """Options of the memory store.

    Attributes:
        max_items: keep at most so many items of a collection, dropping those stored first; 0 means no limit.
        deep_copy: what is saved and what is read are copies; always so, kept for users of the first system.
    """

    max_items: int = 0
    deep_copy: bool = True

    def __post_init__(self) -> None:
        StoreConfig.__post_init__(self)
        if self.max_items < 0:
            raise ValueError("max_items cannot be negative")


class MemoryStore(ObjectStore[T]):
    """Keeps items in this process, and forgets them with it.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: what the public operations act on.
        blobs: where the objects are kept; two stores, one after the other, over the same blobs see the same items.
    """

    name: ClassVar[str] = "memory"

    @overload
    def __init__(
        self: MemoryStore[ValidationResult],
        config: MemoryConfig | None = ...,
        *,
        collection: Collection[ValidationResult] = ...,
        blobs: Blobs | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self,
        config: MemoryConfig | None = ...,
        *,
        collection: Collection[T],
        blobs: Blobs | None = ...,
        **options: Any,
    ) -> None: ...
    def __init__(
        self,
        config: MemoryConfig | None = None,
        *,
        collection: Collection[Any] = RESULTS,
        blobs: Blobs | None = None,
        **options: Any,
    ) -> None:
        self._settings = configure(MemoryConfig, config, options, "MemoryStore")
        super().__init__(collection, self._settings, Format.of(self._settings))
        self._shelf: Records | Documents
        if blobs is None and self._format.compression is None:
            self._shelf = Records()
        else:
            root = path_of(self._settings.namespace, self._settings.prefix)
            kept = MemoryBlobs() if blobs is None else blobs
            self._shelf = Documents(kept, f"{root}/", self._extension, self._compress, self._decompress)
        self._writing = _Writing()

    def _open(self) -> None:
        self._catalog.open(None)
        self._shelf.open(self._format)

    def _forked(self) -> None:
        self._writing.anew()

    def _load(self, collection: Collection[Any]) -> Iterable[Put]:
        return map(Put, self._shelf.all(collection))

    def _find(self, collection: Collection[Any], id: str) -> Record | None:
        return self._shelf.get(id, collection)

    def _read(self, collection: Collection[Any], location: Location) -> Record | None:
        return self._shelf.get(location.id, collection)

    def surely_lacks(self, id: str, *, collection: Collection[Any]) -> bool:
        """Whether nothing is kept under an id."""
        self._ready(collection)
        return self._shelf.get(id, collection) is None

    def _settle(self, collection: Collection[Any], id: str) -> Record | None:
        with self._writing.lock:
            return self._read(collection, Location(id))

    def _replace_catalog(self, error: sqlite3.Error) -> None:
        raise self._read_error(error) from error

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Stores a record; the catalog learns of it at the next query."""
        settings, writing = self._settings, self._writing
        if settings.max_items:
            heads, failed = self._put_all((record,), collection, expect)
            for error in failed.values():
                raise error
            return heads[0]
        self._ready(collection)
        meta, revision = record.meta, record.revision
        head = Record(meta, None, revision)
        with writing.lock:
            self._put(record, collection, expect)
            writing.pending[collection][meta.id] = head
        if self._lifecycle.subscribers:
            self._announce([Change.of(collection.name, head)])
        return head

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Stores records; the catalog learns of them at the next query."""
        heads, failed = self._put_all(records, collection, expect)
        if failed:
            raise StoreBulkError([h.id for h in heads], failed, backend=self.name, collection=collection.name)
        return heads

    def _put_all(
        self, records: Sequence[Record], collection: Collection[Any], expect: Expect
    ) -> tuple[list[Record], dict[str, Exception]]:
        self._ready(collection)
        heads: list[Record] = []
        failed: dict[str, Exception] = {}
        evicted: list[str] = []
        writing = self._writing
        with writing.lock:
            pending = writing.pending[collection]
            for record in records:
                try:
                    self._put(record, collection, expect)
                except StoreError as error:
                    failed[record.id] = error
                    continue
                head = record.head()
                pending[record.meta.id] = head
                heads.append(head)
            if self._settings.max_items:
                evicted = self._evict(collection)
        if self._lifecycle.subscribers and heads:
            changes = [Change.of(collection.name, head) for head in heads]
            if evicted:
                changes.extend(Change(collection.name, id, None) for id in evicted)
            self._announce(changes)
        return heads, failed

    def _put(self, record: Record, collection: Collection[Any], expect: Expect) -> None:
        if expect is not ANY:
            known = self._read(collection, Location(record.id))
            actual = known.revision if known is not None else None
            if actual == record.revision:
                return  # the same write, once more
            live = known is not None and not known.meta.deleted
            if live if isinstance(expect, Condition) else actual != expect:
                raise conflict(record.id, expect, actual, backend=self.name, collection=collection.name)
        try:
            self._shelf.put(record, collection)
        except StoreConflictError:
            raise
        except (StoreError, OSError) as error:
            self._doubt(collection, record.id)
            if not self._landed(collection, record.id, record.revision):
                raise StoreWriteError(
                    f"{collection.name} {shown(record.id)} was not stored: {error}",
                    backend=self.name,
                    collection=collection.name,
                    identifier=record.id,
                ) from error

    def _landed(self, collection: Collection[Any], id: str, revision: str | None) -> bool:
        """Whether a failed write happened all the same; if that cannot be found out, raises."""
        try:
            known = self._read(collection, Location(id))
        except (StoreError, OSError) as error:
            raise StoreWriteError(
                f"{collection.name} {shown(id)} may or may not have been written: read it to find out ({error})",
                backend=self.name,
                collection=collection.name,
                identifier=id,
            ) from error
        return (known.revision if known is not None else None) == revision

    def _doubt(self, collection: Collection[Any], id: str) -> None:
        """What the catalog says of this id must be asked of the object before the next query."""
        self._writing.doubtful.setdefault(collection, set()).add(id)

    def _delete(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        self._ready(collection)
        deleted: list[str] = []
        writing = self._writing
        try:
            with writing.lock:
                for id in ids:
                    known = self._read(collection, Location(id))
                    if not isinstance(expect, Condition) and (known is None or known.revision != expect):
                        actual = None if known is None else known.revision
                        raise conflict(id, expect, actual, backend=self.name, collection=collection.name)
                    if known is None:
                        continue
                    self._doubt(collection, id)
                    try:
                        self._shelf.delete(id, collection)
                    except (StoreError, OSError) as error:
                        if not self._landed(collection, id, None):
                            raise StoreWriteError(
                                f"{collection.name} {shown(id)} was not removed: {error}",
                                backend=self.name,
                                collection=collection.name,
                                identifier=id,
                            ) from error
                    writing.pending.get(collection, {}).pop(id, None)
                    if not known.meta.deleted:
                        deleted.append(id)
        finally:
            if deleted and self._lifecycle.subscribers:
                self._announce([Change(collection.name, id, None) for id in deleted])
        return deleted

    def _flush(self, collection: Collection[Any]) -> None:
        """Tells the catalog what was written since the last query."""
        writing = self._writing
        with writing.lock:
            pending = writing.pending.get(collection, {})
            removed: list[str] = []
            for id in writing.doubtful.get(collection, ()):
                record = self._read(collection, Location(id))
                if record is not None:
                    pending[id] = record.head()
                else:
                    pending.pop(id, None)
                    removed.append(id)
            if pending or removed:
                self._catalog.commit(
                    collection, [Put(head) for head in pending.values()], removed, expect=ANY, backend=self.name
                )
            writing.pending.pop(collection, None)
            writing.doubtful.pop(collection, None)

    def _evict(self, collection: Collection[Any]) -> list[str]:
        self._flush(collection)
        excess = self._catalog.count(StoreQuery().bind(collection)) - self._settings.max_items
        if excess <= 0:
            return []
        oldest = self._catalog.ids(StoreQuery(order_by="stored_at", ascending=True, limit=excess).bind(collection))
        for id in oldest:
            self._shelf.delete(id, collection)
        self._catalog.commit(collection, (), oldest, expect=ANY, backend=self.name)
        return oldest

    def _guard(self, operation: Any) -> Any:
        for collection in (*self._writing.pending, *self._writing.doubtful):
            if collection in self._opening.ready:
                self._flush(collection)
        return super()._guard(operation)

    def clear_all(self) -> int:
        """Removes every item of the collection and returns how many there were."""
        return self.clear()

    def close(self) -> None:
        """Forgets the index; the objects stay in their `blobs`."""
        super().close()
        self._shelf.close()


class _Writing:
    """What writers share: a lock, and what the catalog has not been told yet."""

    __slots__ = ("doubtful", "lock", "pending")

    def __init__(self) -> None:
        self.pending: defaultdict[Collection[Any], dict[str, Record]] = defaultdict(dict)
        self.doubtful: dict[Collection[Any], set[str]] = {}
        self.anew()

    def anew(self) -> None:
        """A lock that no thread of a parent process holds; a child makes its catalog anew from the objects."""
        self.lock = threading.RLock()
        self.pending.clear()
        self.doubtful.clear()


class MemoryExpectationStore(MemoryStore[ExpectationSuite]):
    """A memory store of expectation suites."""

    def __init__(self, config: MemoryConfig | None = None, **options: Any) -> None:
        super().__init__(config, collection=SUITES, **options)
