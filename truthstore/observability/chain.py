"""Tamper evidence: each process chains its events by hashes, and names the heads of the chains it knows."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from truthstore.observability.events import DAMAGED, AuditEvent, AuditEventType, encodable

__all__ = ["Chain", "ChainVerification", "verify_events"]

HEADS: Final = "heads"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerification:
    """What a look at every chain of a trail found.

    Attributes:
        checked: how many events were read.
        chains: how many chains there are.
        problems: what was changed, removed or put elsewhere, one sentence each.
        unclosed: chains without a close event: their process still runs, was killed, or its last events were removed
            together.
    """

    checked: int
    chains: int
    problems: tuple[str, ...] = ()
    unclosed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong with what is there."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok


class Chain:
    """The chain of this process. Not safe to use from two threads at once: its owner holds a lock.

    Args:
        heads: asks the sink for its last events, to name the heads of other chains.

    Attributes:
        id: the name of the chain.
        altered: how many events could not be encoded as they were.
    """

    def __init__(self, heads: Callable[[], Mapping[str, str]]) -> None:
        self._heads = heads
        self._pid = 0
        self.id = ""
        self.altered = 0
        self._sequence = 0
        self._previous = ""

    @property
    def is_open(self) -> bool:
        """Whether this process has put anything in it."""
        return self._pid == os.getpid()

    def add(self, events: Sequence[AuditEvent]) -> list[AuditEvent]:
        """The events with their places; the first is preceded by an open event."""
        added: list[AuditEvent] = []
        if self._pid != os.getpid():
            self._pid, self.id, self._sequence, self._previous = os.getpid(), secrets.token_hex(8), 0, ""
            added.append(self._link(self._mark(AuditEventType.OPEN, events[0])))
        added.extend(map(self._link, events))
        return added

    def end(self, like: AuditEvent) -> list[AuditEvent]:
        """The close event; nothing if nothing was added in this process."""
        if not self.is_open:
            return []
        closing = self._link(self._mark(AuditEventType.CLOSE, like))
        self.restart()
        return [closing]

    def restart(self) -> None:
        """The next event begins another chain."""
        self._pid = 0

    def _mark(self, kind: AuditEventType, like: AuditEvent) -> AuditEvent:
        heads = {chain: hash for chain, hash in self._heads().items() if chain != self.id}
        return AuditEvent(
            event_type=kind,
            operation=kind.value,
            timestamp=like.timestamp,
            store=like.store,
            actor=like.actor,
            environment=like.environment,
            metadata={HEADS: heads, "process": self._pid},
        )

    def _link(self, event: AuditEvent) -> AuditEvent:
        linked = msgspec.structs.replace(
            event, chain=self.id, sequence=self._sequence, previous=self._previous, hash=""
        )
        try:
            hash = linked.digest()
        except Exception as error:  # noqa: BLE001  # one event must not cost those beside it
            self.altered += 1
            linked = encodable(linked, error)
            hash = linked.digest()
        # Nobody else has this copy yet: it need not be copied once more.
        msgspec.structs.force_setattr(linked, "hash", hash)
        self._sequence += 1
        self._previous = linked.hash
        return linked


def verify_events(events: Iterable[AuditEvent], *, in_order: bool = False) -> ChainVerification:
    """Checks every chain among events.

    Args:
        events: all events of a trail.
        in_order: events of one chain must also come in its order, as in a file.
    """
    chains: dict[str, dict[int, AuditEvent]] = {}
    problems: list[str] = []
    last: dict[str, int] = {}
    checked = 0
    for event in events:
        checked += 1
        if event.chain == DAMAGED:
            problems.append(f"{event.item} cannot be read: {event.error_message}")
            continue
        chain = chains.setdefault(event.chain, {})
        if not _is_genuine(event):
            problems.append(f"event {event.event_id} was changed")
        if event.sequence in chain:
            problems.append(f"event {event.event_id} is there twice")
        if in_order and event.sequence < last.get(event.chain, 0):
            problems.append(f"event {event.event_id} is not in its place")
        last[event.chain] = event.sequence
        chain[event.sequence] = event
    hashes: set[tuple[str, str]] = set()
    for name, chain in chains.items():
        previous = ""
        for place, (sequence, event) in enumerate(sorted(chain.items())):
            if sequence != place and sequence - 1 not in chain:
                problems.append(f"events before {event.event_id} were removed")
            elif event.previous != previous:
                problems.append(f"event {event.event_id} does not follow the one before it")
            previous = event.hash
            hashes.add((name, event.hash))
    for chain in chains.values():
        for event in chain.values():
            if event.event_type in {AuditEventType.OPEN, AuditEventType.CLOSE}:
                named: Any = event.metadata.get(HEADS, {})
                if not isinstance(named, dict):
                    problems.append(f"event {event.event_id} does not name heads as it should")
                    continue
                problems.extend(
                    f"chain {other} lacks the head that {event.event_id} names"
                    for other, hash in named.items()
                    if not isinstance(hash, str) or (other, hash) not in hashes
                )
    unclosed = tuple(
        sorted(name for name, chain in chains.items() if chain[max(chain)].event_type is not AuditEventType.CLOSE)
    )
    return ChainVerification(checked=checked, chains=len(chains), problems=tuple(problems), unclosed=unclosed)


def _is_genuine(event: AuditEvent) -> bool:
    try:
        return event.digest() == event.hash
    except Exception:  # noqa: BLE001  # what cannot be encoded was never written like this
        return False
