"""A sink that writes in a thread of its own."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreError, StoreOverloadedError
from truthstore.forking import watch_forks
from truthstore.observability.sinks import AuditBackend, as_store_error

if TYPE_CHECKING:
    from truthstore.observability.events import AuditEvent

__all__ = ["AsyncAuditBackend"]

log: Final = logging.getLogger("truthstore.observability")


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
        self._changed = threading.Condition()
        self._reset()
        self.errors = 0
        watch_forks(self)
        _running.add(self)

    def _reset(self) -> None:
        self._waiting: deque[Sequence[AuditEvent]] = deque()
        self._failed: dict[str, tuple[StoreError, list[Sequence[AuditEvent]]]] = {}
        self._worker: threading.Thread | None = None
        self._is_writing = False
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
        with self._changed:
            try:
                self._start()
            except RuntimeError:  # the interpreter ends and starts no more threads: here, then
                self._backend.write(events)
                return
            if not self._changed.wait_for(lambda: len(self._waiting) < self._max, self._timeout):
                raise StoreOverloadedError(f"the audit sink takes nothing since {self._timeout} s")
            if failed := self._failed.get(events[0].chain):
                raise failed[0]
            self._waiting.append(events)
            self._changed.notify_all()

    def take_back(self, chain: str) -> list[AuditEvent]:
        """The events of a chain since the first that could not be written."""
        with self._changed:
            if chain not in self._failed:
                return []
            self._fail_waiting(chain)
            _, batches = self._failed.pop(chain)
            return [event for events in batches for event in events]

    def _fail_waiting(self, chain: str) -> None:
        """What waits behind events that failed must not overtake them; under the lock."""
        self._failed[chain][1].extend(events for events in self._waiting if events[0].chain == chain)
        self._waiting = deque(events for events in self._waiting if events[0].chain != chain)

    def _start(self) -> None:
        if self._worker is None:
            self._is_closing = False
            worker = threading.Thread(target=self._work, name="truthstore-audit", daemon=True)
            worker.start()
            self._worker = worker

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting:
                    return
                events = self._waiting.popleft()
                self._is_writing = True
            try:
                self._backend.write(events)
            except BaseException as error:  # noqa: BLE001  # without its thread the sink would hang
                self._keep(events, as_store_error(error))

    def _keep(self, events: Sequence[AuditEvent], error: StoreError) -> None:
        log.warning("%d audit events were not written: %s", len(events), error)
        with self._changed:
            self.errors += 1
            self._failed[events[0].chain] = (error, [events])
            self._fail_waiting(events[0].chain)

    def flush(self) -> None:
        """Waits until everything is written. What could not be written is tried once more.

        Raises:
            StoreError: something could not be written.
        """
        with self._changed:
            again = [events for _, batches in self._failed.values() for events in batches]
            self._failed.clear()
            self._waiting.extendleft(reversed(again))
            if self._waiting:
                self._start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing)
            failed = next(iter(self._failed.values()), None)
        self._backend.flush()
        if failed is not None:
            raise failed[0]

    def read(self) -> Iterator[AuditEvent]:
        """Every event that is written."""
        return self._backend.read()

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events that are written, since a time."""
        return self._backend.recent(since)

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
                with self._changed:
                    self._is_closing = True
                    self._changed.notify_all()
                worker.join()
            self._worker = None
            self._backend.close()

    def before_fork(self) -> None:
        """Waits until the thread is not between two states."""
        self._changed.acquire()

    def after_fork(self, *, child: bool) -> None:
        """What the parent has, the parent writes."""
        self._changed.release()
        if child:
            self._changed = threading.Condition()
            self._reset()


_running: Final[weakref.WeakSet[AsyncAuditBackend]] = weakref.WeakSet()


def _flush_all() -> None:
    for backend in list(_running):
        try:
            backend.flush()
        except Exception as error:  # noqa: BLE001  # the others have their turn
            log.warning("audit events were lost at exit: %s", error)


atexit.register(_flush_all)
