"""Write-behind: writes wait in a durable queue, and are stored soon after in the order in which they came."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection as Several, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreBulkError, StoreError, StoreNotFoundError, StoreWriteError
from truthstore.packing import pack, unpack
from truthstore.record import Record, new_revision
from truthstore.spool import Entry, Spool

if TYPE_CHECKING:
    from truthstore.caching.base import CacheConfig
    from truthstore.caching.coherence import Key
    from truthstore.collection import Collection
    from truthstore.store import BaseStore

__all__ = ["WriteBehind"]

FOLDER: Final = os.path.join(".truthstore", "spool")
log: Final = logging.getLogger("truthstore.caching")


class WriteBehind:
    """Takes writes for a store and delivers them.

    Args:
        base: the store.
        config: where the queue lies, and how often it is delivered.
        identity: the name of the store; several stores may share one queue.
        delivered: told of keys that were delivered, beside what the store announces itself.
    """

    def __init__(
        self,
        base: BaseStore[Any],
        config: CacheConfig,
        identity: Callable[[], str],
        delivered: Callable[[Sequence[Key]], None],
    ) -> None:
        self._base = base
        self._config = config
        self._identity = identity
        self._delivered = delivered
        self._lock = threading.Lock()
        self._queue: Spool | None = None
        self._collections: dict[str, Collection[Any]] = {}
        self._stop = threading.Event()
        self._thread: tuple[int, threading.Thread] | None = None
        self.errors = 0

    def _spool(self) -> Spool:
        if self._queue is None:
            path = self._config.spool_path or os.path.join(FOLDER, f"{self._identity()}.db")
            with self._lock:
                if self._queue is None:
                    self._queue = Spool(path, durability=self._config.spool_durability)
        return self._queue

    def _topic(self, collection: Collection[Any]) -> str:
        self._collections.setdefault(collection.name, collection)
        return f"{self._identity()}/{collection.name}"

    def put(self, records: Sequence[Record], collection: Collection[Any]) -> list[Record]:
        """Takes records durably; their heads, with a revision that holds until they are stored.

        Raises:
            StoreWriteError: the queue could not take them.
        """
        stored = [Record(record.meta, record.body, new_revision()) for record in records]
        entries = [(record.id, pack(record)) for record in stored]
        self._spool().append(self._topic(collection), entries)
        self._wake()
        return stored

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """What waits for an id."""
        entry = self._spool().find(self._topic(collection), id)
        return None if entry is None else unpack(entry.payload)

    @property
    def waiting(self) -> int:
        """How many writes wait, of all collections that were used."""
        return sum(self._spool().count(self._topic(collection)) for collection in list(self._collections.values()))

    def drain(self, collection: Collection[Any], ids: Several[str] | None = None) -> None:
        """Stores what waits in a collection.

        Args:
            collection: the collection.
            ids: complain only of these.

        Raises:
            StoreWriteError: something could not be stored; it still waits.
        """
        failed = self._deliver(collection)
        if ids is not None:
            failed = {id: error for id, error in failed.items() if id in ids}
        if failed:
            id, error = next(iter(failed.items()))
            raise StoreWriteError(
                f"{len(failed)} writes of {collection.name} were taken and cannot be stored yet; they wait in "
                f"{self._spool().path}; first: {error}",
                backend=self._base.name,
                collection=collection.name,
                identifier=id,
                retryable=True,
            ) from error

    def flush(self) -> None:
        """Stores what waits in every collection that was used.

        Raises:
            StoreWriteError: something could not be stored; it still waits.
        """
        for collection in list(self._collections.values()):
            self.drain(collection)

    def recover(self, collection: Collection[Any]) -> None:
        """Stores what an earlier process left in a collection; what cannot be stored is logged, and waits."""
        self._topic(collection)
        self.flush_quietly()

    def flush_quietly(self) -> None:
        """Stores what can be stored, and logs the rest."""
        try:
            self.flush()
        except StoreError as error:
            log.warning("write-behind: %s", error)

    def _deliver(self, collection: Collection[Any]) -> dict[str, Exception]:
        topic, spool = self._topic(collection), self._spool()
        keys: dict[int, str] = {}

        def send(entries: Sequence[Entry]) -> Mapping[int, Exception]:
            keys.update((entry.number, entry.key) for entry in entries)
            return self._send(entries, collection)

        failed = spool.deliver(topic, send)
        self.errors += len(failed)
        return {keys.get(number, ""): error for number, error in failed.items()}

    def _send(self, entries: Sequence[Entry], collection: Collection[Any]) -> Mapping[int, Exception]:
        failed: dict[str, Exception] = {}
        records = [unpack(entry.payload) for entry in entries]
        landed: dict[str, int] = {}
        for id in dict.fromkeys(entry.key for entry in entries if entry.tried):
            try:
                landed[id] = self._stored_at(id, collection)
            except StoreError as error:
                failed[id] = error
        # A process was killed after storing them, or an answer was lost: what led to what is stored now was stored too.
        done = {
            number
            for number, (entry, record) in enumerate(zip(entries, records, strict=True))
            if entry.tried and landed.get(entry.key) == record.meta.stored_at
        }
        last = {records[number].id: number for number in sorted(done)}
        records = [
            record
            for number, record in enumerate(records)
            if record.id not in failed and number > last.get(record.id, -1)
        ]
        if records:
            try:
                self._base.put_records(records, collection=collection)
            except StoreBulkError as error:
                failed.update(error.failed)
            except StoreError as error:
                failed.update((record.id, error) for record in records)
        self._delivered([(collection.name, entry.key) for entry in entries])
        return {entry.number: failed[entry.key] for entry in entries if entry.key in failed}

    def _stored_at(self, id: str, collection: Collection[Any]) -> int:
        try:
            return self._base.head_record(id, collection=collection).meta.stored_at
        except StoreNotFoundError:
            return -1

    def _wake(self) -> None:
        interval = self._config.flush_interval_seconds
        if interval is None:
            return
        known = self._thread
        if known is not None and known[0] == os.getpid() and known[1].is_alive():
            return
        with self._lock:
            known = self._thread
            if known is None or known[0] != os.getpid() or not known[1].is_alive():
                self._stop = threading.Event()
                thread = threading.Thread(
                    target=_keep_delivering,
                    args=(weakref.ref(self), self._stop, interval),
                    name="truthstore-write-behind",
                    daemon=True,
                )
                self._thread = (os.getpid(), thread)
                thread.start()
                _open.add(self)

    def close(self) -> None:
        """Stores what waits and closes the queue.

        Raises:
            StoreWriteError: something could not be stored; it waits in the queue for the next process.
        """
        _open.discard(self)
        self._stop.set()
        known = self._thread
        if known is not None and known[0] == os.getpid() and known[1] is not threading.current_thread():
            known[1].join()
        if self._queue is not None:
            try:
                self.flush()
            finally:
                self._queue.close()


def _keep_delivering(reference: weakref.ref[WriteBehind], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        behind = reference()
        if behind is None:
            return
        behind.flush_quietly()
        del behind


_open: Final[weakref.WeakSet[WriteBehind]] = weakref.WeakSet()


def _flush_all() -> None:
    for behind in list(_open):
        behind.flush_quietly()


atexit.register(_flush_all)
