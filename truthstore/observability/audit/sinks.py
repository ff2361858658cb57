"""Places for audit events: the base class of all, memory, several places at once, a thread."""

from __future__ import annotations

import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from truthstore.errors import StoreError, StoreWriteError, one_of
from truthstore.model.fields import to_microseconds
from truthstore.observability.audit.chain import ChainVerification, newest_heads, verify_stored
from truthstore.observability.audit.event import (
    DAMAGED,
    OPERATIONS,
    AuditEvent,
    AuditEventType,
    AuditStatus,
    Stored,
    encode_event,
)
from truthstore.runtime.recipe import Recipe

__all__ = ["AsyncAuditBackend", "AuditBackend", "CompositeAuditBackend", "InMemoryAuditBackend", "as_store_error"]


class AuditBackend(Recipe, ABC):
    """A place for audit events. To make one, write `write`, and `read` or, for exact verification, `stored`.

    An event is known by its chain and its place in it. The same event may be written more than once: a verification
    counts it as repeated, and a query gives it once.
    """

    in_order = False
    """True if `read` gives events in the order in which they were written."""
    max_waiting = 0
    """If not 0, operations leave writing to a thread, until so many events wait."""

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
            StoreError: they could not be kept.
        """

    def read(self) -> Iterator[AuditEvent]:
        """Read every event."""
        return (stored.decode() for stored in self.stored())

    def stored(self, since: datetime | None = None) -> Iterator[Stored]:
        """Read the bytes of every event since a time; older ones may come along."""
        return (Stored(event.event_id, encode_event(event)) for event in self.read())

    def log(self, event: AuditEvent) -> None:
        """Keep one event."""
        self.write([event])

    def flush(self) -> None:
        """Keep what was written, called behind every write; sinks of users that buffer override it."""

    def close(self) -> None:
        """Release what it holds open: called when a store that writes to it is closed, and at the end of the process.

        Another store may share the sink, so a later `write` or `read` must open again what it needs.
        """

    def heads(self) -> dict[str, str]:
        """Read the newest hashes of the chains that wrote last: one that opens or closes names them."""
        events = list(self.read())
        if not self.in_order:
            events.sort(key=_when)
        return newest_heads(reversed(events))

    def query(
        self,
        *,
        item: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int | None = None,
        ascending: bool = False,
        **conditions: Any,
    ) -> list[AuditEvent]:
        """Return the events that fulfil every condition, newest first, each once.

        Args:
            item: id of an item, alone or among others.
            start_time: earliest time, inclusive; a naive one means local time.
            end_time: latest time, inclusive.
            limit: at most so many.
            ascending: oldest first.
            conditions: values of other attributes of events, such as `event_type`, `status`, `operation`, `collection`,
                `actor`, `correlation_id`; None for any.

        Raises:
            TypeError: events have no such attribute.
            ValueError: there is no such kind of event, status or operation.
        """
        conditions = {name: value for name, value in conditions.items() if value is not None}
        if unknown := conditions.keys() - set(AuditEvent.__struct_fields__):
            raise TypeError(f"events have no {', '.join(unknown)}: use {', '.join(AuditEvent.__struct_fields__)}")
        events = [stored.decode() for stored in self.stored(start_time)]
        choices = {"event_type": [*AuditEventType], "status": [*AuditStatus], "operation": [*OPERATIONS, DAMAGED]}
        for name in choices.keys() & conditions.keys():
            possible = {
                *choices[name],
                *(getattr(event, name) for event in events),
            }  # programs log operations of their own
            if conditions[name] not in possible:
                raise ValueError(one_of(name, conditions[name], sorted(possible)))
        found = [
            event
            for event in events
            if all(getattr(event, name) == value for name, value in conditions.items())
            and (item is None or event.item == item or item in event.items)
            and (start_time is None or to_microseconds(event.timestamp) >= to_microseconds(start_time))
            and (end_time is None or to_microseconds(event.timestamp) <= to_microseconds(end_time))
        ]
        found.sort(key=_when, reverse=not ascending)
        found = [event for before, event in zip([None, *found], found, strict=False) if not _is_repeat(event, before)]
        return found if limit is None else found[:limit]

    def verify_chain(self) -> ChainVerification:
        """Find events that were changed, removed or moved; others may write meanwhile."""
        return verify_stored(self.stored, in_order=self.in_order)


def _when(event: AuditEvent) -> tuple[int, str, int]:
    return to_microseconds(event.timestamp), event.chain, event.sequence


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


class CompositeAuditBackend(AuditBackend):
    """Writes to several sinks, also behind one that fails, and reads from the first.

    Args:
        backends: the sinks. If one of them is an `AsyncAuditBackend`, all are written in a thread.
    """

    def __init__(self, backends: Iterable[AuditBackend]) -> None:
        self._backends = tuple(backends)
        if not self._backends:
            raise ValueError("a composite sink needs at least one sink")
        first = self._backends[0]
        self.in_order = first.in_order
        self.max_waiting = max(backend.max_waiting for backend in self._backends)

    @property
    def identity(self) -> str:
        """All sinks."""
        return " ".join(backend.identity for backend in self._backends)

    def stored(self, since: datetime | None = None) -> Iterator[Stored]:
        """Read the bytes of every event of the first sink since a time."""
        return self._backends[0].stored(since)

    def heads(self) -> dict[str, str]:
        """Read the heads in the first sink."""
        return self._backends[0].heads()

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Write to every sink, and have it keep what it was given."""
        failed: StoreError | None = None
        for backend in self._backends:
            try:
                backend.write(events)
                backend.flush()
            except Exception as error:  # noqa: BLE001  # a sink may raise anything
                failed = failed or as_store_error(error)
        if failed is not None:
            raise failed

    def close(self) -> None:
        """Close every sink, also behind one that fails."""
        with contextlib.ExitStack() as stack:
            for backend in self._backends:
                stack.callback(backend.close)


class AsyncAuditBackend(CompositeAuditBackend):
    """Another sink, to which operations of a store do not write themselves: a thread does, within `flush_interval_seconds`.

    Args:
        backend: the sink.
        max_waiting: when so many events wait, the operation that adds the next one writes them after all.
    """

    def __init__(self, backend: AuditBackend, *, max_waiting: int = 10_000) -> None:
        super().__init__([backend])
        self.max_waiting = max_waiting


def as_store_error(error: Exception) -> StoreError:
    """Return the error of a sink as one that its callers expect."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreWriteError(f"the audit sink failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
