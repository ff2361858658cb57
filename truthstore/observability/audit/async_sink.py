"""A sink that writes in a thread of its own."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from truthstore.errors import StoreError, StoreOverloadedError
from truthstore.observability.audit.sink import AuditBackend, as_store_error
from truthstore.runtime.forks import Rank, watch_forks

if TYPE_CHECKING:
    from truthstore.observability.audit.event import AuditEvent

__all__ = ["AsyncAuditBackend"]

log: Final = logging.getLogger("truthstore.observability")


class _Batch(NamedTuple):
    """What was handed over together: events of one chain, and whether the sink may have some of them."""

    events: Sequence[AuditEvent]
    again: bool = False

    @property
    def chain(self) -> str:
        return self.events[0].chain


class AsyncAuditBackend(AuditBackend):
    """Writes to another sink in a thread of its own. What waits at exit is written then.

    What could not be written is kept: an audit logger takes it back, and does with it as its policy says. For others
    `flush` tries again.

    Args:
        backend: the sink.
        max_waiting: when so many batches wait, `write` waits too.
        timeout_seconds: and gives up after so long.
    """

    def __init__(self, backend: AuditBackend, *, max_waiting: int = 1_000, timeout_seconds: float = 5.0) -> None:
        self._backend = backend
        self.in_order = backend.in_order
        self._max = max_waiting
        self._timeout = timeout_seconds
        self._reset()
        self.errors = 0
        watch_forks(self, Rank.AUDIT_SINK)
        _running.add(self)

    def _reset(self) -> None:
        # Taken by itself: an interrupt within `Condition.__enter__` would leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[_Batch] = deque()
        self._writing: _Batch | None = None
        self._handed_back: _Batch | None = None
        self._failed: dict[str, tuple[StoreError, list[_Batch]]] = {}
        self._worker: threading.Thread | None = None
        self._is_closing = False

    @property
    def identity(self) -> str:
        """That of the other sink."""
        return self._backend.identity

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Hands events over.

        Raises:
            StoreOverloadedError: the sink cannot keep up.
            StoreError: events of this chain that were handed over earlier could not be written. These were not taken.
        """
        self._hand_over(_Batch(events))

    def write_again(self, events: Sequence[AuditEvent]) -> None:
        """Hands events over of which the sink may have some; what it lacks is found out when their turn has come.

        Raises:
            StoreError: as for `write`.
        """
        self._hand_over(_Batch(events, again=True))

    def _hand_over(self, batch: _Batch) -> None:
        with self._lock:
            if self._can_start():
                if not self._changed.wait_for(lambda: self._has_room(batch.chain), self._timeout):
                    raise StoreOverloadedError(f"the audit sink takes nothing since {self._timeout} s")
                if failed := self._failed.get(batch.chain):
                    raise failed[0]
                self._waiting.append(batch)
                self._changed.notify_all()
                return
        # Without the lock: nobody who holds it waits for another.
        self._put(batch)

    def _has_room(self, chain: str) -> bool:
        # What is being written and was handed back is waited for: else more would pile up behind a sink that is stuck.
        is_stuck = self._writing is not None and self._writing is self._handed_back and self._writing.chain == chain
        return len(self._waiting) < self._max and not is_stuck

    def _put(self, batch: _Batch) -> None:
        if batch.again:
            self._backend.write_again(batch.events)
        else:
            self._backend.write(batch.events)

    def take_back(self, chain: str) -> list[AuditEvent]:
        """All events of a chain that are not written yet, and those that are being written: these may arrive.

        What came later goes elsewhere; what came earlier must not stay where a kill would lose it, for then the chain
        has a gap.
        """
        with self._lock:
            _, batches = self._failed.get(chain, (None, []))
            if self._writing is not None and self._writing.chain == chain:
                self._handed_back = self._writing
                batches = [*batches, self._writing]
            batches = [*batches, *(batch for batch in self._waiting if batch.chain == chain)]
            found = {(event.sequence if chain else id(event)): event for batch in batches for event in batch.events}
            self._waiting = deque(batch for batch in self._waiting if batch.chain != chain)
            self._failed.pop(chain, None)
            self._changed.notify_all()
            return sorted(found.values(), key=lambda event: event.sequence)

    def _can_start(self) -> bool:
        """Whether there is a thread; under the lock."""
        if self._worker is None:
            self._is_closing = False
            worker = threading.Thread(target=self._work, name="truthstore-audit", daemon=True)
            try:
                worker.start()
            except RuntimeError:
                return False  # the interpreter ends and starts no more threads
            self._worker = worker
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                self._writing = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting:
                    return
                batch = self._writing = self._waiting.popleft()
            try:
                self._put(batch)
            except BaseException as error:  # noqa: BLE001  # without its thread the sink would hang
                self._keep(batch, as_store_error(error))

    def _keep(self, batch: _Batch, error: StoreError) -> None:
        log.warning("%d audit events were not written: %s", len(batch.events), error)
        with self._lock:
            self.errors += 1
            # What waits behind events that failed must not overtake them.
            behind = [waiting for waiting in self._waiting if waiting.chain == batch.chain]
            self._failed[batch.chain] = (error, [batch, *behind])
            self._waiting = deque(waiting for waiting in self._waiting if waiting.chain != batch.chain)

    def flush(self) -> None:
        """Waits until everything is written. What could not be written is tried once more.

        Raises:
            StoreError: something could not be written.
        """
        with self._lock:
            again = [batch._replace(again=True) for _, batches in self._failed.values() for batch in batches]
            self._waiting.extendleft(reversed(again))
            self._failed.clear()
            is_alone = bool(self._waiting) and not self._can_start()
        if is_alone:
            self._write_here()
        with self._lock:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and self._writing is None)
            failed = next(iter(self._failed.values()), None)
        self._backend.flush()
        if failed is not None:
            raise failed[0]

    def _write_here(self) -> None:
        while self._waiting:
            batch = self._waiting.popleft()
            try:
                self._put(batch)
            except Exception as error:  # noqa: BLE001  # as in the thread
                self._keep(batch, as_store_error(error))

    def read(self) -> Iterator[AuditEvent]:
        """Every event that is written."""
        return self._backend.read()

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events that are written, since a time."""
        return self._backend.recent(since)

    def of_chains(self, chains: Collection[str]) -> Iterator[AuditEvent]:
        """Events of some chains that are written."""
        return self._backend.of_chains(chains)

    def last(self, chain: str) -> int:
        """The place of the newest event of a chain that is written."""
        return self._backend.last(chain)

    def heads(self) -> dict[str, str]:
        """The heads that are written."""
        return self._backend.heads()

    def close(self) -> None:
        """Writes what waits, and closes the other sink."""
        _running.discard(self)
        try:
            self.flush()
        finally:
            worker = self._worker
            if worker is not None:
                with self._lock:
                    self._is_closing = True
                    self._changed.notify_all()
                worker.join()
            self._worker = None
            self._backend.close()

    def before_fork(self) -> None:
        """Waits until the thread is not between two states. Whoever holds this lock waits for no other."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """What the parent has, the parent writes."""
        self._lock.release()
        if child:
            self._reset()


_running: Final[weakref.WeakSet[AsyncAuditBackend]] = weakref.WeakSet()


def _flush_all() -> None:
    for backend in list(_running):
        try:
            backend.flush()
        except Exception as error:  # noqa: BLE001  # the others have their turn
            log.warning("audit events were lost at exit: %s", error)


atexit.register(_flush_all)
