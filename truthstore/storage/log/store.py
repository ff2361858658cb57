"""A store of named objects without a lock and without a database: the bodies, a log beside them, a local replica of it.

The bodies are the truth. Writes are confirmed in the log (`log.py`, `writer.py`); queries go to this machine's replica
(`replica.py`), which applies the new objects of the log first (`follower.py`). A process that meets many entries compacts
them (`compact.py`).
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec

from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreReadError,
    shown,
)
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ABSENT, ANY, NONE, Change, Expect, Options, Record, new_revision
from truthstore.runtime.parallel import Parallel
from truthstore.storage.catalog.catalog import Location, Put
from truthstore.storage.log.cached import cache_folder
from truthstore.storage.log.damage import confirm_unlisted
from truthstore.storage.log.entry import is_segment
from truthstore.storage.log.follower import REPAIR_LIMIT, LogIndex, ReplacedError
from truthstore.storage.log.log import Log, Timing
from truthstore.storage.log.objects import BodyObjects
from truthstore.storage.log.repair import rebuild, verify
from truthstore.storage.log.replica import Replica
from truthstore.storage.log.writer import LogWriter, Write
from truthstore.storage.objects.blobs import probe_conditional_writes
from truthstore.storage.objects.object_store import FORMAT_KEY, Format, ObjectStore, collections_in, is_damage
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.storage.catalog.catalog import Catalog
    from truthstore.storage.objects.blobs import Blobs
    from truthstore.store.config import StoreConfig
    from truthstore.store.health import Verification

__all__ = ["LogStore"]

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

COMPACT_AT: Final = 200
AT_ONCE: Final = 100
OPEN_ROUNDS: Final = 3
_UNUSABLE: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
)
logger: Final = logging.getLogger("truthstore.storage")


def now() -> int:
    """Return UTC microseconds since 1970."""
    return time.time_ns() // 1_000


class LogStore(ObjectStore[T]):
    """Keeps items as objects, any number of writers at once; queries go to this machine's replica of the log.

    Args:
        blobs: the driver; its keys are relative to this store.
        url: the permanent name of this store, with namespace and prefix.
        cache_dir: the folder of local replicas; by default the user's cache folder; ``:memory:`` keeps no file.
        single_writer: take a service without conditional writes, and promise that there is one writer at a time.
        concurrency: how many requests of one operation run in parallel; 1 runs all of them in the caller's thread.
        clock: UTC microseconds since 1970.
        compact_at: a query that meets more entries than this compacts them.
    """

    name: ClassVar[str] = "log"

    def __init__(
        self,
        collection: Collection[T],
        config: StoreConfig,
        form: Format,
        blobs: Blobs,
        *,
        url: str,
        cache_dir: str | None = None,
        single_writer: bool = False,
        concurrency: int = 16,
        clock: Callable[[], int] = now,
        compact_at: int = COMPACT_AT,
    ) -> None:
        form = msgspec.structs.replace(form, index="log", single_writer=single_writer)
        super().__init__(collection, config, form)
        self._blobs = blobs
        self._url = url
        self._clock = clock
        self._compact_at = compact_at
        self._timing = Timing()
        self._parallel = Parallel(concurrency)
        self._replica = Replica(self._bodies)
        self._cache_dir = cache_dir
        self._catalog = self._replica
        self._indexes: dict[Collection[Any], LogIndex] = {}  # shared by all views of one store
        self._unsure: set[Collection[Any]] = (
            set()
        )  # whose log does not go on as it was, and was not compared with the bodies

    @property
    def identity(self) -> str:
        """The URL of the place, under whose hash the local replica is kept."""
        return self._url

    def _now(self) -> int:
        """Return this machine's clock in milliseconds."""
        return self._clock() // 1_000

    def _open(self) -> None:
        try:
            stored, _ = self._blobs.get(FORMAT_KEY)
        except StoreNotFoundError:
            stored = self._create()
        self._format.check(stored, self._url)
        made = msgspec.json.decode(stored, type=Format)
        if made.single_writer and not self._format.single_writer:
            raise StoreConfigError(
                f"{self._url} was made with single_writer=True: say so again, and keep to one writer at a time",
                backend=self.name,
            )
        self._replica.open_cached(cache_folder(self._cache_dir, self.identity), made.identity, made.born)

    def _create(self) -> bytes:
        """Make the store, once, and return the format that it has."""
        if not self._format.single_writer and not probe_conditional_writes(self._blobs):
            raise StoreConfigError(
                f"{self._url} ignores conditional writes, so that two writers would overwrite each other unseen: use "
                "another service, or single_writer=True if there is only ever one writer at a time",
                backend=self.name,
            )
        made = msgspec.structs.replace(self._format, identity=new_revision(), born=self._now() - 1)
        data = msgspec.json.encode(made)
        try:
            self._blobs.put(FORMAT_KEY, data, expect=ABSENT)
        except StoreConflictError:
            return self._blobs.get(FORMAT_KEY)[0]
        return data

    def _load(self, collection: Collection[Any]) -> Iterable[Put]:
        return ()  # they are in the log

    def _forked(self) -> None:
        self._indexes.clear()  # a child has written nothing yet

    def _index(self, collection: Collection[Any]) -> LogIndex:
        index = self._indexes.get(collection)
        if index is None:
            objects = BodyObjects(
                self._blobs,
                collection,
                extension=self._extension,
                compress=self._compress,
                decompress=self._decompress,
            )
            log = Log(self._blobs, objects, self._parallel, self._now, self._timing, self._replica.born)
            index = self._indexes.setdefault(collection, LogIndex(log, self._replica, compact_at=self._compact_at))
        return index

    def _guard(self, operation: Callable[[], U]) -> U:
        while True:
            generation = self._replica.generation
            result = super()._guard(operation)
            if generation == self._replica.generation:
                return result
            # Another thread began a new replica, which may have lacked rows.

    def _recover_catalog(self, error: sqlite3.Error) -> None:
        with self._opening.lock:  # another thread may be replacing the index
            if is_damage(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE:
                self._replace_catalog(error)

    def _replace_catalog(self, error: sqlite3.Error) -> None:
        logger.info("the local index of %s is replaced: %s", self._url, error)
        with self._opening.lock:
            self._replica.replace(damaged=is_damage(error))
            for collection in self._opening.ready:
                self._prepare(collection)

    def _open_again(self, generation: int) -> None:
        """Open the store as it is now, unless another thread did."""
        with self._opening.lock:
            if generation != self._replica.generation:
                return
            logger.info("%s was restored, emptied, or compacted long ago: the local index begins again", self._url)
            self._indexes.clear()
            self._unsure.update(self._opening.ready)
            self._replica.discard()
            self._open()
            for collection in self._opening.ready:
                self._prepare(collection)

    def _current(self, collection: Collection[Any]) -> Catalog:
        """Return the replica, after it has applied the new objects of the log."""
        return self._follow(collection, REPAIR_LIMIT)

    def _follow(self, collection: Collection[Any], limit: int | None) -> Catalog:
        self._check()
        if not self._replica.is_current():
            with self._opening.lock:
                if not self._replica.is_current():
                    self._replace_catalog(sqlite3.OperationalError("its file was removed"))
        try:
            for _ in range(OPEN_ROUNDS):
                generation = self._replica.generation
                try:
                    self._index(collection).follow(limit=limit)
                except ReplacedError:
                    self._open_again(generation)
                    continue
                if collection in self._unsure:
                    index = self._index(collection)
                    confirm_unlisted(index.log, index.replica, limit=limit)
                    self._unsure.discard(collection)
                return self._replica
        except StoreError as error:
            error.backend = error.backend or self.name
            raise
        raise StoreReadError(
            f"{self._url} is being emptied or restored: try again afterwards", backend=self.name, retryable=True
        )

    def _read(self, collection: Collection[Any], location: Location) -> Record | None:
        body = self._index(collection).objects.get(location.id)
        return None if body is None or body.removed else body.record

    def _each(self, work: Callable[[V], U], arguments: Iterable[V]) -> Iterator[U]:
        rest = iter(arguments)
        while some := list(islice(rest, AT_ONCE)):
            yield from self._parallel(work, some)

    def _settle(self, collection: Collection[Any], id: str) -> Record | None:
        """Look again at a body that is not the one in the index."""
        objects = self._index(collection).objects
        body = objects.get(id)
        if body is not None:
            row = objects.confirmed(body)
            self._guard(lambda: self._replica.believe(collection, {id: row}))
            return None if body.removed else body.record
        location = self._guard(lambda: self._current(collection).find(collection, id))
        if location is not None and objects.get(id) is None:
            raise StoreCorruptError(
                f"the index lists {collection.name} {shown(id)} but its object is gone: "
                "restore it, or call rebuild_index()",
                backend=self.name,
                collection=collection.name,
                identifier=id,
            )
        return self._read(collection, Location(id))

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record."""
        (write,) = self._write(collection, [Write(record.id, record, record.revision, expect)])
        if write.error is not None:
            raise write.error
        return record.head()

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store records in parallel, and confirm them in one entry."""
        named: dict[str, Write] = {}
        failed: dict[str, Exception] = {}
        for record in records:
            if expect is ABSENT and record.id in named:
                failed[record.id] = conflict(record.id, expect, None, backend=self.name, collection=collection.name)
            else:
                named[record.id] = Write(record.id, record, record.revision, expect)
        self._write_all(collection, list(named.values()), failed)
        return [record.head() for record in records]

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record: its object becomes a tombstone. Return False if there was none."""
        (write,) = self._write(collection, [Write(id, None, new_revision(), expect)])
        if write.error is not None:
            raise write.error
        return write.was_live

    def _delete(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        return self._write_all(collection, [Write(id, None, new_revision(), expect) for id in ids], {})

    def _write_all(
        self, collection: Collection[Any], writes: list[Write], failed: Mapping[str, Exception]
    ) -> list[str]:
        """Write, and return the ids of what was stored, or was there and is deleted.

        Raises:
            StoreBulkError: writes failed, or some had before.
        """
        self._write(collection, writes)
        done = [write.id for write in writes if write.error is None and (write.record is not None or write.was_live)]
        failed = {**{write.id: write.error for write in writes if write.error is not None}, **failed}
        if failed:
            raise StoreBulkError(done, failed, backend=self.name, collection=collection.name)
        return done

    def _write(self, collection: Collection[Any], writes: list[Write]) -> list[Write]:
        if not writes:
            return writes
        self._ready(collection)
        index = self._index(collection)
        known = self._guard(lambda: self._replica.known(collection, [write.id for write in writes]))
        for write in writes:
            write.known = write.id in known
        writer = LogWriter(index.log, backend=self.name)
        writer.run(writes)
        self._guard(lambda: index.learn(writes, writer.entries))
        if self._lifecycle.subscribers:
            changes = [
                Change(
                    collection.name,
                    write.id,
                    None if write.record is None or write.record.meta.deleted else write.revision,
                )
                for write in writes
                if write.changed and write.error is None and (write.record is not None or write.was_live)
            ]
            if changes:
                self._announce(changes)
        self._guard(lambda: index.compact_own(writer.entries))
        return writes

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections that have objects: one request for each."""
        self._ready(self._collection)
        folders: list[str] = []
        while key := next(self._blobs.list("_", after=f"{folders[-1]}/~" if folders else None), None):
            folders.append(key.partition("/")[0])
        return collections_in(folders)

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Read every body and compare it with the index."""
        self._ready(collection)
        index = self._index(collection)
        return self._guard(lambda: verify(index, lambda: self._current(collection)))

    def rebuild_index(self) -> int:
        """Confirm every body that the log does not know, beside other writers, and return how many items there are.

        Items whose objects another program removed leave the index. Bodies that cannot be read keep out of it and are
        logged; `verify` names them.
        """
        self._check()
        collection = self._collection
        self._ready(collection)
        index = self._index(collection)
        self._guard(lambda: rebuild(index, lambda: self._follow(collection, None)))
        return self.count_records(EVERYTHING, collection=collection)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Compact the log, resolve intents of writers that died, and forget deletes that are older than a day.

        Return counts: objects compacted and merged, intents resolved, tombstones of deleted items removed.
        """
        done = super().maintain(budget)
        collection = self._collection
        end = None if budget is None else time.monotonic() + budget
        self._guard(lambda: self._current(collection))
        done.update(self._index(collection).maintain(lambda: end is None or time.monotonic() < end))
        self._guard(lambda: self._current(collection))
        return done

    def stats(self) -> dict[str, Any]:
        """Return figures about the store, with the number of objects in its log."""
        figures = super().stats()
        self._ready(self._collection)
        names = self._index(self._collection).log.names()
        segments = sum(is_segment(name) for name in names)
        return {**figures, "log": {"entries": len(names) - segments, "segments": segments}}

    def close(self) -> None:
        """Close the replica and the driver."""
        super().close()
        self._parallel.close()
        self._blobs.close()
