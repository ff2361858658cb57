"""What a place for audit events must do, and what it can find out about chains from the events themselves."""

from __future__ import annotations

import heapq
import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from truthstore.errors import StoreError, StoreWriteError
from truthstore.model.fields import to_microseconds
from truthstore.observability.audit.chain import HEADS, MARKS, ChainVerification, verify_events
from truthstore.observability.audit.event import DAMAGED, AuditEvent, AuditEventType, AuditStatus

__all__ = ["AuditBackend", "as_store_error", "tips"]

MOST_HEADS: Final = 32
"""A chain names at most so many heads of others."""
ENOUGH_MARKS: Final = 8
"""What so many open and close events did not name is behind all of them: nobody looks further back."""

_time: Final = attrgetter("timestamp")


class AuditBackend(ABC):
    """A place for audit events. To make one, write `write` and `read`; `of_chains` and `heads` make it faster."""

    in_order = False
    """Whether `read` gives events in the order in which they were written."""

    @property
    def identity(self) -> str:
        """Where events go, the same in every process: what waits in a local queue waits for this sink only.

        By default the name of the class. A class with sinks for several places tells them apart here; no secrets.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def write(self, events: Sequence[AuditEvent]) -> None:
        """Keeps events, all or none.

        Raises:
            StoreError: it could not.
        """

    def write_again(self, events: Sequence[AuditEvent]) -> None:
        """Keeps those events of one chain that are not here yet: an earlier `write` may have kept them, or some.

        Args:
            events: in the order of their chain, and with all that may be lacking before them.

        Raises:
            StoreError: it could not.
        """
        chain = events[0].chain
        last = self.last(chain) if chain else -1
        lacking = [event for event in events if event.sequence > last]
        if lacking:
            self.write(lacking)

    def take_back(self, chain: str) -> list[AuditEvent]:
        """The events of a chain that `write` took and that are not known to be kept: they are the caller's again.

        Only a sink that writes later has any. One that is being written at this moment may be kept all the same.
        """
        return []

    @abstractmethod
    def read(self) -> Iterator[AuditEvent]:
        """Every event."""

    def log(self, event: AuditEvent) -> None:
        """Keeps one event."""
        self.write([event])

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events since a time; more may come along."""
        return self.read()

    def of_chains(self, chains: Collection[str]) -> Iterator[AuditEvent]:
        """The events of some chains, for a second look at them."""
        return (event for event in self.read() if event.chain in chains)

    def last(self, chain: str) -> int:
        """The place of the newest event of a chain that is here; -1 if there is none."""
        return max((event.sequence for event in self.of_chains({chain})), default=-1)

    def heads(self) -> dict[str, str]:
        """The newest hash of each chain, as far as no chain has named it yet: a chain that opens or closes does that."""
        newest: dict[str, AuditEvent] = {}
        named: set[tuple[str, str]] = set()
        for event in self.read():
            known = newest.get(event.chain)
            if known is None or event.sequence > known.sequence:
                newest[event.chain] = event
            named.update(_named(_heads_of(event)))
        unnamed = (event for event in newest.values() if (event.chain, event.hash) not in named)
        return {event.chain: event.hash for event in heapq.nlargest(MOST_HEADS, unnamed, key=_time)}

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
        """The events that fulfil every condition, newest first unless `ascending`; what was delivered twice, once.

        Args:
            event_type: what was done.
            status: how it went.
            operation: the operation of the store.
            collection: name of the collection.
            item: id of an item, alone or among others.
            actor: who did it.
            correlation_id: on whose behalf.
            start_time: earliest, inclusive; a naive time means local time.
            end_time: latest, inclusive.
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
        """Whether an event was changed, removed or put elsewhere.

        Others may write meanwhile: chains that look wrong are looked at once more before that is said.
        """
        return verify_events(self.read(), in_order=self.in_order, again=self.of_chains)

    def flush(self) -> None:  # noqa: B027  # most sinks have nothing that waits
        """Waits until everything is where it belongs."""

    def close(self) -> None:  # noqa: B027  # nor anything to give up
        """Gives up files and threads."""


def _is_repeat(event: AuditEvent, before: AuditEvent | None) -> bool:
    return before is not None and event.chain not in {"", DAMAGED} and event == before


def _heads_of(event: AuditEvent) -> Any:
    return event.metadata.get(HEADS) if event.event_type in MARKS else None


def _named(heads: Any) -> Iterator[tuple[str, str]]:
    """Chains and hashes among what may be anything."""
    if isinstance(heads, dict):
        for chain, hash in heads.items():
            if isinstance(hash, str):
                yield chain, hash


def marked(events: Iterable[AuditEvent]) -> Iterator[tuple[str, str, Any]]:
    """Of each event what `tips` asks for."""
    return ((event.chain, event.hash, _heads_of(event)) for event in events)


def tips(newest_first: Iterable[tuple[str, str, Any]]) -> dict[str, str]:
    """The newest hashes of chains that no other chain has named, as near to the end of a trail as that can be told.

    Args:
        newest_first: chain, hash and, of open and close events, the heads that they name.
    """
    newest: dict[str, str] = {}
    named: set[tuple[str, str]] = set()
    marks = 0
    for chain, hash, heads in newest_first:
        newest.setdefault(chain, hash)
        if heads is not None:
            named.update(_named(heads))
            marks += 1
            if marks == ENOUGH_MARKS:
                break
    unnamed = ((chain, hash) for chain, hash in newest.items() if (chain, hash) not in named)
    return dict(itertools.islice(unnamed, MOST_HEADS))


def as_store_error(error: BaseException) -> StoreError:
    """What a sink raised, as an error that its callers expect."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreWriteError(f"the audit sink failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
