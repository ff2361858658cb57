"""The store whose saves wait."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from truthstore.batching.base import BatchConfig, RejectedItem
from truthstore.batching.outbox import Outbox
from truthstore.errors import StoreError, StoreNotSupportedError
from truthstore.model.record import ANY, NONE, Change, Expect, Options, Record
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.records import ChangeCopy
    from truthstore.store.store import BaseStore

__all__ = ["BatchedStore"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def _drained(operation: F) -> F:
    """Store pending saves before the store below is asked."""

    @functools.wraps(operation)
    def ask(self: Any, *args: Any, **options: Any) -> Any:
        self._drain(options.get("collection", self._collection))
        return operation(self, *args, **options)

    return cast("F", ask)


class BatchedStore(WrapperStore[T], Generic[T]):
    """A store that acknowledges saves at once, and stores them together soon after, those of one id in order.

    Every read of this store sees pending saves: `get` and `head` find them in the queue, and queries store them first. The last
    save that is stored wins. Conditional saves, those with options, and deletes do not wait: they store the pending saves of
    their ids, and then go through.

    Args:
        base: the store below.
        config: the options, or
        options: the same as keywords.

    Raises:
        StoreConfigError: nothing names the file of a durable queue, or an option makes no sense.
    """

    name: ClassVar[str] = "batched"

    def __init__(self, base: BaseStore[T], config: BatchConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self._config = configure(BatchConfig, config, options, "BatchedStore")
        announce = functools.partial(self._lifecycle.announce, type(self).__name__)
        self._outbox = Outbox(base, self._collection, self._config, announce)
        # What a store that is dropped leaves in memory need not wait, and keep the store below from being freed.
        weakref.finalize(self, self._outbox.loop.hurry).atexit = False

    def subscribe(self, callback: Callable[[Sequence[Change]], object]) -> None:
        """Subscribe to what is stored below, and to the items that show it again because their saves were rejected."""
        super().subscribe(callback)
        self._lifecycle.subscribe(callback)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Queue a record, or store it at once if something is expected or an option given."""
        if self._waits((record,), collection, expect, options):
            self._outbox.put((record,), collection)
            return record.head()
        return self._base.put_record(record, collection=collection, expect=expect, options=options)

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Queue many records; a whole batch that needs no durable queue is stored at once."""
        if self._waits(records, collection, expect, options):
            self._outbox.put(records, collection)
            return [record.head() for record in records]
        return self._base.put_records(records, collection=collection, expect=expect, options=options)

    def _waits(self, records: Sequence[Record], collection: Collection[Any], expect: Expect, options: Options) -> bool:
        """Return True for records to be queued; else see to it that nothing of theirs waits."""
        if not collection.is_users:
            return False
        # A tombstone is a removal, and removals do not wait.
        if expect is ANY and not options and not any(record.meta.deleted for record in records):
            in_block = self._outbox.block.records is not None
            if in_block or self._config.durable or len(records) < self._config.max_batch_size:
                return True
        self._go_directly([record.id for record in records], collection)
        return False

    def _go_directly(self, ids: Sequence[str], collection: Collection[Any]) -> None:
        """Store the pending saves of ids, before something else is done to them below."""
        if not collection.is_users:
            return
        if self._outbox.block.records is not None:
            raise StoreNotSupportedError(
                "within batch() only unconditional saves without options are possible: do this before or after it",
                backend=self.name,
            )
        self._outbox.drain(collection, ids)
        # Before, for after a crash it must not come back; a retry must not undo what is done now.
        self._outbox.queue.supersede(self._outbox.topic(collection), ids)

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Store the pending saves of an id, and remove it below."""
        self._go_directly((id,), collection)
        return self._base.delete_record(id, collection=collection, expect=expect, options=options)

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Store the pending saves of ids, and remove them below."""
        self._go_directly(ids, collection)
        return self._base.delete_records(ids, collection=collection, options=options)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the newest record that waits, or else the one below."""
        record = self._find(id, collection, options)
        return record or self._base.get_record(id, collection=collection, options=options)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of the newest record that waits, or else the one below."""
        record = self._find(id, collection, options)
        return record.head() if record else self._base.head_record(id, collection=collection, options=options)

    def _find(self, id: str, collection: Collection[Any], options: Options) -> Record | None:
        if options:
            self._drain(collection, (id,))
        return None if options or not collection.is_users else self._outbox.find(id, collection)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the newest records that wait, and the rest from below."""
        if not collection.is_users or self._outbox.is_empty(collection):
            return self._base.get_records(ids, collection=collection, options=options)
        if options:
            self._drain(collection, ids)
            return self._base.get_records(ids, collection=collection, options=options)
        waiting = {id: self._outbox.find(id, collection) for id in ids}
        found = {id: record for id, record in waiting.items() if record is not None}
        rest = [id for id in ids if id not in found]
        return {**found, **self._base.get_records(rest, collection=collection)} if rest else found

    def _drain(self, collection: Collection[Any], ids: Sequence[str] | None = None) -> None:
        """Store pending saves, before the store below is asked."""
        if not collection.is_users:
            return
        if self._outbox.block.records:
            raise StoreNotSupportedError(
                "within batch() nothing is stored yet that a query could find: ask before or after it",
                backend=self.name,
            )
        self._outbox.drain(collection, ids)

    scan = _drained(WrapperStore.scan)
    scan_ids = _drained(WrapperStore.scan_ids)
    scan_revisions = _drained(WrapperStore.scan_revisions)
    digest_records = _drained(WrapperStore.digest_records)
    revision_records = _drained(WrapperStore.revision_records)
    scan_rows = _drained(WrapperStore.scan_rows)
    aggregate_rows = _drained(WrapperStore.aggregate_rows)
    latest_rows = _drained(WrapperStore.latest_rows)
    newest_rows = _drained(WrapperStore.newest_rows)
    count_records = _drained(WrapperStore.count_records)
    aggregate_records = _drained(WrapperStore.aggregate_records)
    held_ids = _drained(WrapperStore.held_ids)
    get_history = _drained(WrapperStore.get_history)
    verify_records = _drained(WrapperStore.verify_records)
    rebuild_index = _drained(WrapperStore.rebuild_index)

    def collection_names(self) -> frozenset[str]:
        """Store everything that waits, and return the names of the collections below."""
        self._outbox.flush()
        return self._base.collection_names()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Store pending saves before a method of a layer below is called."""
            found = super().__getattr__(name)
            if not callable(found):
                return found

            @functools.wraps(found)
            def ask(*args: Any, **options: Any) -> Any:
                self._drain(self._collection)
                return found(*args, **options)

            return ask

    def change_copies(self, change: ChangeCopy, *, collection: Collection[Any]) -> None:
        """Change the copies below, and the saves that wait or were rejected."""
        self._base.change_copies(change, collection=collection)
        if collection.is_users:
            self._outbox.change_copies(change, collection)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Store pending saves, and maintain the store below."""
        self._check()
        self._outbox.flush()
        return super().maintain(budget)

    def initialize(self) -> None:
        """Open the store below; or else a durable queue, and begin to deliver the saves that an earlier process left in it.

        The store below a durable queue is opened when something is delivered: it may be down, and is not waited for.
        """
        self._check()
        if self._config.durable:
            self._outbox.put((), self._collection)
        else:
            super().initialize()

    @contextlib.contextmanager
    def batch(self) -> Generator[None]:
        """Save everything that this thread saves within the block at its end, with one call; nothing if the block raises.

        With a durable queue the end of the block queues all of it, those of one collection together; without, it stores
        them. Within another such block, this one joins it.

        Raises:
            StoreBulkError: the store below did not take some of the items.
            StoreWriteError: nothing was saved.
        """
        self._check()
        block = self._outbox.block
        if block.records is not None:
            yield
            return
        block.records = []
        try:
            yield
            saved = block.records
        finally:
            block.records = None
        for name in dict.fromkeys(collection.name for collection, _ in saved):
            own = [(collection, record) for collection, record in saved if collection.name == name]
            records, collection = [record for _, record in own], own[0][0]
            if self._config.durable:
                self._outbox.put(records, collection)
            else:
                self._go_directly([record.id for record in records], collection)
                self._base.put_records(records, collection=collection)

    def flush(self) -> None:
        """Store everything that waits.

        Raises:
            StoreWriteError: something could not be stored and still waits, or was rejected since the last flush.
        """
        self._check()
        self._outbox.flush()

    @property
    def pending(self) -> int:
        """The number of saves that wait, in every collection that was used."""
        return self._outbox.figures()["pending"]

    def rejected(self) -> list[RejectedItem[T]]:
        """Return the items that the store below will never take as they are, in the order in which it was saved."""
        self._check()
        collection = self._collection
        return [
            RejectedItem(
                id=entry.key, error=error, load=functools.partial(_load, self._outbox, collection, entry.payload)
            )
            for entry, error in self._outbox.queue.rejected(self._outbox.topic(collection))
        ]

    def retry_rejected(self, ids: Iterable[str] | None = None) -> int:
        """Queue rejected saves again, all or those of some ids, and return how many saves do.

        A save of an item that was removed or saved again since stays rejected: it would undo that.
        """
        numbers, topic = self._rejected_numbers(ids)
        again = self._outbox.queue.retry_rejected(topic, list(numbers))
        if again:
            self._announce([Change(self._collection.name, id, None) for id in numbers.values()])
            self._outbox.loop.wake()
        return again

    def discard_rejected(self, ids: Iterable[str] | None = None) -> int:
        """Discard rejected saves, all or those of some ids, and return how many saves that were."""
        numbers, topic = self._rejected_numbers(ids)
        return self._outbox.queue.discard_rejected(topic, list(numbers))

    def _rejected_numbers(self, ids: Iterable[str] | None) -> tuple[dict[int, str], str]:
        self._check()
        topic, wanted = self._outbox.topic(self._collection), None if ids is None else set(ids)
        rejected = self._outbox.queue.rejected(topic)
        return {entry.number: entry.key for entry, _ in rejected if wanted is None or entry.key in wanted}, topic

    def figures(self) -> dict[str, int]:
        """Return numbers for metrics: saves that are pending, their bytes, rejected, and delivered by this store."""
        return self._outbox.figures()

    def stats(self) -> dict[str, Any]:
        """Return figures about the store below, those of the queue and the last error.

        Where the store below cannot be reached, those of the queue stand alone.
        """
        self._check()
        below: dict[str, Any] = {"layers": [layer.name for layer in self.layers()]}
        last: Exception | None = None
        try:
            self._drain(self._collection)
            below = super().stats()
        except StoreError as error:
            if not (error.retryable or error.store_unavailable):
                raise
            last = error
        last = self._outbox.loop.error or last
        shown = None if last is None else f"{type(last).__name__}: {last}"
        return {**below, "batching": {**self.figures(), "last_error": shown}}

    def close(self) -> None:
        """Store pending saves, and close the whole stack.

        Raises:
            StoreWriteError: something was rejected; or waits in memory only: then nothing is closed, and closing again
                tries again. Saves in a durable queue wait for the next process, and raise nothing.
        """
        try:
            self._outbox.close()
        finally:
            if self._outbox.closed:
                super().close()


def _load(outbox: Outbox, collection: Collection[Any], payload: bytes) -> Any:
    return collection.decode(outbox.unpacked(payload, collection))
