"""Write-behind: writes wait in a durable queue, and are stored soon after in the order in which they came."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import struct
import threading
import time
import weakref
from collections.abc import Callable, Collection as Several, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import (
    StoreBulkError,
    StoreClosedError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreReadError,
    StoreWriteError,
    shown,
)
from truthstore.packing import pack, unpack
from truthstore.query import EVERYTHING
from truthstore.record import Record, new_revision
from truthstore.spool import Entry, Spool

if TYPE_CHECKING:
    from truthstore.caching.base import CacheConfig
    from truthstore.caching.coherence import Key
    from truthstore.collection import Collection
    from truthstore.store import BaseStore

__all__ = ["WriteBehind"]

FOLDER: Final = os.path.join(".truthstore", "spool")
REFUSED: Final = "refused:"
"""Before the topic of what the store refused for good."""
FEW: Final = 8
OF_THE_STORE: Final = (
    StoreClosedError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreReadError,
)
"""Errors that do not judge an item."""
_TIME: Final = struct.Struct(">q")
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
        # Now, for the program may change its folder before the first write.
        self._place = os.path.abspath(config.spool_path or FOLDER)
        self._clock = 0
        self._untold: dict[str, Exception] = {}
        self.errors = 0

    def _spool(self) -> Spool:
        if self._queue is None:
            path = self._place if self._config.spool_path else os.path.join(self._place, f"{self._identity()}.db")
            with self._lock:
                if self._queue is None:
                    self._queue = Spool(path, durability=self._config.spool_durability)
        return self._queue

    def _topic(self, collection: Collection[Any]) -> str:
        self._collections.setdefault(collection.name, collection)
        return f"{self._identity()}/{collection.name}"

    def _tick(self, stored_at: int) -> int:
        """A time behind all that this object has given or seen: writes keep their order when the clock is set back."""
        with self._lock:
            self._clock = max(time.time_ns() // 1_000, self._clock + 1, stored_at)
            return self._clock

    def saw(self, record: Record) -> None:
        """What is taken from now on is newer than this record, whatever the clock of its writer said."""
        with self._lock:
            self._clock = max(self._clock, record.meta.stored_at)

    def put(self, records: Sequence[Record], collection: Collection[Any]) -> list[Record]:
        """Takes records durably; their heads, with a revision that holds until they are stored.

        Raises:
            StoreWriteError: the queue could not take them.
        """
        stored = [Record(record.meta, record.body, new_revision()) for record in records]
        entries = [(record.id, _taken(self._tick(record.meta.stored_at), record)) for record in stored]
        self._spool().append(self._topic(collection), entries)
        self._wake()
        return stored

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """What waits for an id, unless the store has something newer."""
        entry = self._spool().find(self._topic(collection), id)
        if entry is None:
            return None
        taken, record = _opened(entry)
        try:
            return None if self._stored_at(id, collection) >= taken else record
        except StoreError:
            return record  # nothing newer is known

    @property
    def waiting(self) -> int:
        """How many writes wait, of all collections that were used."""
        return sum(self._spool().count(self._topic(collection)) for collection in list(self._collections.values()))

    @property
    def refused(self) -> list[str]:
        """Ids of what the store refused for good, of all collections that were used."""
        spool = self._spool()
        return [
            id
            for collection in list(self._collections.values())
            for id in spool.keys(REFUSED + self._topic(collection))
        ]

    def find_refused(self, collection: Collection[Any]) -> list[Record]:
        """What was refused and can be read, in the order in which it was taken."""
        topic, spool = REFUSED + self._topic(collection), self._spool()
        found: list[Record] = []
        last = 0
        while entries := spool.waiting(topic, after=last):
            last = entries[-1].number
            for entry in entries:
                with contextlib.suppress(StoreCorruptError):
                    found.append(_opened(entry)[1])
        return found

    def discard(self, collection: Collection[Any], ids: Several[str] | None = None) -> int:
        """Gives up what was refused, and returns how much that was."""
        topic, spool = REFUSED + self._topic(collection), self._spool()
        keys = [key for key in spool.keys(topic) if ids is None or key in ids]
        numbers = [entry.number for key in keys for entry in spool.entries(topic, key)]
        if numbers:
            spool.remove(numbers)
        self._forgive(keys)
        return len(numbers)

    def retry(self, collection: Collection[Any]) -> int:
        """Lets what was refused wait again, and returns how much that was."""
        topic, spool = self._topic(collection), self._spool()
        keys = spool.keys(REFUSED + topic)
        numbers = [entry.number for key in keys for entry in spool.entries(REFUSED + topic, key)]
        if numbers:
            spool.move(numbers, topic)
            self._delivered([(collection.name, key) for key in keys])  # what is cached of them may be older
        self._forgive(keys)
        return len(numbers)

    def _forgive(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._untold = {id: error for id, error in self._untold.items() if id not in ids}

    def drain(self, collection: Collection[Any], ids: Several[str] | None = None) -> None:
        """Stores what waits in a collection; what is refused for good waits no longer.

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
            StoreWriteError: something could not be stored, and still waits, or was refused for good, which is said once.
        """
        for collection in list(self._collections.values()):
            self.drain(collection)
        with self._lock:
            untold, self._untold = self._untold, {}
        if untold:
            id, error = next(iter(untold.items()))
            raise StoreWriteError(
                f"{len(untold)} items were taken and then refused: see refused() and discard_refused(); "
                f"first: {shown(id)}: {error}",
                backend=self._base.name,
                identifier=id,
            ) from error

    def recover(self, collection: Collection[Any]) -> None:
        """Stores what an earlier process left in a collection; what cannot be stored is logged, and waits."""
        self._topic(collection)
        self.flush_quietly()

    def flush_quietly(self) -> None:
        """Stores what can be stored, and logs the rest."""
        for collection in list(self._collections.values()):
            try:
                self.drain(collection)
            except StoreError as error:
                log.warning("write-behind: %s", error)
            except Exception:
                # The thread goes on: what waits is tried again.
                self.errors += 1
                log.exception("write-behind: what waits in %s could not be delivered", collection.name)

    def _deliver(self, collection: Collection[Any]) -> dict[str, Exception]:
        topic, spool = self._topic(collection), self._spool()
        while True:
            keys: dict[int, str] = {}
            refused: dict[int, Exception] = {}

            def send(
                entries: Sequence[Entry], keys: dict[int, str] = keys, refused: dict[int, Exception] = refused
            ) -> Mapping[int, Exception]:
                keys.update((entry.number, entry.key) for entry in entries)
                failed = self._send(entries, collection)
                new = {number: error for number, error in failed.items() if _is_refusal(error)}
                if new:
                    spool.move(list(new), REFUSED + topic)
                    refused.update(new)
                return failed

            failed = spool.deliver(topic, send)
            if not refused:
                self.errors += len(failed)
                return {keys.get(number, ""): error for number, error in failed.items()}
            self._refuse({keys[number]: error for number, error in refused.items()}, len(refused), collection)
            # Writes behind a refused one no longer wait for it.

    def _refuse(self, refused: Mapping[str, Exception], count: int, collection: Collection[Any]) -> None:
        with self._lock:
            self.errors += count
            self._untold.update(refused)
        id, error = next(iter(refused.items()))
        log.error(
            "write-behind: %s writes of %s were taken and are refused by the store; they are kept in %s; first: %s: %s",
            count,
            collection.name,
            self._spool().path,
            shown(id),
            error,
        )

    def _send(self, entries: Sequence[Entry], collection: Collection[Any]) -> dict[int, Exception]:
        failed: dict[int, Exception] = {}
        opened: dict[int, tuple[int, Record]] = {}
        for entry in entries:
            try:
                opened[entry.number] = _opened(entry)
            except StoreCorruptError as error:
                failed[entry.number] = error
        heads, unknown = self._heads(list(dict.fromkeys(entry.key for entry in entries)), collection)
        failed.update((entry.number, unknown[entry.key]) for entry in entries if entry.key in unknown)
        # A process was killed after storing them, or an answer was lost: what led to what is stored now was stored too.
        arrived = {
            entry.key: entry.number
            for entry in entries
            if entry.tried and entry.number in opened and heads.get(entry.key) == opened[entry.number][1].meta.stored_at
        }
        records = {
            entry.number: opened[entry.number][1]
            for entry in entries
            if entry.number not in failed
            and entry.number > arrived.get(entry.key, 0)
            and heads.get(entry.key, -1) < opened[entry.number][0]  # else somebody wrote after it was taken
        }
        if records:
            failed.update(self._put(records, collection))
        self._delivered([(collection.name, entry.key) for entry in entries])
        return failed

    def _put(self, records: Mapping[int, Record], collection: Collection[Any]) -> dict[int, Exception]:
        """The errors of records that could not be stored, by number."""
        by_id: Mapping[str, Exception]
        try:
            self._base.put_records(list(records.values()), collection=collection)
        except StoreBulkError as error:
            by_id = error.failed
        except StoreError as error:
            by_id = {record.id: error for record in records.values()}
        else:
            return {}
        failed: dict[int, Exception] = {}
        held: dict[str, Exception] = {}
        for number, record in records.items():
            problem = held.get(record.id) or by_id.get(record.id)
            if problem is not None and record.id not in held and len(records) > 1 and _is_refusal(problem):
                # It may concern another record: only what is refused on its own is refused.
                try:
                    self._base.put_record(record, collection=collection)
                    problem = None
                except StoreError as error:
                    problem = error
            if problem is not None:
                failed[number] = problem
                if not _is_refusal(problem):
                    held[record.id] = problem
        return failed

    def _heads(
        self, ids: Sequence[str], collection: Collection[Any]
    ) -> tuple[dict[str, int], dict[str, StoreReadError]]:
        """When what is stored now was written, and the errors of ids of which that cannot be told."""
        if len(ids) > FEW:
            query = EVERYTHING.replace(ids=tuple(ids), include_deleted=True)
            # One item that cannot be read must not hold up the others: then each is asked for on its own.
            with contextlib.suppress(StoreError):
                return {head.id: head.meta.stored_at for head in self._base.scan(query, collection=collection)}, {}
        heads: dict[str, int] = {}
        unknown: dict[str, StoreReadError] = {}
        for id in ids:
            try:
                heads[id] = self._stored_at(id, collection)
            except StoreError as error:
                unknown[id] = StoreReadError(f"what is stored now cannot be read: {error}", retryable=True)
        return heads, unknown

    def _stored_at(self, id: str, collection: Collection[Any]) -> int:
        try:
            return self._base.head_record(id, collection=collection).meta.stored_at
        except (StoreNotFoundError, StoreCorruptError):
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


def _taken(time: int, record: Record) -> bytes:
    return _TIME.pack(time) + pack(record)


def _opened(entry: Entry) -> tuple[int, Record]:
    """When an entry was taken, and the record."""
    if len(entry.payload) < _TIME.size:
        raise StoreCorruptError(f"entry {entry.number} of the queue is cut off", identifier=entry.key)
    return _TIME.unpack_from(entry.payload)[0], unpack(entry.payload[_TIME.size :])


def _is_refusal(error: Exception) -> bool:
    """Whether it is no use to try again. What the operating system says may pass: a full disk, a missing permission."""
    return (
        isinstance(error, StoreError)
        and not error.retryable
        and not isinstance(error, OF_THE_STORE)
        and not isinstance(error.__cause__, OSError)
    )


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
