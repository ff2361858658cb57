"""A sink that writes in a thread of its own."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreError, StoreOverloadedError
from truthstore.observability.sinks import AuditBackend

if TYPE_CHECKING:
    from truthstore.observability.events import AuditEvent

__all__ = ["AsyncAuditBackend"]

log: Final = logging.getLogger("truthstore.observability")


class AsyncAuditBackend(AuditBackend):
    """Writes to another sink in a thread of its own. What waits at exit is written then.

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
        self._start_lock = threading.Lock()
        self._queue: queue.Queue[Sequence[AuditEvent] | None] = queue.Queue(max_waiting)
        self._worker: tuple[int, threading.Thread] | None = None
        self._failed: StoreError | None = None
        self.errors = 0
        _running.add(self)

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Hands events over.

        Raises:
            StoreOverloadedError: the sink cannot keep up.
            StoreError: events that were handed over earlier could not be written.
        """
        self._start()
        self._complain()
        try:
            self._queue.put(events, timeout=self._timeout)
        except queue.Full:
            raise StoreOverloadedError(f"the audit sink takes nothing since {self._timeout} s") from None

    def _complain(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _start(self) -> None:
        with self._start_lock:
            if self._worker is not None and self._worker[0] == os.getpid() and self._worker[1].is_alive():
                return
            if self._worker is not None and self._worker[0] != os.getpid():
                self._queue = queue.Queue(self._max)  # what the parent has, the parent writes
            thread = threading.Thread(target=self._work, args=(self._queue,), name="truthstore-audit", daemon=True)
            self._worker = (os.getpid(), thread)
            thread.start()

    def _work(self, waiting: queue.Queue[Sequence[AuditEvent] | None]) -> None:
        while True:
            events = waiting.get()
            try:
                if events is None:
                    return
                self._backend.write(events)
            except StoreError as error:
                self.errors += 1
                self._failed = error
                log.warning("%d audit events were not written: %s", len(events or ()), error)
            finally:
                waiting.task_done()

    def flush(self) -> None:
        """Waits until everything is written.

        Raises:
            StoreError: something could not be written.
        """
        if self._worker is not None and self._worker[0] == os.getpid():
            self._queue.join()
        self._backend.flush()
        self._complain()

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
            if self._worker is not None and self._worker[0] == os.getpid():
                self._queue.put(None)
                self._worker[1].join()
            self._worker = None
            self._backend.close()


_running: Final[weakref.WeakSet[AsyncAuditBackend]] = weakref.WeakSet()


def _flush_all() -> None:
    for backend in list(_running):
        try:
            backend.flush()
        except StoreError as error:
            log.warning("audit events were lost at exit: %s", error)


atexit.register(_flush_all)
