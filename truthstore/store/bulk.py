"""The public operations on many items, in chunks of a thousand."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from truthstore.errors import StoreBulkError, StoreClosedError, StoreError, StoreNotFoundError, one_of, shown
from truthstore.model.fields import check_id
from truthstore.model.record import ANY, NONE, Expect
from truthstore.store.changes import Lifecycle
from truthstore.store.layer_names import why_refused
from truthstore.store.records import RecordStore, check_expect

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.encoding import Encoding
    from truthstore.model.record import Record

__all__ = ["BulkOperations"]

T = TypeVar("T")

CHUNK: Final = 1_000
logger = logging.getLogger("truthstore.store")


class BulkOperations(RecordStore, Generic[T]):
    """Save, read and remove many items of one collection.

    Args:
        collection: the collection that the public operations act on.
    """

    def __init__(self, collection: Collection[T]) -> None:
        self._collection = collection
        self._lifecycle = Lifecycle()
        self.encoding: Encoding = "json"
        """The encoding in which this stack wants bodies."""
        self.indent = False
        """Whether this stack wants JSON with line breaks."""
        self.aliases: Mapping[str, str] = {}
        """The identities that checks have now, by the ones that earlier runs recorded."""

    @abstractmethod
    def layers(self) -> Iterator[BulkOperations[Any]]:
        """Iterate over this layer and those below it, outermost first."""

    def _check(self, operation: str = "", options: Mapping[str, Any] = NONE) -> None:
        if self._lifecycle.closed:
            raise StoreClosedError(f"this {type(self).__name__} was closed: open another one", backend=self.name)
        if options:
            taken = frozenset[str]().union(*(layer.OPTIONS.get(operation, ()) for layer in self.layers()))
            for option in options:
                if option not in taken:
                    raise TypeError(why_refused(operation, option, taken))

    def save_many(self, items: Iterable[T], *, expect: Expect = ANY, **options: Any) -> list[str]:
        """Store many items and return their ids in order. Reads and writes 1,000 at a time.

        If `items` itself raises, so does this; what was written before stays, and a note on the error says how much.

        Raises:
            StoreBulkError: some items were not stored; it says which and why. The others were, unless the store gave up:
                then those of later chunks were not tried.
            StoreError: the store failed before it stored anything.
        """
        self._check("save", options)
        check_expect(expect)
        collection, encoding, indent = self._collection, self.encoding, self.indent
        stored: list[str] = []
        failed: dict[str, Exception] = {}
        for start, chunk in _chunks(items, stored):
            records: list[Record] = []
            for place, item in enumerate(chunk, start):
                try:
                    records.append(collection.encode(item, encoding, indent=indent))
                except (StoreError, TypeError) as error:
                    failed[self._name_of(item, place)] = error
            try:
                heads = self._put_chunk(records, collection=collection, expect=expect, options=options or NONE)
                stored.extend(head.meta.id for head in heads)
            except StoreError as error:
                _add(error, [record.id for record in records], stored, failed)
                if any(isinstance(why, StoreError) and why.store_unavailable for why in failed.values()):
                    break
        self._raise_failed(stored, failed)
        return stored

    def _put_chunk(self, records: Sequence[Record], **call: Any) -> list[Record]:
        try:
            return self.put_records(records, **call) if records else []
        except StoreError as error:
            if isinstance(error, StoreBulkError) or error.store_unavailable or len(records) == 1:
                raise
            # One bad record must not sink the others; to write one once more is harmless.
            return RecordStore.put_records(self, records, **call)

    def _name_of(self, item: T, place: int) -> str:
        """Return the id of an item, or its place where it has none that can be used."""
        try:
            return self._collection.id_of(item)
        except (StoreError, TypeError, AttributeError):
            return f"item {place}"

    def _raise_failed(self, done: Sequence[str], failed: Mapping[str, Exception]) -> None:
        for error in failed.values():
            raise StoreBulkError(done, failed, backend=self.name, collection=self._collection.name) from error

    def get_many(self, ids: Iterable[str], missing: str = "raise", **options: Any) -> dict[str, T]:
        """Return the items with these ids, by id, in the order of the ids. All ids are read first.

        Args:
            ids: the ids.
            missing: ``raise`` for a `StoreNotFoundError`, ``skip`` to leave out what does not exist.
            options: options of layers.
        """
        self._check("get", options)
        if missing not in {"raise", "skip"}:
            raise ValueError(one_of("missing", missing, ("raise", "skip")))
        collection = self._collection
        found: dict[str, T] = {}
        source = iter(dict.fromkeys(check_id(id) for id in _not_a_string(ids)))
        while chunk := list(islice(source, CHUNK)):
            records = self.get_records(chunk, collection=collection, options=options or NONE)
            for id in chunk:
                record = records.get(id)
                if record is not None and not record.meta.deleted:
                    found[id] = collection.decode(record)
                elif missing == "raise":
                    raise StoreNotFoundError(collection.name, id, backend=self.name)
        return found

    def _readable(self, heads: Iterator[Record], size: int) -> Iterator[T]:
        """Iterate over the items of heads, read so many at a time, but for those that are missing or damaged."""
        collection = self._collection
        while ids := [head.id for head in islice(heads, size)]:
            try:
                found = self.get_records(ids, collection=collection)
            except StoreError as error:
                if error.store_unavailable:
                    raise
                found = {}  # one of them is to blame: each by itself
            for id in ids:
                try:
                    yield collection.decode(found.get(id) or self.get_record(id, collection=collection))
                except StoreError as error:
                    if error.store_unavailable:
                        raise
                    self._lifecycle.skipped += 1
                    logger.warning("a query skipped %s %s: %s", collection.name, shown(id), error)

    def delete_many(self, ids: Iterable[str], **options: Any) -> int:
        """Remove many items and return the number of those that existed. All ids are read before the first item is removed."""
        self._check("delete", options)
        source = iter(dict.fromkeys(check_id(id) for id in _not_a_string(ids)))
        deleted: list[str] = []
        failed: dict[str, Exception] = {}
        while not failed and (chunk := list(islice(source, CHUNK))):
            try:
                deleted.extend(self.delete_records(chunk, collection=self._collection, options=options or NONE))
            except StoreError as error:
                _add(error, chunk, deleted, failed)
        self._raise_failed(deleted, failed)
        return len(deleted)


def _add(error: StoreError, ids: Iterable[str], done: list[str], failed: dict[str, Exception]) -> None:
    """Add what a call on these ids did, and what it did not, to what came before it; raise its error if it is the first."""
    if isinstance(error, StoreBulkError):
        done.extend(error.stored)
        failed.update(error.failed)
    elif done or failed:
        failed.update(dict.fromkeys(ids, error))
    else:
        raise error


def _chunks(items: Iterable[T], stored: Sized) -> Iterator[tuple[int, list[T]]]:
    """Iterate over chunks, each with the place of its first item."""
    source = iter(items)
    for start in count(0, CHUNK):
        try:
            chunk = list(islice(source, CHUNK))
        except Exception as error:
            error.add_note(
                f"save_many: the first {len(stored):,} items were stored before this, and stay; no other was."
            )
            raise
        if not chunk:
            return
        yield start, chunk


def _not_a_string(ids: Iterable[str]) -> Iterable[str]:
    if isinstance(ids, str):
        raise TypeError("ids is a list of ids, not one string")
    return ids
