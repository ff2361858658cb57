"""From what happened to the trail: levels, redaction, the chain, batches, and what to do when the sink fails."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreError, StoreWriteError
from truthstore.forking import watch_forks
from truthstore.observability.chain import Chain, ChainVerification
from truthstore.observability.config import AuditConfig, AuditLogLevel
from truthstore.observability.events import AuditEvent, AuditEventType, AuditStatus, decode_event, encode_event
from truthstore.observability.redaction import DataRedactor
from truthstore.spool import Entry, Spool

if TYPE_CHECKING:
    from truthstore.observability.sinks import AuditBackend

__all__ = ["AuditLogger"]

WRITES: Final = frozenset({AuditEventType.SAVE, AuditEventType.CREATE, AuditEventType.UPDATE, AuditEventType.DELETE})
log: Final = logging.getLogger("truthstore.observability")


class AuditLogger:
    """Writes the audit trail of this process to a sink.

    Args:
        backend: the sink.
        config: level, redaction, batches, policy.
    """

    def __init__(self, backend: AuditBackend, config: AuditConfig | None = None) -> None:
        self._backend = backend
        self._config = config or AuditConfig()
        level = AuditLogLevel(self._config.level)
        self._reads = level is AuditLogLevel.VERBOSE
        self._failures = level is not AuditLogLevel.MINIMAL
        redactor = self._config.redactor or DataRedactor(fields_to_redact=self._config.sensitive_fields)
        self._redactor = redactor if self._config.redact_sensitive else None
        self._chain = Chain(self._known_heads)
        self._waiting: list[AuditEvent] = []
        self._linked: list[AuditEvent] = []
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._timer: threading.Timer | None = None
        self._queue: Spool | None = None
        self._failed: StoreError | None = None
        self._figures: dict[str, int] = dict.fromkeys(("written", "failed", "spooled", "dropped"), 0)
        watch_forks(self)
        _loggers.add(self)

    @property
    def backend(self) -> AuditBackend:
        """The sink."""
        return self._backend

    @property
    def stats(self) -> dict[str, int]:
        """How many events were written, met a failing sink, were spooled, were dropped."""
        return dict(self._figures)

    def wants(self, kind: AuditEventType, status: AuditStatus) -> bool:
        """Whether the level asks for such an event."""
        if status is not AuditStatus.SUCCESS:
            return self._failures
        return self._reads or kind in WRITES

    def log(self, event: AuditEvent) -> None:
        """Takes an event.

        Raises:
            StoreError: by the policy ``raise``, the sink failed now or since the last event.
        """
        if self.wants(event.event_type, event.status):
            self.add(event)

    def add(self, event: AuditEvent) -> None:
        """Takes an event that is wanted."""
        with self._lock:
            self._waiting.append(event)
            count = len(self._waiting)
            if count == 1 and self._config.mode == "batch":
                self._start_timer()
        if self._config.mode == "sync" or count >= self._config.batch_size:
            self._write()
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def _start_timer(self) -> None:
        if self._timer is not None:
            return
        self._timer = threading.Timer(self._config.flush_interval_seconds, _write_later, (weakref.ref(self),))
        self._timer.daemon = True
        self._timer.start()

    def write_later(self) -> None:
        """What waits is written: its time has come."""
        self._timer = None
        try:
            self._write()
        except StoreError as error:
            log.warning("audit events were not written, and are kept: %s", error)
            self._failed = error

    def _write(self, closing: AuditEvent | None = None) -> None:
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            try:
                if waiting:
                    redactor = self._redactor
                    told = waiting if redactor is None else [redactor.redact_event(event) for event in waiting]
                    self._linked.extend(self._chain.add(told))
                if closing is not None:
                    self._linked.extend(self._chain.end(closing))
                if self._linked:
                    self._send(self._linked)
            except StoreError as error:
                self._figures["failed"] += len(self._linked)
                self._give_up(error)

    def _send(self, events: list[AuditEvent]) -> None:
        if self._queue is not None:
            self._deliver()
        self._backend.write(events)
        self._figures["written"] += len(events)
        self._linked = []

    def _give_up(self, error: StoreError) -> None:
        policy, linked = self._config.on_error, self._linked
        if policy == "raise":
            raise StoreWriteError(
                f"the operation is done, but its audit event could not be written, and is kept: {error}"
            ) from error
        self._linked = []
        if policy == "drop":
            self._figures["dropped"] += len(linked)
            log.warning("%d audit events were dropped: %s", len(linked), error)
            self._chain = Chain(self._known_heads)  # the next event begins another chain, so that none has a gap
            return
        if linked:
            self._spool().append(linked[0].chain, [("", encode_event(event)) for event in linked])
            self._figures["spooled"] += len(linked)

    def _spool(self) -> Spool:
        if self._queue is None:
            self._queue = Spool(self._config.spool_path)
        return self._queue

    def _deliver(self) -> None:
        """Writes what was spooled before anything newer of this chain."""

        def send(entries: Sequence[Entry]) -> Mapping[int, Exception]:
            events = [decode_event(entry.payload) for entry in entries]
            try:
                self._backend.write(events)
            except StoreError as error:
                return {entry.number: error for entry in entries}
            self._figures["written"] += len(events)
            return {}

        failed = self._spool().deliver(self._chain.id, send)
        for error in failed.values():
            raise error if isinstance(error, StoreError) else StoreWriteError(str(error))

    def _known_heads(self) -> Mapping[str, str]:
        try:
            return self._backend.heads()
        except StoreError as error:
            log.warning("a new audit chain names no others: %s", error)
            return {}

    def recover(self) -> int:
        """Writes what this and earlier processes left in the local queue; how many events that were."""
        if not os.path.exists(self._config.spool_path):
            return 0
        with self._writing:
            count = 0
            for topic in self._spool().topics():
                before = self._spool().count(topic)
                self._spool().deliver(topic, self._resend)
                count += before - self._spool().count(topic)
            return count

    def _resend(self, entries: Sequence[Entry]) -> Mapping[int, Exception]:
        events = [decode_event(entry.payload) for entry in entries]
        try:
            self._backend.write(events)
        except StoreError as error:
            return {entry.number: error for entry in entries}
        self._figures["written"] += len(events)
        return {}

    def flush(self) -> None:
        """Writes what waits.

        Raises:
            StoreError: by the policy ``raise``, it could not be written; it is kept.
        """
        self._write()
        self._backend.flush()
        failed, self._failed = self._failed, None
        if failed is not None and self._linked:
            raise failed

    def query(self, **conditions: Any) -> list[AuditEvent]:
        """Events of the trail, after what waits was written; see `AuditBackend.query`."""
        self.flush()
        return self._backend.query(**conditions)

    def verify_chain(self) -> ChainVerification:
        """Whether an event was changed, removed or put elsewhere, after what waits was written."""
        self.flush()
        return self._backend.verify_chain()

    def close(self) -> None:
        """Ends the chain and writes what waits."""
        _loggers.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._chain.is_open and not self._waiting:
            return
        self._write(AuditEvent(event_type=AuditEventType.CLOSE))
        self._backend.flush()

    def before_fork(self) -> None:
        """Waits until no thread adds an event."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """What the parent has not written yet, the parent writes."""
        if child:
            self._waiting, self._linked, self._timer = [], [], None
            self._writing = threading.RLock()
            self._queue = None
        self._lock.release()


def _write_later(reference: weakref.ref[AuditLogger]) -> None:
    logger = reference()
    if logger is not None:
        logger.write_later()


_loggers: Final[weakref.WeakSet[AuditLogger]] = weakref.WeakSet()


def _close_all() -> None:
    for logger in list(_loggers):
        try:
            logger.close()
        except StoreError as error:
            log.warning("audit events were lost at exit: %s", error)


atexit.register(_close_all)
