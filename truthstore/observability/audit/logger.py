"""From what happened to the trail: levels, redaction, the chain, batches, and what to do when the sink fails."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from truthstore.errors import StoreError, StoreWriteError
from truthstore.observability.audit.chain import Chain, ChainVerification, Tip
from truthstore.observability.audit.event import (
    AuditEvent,
    AuditEventType,
    AuditStatus,
    decode_event,
    encode_event,
    without_texts,
)
from truthstore.observability.audit.redaction import redactor_of
from truthstore.observability.audit.sink import as_store_error
from truthstore.observability.config import AuditConfig, AuditLogLevel
from truthstore.runtime.forks import Rank, watch_forks
from truthstore.storage.queue.spool import Entry, Spool

if TYPE_CHECKING:
    from truthstore.observability.audit.redaction import DataRedactor
    from truthstore.observability.audit.sink import AuditBackend

__all__ = ["AuditLogger"]

WRITES: Final = frozenset({AuditEventType.SAVE, AuditEventType.CREATE, AuditEventType.UPDATE, AuditEventType.DELETE})
P = TypeVar("P")
log: Final = logging.getLogger("truthstore.observability")


class _State(NamedTuple):
    """How far a logger is. It is replaced as a whole: an interrupt comes before a step or after it, never between.

    Attributes:
        tip: how far the chain is.
        linked: what has its place in the chain and is not known to be written. What is still there when the next write
            begins may have arrived all the same.
        source: the batch that was linked last.
    """

    tip: Tip = Tip()
    linked: Sequence[AuditEvent] = ()
    source: Sequence[AuditEvent] = ()


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
        self._chain = Chain(self._backend.heads)
        self._waiting: list[AuditEvent] = []
        self._batch: Sequence[AuditEvent] = ()
        self._state = _State(source=self._batch)
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._is_writing = False
        self._is_asked_again = False
        self._timer: threading.Timer | None = None
        self._queue: Spool | None = None
        self._failed: StoreError | None = None
        self._is_closed = False
        self._figures: dict[str, int] = dict.fromkeys(("written", "failed", "spooled", "dropped", "altered"), 0)
        watch_forks(self, Rank.AUDIT_LOG)
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
            if failed is not None:  # else another thread has told of it
                raise failed

    def _start_timer(self) -> None:
        if self._timer is not None:
            return
        # Until then the timer keeps the logger, also where nobody else does any more.
        timer = threading.Timer(self._config.flush_interval_seconds, self.write_later)
        timer.daemon = True
        timer.start()
        self._timer = timer

    def write_later(self) -> None:
        """What waits is written: its time has come."""
        with self._lock:
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
        self._apart(self._write_once, closing)

    def _apart(self, work: Callable[[P], object], argument: P) -> None:
        """Does something while no other thread does, and no signal handler or finalizer in the midst of it.

        What these add waits, and is written when the work is done.
        """
        with self._writing:
            if self._is_writing:
                self._is_asked_again = True
                return
            self._is_writing = True
            try:
                work(argument)
                while self._is_asked_again:
                    self._is_asked_again = False
                    self._write_once(None)
            finally:
                self._is_writing = False

    def _write_once(self, closing: AuditEvent | None) -> None:
        left = self._state.linked
        try:
            self._link(closing)
            while self._state.linked:
                self._send(again=bool(left))
        except Exception as error:  # noqa: BLE001  # a sink may be anybody's, and the policy holds for all of them
            self._sink_failed(error)

    def _link(self, closing: AuditEvent | None) -> None:
        """Gives what waits its place in the chain. Until that is done, it waits."""
        while self._waiting or self._batch is not self._state.source:
            batch = self._taken()
            tip, linked, _ = self._state
            tip, added = self._chain.add(tip, batch if self._redactor is None else self._redacted(batch))
            self._state = _State(tip, [*linked, *added] if linked else added, batch)
        if closing is not None:
            tip, linked, source = self._state
            tip, added = self._chain.end(tip, closing)
            self._state = _State(tip, [*linked, *added], source)

    def _taken(self) -> Sequence[AuditEvent]:
        """The events to be linked next: those that an interrupt kept from it, else what waits."""
        with self._lock:
            if self._batch is self._state.source:
                self._batch = self._waiting
            if self._batch is self._waiting:
                self._waiting = []
            return self._batch

    def _redacted(self, events: Sequence[AuditEvent]) -> list[AuditEvent]:
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

    def _send(self, *, again: bool) -> None:
        tip, linked, source = self._state
        chain = linked[0].chain
        if self._queue is not None:
            self._deliver(chain)
        # A sink that failed while a chain ended leaves events of two.
        events = linked if linked[-1].chain == chain else [event for event in linked if event.chain == chain]
        if again:
            self._backend.write_again(events)
        else:
            self._backend.write(events)
        self._figures["written"] += len(events)
        self._state = _State(tip, linked[len(events) :], source)
        if self._is_sync:
            self._backend.flush()

    def _sink_failed(self, error: Exception) -> None:
        tip, linked, source = self._state
        chains = dict.fromkeys(chain for chain in (*(event.chain for event in linked), tip.chain) if chain)
        back = [event for chain in chains for event in self._backend.take_back(chain)]
        self._figures["written"] -= len(back)
        # Some may be among both: handed over, but for an interrupt not written down as such.
        kept = {event.event_id: event for event in (*back, *linked)}
        self._state = _State(tip, list(kept.values()), source)
        self._figures["failed"] += len(kept)
        self._give_up(as_store_error(error))

    def _give_up(self, error: StoreError) -> None:
        policy, (tip, linked, source) = self._config.on_error, self._state
        if policy == "raise":
            raise StoreWriteError(
                f"the operation is done, but its audit event could not be written, and is kept: {error}"
            ) from error
        if not linked:
            log.warning("the audit sink failed: %s", error)
        elif policy == "drop":
            self._figures["dropped"] += len(linked)
            log.warning("%d audit events were dropped: %s", len(linked), error)
            tip = tip.ended()  # the next event begins another chain, so that none has a gap
        else:
            for chain in dict.fromkeys(event.chain for event in linked):
                self._put_aside([event for event in linked if event.chain == chain])
        self._state = _State(tip, source=source)

    def _put_aside(self, events: Sequence[AuditEvent]) -> None:
        """Spools events of one chain: what comes back from a sink before what was spooled meanwhile."""
        spool, topic = self._spool(), self._topic(events[0].chain)
        newest = spool.find(topic, "")
        later = (
            [entry for entry in spool.waiting(topic, limit=-1) if _sequence(entry) >= events[0].sequence]
            if newest is not None and _sequence(newest) >= events[0].sequence
            else []
        )
        payloads = {_sequence(entry): entry.payload for entry in later}
        payloads.update((event.sequence, encode_event(event)) for event in events)
        spool.append(
            topic,
            [("", payloads[sequence]) for sequence in sorted(payloads)],
            instead_of=[entry.number for entry in later],
        )
        self._figures["spooled"] += len(events)

    def _topic(self, chain: str) -> str:
        """Where events of a chain wait for this sink and no other."""
        return f"{self._backend.identity}|{chain}"

    def _spool(self) -> Spool:
        if self._queue is None:
            self._queue = Spool(self._config.spool_path, purpose="audit.")
        return self._queue

    def _deliver(self, chain: str) -> None:
        """Writes what was spooled of a chain before anything newer of it."""
        self._spool().deliver(self._topic(chain), self._resend)

    def recover(self) -> int:
        """Writes what this and earlier processes left in the local queue for this sink; how many events that were."""
        if not os.path.exists(self._config.spool_path):
            return 0
        counts: list[int] = []
        self._apart(self._recover, counts)
        return sum(counts)

    def _recover(self, counts: list[int]) -> None:
        spool = self._spool()
        for topic in spool.topics():
            if topic.rpartition("|")[0] == self._backend.identity:
                before = spool.count(topic)
                try:
                    spool.deliver(topic, self._resend)
                except StoreError as error:
                    log.warning("audit events wait on: %s", error)
                counts.append(before - spool.count(topic))

    def _resend(self, entries: Sequence[Entry]) -> Mapping[int, Exception]:
        events = [decode_event(entry.payload) for entry in entries]
        try:
            # They may be there: whoever wrote them was killed, or heard of an error that came too late.
            self._backend.write_again(events)
            self._backend.flush()  # only then may they leave the queue
        except Exception as error:  # noqa: BLE001  # it is raised, as the error that a queue expects
            spooled = {event.sequence for event in events}
            back = [e for e in self._backend.take_back(events[0].chain) if e.sequence not in spooled]
            if back:
                self._figures["written"] -= len(back)
                self._put_aside(back)
            raise as_store_error(error)  # noqa: B904  # it has its cause; and those behind them wait too
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
        if failed is not None and self._state.linked:
            raise failed

    def _flush_sink(self) -> None:
        self._apart(self._flush_now, None)

    def _flush_now(self, _: None) -> None:
        try:
            self._backend.flush()
        except Exception as error:  # noqa: BLE001  # as in `_write_once`
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
        """Ends the chain and writes what waits. Where that failed, it may be called again, and is once more at exit.

        Raises:
            StoreError: by the policy ``raise``, something could not be written; it is kept.
        """
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._has_more():
            self._write(AuditEvent(event_type=AuditEventType.CLOSE))
            self._flush_sink()
        if not self._has_more():
            _loggers.discard(self)

    def _has_more(self) -> bool:
        """Whether a chain is open, or events are not written."""
        tip, linked, source = self._state
        return tip.is_open or bool(linked) or bool(self._waiting) or self._batch is not source

    def before_fork(self) -> None:
        """Waits until no thread adds an event. Whoever holds this lock waits for no other."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """What the parent has not written yet, the parent writes."""
        self._lock.release()
        if child:
            self._waiting, self._batch, self._state, self._timer = [], (), _State(source=()), None
            self._lock, self._writing = threading.RLock(), threading.RLock()
            self._is_writing = self._is_asked_again = False
            self._queue = None


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
