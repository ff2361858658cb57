"""From operations to the trail: levels, redaction, the chain, batches, and the policy for a sink that fails."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConnectionError, StoreError, StoreWriteError
from truthstore.observability.audit.chain import ChainVerification, Tip, begin, link, mark
from truthstore.observability.audit.config import AuditConfig, AuditLogLevel
from truthstore.observability.audit.event import (
    AuditEvent,
    AuditEventType,
    AuditStatus,
    decode_event,
    encode_event,
    without_texts,
)
from truthstore.observability.audit.sinks import as_store_error
from truthstore.runtime.exits import at_exit
from truthstore.storage.queue.queue import DurableQueue, Entry

if TYPE_CHECKING:
    from truthstore.observability.audit.sinks import AuditBackend

__all__ = ["AuditLogger"]

WRITES: Final = frozenset({AuditEventType.SAVE, AuditEventType.CREATE, AuditEventType.UPDATE, AuditEventType.DELETE})
CHAIN: Final = attrgetter("chain")
log: Final = logging.getLogger("truthstore.observability")


class _Process:
    """The chain of one process and its events, from `waiting` through `linked` to the sink."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waiting: list[AuditEvent] = []
        self.timer: threading.Timer | None = None
        self.failed: StoreError | None = None
        # From here on, under this lock:
        self.writing = threading.RLock()
        self.is_writing = False
        self.tip = Tip()
        self.linked: list[AuditEvent] = []
        self.unconfirmed: list[AuditEvent] = []  # those that the sink took and may not have kept yet
        self.is_behind = False  # while the queue holds events, newer ones go there too


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
        self._topic = f"audit|{backend.identity}"
        self._queue: DurableQueue | None = None
        self._processes: dict[int, _Process] = {}
        self._figures: dict[str, int] = dict.fromkeys(("written", "failed", "queued", "dropped", "altered"), 0)
        at_exit(self.close)

    @property
    def backend(self) -> AuditBackend:
        """The sink."""
        return self._backend

    @property
    def stats(self) -> dict[str, int]:
        """Numbers of events that were written, met a failing sink, were queued, dropped, altered to be encodable."""
        return dict(self._figures)

    def _here(self) -> _Process:
        # A forked child begins a chain of its own, and its parent writes what waits there.
        return self._processes.get(os.getpid()) or self._processes.setdefault(os.getpid(), _Process())

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
        here = self._here()
        with here.lock:
            here.waiting.append(event)
            count = len(here.waiting)
            if not self._is_sync and here.timer is None:
                self._start_timer(here)
        if self._is_sync or count >= self._config.batch_size:
            self._write(here)
        self._raise_failed(here)

    def _start_timer(self, here: _Process) -> None:
        # Until then the timer keeps the logger alive, also where nothing else does any more.
        timer = threading.Timer(self._config.flush_interval_seconds, self.write_later)
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the interpreter ends: `close` comes
            timer.start()
            here.timer = timer

    def write_later(self) -> None:
        """Write what waits, its time having come; an error is raised by the next call of `add` or `flush`."""
        here = self._here()
        with here.lock:
            here.timer = None
        try:
            self._write(here)
        except StoreError as error:
            log.warning("audit events were not written, and are kept: %s", error)
            with here.lock:
                here.failed = error
                self._start_timer(here)

    @staticmethod
    def _raise_failed(here: _Process) -> None:
        with here.lock:
            failed, here.failed = here.failed, None
        if failed is not None:
            raise failed

    def _write(self, here: _Process, *, closing: bool = False) -> None:
        with here.writing:
            if here.is_writing:  # a signal handler in the midst of a write: its events are written below
                return
            here.is_writing = True
            try:
                self._link(here, closing=closing)
                self._send(here)
                if here.waiting:  # once: a subscriber that reads makes an event of every write, without end
                    self._link(here, closing=closing)
                    self._send(here)
            finally:
                here.is_writing = False

    def _link(self, here: _Process, *, closing: bool = False) -> None:
        """Give waiting events their places in the chain. Until then they wait, whatever interrupts."""
        with here.lock:
            waiting = list(here.waiting)
        events = self._redacted(waiting)
        tip, heads = here.tip, self._backend.heads
        if events and not tip.chain:
            tip = begin()
            events = [mark(AuditEventType.OPEN, tip, heads, events[0]), *events]
        tip, linked, altered = link(tip, events)
        if closing and tip.chain:
            tip, end, _ = link(
                tip, [mark(AuditEventType.CLOSE, tip, heads, AuditEvent(event_type=AuditEventType.CLOSE))]
            )
            tip, linked = Tip(), [*linked, *end]
        here.tip, here.linked = tip, [*here.linked, *linked]
        self._figures["altered"] += altered
        with here.lock:
            del here.waiting[: len(waiting)]

    def _redacted(self, events: Sequence[AuditEvent]) -> list[AuditEvent]:
        if self._redactor is None:
            return list(events)
        redacted: list[AuditEvent] = []
        for event in events:
            try:
                redacted.append(self._redactor.redact_event(event))
            except Exception as error:  # noqa: BLE001  # what cannot be redacted must not leave
                self._figures["altered"] += 1
                redacted.append(without_texts(event, error))
        return redacted

    def _send(self, here: _Process) -> None:
        if not here.linked:
            return
        if here.is_behind:
            self._enqueue(here)
            self._deliver(here)
            return
        try:
            self._backend.write(here.linked)
            count = self._backend.pending()
            here.unconfirmed = [*here.unconfirmed, *here.linked][-count:] if count else []
            if self._is_sync:
                self._backend.flush()
        except Exception as error:  # noqa: BLE001  # a sink may raise anything, and the policy holds for it
            self._sink_failed(here, as_store_error(error))
        else:
            self._figures["written"] += len(here.linked)
            here.linked = []

    def _sink_failed(self, here: _Process, error: StoreError) -> None:
        policy, count = self._config.on_error, len(here.linked)
        self._figures["failed"] += count
        if policy == "raise":
            raise StoreWriteError(
                f"the operation is done, but its audit event could not be written, and is kept: {error}"
            ) from error
        if policy == "drop":
            log.warning("%d audit events were dropped: %s", count, error)
            self._figures["dropped"] += count
            here.tip, here.linked = Tip(), []  # the next event begins another chain, so that none has a gap
            return
        log.warning("audit events are queued until the sink works: %s", error)
        # A kill must not lose older events of the chain than those in the queue.
        known = {event.event_id for event in here.linked}
        here.linked = [*(event for event in here.unconfirmed if event.event_id not in known), *here.linked]
        self._enqueue(here)

    def _open_queue(self) -> DurableQueue:
        if self._queue is None:
            self._queue = DurableQueue(self._config.spool_path)
        return self._queue

    def _enqueue(self, here: _Process) -> None:
        batches = [(chain, list(batch)) for chain, batch in groupby(here.linked, key=CHAIN)]
        self._open_queue().append(
            self._topic, [(chain, b"\n".join(map(encode_event, batch))) for chain, batch in batches]
        )
        self._figures["queued"] += len(here.linked)
        here.is_behind, here.linked, here.unconfirmed = True, [], []

    def _deliver(self, here: _Process) -> int:
        """Write what this and other processes queued for this sink, and return how many events that were."""
        counts: list[int] = []

        def send(entries: Sequence[Entry]) -> dict[int, Exception]:
            batches = [[decode_event(line) for line in entry.payload.split(b"\n")] for entry in entries]
            try:
                for batch in batches:
                    self._backend.write(batch)
                self._backend.flush()  # only then may they leave the queue
            except Exception as error:  # an event is never refused: the sink is what fails
                raise StoreConnectionError("audit", f"the audit sink failed: {error}") from error
            counts.append(sum(map(len, batches)))
            return {}

        outcome = self._open_queue().deliver(self._topic, send)
        self._figures["written"] += sum(counts)
        here.is_behind = here.is_behind and outcome.waiting > 0
        for error in list(outcome.errors.values())[:1]:
            log.warning("audit events stay queued: %s", error)
        return sum(counts)

    def recover(self) -> int:
        """Write what this and earlier processes left in the local queue for this sink, and return how many events."""
        if not os.path.exists(self._config.spool_path):
            return 0
        here = self._here()
        with here.writing:
            return self._deliver(here)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: by the policy ``raise``, it could not be written, and is kept.
        """
        here = self._here()
        self._write(here)
        self._flush_sink(here)
        with here.lock:
            here.failed = None  # of an earlier try

    def _flush_sink(self, here: _Process) -> None:
        with here.writing:
            try:
                self._backend.flush()
            except Exception as error:  # noqa: BLE001  # as in `_send`
                self._sink_failed(here, as_store_error(error))
            else:
                here.unconfirmed = []

    def query(self, **conditions: Any) -> list[AuditEvent]:
        """Write what waits, then return events of the trail; see `AuditBackend.query`."""
        self.flush()
        return self._backend.query(**conditions)

    def verify_chain(self) -> ChainVerification:
        """Write what waits, then find events that were changed, removed or moved."""
        self.flush()
        return self._backend.verify_chain()

    def close(self) -> None:
        """End the chain and write what waits. If that failed, call it again; it is called at the end of the process.

        Raises:
            StoreError: by the policy ``raise``, something could not be written, and is kept.
        """
        here = self._here()
        with here.lock:
            if here.timer is not None:
                here.timer.cancel()
                here.timer = None
        if here.tip.chain or here.waiting or here.linked or here.unconfirmed:
            self._write(here, closing=True)
            self._flush_sink(here)
        with here.writing:
            queue, self._queue = self._queue, None
            if queue is not None:
                queue.close()
