"""Write-behind: writes wait in a durable queue, and are stored soon after in the order in which they came."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection as Several, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.caching.delivering import Delivery
from truthstore.caching.refused import Refused, is_refusal
from truthstore.caching.sending import Sender
from truthstore.caching.taken import Seen, Taken, now, readable, superseded
from truthstore.errors import StoreBulkError, StoreClosedError, StoreConflictError, StoreError, StoreWriteError, shown
from truthstore.runtime.forks import Rank, watch_forks
from truthstore.storage.queue.spool import Spool

if TYPE_CHECKING:
    from truthstore.caching.base import CacheConfig
    from truthstore.caching.coherence import Key
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore

__all__ = ["WriteBehind"]

FOLDER: Final = os.path.join(".truthstore", "spool")
log: Final = logging.getLogger("truthstore.caching")


class WriteBehind:
    """Takes writes for a store and delivers them.

    Args:
        base: the store.
        config: where the queue lies, and how often it is delivered.
        identity: the name of the store; several stores may share one queue.
        changed: told of keys of which something else is found from now on, beside what the store announces itself.
    """

    def __init__(
        self,
        base: BaseStore[Any],
        config: CacheConfig,
        identity: Callable[[], str],
        changed: Callable[[Sequence[Key]], None],
    ) -> None:
        self._base = base
        self._config = config
        self._identity = identity
        self._changed = changed
        self._queue: Spool | None = None
        self._collections: dict[str, Collection[Any]] = {}
        # Now, for the program may change its folder before the first write.
        self._place = os.path.abspath(config.spool_path or FOLDER)
        self._sender = Sender(base)
        self._refused = Refused(self._spool)
        self._delivery = Delivery(self._spool, self._sender, self._refused, changed)
        self._seen = Seen()
        self._is_closed = False
        self._anew()
        watch_forks(self, Rank.WRITE_BEHIND)

    def _anew(self) -> None:
        # Nothing else is locked by whoever holds it.
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def before_fork(self) -> None:
        """Nothing: what the locks guard is whole at every moment, so that a child needs only locks of its own."""

    def after_fork(self, *, child: bool) -> None:
        """A child has none of the threads that may have held a lock."""
        if child:
            self._anew()
            self._refused.anew()
            self._seen.anew()

    def _spool(self) -> Spool:
        if self._queue is None:
            path = self._place if self._config.spool_path else os.path.join(self._place, f"{self._identity()}.db")
            with self._lock:
                if self._queue is None:
                    if self._is_closed:
                        raise StoreClosedError(f"the queue in {path} was closed")
                    self._queue = Spool(path, durability=self._config.spool_durability)
        return self._queue

    def _topic(self, collection: Collection[Any]) -> str:
        self._collections.setdefault(collection.name, collection)
        return f"{self._identity()}/{collection.name}"

    def saw(self, record: Record, collection: Collection[Any]) -> None:
        """What is taken from now on is newer than this record, whatever the clock of its writer said."""
        self._seen.note([(collection.name, record.meta.id)], record.meta.stored_at)

    def watch(self, records: Iterable[Record], collection: Collection[Any]) -> Generator[Record]:
        """The same records, each of which is seen when it is asked for."""
        for record in records:
            self.saw(record, collection)
            yield record

    @contextlib.contextmanager
    def directly(self, ids: Sequence[str], collection: Collection[Any]) -> Generator[None]:
        """While something is written or removed that does not wait: it came after all that was taken before."""
        topic, started = self._topic(collection), now()
        # Before, for after a crash what was removed must not come back.
        outdated = self._refused.outdate(topic, ids)
        try:
            yield
        except StoreError as error:
            if _changed_nothing(error):
                self._refused.restore(topic, outdated)
            raise
        finally:
            self._seen.note([(collection.name, id) for id in ids], started, now())

    def write(
        self, records: Sequence[Record], collection: Collection[Any], write: Callable[[], list[Record]]
    ) -> list[Record]:
        """Writes what does not wait, and returns the heads."""
        for record in records:
            self.saw(record, collection)
        with self.directly([record.id for record in records], collection):
            heads = write()
        for head in heads:
            self.saw(head, collection)
        return heads

    def put(self, records: Sequence[Record], collection: Collection[Any]) -> list[Record]:
        """Takes records durably; their heads, with a revision that holds until they are stored.

        Raises:
            StoreWriteError: the queue could not take them.
        """
        stored = list(records)
        self._spool().append(self._topic(collection), [self._taken(record, collection) for record in stored])
        self._wake()
        return stored

    def _taken(self, record: Record, collection: Collection[Any]) -> tuple[str, bytes]:
        key, time = (collection.name, record.meta.id), now()
        taken = Taken(time, self._seen.later(key, time), record)
        self._seen.note([key], record.meta.stored_at)
        return record.meta.id, taken.pack()

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """What waits for an id, unless the store has something newer."""
        topic, spool = self._topic(collection), self._spool()
        entry = spool.find(topic, id)
        if entry is None:
            return None
        taken = Taken.of(entry)
        try:
            head = self._sender.stored_at(id, collection)
        except Exception:  # noqa: BLE001  # nothing newer is known, and delivering it will tell what is wrong
            return taken.record
        if not taken.is_older_than(head):
            return taken.record
        earlier = dict(readable(spool.entries(topic, id)))
        return None if entry.number in superseded(earlier, {id: head}) or entry.number not in earlier else taken.record

    @property
    def waiting(self) -> int:
        """How many writes wait, of all collections that were used."""
        return sum(self._spool().count(self._topic(collection)) for collection in list(self._collections.values()))

    def figures(self) -> dict[str, Any]:
        """How many writes wait, failed and were superseded, and the ids of what the store refused for good."""
        refused = [
            id for collection in list(self._collections.values()) for id in self._refused.ids(self._topic(collection))
        ]
        return {
            "waiting": self.waiting,
            "errors": self._delivery.errors,
            "refused": refused,
            "superseded": self._delivery.superseded,
        }

    def find_refused(self, collection: Collection[Any]) -> list[Record]:
        """What was refused and can be read, in the order in which it was taken."""
        return self._refused.records(self._topic(collection))

    def discard(self, collection: Collection[Any], ids: Several[str] | None = None) -> int:
        """Gives up what was refused, and returns how much that was."""
        return self._refused.discard(self._topic(collection), collection.name, ids)

    def retry(self, collection: Collection[Any]) -> int:
        """Lets what was refused wait again, but for what was removed or replaced since; how much waits again."""
        retried = self._refused.retry(
            self._topic(collection), collection.name, lambda ids: self._sender.heads(ids, collection)[0]
        )
        self._changed([(collection.name, id) for id in retried.ids])
        if retried.left:
            log.warning(
                "write-behind: %s writes of %s were refused, and then removed or replaced: they are not tried again; "
                "refused() lists them, discard_refused() gives them up",
                retried.left,
                collection.name,
            )
        if retried.again:
            self._wake()
        return retried.again

    def drain(self, collection: Collection[Any], ids: Several[str] | None = None) -> None:
        """Stores what waits in a collection; what is refused for good waits no longer.

        Args:
            collection: the collection.
            ids: complain only of these.

        Raises:
            StoreWriteError: something could not be stored; it still waits.
        """
        failed = self._delivery.deliver(self._topic(collection), collection)
        if failed:
            self._wake()  # as after a write: what waits is tried again
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

    def flush(self, collection: Collection[Any] | None = None) -> None:
        """Stores what waits in every collection that was used.

        Args:
            collection: one more, though nothing was written to it yet.

        Raises:
            StoreWriteError: something could not be stored, and still waits, or was refused for good, which is said once.
        """
        if collection is not None:
            self._collections.setdefault(collection.name, collection)
        complaints: list[Exception] = []
        for each in list(self._collections.values()):
            try:
                self.drain(each)
            except Exception as error:  # noqa: BLE001  # raised when all others were stored
                complaints.append(error)
        refusal = self._complaint()
        if refusal is not None:
            complaints.append(refusal)
        if len(complaints) == 1:
            raise complaints[0]
        if complaints:
            raise StoreWriteError(
                "; ".join(map(str, complaints)), backend=self._base.name, retryable=True
            ) from complaints[0]

    def _complaint(self) -> StoreWriteError | None:
        """What was refused since the last flush."""
        untold = self._refused.told()
        if not untold:
            return None
        (_, id), error = next(iter(untold.items()))
        complaint = StoreWriteError(
            f"{len(untold)} items were taken and then refused: see refused() and discard_refused(); "
            f"first: {shown(id)}: {error}",
            backend=self._base.name,
            identifier=id,
        )
        complaint.__cause__ = error
        return complaint

    def recover(self, collection: Collection[Any]) -> None:
        """Stores what an earlier process left in a collection; what cannot be stored is logged, and waits."""
        self._topic(collection)
        if not self.flush_quietly():
            self._wake()

    def flush_quietly(self) -> bool:
        """Stores what can be stored, and logs the rest; whether that was all."""
        is_all = True
        for collection in list(self._collections.values()):
            try:
                self.drain(collection)
            except StoreError as error:
                is_all = False
                log.warning("write-behind: %s", error)
            except Exception:
                # The thread goes on: what waits is tried again.
                is_all = False
                self._delivery.errors += 1
                log.exception("write-behind: what waits in %s could not be delivered", collection.name)
        return is_all

    def _wake(self) -> None:
        interval = self._config.flush_interval_seconds
        if interval is None or (self._thread is not None and self._thread.is_alive()):
            return
        with self._lock:
            if self._is_closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(
                target=_keep_delivering,
                args=(weakref.ref(self), self._stop, interval),
                name="truthstore-write-behind",
                daemon=True,
            )
            self._thread.start()
            _open.add(self)

    def close(self) -> None:
        """Stores what waits and closes the queue.

        Raises:
            StoreWriteError: something could not be stored; it waits in the queue for the next process.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            thread = self._thread
            _open.discard(self)
        self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._queue is not None:
            try:
                self.flush()
            finally:
                self._queue.close()


def _changed_nothing(error: StoreError) -> bool:
    """Whether what raised this has surely written and removed nothing."""
    return isinstance(error, StoreConflictError) or (not isinstance(error, StoreBulkError) and is_refusal(error))


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
