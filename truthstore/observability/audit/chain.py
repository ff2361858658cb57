"""Tamper evidence: each process chains its events by hashes, and names the heads of the chains it knows."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from truthstore.observability.audit.event import DAMAGED, AuditEvent, AuditEventType, encodable

__all__ = ["Chain", "ChainVerification", "Tip", "verify_events"]

log: Final = logging.getLogger("truthstore.observability")
HEADS: Final = "heads"
UNREAD: Final = "heads_unread"
"""In the metadata of an event that should name heads and could not read them, the class of the error."""
MARKS: Final = frozenset({AuditEventType.OPEN, AuditEventType.CLOSE})
"""Events that name heads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerification:
    """What a look at every chain of a trail found.

    Attributes:
        checked: how many events were read.
        chains: how many chains there are.
        problems: what was changed, removed or put elsewhere, one sentence each.
        unclosed: chains without a close event: their process still runs, was killed, or its last events were removed
            together.
        repeated: how many events were there once more, the same to the last letter: a process died between a delivery
            and writing down that it was done. That is no problem.
    """

    checked: int
    chains: int
    problems: tuple[str, ...] = ()
    unclosed: tuple[str, ...] = ()
    repeated: int = 0

    @property
    def ok(self) -> bool:
        """Nothing is wrong with what is there."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok


class Tip(NamedTuple):
    """How far a chain has come. A value, so that whoever keeps it beside the events always has what fits them.

    Attributes:
        pid: whose chain it is; 0 if it has ended.
        chain: the name of the chain.
        sequence: the next place.
        previous: hash of the last event.
    """

    pid: int = 0
    chain: str = ""
    sequence: int = 0
    previous: str = ""

    @property
    def is_open(self) -> bool:
        """Whether this process has put anything in it, and may put in more."""
        return self.pid == os.getpid()

    def ended(self) -> Tip:
        """The next event begins another chain."""
        return self._replace(pid=0)


class Chain:
    """Puts events into the chain of this process. It keeps no place: it is given one and returns the next.

    Args:
        heads: asks the sink for the heads of other chains, to name them.

    Attributes:
        altered: how many events could not be encoded as they were.
    """

    def __init__(self, heads: Callable[[], Mapping[str, str]]) -> None:
        self._heads = heads
        self.altered = 0

    def add(self, tip: Tip, events: Sequence[AuditEvent]) -> tuple[Tip, list[AuditEvent]]:
        """The events with their places, and the place behind them; the first is preceded by an open event."""
        added: list[AuditEvent] = []
        if not tip.is_open:
            tip = Tip(os.getpid(), secrets.token_hex(8))
            tip = self._link(tip, (self._mark(AuditEventType.OPEN, events[0], tip),), added)
        return self._link(tip, events, added), added

    def end(self, tip: Tip, like: AuditEvent) -> tuple[Tip, list[AuditEvent]]:
        """The close event; nothing if nothing was added in this process."""
        added: list[AuditEvent] = []
        if tip.is_open:
            tip = self._link(tip, (self._mark(AuditEventType.CLOSE, like, tip),), added).ended()
        return tip, added

    def _mark(self, kind: AuditEventType, like: AuditEvent, tip: Tip) -> AuditEvent:
        metadata: dict[str, Any] = {HEADS: {}, "process": tip.pid}
        try:
            metadata[HEADS] = {chain: hash for chain, hash in self._heads().items() if chain != tip.chain}
        except Exception as error:  # noqa: BLE001  # a chain that names no others is better than none, and says so
            log.warning("an audit chain names no others, for they cannot be read: %s", error)
            metadata[UNREAD] = type(error).__name__
        return AuditEvent(
            event_type=kind,
            operation=kind.value,
            timestamp=like.timestamp,
            store=like.store,
            actor=like.actor,
            environment=like.environment,
            metadata=metadata,
        )

    def _link(self, tip: Tip, events: Sequence[AuditEvent], added: list[AuditEvent]) -> Tip:
        pid, chain, sequence, previous = tip
        for event in events:
            linked = msgspec.structs.replace(event, chain=chain, sequence=sequence, previous=previous, hash="")
            try:
                hash = linked.digest()
            except Exception as error:  # noqa: BLE001  # one event must not cost those beside it
                self.altered += 1
                linked = encodable(linked, error)
                hash = linked.digest()
            # Nobody else has this copy yet: it need not be copied once more.
            msgspec.structs.force_setattr(linked, "hash", hash)
            added.append(linked)
            sequence, previous = sequence + 1, hash
        return Tip(pid, chain, sequence, previous)


def verify_events(
    events: Iterable[AuditEvent],
    *,
    in_order: bool = False,
    again: Callable[[Collection[str]], Iterable[AuditEvent]] | None = None,
) -> ChainVerification:
    """Checks every chain among events.

    Args:
        events: all events of a trail.
        in_order: events of one chain must also come in its order, as in a file.
        again: reads some chains once more: what seems to be missing may have been written while `events` were read.
    """
    trail = _Trail()
    for event in events:
        trail.take(event, in_order=in_order)
    found = list(trail.missing())
    if found and again is not None:
        doubtful = {chain for chain, _ in found}
        for event in again(doubtful):
            trail.complete(event)
        found = list(trail.missing())
    return trail.told([problem for _, problem in found])


class _Trail:
    """The chains of a trail, as far as they were read."""

    def __init__(self) -> None:
        self._chains: dict[str, dict[int, AuditEvent]] = {}
        self._marks: list[AuditEvent] = []
        self._problems: list[str] = []
        self._last: dict[str, int] = {}
        self._checked = self._repeated = 0

    def take(self, event: AuditEvent, *, in_order: bool) -> None:
        """The next event of the trail."""
        self._checked += 1
        if event.chain == DAMAGED:
            self._problems.append(f"{event.item} cannot be read: {event.error_message}")
            return
        chain = self._chains.setdefault(event.chain, {})
        is_genuine = _is_genuine(event)
        known = chain.get(event.sequence)
        if known is not None and is_genuine and known == event:
            self._repeated += 1
            return
        if not is_genuine:
            self._problems.append(f"event {event.event_id} was changed")
        if known is not None:
            self._problems.append(f"event {event.event_id} is there twice")
        if in_order and event.sequence < self._last.get(event.chain, 0):
            self._problems.append(f"event {event.event_id} is not in its place")
        self._last[event.chain] = event.sequence
        chain[event.sequence] = event
        if event.event_type in MARKS:
            self._marks.append(event)

    def complete(self, event: AuditEvent) -> None:
        """An event of a second look. What such a one names may be younger than the first look, and is not asked for."""
        if event.chain != DAMAGED and _is_genuine(event):
            self._chains.setdefault(event.chain, {}).setdefault(event.sequence, event)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Chains that lack something, and what."""
        hashes: set[tuple[str, str]] = set()
        for name, chain in self._chains.items():
            previous = ""
            for place, (sequence, event) in enumerate(sorted(chain.items())):
                if sequence != place and sequence - 1 not in chain:
                    yield name, f"events before {event.event_id} were removed"
                elif event.previous != previous:
                    yield name, f"event {event.event_id} does not follow the one before it"
                previous = event.hash
                hashes.add((name, event.hash))
        for event in self._marks:
            named: Any = event.metadata.get(HEADS, {})
            if not isinstance(named, dict):
                yield event.chain, f"event {event.event_id} does not name heads as it should"
                continue
            for other, hash in named.items():
                if not isinstance(hash, str) or (other, hash) not in hashes:
                    yield other, f"chain {other} lacks the head that {event.event_id} names"

    def told(self, missing: Iterable[str]) -> ChainVerification:
        """What was found."""
        return ChainVerification(
            checked=self._checked,
            chains=len(self._chains),
            problems=(*self._problems, *missing),
            unclosed=tuple(
                sorted(
                    name
                    for name, chain in self._chains.items()
                    if chain[max(chain)].event_type is not AuditEventType.CLOSE
                )
            ),
            repeated=self._repeated,
        )


def _is_genuine(event: AuditEvent) -> bool:
    try:
        return event.digest() == event.hash
    except Exception:  # noqa: BLE001  # what cannot be encoded was never written like this
        return False
