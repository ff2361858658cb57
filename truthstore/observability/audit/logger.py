"""From operations to the trail: levels, redaction, the chain, batches, and the policy for a sink that fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConnectionError, StoreError, StoreWriteError
from truthstore.observability.audit.chain import ChainVerification, link, mark
from truthstore.observability.audit.config import AuditConfig, AuditLogLevel
from truthstore.observability.audit.event import (
    ALTERED,
    AuditEvent,
    AuditEventType,
    AuditStatus,
    decode_event,
    encode_event,
    reduced,
)
from truthstore.observability.audit.sinks import as_store_error
from truthstore.runtime.bell import Bell
from truthstore.runtime.exits import at_exit
from truthstore.runtime.forks import in_child
from truthstore.storage.queue.queue import DurableQueue, Entry

if TYPE_CHECKING:
    from truthstore.observability.audit.sinks import AuditBackend

__all__ = ["AuditLogger"]

WRITES: Final = frozenset({AuditEventType.SAVE, AuditEventType.CREATE, AuditEventType.UPDATE, AuditEventType.DELETE})
log: Final = logging.getLogger("truthstore.observability")


class AuditLogger:
    """Writes the audit trail of this process to a sink; at the end of the process it closes the chain.

    Args:
        backend: the sink.
        config: level, redaction, batches, policy.
    """

    def __init__(self, backend: AuditBackend, config: AuditConfig | None = None) -> None:
        self._backend = backend
        self._config = config or AuditConfig()
        self._reads = self._config.level is AuditLogLevel.VERBOSE
        self._failures = self._config.level is not AuditLogLevel.MINIMAL
        self._redactor = self._config.make_redactor()
        self._is_sync = self._config.mode == "sync"
        self._most = backend.max_waiting or self._config.batch_size
        self._topic = f"audit|{backend.identity}"
        self._queue = DurableQueue(self._config.spool_path)
        self._figures: dict[str, int] = dict.fromkeys(("written", "failed", "queued", "dropped", "altered"), 0)
        self._begin()
        self._uses_sink = True
        in_child(self._begin)
        at_exit(self.close)

    def _begin(self) -> None:
        """Begin with no chain and no events: a forked child has a chain of its own, its parent writes what waits there."""
        self._waiting: list[AuditEvent] = []
        self._timer: threading.Thread | None = None
        self._bell = Bell()
        self._is_dropped = False
        self._failed: StoreError | None = None
        # From here on, under this lock:
        self._writing = threading.RLock()
        self._is_writing = False
        self._uses_sink = False  # what a sink holds open is its parent's
        self._last: AuditEvent | None = None  # of the chain
        self._linked: list[AuditEvent] = []
        self._is_behind = False  # while the queue holds events, newer ones go there too

    @property
    def backend(self) -> AuditBackend:
        """The sink."""
        return self._backend

    @property
    def stats(self) -> dict[str, int]:
        """Numbers of events that were written, met a failing sink, were queued, dropped, altered to be encodable."""
        return dict(self._figures)

    def wants(self, kind: AuditEventType, status: AuditStatus) -> bool:
        """Return True if the level asks for such an event."""
        if status is not AuditStatus.SUCCESS:
            return self._failures
        return self._reads or kind in WRITES

    def log(self, event: AuditEvent) -> None:
        """Take an event if it is wanted; see `add`."""
        if self.wants(event.event_type, event.status):
            self.add(event)

    def add(self, event: AuditEvent) -> None:
        """Take an event.

        Raises:
            StoreError: by the policy ``raise``, the sink failed now or since the last event.
        """
        self._waiting.append(event)
        self._is_dropped = False  # a view of the store is still there
        if not self._is_sync and self._timer is None:
            self._start_timer()
        if self._is_sync or len(self._waiting) >= self._most:
            self._write()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _start_timer(self) -> None:
        # Until then the timer keeps the logger alive, also where nothing else does any more.
        self._timer = threading.Thread(target=self._write_in_time, name="audit", daemon=True)
        try:
            self._timer.start()
        except RuntimeError:  # the interpreter ends: `close` comes
            self._timer = None

    def _write_in_time(self) -> None:
        self._bell.wait(self._config.flush_interval_seconds)
        if self._timer is threading.current_thread():
            self.write_later()

    def end_soon(self) -> None:
        """Write what waits soon, and end the chain: the store is gone, and was not closed. A finalizer may do this."""
        self._is_dropped = True
        self._bell.ring()

    def write_later(self) -> None:
        """Write what waits, its time having come; an error is raised by the next call of `add`."""
        self._timer = None
        try:
            self._write(closing=self._is_dropped)
        except StoreError as error:
            log.warning("audit events were not written, and are kept: %s", error)
            self._failed = error
            self._start_timer()

    def _write(self, *, closing: bool = False) -> None:
        with self._writing:
            if self._is_writing:  # a signal handler in the midst of a write: its events are written below
                return
            self._is_writing = True
            try:
                for _ in range(2):  # no more: a subscriber that reads makes an event of every write, without end
                    self._link(closing=closing)
                    self._send()
            finally:
                self._is_writing = False

    def _link(self, *, closing: bool) -> None:
        """Give waiting events their places in the chain. Until then they wait, whatever interrupts."""
        waiting, heads = list(self._waiting), self._backend.heads
        events = [self._redacted(event) for event in waiting]
        if events and self._last is None:
            events.insert(0, mark(AuditEventType.OPEN, heads, events[0]))
        linked = link(self._last, events) if events else []
        last = linked[-1] if linked else self._last
        if closing and last is not None:
            linked += link(last, [mark(AuditEventType.CLOSE, heads, AuditEvent(event_type=AuditEventType.CLOSE))])
            last = None
        self._last, self._linked = last, [*self._linked, *linked]
        self._figures["altered"] += sum(ALTERED in event.metadata for event in linked)
        del self._waiting[: len(waiting)]

    def _redacted(self, event: AuditEvent) -> AuditEvent:
        try:
            return event if self._redactor is None else self._redactor.redact_event(event)
        except Exception as error:  # noqa: BLE001  # what cannot be redacted must not leave
            return reduced(event, f"it could not be redacted: {type(error).__name__}")

    def _send(self) -> None:
        if not self._linked:
            return
        self._uses_sink = True
        if self._is_behind:
            self._enqueue()
            self._deliver()
            return
        try:
            self._backend.write(self._linked)
            self._backend.flush()  # only then are they written
        except Exception as error:  # noqa: BLE001  # a sink may raise anything, and the policy holds for it
            self._sink_failed(as_store_error(error))
        else:
            self._figures["written"] += len(self._linked)
            self._linked = []

    def _sink_failed(self, error: StoreError) -> None:
        policy, count = self._config.on_error, len(self._linked)
        self._figures["failed"] += count
        if policy == "raise":
            raise StoreWriteError(
                f"the operation is done, but its audit event could not be written, and is kept: {error}"
            ) from error
        if policy == "drop":
            log.warning("%d audit events were dropped: %s", count, error)
            self._figures["dropped"] += count
            self._last, self._linked = None, []  # the next event begins another chain, so that none has a gap
            return
        log.warning("audit events are queued until the sink works: %s", error)
        self._enqueue()

    def _enqueue(self) -> None:
        batches = groupby(self._linked, key=attrgetter("chain"))
        self._queue.append(self._topic, [(chain, b"\n".join(map(encode_event, batch))) for chain, batch in batches])
        self._figures["queued"] += len(self._linked)
        self._is_behind, self._linked = True, []

    def _deliver(self) -> int:
        """Write what this and other processes queued for this sink, and return how many events that were."""
        counts: list[int] = []

        def send(entries: Sequence[Entry]) -> dict[int, Exception]:
            events = [decode_event(line) for entry in entries for line in entry.payload.split(b"\n")]
            try:
                self._backend.write(events)
                self._backend.flush()  # only then may they leave the queue
            except Exception as error:  # an event is never refused: the sink is what fails
                raise StoreConnectionError("audit", f"the audit sink failed: {error}") from error
            counts.append(len(events))
            return {}

        outcome = self._queue.deliver(self._topic, send)
        self._figures["written"] += sum(counts)
        self._is_behind = self._is_behind and outcome.waiting > 0
        for error in list(outcome.errors.values())[:1]:
            log.warning("audit events stay queued: %s", error)
        return sum(counts)

    def recover(self) -> int:
        """Write what this and earlier processes left in the local queue for this sink, and return how many events."""
        with self._writing:
            return self._deliver()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: by the policy ``raise``, it could not be written, and is kept.
        """
        self._write()
        self._failed = None  # of an earlier try

    def query(self, **conditions: Any) -> list[AuditEvent]:
        """Write what waits, then return events of the trail; see `AuditBackend.query`."""
        self.flush()
        return self._backend.query(**conditions)

    def verify_chain(self) -> ChainVerification:
        """Write what waits, then find events that were changed, removed or moved."""
        self.flush()
        return self._backend.verify_chain()

    def close(self) -> None:
        """End the chain, write what waits and close the sink. If that failed, call it again.

        A store that is closed does this, and the end of the process. What comes later begins another chain, and writes to
        the sink again.

        Raises:
            StoreError: by the policy ``raise``, something could not be written, and is kept, or the sink not be closed.
        """
        if self._timer is not None:
            self._timer = None
            self._bell.ring()
        if self._last is not None or self._waiting or self._linked:
            self._write(closing=True)
        with self._writing:
            self._queue.close()
            self._queue = DurableQueue(self._config.spool_path)  # what comes later opens it again
            if self._uses_sink:
                self._close_sink()

    def _close_sink(self) -> None:
        try:
            self._backend.close()
        except Exception as error:  # a sink may raise anything, and the policy holds for it
            if self._config.on_error == "raise":
                raise StoreWriteError(
                    f"the audit trail is written, but its sink could not be closed: {error}"
                ) from error
            log.warning("the audit sink could not be closed: %s", error)
        self._uses_sink = False
