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
from truthstore.observability.events import (
    AuditEvent,
    AuditEventType,
    AuditStatus,
    decode_event,
    encode_event,
    without_texts,
)
from truthstore.observability.redaction import redactor_of
from truthstore.observability.sinks import as_store_error
from truthstore.spool import Entry, Spool

if TYPE_CHECKING:
    from truthstore.observability.redaction import DataRedactor
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
        self._redactor = redactor_of(self._config)
        self._is_sync = self._config.mode == "sync"
        self._chain = Chain(self._known_heads)
        self._waiting: list[AuditEvent] = []
        self._linked: list[AuditEvent] = []
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._timer: threading.Timer | None = None
        self._queue: Spool | None = None
        self._failed: StoreError | None = None
        self._is_closed = False
        self._figures: dict[str, int] = dict.fromkeys(("written", "failed", "spooled", "dropped", "altered"), 0)
        watch_forks(self)
        _loggers.add(self)

    @property
    def backend(self) -> AuditBackend:
        """The sink."""
        return self._backend

    @property
    def stats(self) -> dict[str, int]:
        """How many events were written, met a failing sink, were spooled, were dropped, could not be told as they were."""
        return {**self._figures, "altered": self._figures["altered"] + self._chain.altered}

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
        # Until then the timer keeps the logger, also where nobody else does any more.
        self._timer = threading.Timer(self._config.flush_interval_seconds, self.write_later)
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
            with self._lock:
                if not self._is_closed:
                    self._start_timer()

    def _write(self, closing: AuditEvent | None = None) -> None:
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            try:
                if waiting:
                    self._linked.extend(self._chain.add(waiting if self._redactor is None else self._redacted(waiting)))
                if closing is not None:
                    self._linked.extend(self._chain.end(closing))
                if self._linked:
                    self._send(self._linked)
            except Exception as error:  # noqa: BLE001  # a sink may be anybody's, and the policy holds for all of them
                self._sink_failed(error)

    def _redacted(self, events: list[AuditEvent]) -> list[AuditEvent]:
        redactor = self._redactor
        assert redactor is not None
        try:
            return [redactor.redact_event(event) for event in events]
        except Exception:  # noqa: BLE001  # one event must not cost the others
            return [self._redacted_alone(redactor, event) for event in events]

    def _redacted_alone(self, redactor: DataRedactor, event: AuditEvent) -> AuditEvent:
        try:
            return redactor.redact_event(event)
        except Exception as error:  # noqa: BLE001  # what cannot be redacted must not leave
            self._figures["altered"] += 1
            return without_texts(event, error)

    def _send(self, events: list[AuditEvent]) -> None:
        if self._queue is not None:
            self._deliver()
        self._backend.write(events)
        self._figures["written"] += len(events)
        self._linked = []
        if self._is_sync:
            self._backend.flush()

    def _sink_failed(self, error: Exception) -> None:
        back = self._backend.take_back(self._chain.id)
        self._figures["written"] -= len(back)
        self._linked[:0] = back
        self._figures["failed"] += len(self._linked)
        self._give_up(as_store_error(error))

    def _give_up(self, error: StoreError) -> None:
        policy, linked = self._config.on_error, self._linked
        if policy == "raise":
            raise StoreWriteError(
                f"the operation is done, but its audit event could not be written, and is kept: {error}"
            ) from error
        if not linked:
            log.warning("the audit sink failed: %s", error)
        elif policy == "drop":
            self._figures["dropped"] += len(linked)
            log.warning("%d audit events were dropped: %s", len(linked), error)
            self._chain.restart()  # the next event begins another chain, so that none has a gap
        else:
            self._put_aside(linked)
        self._linked = []

    def _put_aside(self, events: Sequence[AuditEvent]) -> None:
        """Spools events of one chain: what comes back from a sink before what was spooled meanwhile."""
        spool, topic = self._spool(), self._topic(events[0].chain)
        later = [entry for entry in spool.waiting(topic, limit=-1) if _sequence(entry) > events[0].sequence]
        spool.append(topic, [("", payload) for payload in (*map(encode_event, events), *(e.payload for e in later))])
        if later:
            spool.remove([entry.number for entry in later])
        self._figures["spooled"] += len(events)

    def _topic(self, chain: str) -> str:
        """Where events of a chain wait for this sink and no other."""
        return f"{self._backend.identity}|{chain}"

    def _spool(self) -> Spool:
        if self._queue is None:
            self._queue = Spool(self._config.spool_path)
        return self._queue

    def _deliver(self) -> None:
        """Writes what was spooled before anything newer of this chain."""
        for error in self._spool().deliver(self._topic(self._chain.id), self._resend).values():
            raise error

    def _known_heads(self) -> Mapping[str, str]:
        try:
            return self._backend.heads()
        except Exception as error:  # noqa: BLE001  # a chain that names no others is better than none
            log.warning("a new audit chain names no others: %s", error)
            return {}

    def recover(self) -> int:
        """Writes what this and earlier processes left in the local queue for this sink; how many events that were."""
        if not os.path.exists(self._config.spool_path):
            return 0
        with self._writing:
            count = 0
            for topic in self._spool().topics():
                if topic.rpartition("|")[0] != self._backend.identity:
                    continue
                before = self._spool().count(topic)
                self._spool().deliver(topic, self._resend)
                count += before - self._spool().count(topic)
            return count

    def _resend(self, entries: Sequence[Entry]) -> Mapping[int, Exception]:
        events = [decode_event(entry.payload) for entry in entries]
        try:
            self._backend.write(events)
            self._backend.flush()  # only then may they leave the queue
        except Exception as error:  # noqa: BLE001  # as in `_write`
            spooled = {event.sequence for event in events}
            back = [e for e in self._backend.take_back(events[0].chain) if e.sequence not in spooled]
            if back:
                self._figures["written"] -= len(back)
                self._put_aside(back)
            return {entry.number: as_store_error(error) for entry in entries}
        self._figures["written"] += len(events)
        return {}

    def flush(self) -> None:
        """Writes what waits.

        Raises:
            StoreError: by the policy ``raise``, it could not be written; it is kept.
        """
        self._write()
        self._flush_sink()
        failed, self._failed = self._failed, None
        if failed is not None and self._linked:
            raise failed

    def _flush_sink(self) -> None:
        with self._writing:
            try:
                self._backend.flush()
            except Exception as error:  # noqa: BLE001  # as in `_write`
                self._sink_failed(error)

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
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._chain.is_open and not self._waiting:
            return
        self._write(AuditEvent(event_type=AuditEventType.CLOSE))
        self._flush_sink()

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


def _sequence(entry: Entry) -> int:
    return decode_event(entry.payload).sequence


_loggers: Final[weakref.WeakSet[AuditLogger]] = weakref.WeakSet()


def _close_all() -> None:
    for logger in list(_loggers):
        try:
            logger.close()
        except Exception as error:  # noqa: BLE001  # the others have their turn
            log.warning("audit events were lost at exit: %s", error)


atexit.register(_close_all)
