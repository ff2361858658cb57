"""The way of a record from a save to the store below: queued, sent in order, removed, or rejected and kept."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Collection as Several, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreWriteError,
    shown,
)
from truthstore.model.collection import Derivation
from truthstore.model.meta_codec import pack, unpack
from truthstore.model.record import Change, Record
from truthstore.runtime.exits import at_exit
from truthstore.storage.queue import DeliveryLoop, DurableQueue, Entry, is_item_error
from truthstore.store.changes import delivering

if TYPE_CHECKING:
    from truthstore.batching.base import BatchConfig
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["Outbox", "queue_path"]

FOLDER: Final = os.path.join(".truthstore", "queue")
log: Final = logging.getLogger("truthstore.batching")

_unstored: Final[set[Outbox]] = set()
"""Those with something in memory: they are delivered even if nobody holds their store any more."""

Errors = Mapping[str, Exception]
"""Errors by id."""


class Outbox:
    """Take records for a store and deliver them, those of one id in order.

    Items whose saves were rejected are announced: reads find again what is below.

    Raises:
        StoreConfigError: nothing names the file of a durable queue.
    """

    def __init__(
        self,
        base: BaseStore[Any],
        collection: Collection[Any],
        config: BatchConfig,
        announce: Callable[[Sequence[Change]], None],
    ) -> None:
        self._base = base
        self._announce = announce
        self._config = config
        *_, backend = base.layers()
        self._place = base.identity or type(backend).__name__
        path = config.path or (queue_path(base, FOLDER) if config.durable else None)
        self.queue = DurableQueue(path, durability=config.durability)
        self._collections = {collection.name: collection}
        self._load = (0, 0)
        """Entries and bytes that were queued since the last delivery, or remained after it in memory."""
        self._new_rejections: list[tuple[str, Exception]] = []
        self._delivered = 0
        self.closed = False
        self.loop = DeliveryLoop(
            self._flush_in_thread, interval=config.flush_interval_seconds, name="truthstore-batching"
        )
        self.block = _Block()
        at_exit(self._flush_at_exit)

    def topic(self, collection: Collection[Any]) -> str:
        """Return the topic of a collection, whose entries are delivered from now on, those of an earlier process too."""
        self._collections.setdefault(collection.name, collection)
        if self._config.durable:
            self.loop.start()
        return f"{self._place}/{collection.name}"

    def put(self, records: Sequence[Record], collection: Collection[Any]) -> None:
        """Queue records, all or none, or add them to the block of `batch()`; a full batch is delivered.

        Raises:
            StoreWriteError: they were not queued: the disk is full, or the batch in memory is, and cannot be delivered.
        """
        if self.block.records is not None:
            self.block.records.extend((collection, record) for record in records)
            return
        topic = self.topic(collection)
        if not self._config.durable and self._is_full():
            self._make_room()
        entries = [(record.id, self.packed(record, collection)) for record in records]
        self.queue.append(topic, entries)
        if not self._config.durable:
            _unstored.add(self)
        count, size = self._load
        self._load = count + len(entries), size + sum(len(payload) for _, payload in entries)
        if not self._is_full():
            self.loop.start()
        elif self._config.durable:
            self.loop.wake()
        else:
            self._deliver_all()

    def _is_full(self) -> bool:
        count, size = self._load
        return count >= self._config.max_batch_size or size >= self._config.max_bytes

    def _make_room(self) -> None:
        failed = self._deliver_all()
        if failed and self._is_full():
            raise StoreWriteError(
                f"not saved: the batch in memory is full, and {_summary(failed)}",
                backend=self._base.name,
                retryable=True,
                store_unavailable=True,
            ) from next(iter(failed.values()))

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """Return the newest record of an id that waits, or None if there is none.

        Raises:
            StoreCorruptError: the file of the queue was damaged.
        """
        saved: list[tuple[Collection[Any], Record]] = self.block.records or []
        for kind, record in saved[::-1]:
            if record.id == id and kind.name == collection.name:
                return record
        waiting = self.queue.pending(self.topic(collection), key=id)
        return self.unpacked(waiting[-1].payload, collection) if waiting else None

    def change_copies(self, change: Callable[[str, Any], Any], collection: Collection[Any]) -> None:
        """Put what `change` returns for a save that waits or was rejected in its place."""

        def changed(entry: Entry, is_rejected: bool) -> bytes | None:  # noqa: FBT001  # as the queue calls it
            before = self.unpacked(entry.payload, collection)
            item = change("rejected save" if is_rejected else "queued save", collection.decode(before))
            if item is None:
                return None
            record = collection.encode(item, self._base.encoding, indent=self._base.indent)
            meta = record.meta.replace(annotations=before.meta.annotations)
            return self.packed(Record(meta, record.body, record.revision), collection)

        self.queue.change(self.topic(collection), changed)

    def packed(self, record: Record, collection: Collection[Any]) -> bytes:
        """Return a record as the payload of an entry: as it leaves this process, where the queue is a file."""
        if self._config.durable:
            record = self._base.sealed(record, collection.name)
        meta = record.meta
        return pack(record if meta.encodings else Record(meta.replace(text=""), record.body, record.revision))

    def unpacked(self, payload: bytes, collection: Collection[Any]) -> Record:
        """Return the record of an entry; raise `StoreCorruptError` if it was damaged."""
        record = unpack(payload)
        if self._config.durable:
            record = self._base.opened(record, collection.name)
        meta, body = record.meta, record.body
        if meta.encodings or body is None:
            return record
        late = _LateText(collection, body, meta.encoding)
        return Record(meta.replace(text=None, derive=late), body, record.revision)

    def is_empty(self, collection: Collection[Any]) -> bool:
        """Return True if nothing waits in a collection."""
        return not self.block.records and not self.queue.pending(self.topic(collection), limit=1)

    def drain(self, collection: Collection[Any], ids: Several[str] | None = None) -> None:
        """Deliver the pending saves of a collection.

        Raises:
            StoreWriteError: something, of these ids if there are any, could not be delivered, and still waits.
        """
        failed = self._deliver_all(collection)
        if ids is not None:
            failed = {id: error for id, error in failed.items() if id in ids}
        if failed:
            raise self._waiting(failed)

    def flush(self) -> None:
        """Deliver the pending saves of every collection that was used.

        Raises:
            StoreWriteError: something could not be delivered and still waits, or was rejected since the last flush.
        """
        failed = self._deliver_all()
        rejection = self._rejection()
        if failed:
            waiting = self._waiting(failed)
            raise waiting if rejection is None else StoreWriteError(f"{waiting}; {rejection}") from rejection
        if rejection is not None:
            raise rejection

    def _rejection(self) -> StoreWriteError | None:
        """Return the error for saves that were rejected since the last time."""
        new, self._new_rejections = self._new_rejections, []
        if not new:
            return None
        error = StoreWriteError(
            f"{_summary(dict(new))}: rejected() lists them, retry_rejected() and discard_rejected() decide about them",
            backend=self._base.name,
            identifier=new[0][0],
        )
        error.__cause__ = new[0][1]
        return error

    def _waiting(self, failed: Errors) -> StoreWriteError:
        error = StoreWriteError(
            f"{_summary(failed)}; they wait in {self.queue}",
            backend=self._base.name,
            identifier=next(iter(failed)),
            retryable=True,
            store_unavailable=True,
        )
        error.__cause__ = next(iter(failed.values()))
        return error

    def _deliver_all(self, *collections: Collection[Any], wait: float | None = None) -> Errors:
        """Deliver some collections, or all that were used; keep the first error for the figures, and log it once."""
        failed: dict[str, Exception] = {}
        for collection in collections or list(self._collections.values()):
            failed.update(self._deliver(collection, wait))
        if failed:
            self.loop.note(next(iter(failed.values())))
        else:
            self.loop.error = None
        return failed

    def _deliver(self, collection: Collection[Any], wait: float | None) -> Errors:
        """Deliver a collection, and return the errors of the saves that still wait."""
        ids: dict[int, str] = {}

        def send(entries: Sequence[Entry]) -> Mapping[int, Exception]:
            ids.update((entry.number, entry.key) for entry in entries)
            return self._send(entries, collection)

        size = self._config.max_batch_size
        delivery = self.queue.deliver(self.topic(collection), send, batch=size, wait=wait)
        self._delivered += delivery.delivered
        self._load = (0, 0) if self._config.durable else (self.queue.count(), self.queue.size())
        if self._load == (0, 0):
            _unstored.discard(self)
        rejected = {ids[number]: error for number, error in delivery.errors.items() if is_item_error(error)}
        if rejected:
            self._new_rejections.extend(rejected.items())
            self._announce([Change(collection.name, id, None) for id in rejected])
            log.error("batching: the store will not take %s: %s", collection.name, _summary(rejected))
        return {ids[number]: error for number, error in delivery.errors.items() if not is_item_error(error)}

    def _send(self, entries: Sequence[Entry], collection: Collection[Any]) -> Mapping[int, Exception]:
        """Store entries in rounds, of which each has one record of an id."""
        errors: dict[int, Exception] = {}
        left = list(entries)
        failed: set[str] = set()
        while left:
            this: dict[str, tuple[int, Record]] = {}
            later: list[Entry] = []
            for entry in left:
                if entry.key in this:
                    later.append(entry)
                elif entry.key not in failed:
                    try:
                        this[entry.key] = (entry.number, self.unpacked(entry.payload, collection))
                    except StoreError as error:
                        errors[entry.number] = error
            for id, failure in self._put(this, collection).items():
                errors[this[id][0]] = failure
                if not is_item_error(failure):
                    failed.add(id)
            left = later
        return errors

    def _put(self, entries: Mapping[str, tuple[int, Record]], collection: Collection[Any]) -> Errors:
        """Store records with different ids at once, one by one if they fail together for no reason of the store's."""
        records = [record for _, record in entries.values()]
        if not records:
            return {}
        failed: dict[str, Exception] = {}
        token = delivering.set(True)
        try:
            self._base.put_records(records, collection=collection)
        except StoreBulkError as error:
            stored = set(error.stored)
            unknown = StoreWriteError(f"not stored: {error}", retryable=True)
            failed = {id: error.failed.get(id, unknown) for id in entries if id not in stored}
        except Exception as error:  # noqa: BLE001  # part of the outcome
            if len(records) > 1 and (is_item_error(error) or not isinstance(error, StoreError)):
                return {id: e for id in entries for e in self._put({id: entries[id]}, collection).values()}
            failed = dict.fromkeys(entries, error)
        finally:
            delivering.reset(token)
        for failure in failed.values():
            if isinstance(failure, StoreConflictError):
                failure.retryable = True  # these writes expect nothing: a layer below lost a race
        return failed

    def _flush_in_thread(self) -> None:
        failed = self._deliver_all(wait=0)
        if failed:
            raise next(iter(failed.values()))

    def _flush_at_exit(self) -> None:
        if not self.closed:
            self._deliver_all()

    def figures(self) -> dict[str, int]:
        """Return counts, of all collections that were used."""
        topics = [f"{self._place}/{name}" for name in list(self._collections)]
        return {
            "pending": sum(self.queue.count(topic) for topic in topics),
            "pending_bytes": sum(self.queue.size(topic) for topic in topics),
            "rejected": sum(len(self.queue.rejected(topic)) for topic in topics),
            "delivered": self._delivered,
        }

    def close(self) -> None:
        """Deliver pending saves, and close the queue. Those that cannot be stored now wait in the file of a durable queue.

        Raises:
            StoreWriteError: something was rejected since the last flush; or it waits in memory only: then nothing is
                closed, and closing again tries again.
        """
        if self.closed:
            return
        if not self._config.durable:
            self.flush()
        self.closed = True
        self.loop.close()
        try:
            if self._config.durable and self.loop.error is None:  # else the thread has just tried
                self._deliver_all()
            if self.loop.error is not None:
                log.warning("batching: closed while %d items wait in %s", self.figures()["pending"], self.queue)
            rejection = self._rejection()
            if rejection is not None:
                raise rejection
        finally:
            self.queue.close()


class _Block(threading.local):
    """The records that a thread saves within `batch()`; None outside."""

    records: list[tuple[Collection[Any], Record]] | None = None


class _LateText(Derivation, frozen=True, gc=False):
    """Derives the words for full-text queries, which takes longest, when the record is stored; bytes of no item have none."""

    def text(self) -> str:
        try:
            return super().text()
        except StoreCorruptError:
            return ""


def queue_path(base: BaseStore[Any], folder: str) -> str | None:
    """Return the file for the queue of a store, absolute, for the program may change its folder; None for a store in memory.

    Raises:
        StoreConfigError: nothing names it.
    """
    if not base.identity:
        *_, backend = base.layers()
        if backend.name == "memory":
            return None  # what it holds ends with the process too
        raise StoreConfigError(
            f"nothing tells this {type(backend).__name__} from others of its class: give path= for the file of its queue"
        )
    name = re.sub(r"[^a-z0-9]+", "-", base.identity.lower()).strip("-")[-40:]
    digest = hashlib.sha256(base.identity.encode()).hexdigest()[:16]
    return os.path.abspath(os.path.join(folder, f"{name}-{digest}.db"))


def _summary(failed: Errors) -> str:
    id, error = next(iter(failed.items()))
    return f"{len(failed)} items could not be stored, first {shown(id)}: {type(error).__name__}: {error}"
