"""The file-like `RecordStore`: bodies in named objects, queries through the catalog.

The body object is the truth; the catalog is derived from it. How both are written together is the backend's own affair:
it overrides `put_records`, `delete_records` and `_settle`.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from truthstore.errors import StoreConfigError, StoreNotFoundError, StoreReadError
from truthstore.model.query import EVERYTHING, TIME_ALIAS, BoundQuery
from truthstore.model.record import ANY, NONE, Expect, Listed, Options, Record
from truthstore.runtime.forks import in_child
from truthstore.storage.catalog.catalog import Catalog, Location, Put
from truthstore.storage.objects.compression import compressor
from truthstore.storage.objects.document import FORMAT, read_document, unpacked
from truthstore.storage.objects.names import object_name
from truthstore.store.records import item_of, rows_collection, series_of
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.storage.sql.paging import Position
    from truthstore.store.config import StoreConfig

__all__ = ["Format", "ObjectStore", "collections_in", "folder_of", "object_key"]

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

FORMAT_KEY: Final = "_truthstore/format.json"
ROOT_COLLECTION: Final = "results"
OWN_FOLDER: Final = "truthstore"
_FOLDER: Final = re.compile(r"_[a-z][a-z0-9_.]*")
EXTENSIONS: Final = {"json": ".json", "msgpack": ".msgpack", "yaml": ".yaml"}
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Format(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the objects of a store are named, encoded and indexed: fixed when the store is made.

    Attributes:
        format: version of the layout.
        extension: the end of object names, before the compression's own ending.
        compression: ``gzip``, ``zstd`` or None.
        serialization: ``json``, ``msgpack`` or ``yaml``.
        index: ``sqlite`` or ``log``.
        single_writer: made on a service without conditional writes.
        identity: tells this store from another one that was later made in its place.
        born: when it was made, in milliseconds since 1970.
    """

    format: int
    extension: str
    compression: str | None
    serialization: str
    index: str = "sqlite"
    single_writer: bool = False
    identity: str = ""
    born: int = 0

    @classmethod
    def of(cls, config: StoreConfig, extension: str | None = None) -> Format:
        """Return the format that a configuration asks for."""
        kind = config.serialization_format
        if extension is None or extension == EXTENSIONS["json"]:
            extension = EXTENSIONS[kind]
        return cls(FORMAT, extension, config.algorithm, kind)

    def check(self, stored: bytes, place: str) -> None:
        """Compare with the format that a store was made with.

        Raises:
            StoreConfigError: they differ, or a newer version of this library made the store.
        """
        try:
            theirs = msgspec.json.decode(stored, type=Format)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreConfigError(f"{FORMAT_KEY} of {place} is damaged ({error}): restore it") from error
        if theirs.format > self.format:
            raise StoreConfigError(
                f"{place} has format {theirs.format}, this library reads up to {FORMAT}: upgrade truthstore"
            )
        for name in ("extension", "compression", "serialization", "index"):
            made, asked = getattr(theirs, name), getattr(self, name)
            if made != asked:
                raise StoreConfigError(
                    f"{place} was made with {name} {made!r} and is now opened with {asked!r}: "
                    f"open it with {made!r}, or copy it to a new store with copy_store"
                )


def folder_of(collection_name: str) -> str:
    """Return the folder of a collection below the store's own: results lie in it, others in ``_name/``."""
    return "" if collection_name == ROOT_COLLECTION else f"_{collection_name}/"


def collections_in(folders: Iterable[str]) -> frozenset[str]:
    """Return the names of the collections whose folders are among these names, and that of results, which need none."""
    return frozenset({ROOT_COLLECTION, *(name[1:] for name in folders if _FOLDER.fullmatch(name))} - {OWN_FOLDER})


def object_key(collection_name: str, id: str, extension: str) -> str:
    """Return the key of an item's body."""
    return f"{folder_of(collection_name)}{object_name(id)}{extension}"


class Opening:
    """The open parts of a store in this process: shared by all views of one store."""

    def __init__(self) -> None:
        self.ready: set[Collection[Any]] = set()
        self.pid = os.getpid()
        self._renew_lock()
        in_child(self._renew_lock)

    def _renew_lock(self) -> None:
        self.lock = threading.RLock()


class ObjectStore(BaseStore[T]):
    """A store of named objects with a catalog beside them.

    Args:
        form: how objects are named and encoded.
        synchronous: how safely the catalog commits: ``NORMAL`` or ``FULL``.
    """

    def __init__(
        self, collection: Collection[T], config: StoreConfig, form: Format, *, synchronous: str = "NORMAL"
    ) -> None:
        super().__init__(collection)
        self._config = config
        self.encoding = config.serialization_format
        self.aliases = config.aliases
        self._format = form
        ending, self._compress, self._decompress = compressor(form.compression, config.max_item_bytes)
        self._extension = form.extension + ending
        self._opening = Opening()
        self._catalog = Catalog(self._bodies, synchronous=synchronous)

    def _key(self, collection: Collection[Any], id: str) -> str:
        return object_key(collection.name, id, self._extension)

    def _ready(self, collection: Collection[Any]) -> None:
        """Open what is not open yet, in this process."""
        opening = self._opening
        if collection in opening.ready and opening.pid == os.getpid():
            if self._lifecycle.closed:
                self._check()
            return
        self._check()
        with opening.lock:
            if opening.pid != os.getpid():
                opening.ready.clear()
                self._catalog.abandon()
                self._forked()
                opening.pid = os.getpid()
            if not opening.ready:
                self._open()
            if collection not in opening.ready:
                self._guard(lambda: self._prepare(collection))
                opening.ready.add(collection)

    def _prepare(self, collection: Collection[Any]) -> None:
        self._catalog.prepare(collection, lambda: self._load(collection))

    def _forked(self) -> None:
        """Give up what a child process may not use; backends with files of their own override this."""

    @abstractmethod
    def _open(self) -> None:
        """Open objects and catalog."""

    @abstractmethod
    def _load(self, collection: Collection[Any]) -> Iterable[Put]:
        """Read every object of a collection, for a catalog that does not know it."""

    @abstractmethod
    def _read(self, collection: Collection[Any], location: Location) -> Record | None:
        """Read the record at the place in the catalog, of any revision; None if there is no such object."""

    @abstractmethod
    def _settle(self, collection: Collection[Any], id: str) -> Record | None:
        """Bring object and catalog together where they differ; return the record as it is then, or None."""

    @abstractmethod
    def _replace_catalog(self, error: sqlite3.Error) -> None:
        """Put a new catalog in the place of a damaged one."""

    def initialize(self) -> None:
        """Open the store now."""
        super().initialize()
        self._ready(self._collection)

    def _guard(self, operation: Callable[[], U]) -> U:
        """Run an operation on the catalog; once more after a damaged catalog was replaced, or one was being replaced."""
        try:
            return operation()
        except sqlite3.Error as error:
            self._recover_catalog(error)
        try:
            return operation()
        except sqlite3.Error as error:
            raise self._read_error(error) from error

    def _recover_catalog(self, error: sqlite3.Error) -> None:
        """Replace a damaged catalog; any other error may come from another thread's doing so, and is waited out."""
        if is_damage(error):
            self._replace_catalog(error)

    def _read_error(self, error: sqlite3.Error) -> StoreReadError:
        return StoreReadError(f"the index could not be read: {error}", backend=self.name)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record."""
        return self.put_records((record,), collection=collection, expect=expect, options=options)[0]

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record with its body: one object read, no catalog."""
        self._ready(collection)
        record = self._find(collection, id)
        if record is None:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return record

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids: one object read each, no catalog."""
        self._ready(collection)
        wanted = list(dict.fromkeys(ids))
        found = self._each(lambda id: self._find(collection, id), wanted)
        return {id: record for id, record in zip(wanted, found, strict=True) if record is not None}

    def _each(self, work: Callable[[V], U], arguments: Iterable[V]) -> Iterator[U]:
        """Call a function for many arguments; stores whose objects are far away override this with parallel calls."""
        return map(work, arguments)

    def _find(self, collection: Collection[Any], id: str) -> Record | None:
        """Return the record of an id; None if there is none."""
        return self._read(collection, Location(id))

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record; return False if there was none."""
        return bool(self._delete(collection, [id], expect))

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove many records in one commit; return the ids of those that were live."""
        return self._delete(collection, list(dict.fromkeys(ids)), ANY)

    @abstractmethod
    def _delete(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        """Remove records; return the ids of those that were live."""

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the records that a query finds, from the catalog; bodies from their objects."""
        bound = query.bind(collection)
        self._ready(collection)
        return self._scan_bodies(bound) if bodies else self._scan_heads(bound)

    def _scan_heads(self, bound: BoundQuery) -> Iterator[Record]:
        for page in self._catalog_pages(bound.collection, lambda catalog, at: catalog.head_page(bound, at)):
            yield from page

    def _scan_bodies(self, bound: BoundQuery) -> Iterator[Record]:
        collection = bound.collection
        for page in self._catalog_pages(collection, lambda catalog, at: catalog.location_page(bound, at)):
            for record, is_located in self._each(lambda location: self._read_located(collection, location), page):
                if record is not None and (is_located or bound.matches(record.meta)):
                    yield record

    def _read_located(self, collection: Collection[Any], location: Location) -> tuple[Record | None, bool]:
        """Return the record of a row, and True if it has the revision in the row."""
        record = self._read(collection, location)
        if record is not None and record.revision == location.revision:
            return record, True
        return self._settle(collection, location.id), False

    def _current(self, collection: Collection[Any]) -> Catalog:
        """Return the catalog, when it knows all writes; stores whose catalog follows a log override this."""
        return self._catalog

    def _catalog_pages(
        self,
        collection: Collection[Any],
        read: Callable[[Catalog, Position | None], tuple[list[U], Position | None]],
    ) -> Iterator[list[U]]:
        """Iterate over pages from the catalog, which may be replaced meanwhile."""
        position: Position | None = None
        while True:
            at = position
            page, position = self._guard(lambda: read(self._current(collection), at))  # noqa: B023  # runs at once
            yield page
            if position is None:
                return

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Return the ids that a query finds, from the catalog."""
        bound = query.bind(collection)
        self._ready(collection)
        return self._guard(lambda: self._current(collection).ids(bound))

    def scan_revisions(
        self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE
    ) -> Iterator[Listed]:
        """Iterate over ids, revisions and sizes of the records that a query finds, from the catalog."""
        bound = query.bind(collection)
        self._ready(collection)
        pages = self._catalog_pages(collection, lambda catalog, at: catalog.listed_page(bound, at))
        return (listed for page in pages for listed in page)

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Count the records that fulfil the conditions of a query, from the catalog."""
        bound = query.bind(collection)
        self._ready(collection)
        return self._guard(lambda: self._current(collection).count(bound))

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Aggregate records in the catalog."""
        bound = query.bind(collection)
        self._ready(collection)
        try:
            return self._guard(lambda: self._current(collection).aggregate(bound, aggregation))
        except StoreReadError as error:
            if "integer overflow" not in str(error.__cause__):
                raise
        # A sum beyond 64 bits: Python's integers have no such limit.
        return super().aggregate_records(query, aggregation, collection=collection, options=options)

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Iterate over the rows that a query finds, from the catalog; those of one item from its object."""
        bound = query.bind(rows_collection(collection))
        if item_of(bound, collection) is not None:
            return super().scan_rows(query, collection=collection, options=options)
        self._ready(collection)
        pages = self._catalog_pages(collection, lambda catalog, at: catalog.head_page(bound, at, collection))
        return (row for page in pages for row in page)

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Aggregate rows in the catalog."""
        bound = query.bind(rows_collection(collection))
        self._ready(collection)
        return self._guard(lambda: self._current(collection).aggregate(bound, aggregation, collection))

    def latest_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[Record]:
        """Return the newest row of each series, from the catalog."""
        return self.newest_rows(query, collection=collection, options=options)

    def newest_rows(
        self,
        query: StoreQuery,
        keep: StoreQuery = EVERYTHING,
        *,
        collection: Collection[Any],
        series: Iterable[tuple[Any, ...]] | None = None,
        options: Options = NONE,
    ) -> list[Record]:
        """Return those of the newest rows that fulfil another query, from the catalog."""
        of, rows = series_of(collection), rows_collection(collection)
        bound, kept = query.replace(order_by=TIME_ALIAS).bind(rows), keep.bind(rows)
        given = None if series is None else list(dict.fromkeys(series))
        self._ready(collection)
        return sorted(self._guard(lambda: self._current(collection).latest(bound, kept, collection, given)), key=of)

    def _bodies(self, collection: Collection[Any], locations: Sequence[Location]) -> Iterator[Record]:
        found = self._each(lambda location: self._read_located(collection, location)[0], locations)
        return (record for record in found if record is not None)

    def _parse(self, data: bytes, collection: Collection[Any], id: str | None) -> Record:
        return read_document(unpacked(data, self._decompress, collection, id), collection, id)

    def stats(self) -> dict[str, Any]:
        """Return figures about the store, and the labels of its configuration."""
        return {**super().stats(), "metadata": dict(self._config.metadata)}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Remove what queries have left behind in the catalog, for at most about `budget` seconds."""
        done = super().maintain(budget)
        self._ready(self._collection)
        deadline = None if budget is None else monotonic() + budget
        removed = self._guard(
            lambda: self._catalog.forget(self._collection, lambda: deadline is not None and monotonic() >= deadline)
        )
        return {**done, "postings_removed": removed}

    def rebuild_index(self) -> int:
        """Index every object again and return how many there are."""
        super().rebuild_index()
        self._ready(self._collection)
        return self.count_records(EVERYTHING, collection=self._collection)

    def close(self) -> None:
        """Close the catalog."""
        super().close()
        self._catalog.close()


def is_damage(error: sqlite3.Error) -> bool:
    """Return True for an error that means that the database file itself is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
