"""Places for audit events: the base class of all, memory, several places at once, a thread."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Final

from truthstore.errors import StoreError, StoreOverloadedError, StoreWriteError
from truthstore.model.fields import to_microseconds
from truthstore.observability.audit.chain import ChainVerification, newest_heads, verify_stored
from truthstore.observability.audit.event import DAMAGED, AuditEvent, AuditEventType, AuditStatus, Stored, encode_event
from truthstore.runtime.exits import at_exit

__all__ = ["AsyncAuditBackend", "AuditBackend", "CompositeAuditBackend", "InMemoryAuditBackend", "as_store_error"]

log: Final = logging.getLogger("truthstore.observability")


class AuditBackend(ABC):
    """A place for audit events. To make one, write `write` and `read`; `stored` and `heads` make it exact and fast.

    An event is known by its chain and its place in it. The same event may be written more than once: a verification
    counts it as repeated, and a query gives it once.
    """

    in_order = False
    """True if `read` gives events in the order in which they were written."""

    @property
    def identity(self) -> str:
        """The place that it writes to, the same in every process: events in a local queue wait for this sink only.

        By default the name of the class. A class with sinks for several places tells them apart here, without secrets.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def write(self, events: Sequence[AuditEvent]) -> None:
        """Keep events. If it raises, they are written again.

        Raises:
            StoreError: they, or earlier ones, could not be kept.
        """

    @abstractmethod
    def read(self) -> Iterator[AuditEvent]:
        """Read every event."""

    def stored(self) -> Iterator[Stored]:
        """Read the bytes of every event, for a verification."""
        return (Stored(event.event_id, encode_event(event)) for event in self.read())

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Read events since a time; more may come along."""
        return self.read()

    def log(self, event: AuditEvent) -> None:
        """Keep one event."""
        self.write([event])

    def pending(self) -> int:
        """Return the number of events that `write` took and that are not kept yet, such as those that a thread writes."""
        return 0

    def heads(self) -> dict[str, str]:
        """Read the newest hashes of chains that no chain has named yet: one that opens or closes names them."""
        events = list(self.read())
        if not self.in_order:
            events.sort(key=lambda event: (to_microseconds(event.timestamp), event.sequence))
        return newest_heads(reversed(events))

    def query(
        self,
        *,
        event_type: AuditEventType | str | None = None,
        status: AuditStatus | str | None = None,
        operation: str | None = None,
        collection: str | None = None,
        item: str | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int | None = None,
        ascending: bool = False,
    ) -> list[AuditEvent]:
        """Return the events that fulfil every condition, newest first, each once.

        Args:
            event_type: the kind of event.
            status: the outcome.
            operation: the operation of the store.
            collection: name of the collection.
            item: id of an item, alone or among others.
            actor: the actor.
            correlation_id: the correlation id.
            start_time: earliest time, inclusive; a naive one means local time.
            end_time: latest time, inclusive.
            limit: at most so many.
            ascending: oldest first.
        """
        wanted = {
            "event_type": None if event_type is None else AuditEventType(event_type),
            "status": None if status is None else AuditStatus(status),
            "operation": operation,
            "collection": collection,
            "actor": actor,
            "correlation_id": correlation_id,
        }
        conditions = {name: value for name, value in wanted.items() if value is not None}
        first = None if start_time is None else to_microseconds(start_time)
        last = None if end_time is None else to_microseconds(end_time)
        found = [
            event
            for event in self.recent(start_time)
            if all(getattr(event, name) == value for name, value in conditions.items())
            and (item is None or event.item == item or item in event.items)
            and (first is None or to_microseconds(event.timestamp) >= first)
            and (last is None or to_microseconds(event.timestamp) <= last)
        ]
        found.sort(
            key=lambda event: (to_microseconds(event.timestamp), event.chain, event.sequence), reverse=not ascending
        )
        found = [event for before, event in zip([None, *found], found, strict=False) if not _is_repeat(event, before)]
        return found if limit is None else found[:limit]

    def verify_chain(self) -> ChainVerification:
        """Find events that were changed, removed or moved; others may write meanwhile."""
        return verify_stored(self.stored, in_order=self.in_order)

    def flush(self) -> None:  # noqa: B027  # most sinks write at once
        """Wait until everything is kept.

        Raises:
            StoreError: something could not be kept.
        """

    def close(self) -> None:  # noqa: B027  # most sinks hold nothing
        """Release files and threads."""


def _is_repeat(event: AuditEvent, before: AuditEvent | None) -> bool:
    return event.chain not in {"", DAMAGED} and event == before


class InMemoryAuditBackend(AuditBackend):
    """Keeps events in this process."""

    in_order = True

    def __init__(self) -> None:
        self._events: list[AuditEvent] = []
        self._name = f"memory:{secrets.token_hex(8)}"

    @property
    def identity(self) -> str:
        """This very object."""
        return self._name

    @property
    def events(self) -> list[AuditEvent]:
        """A copy of all events, oldest first."""
        return list(self._events)

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Keep events."""
        self._events.extend(events)

    def read(self) -> Iterator[AuditEvent]:
        """Read every event."""
        return iter(self.events)

    def clear(self) -> None:
        """Remove every event."""
        self._events.clear()


class _Delegate(AuditBackend):
    """Reads from another sink.

    Args:
        backend: the other sink.
    """

    def __init__(self, backend: AuditBackend) -> None:
        self._backend = backend
        self.in_order = backend.in_order

    @property
    def identity(self) -> str:
        """That of the other sink."""
        return self._backend.identity

    def read(self) -> Iterator[AuditEvent]:
        """Read every event of the other sink."""
        return self._backend.read()

    def stored(self) -> Iterator[Stored]:
        """Read the bytes of every event of the other sink."""
        return self._backend.stored()

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Read events of the other sink since a time."""
        return self._backend.recent(since)

    def heads(self) -> dict[str, str]:
        """Read the heads in the other sink."""
        return self._backend.heads()


class CompositeAuditBackend(_Delegate):
    """Writes to several sinks, also behind one that fails, and reads from the first.

    Args:
        backends: the sinks.
    """

    def __init__(self, backends: Iterable[AuditBackend]) -> None:
        self._backends = tuple(backends)
        if not self._backends:
            raise ValueError("a composite sink needs at least one sink")
        super().__init__(self._backends[0])

    @property
    def identity(self) -> str:
        """All sinks."""
        return f"composite:{' '.join(backend.identity for backend in self._backends)}"

    def _each(self, work: Callable[[AuditBackend], object]) -> None:
        failed: StoreError | None = None
        for backend in self._backends:
            try:
                work(backend)
            except Exception as error:  # noqa: BLE001  # a sink may raise anything
                failed = failed or as_store_error(error)
        if failed is not None:
            raise failed

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Write to every sink."""
        self._each(lambda backend: backend.write(events))

    def pending(self) -> int:
        """Return the largest number of pending events of a sink."""
        return max(backend.pending() for backend in self._backends)

    def flush(self) -> None:
        """Flush every sink."""
        self._each(lambda backend: backend.flush())

    def close(self) -> None:
        """Close every sink."""
        self._each(lambda backend: backend.close())


class _Thread:
    """The thread of one process, and the batches that wait for it."""

    def __init__(self, room: int) -> None:
        self.executor = ThreadPoolExecutor(1, "truthstore-audit")
        self.turn = threading.Lock()
        self.room = threading.BoundedSemaphore(room)
        self.waiting: deque[Sequence[AuditEvent]] = deque()
        self.error: StoreError | None = None


class AsyncAuditBackend(_Delegate):
    """Writes to another sink in a thread.

    Batches that could not be written stay in memory, in order, and are tried again by every later `write` and `flush`.

    Args:
        backend: the sink.
        max_waiting: when so many batches wait, `write` waits too.
        timeout_seconds: and raises after so long.
    """

    def __init__(self, backend: AuditBackend, *, max_waiting: int = 1_000, timeout_seconds: float = 5.0) -> None:
        super().__init__(backend)
        self._max = max_waiting
        self._timeout = timeout_seconds
        self._threads: dict[int, _Thread] = {}
        self.errors = 0
        at_exit(self.flush)

    def _here(self) -> _Thread:
        # A forked child has none of its parent's threads, and its parent writes what waits there.
        return self._threads.get(os.getpid()) or self._threads.setdefault(os.getpid(), _Thread(self._max))

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Hand events over to the thread.

        Raises:
            StoreOverloadedError: the sink cannot keep up; these events were not taken.
            StoreError: earlier events could not be written yet; these were not taken.
        """
        here = self._here()
        error, here.error = here.error, None
        if error is not None:
            self._submit(here)
            raise error
        if not here.room.acquire(timeout=self._timeout):
            raise StoreOverloadedError(f"the audit sink takes nothing since {self._timeout} s")
        here.waiting.append(tuple(events))
        self._submit(here)

    def _submit(self, here: _Thread) -> Future[None]:
        try:
            return here.executor.submit(self._drain, here)
        except RuntimeError:  # closed, or the interpreter ends and starts no more threads
            self._drain(here)
            done: Future[None] = Future()
            done.set_result(None)
            return done

    def _drain(self, here: _Thread) -> None:
        try:
            with here.turn:
                while here.waiting:
                    self._backend.write(here.waiting[0])
                    here.waiting.popleft()
                    here.room.release()
        except BaseException as raised:
            error = as_store_error(raised)
            log.warning("audit events were not written yet: %s", error)
            self.errors += 1
            here.error = error
            raise error from raised

    def flush(self) -> None:
        """Wait until everything is written; what failed is tried once more.

        Raises:
            StoreError: something could not be written, and is kept.
        """
        here = self._here()
        try:
            if here.waiting:
                self._submit(here).result()
        finally:
            here.error = None
        self._backend.flush()

    def pending(self) -> int:
        """Return the number of events that wait."""
        return sum(map(len, list(self._here().waiting))) + self._backend.pending()

    def close(self) -> None:
        """Write what waits, end the thread and close the other sink."""
        try:
            self.flush()
        finally:
            self._here().executor.shutdown()
            self._backend.close()


def as_store_error(error: BaseException) -> StoreError:
    """Return the error of a sink as one that its callers expect."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreWriteError(f"the audit sink failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
