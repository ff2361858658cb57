"""Tamper evidence: each process chains its events by hashes, and names the newest hashes of other chains."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from truthstore.observability.audit.event import DAMAGED, AuditEvent, AuditEventType, Stored, reduced

__all__ = ["ChainVerification", "link", "mark", "newest_heads", "verify_stored"]

log: Final = logging.getLogger("truthstore.observability")
HEADS: Final = "heads"
UNREAD: Final = "heads_unread"
"""In the metadata of an event that should name heads and could not read them, the class of the error."""
MARKS: Final = frozenset({AuditEventType.OPEN, AuditEventType.CLOSE})
"""Events that name heads."""
MAX_HEADS: Final = 32
"""A chain names at most so many heads."""


def link(last: AuditEvent | None, events: Iterable[AuditEvent]) -> list[AuditEvent]:
    """Give events their places behind the last one of a chain, or in a new chain."""
    linked: list[AuditEvent] = []
    chain = secrets.token_hex(8) if last is None else last.chain
    for event in events:
        sequence, previous = (0, "") if last is None else (last.sequence + 1, last.hash)
        placed = msgspec.structs.replace(event, chain=chain, sequence=sequence, previous=previous, hash="")
        try:
            last = placed.sealed()
        except Exception as error:  # noqa: BLE001  # one event must not cost those beside it
            last = reduced(placed, f"it could not be encoded: {type(error).__name__}").sealed()
        linked.append(last)
    return linked


def mark(kind: AuditEventType, heads: Callable[[], Mapping[str, str]], like: AuditEvent) -> AuditEvent:
    """Build the event that opens or closes a chain and names the heads of others.

    Args:
        kind: `OPEN` or `CLOSE`.
        heads: reads the heads.
        like: an event of the same process.
    """
    metadata: dict[str, Any] = {HEADS: {}, "process": os.getpid()}
    try:
        metadata[HEADS] = heads()
    except Exception as error:  # noqa: BLE001  # a chain that names no others is better than none, and says so
        log.warning("an audit chain names no others, for they cannot be read: %s", error)
        metadata[UNREAD] = type(error).__name__
    kept = {name: getattr(like, name) for name in ("timestamp", "store", "actor", "environment")}
    return AuditEvent(event_type=kind, operation=kind.value, metadata=metadata, **kept)


def newest_heads(newest_first: Iterable[AuditEvent]) -> dict[str, str]:
    """Find the newest hashes of the chains that wrote last."""
    newest: dict[str, str] = {}
    for event in newest_first:
        newest.setdefault(event.chain, event.hash)
        if len(newest) == MAX_HEADS:
            break
    return newest


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerification:
    """The result of a verification of all chains of a trail.

    Attributes:
        checked: number of events that were read.
        chains: number of chains.
        problems: sentences about events that were changed, removed or moved.
        unclosed: chains without a close event: their process still runs, was killed, or its last events were removed
            together.
        repeated: number of events that were there once more, byte for byte: they were delivered twice, which is no
            problem.
    """

    checked: int
    chains: int
    problems: tuple[str, ...] = ()
    unclosed: tuple[str, ...] = ()
    repeated: int = 0

    @property
    def ok(self) -> bool:
        """True if there is no problem."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok


def verify_stored(read: Callable[[], Iterable[Stored]], *, in_order: bool = False) -> ChainVerification:
    """Verify every chain of a trail, by the very bytes that are stored.

    Args:
        read: reads the trail. It is called again if something seems to be missing: it may have been written meanwhile.
        in_order: events of one chain must also come in its order, as in a file.
    """
    trail = _Trail()
    for stored in read():
        trail.add(stored, in_order=in_order)
    if suspects := {chain for chain, _ in trail.missing()}:
        trail.complete(suspects, read())
    return ChainVerification(
        checked=trail.checked,
        chains=len(trail.chains),
        problems=(*trail.problems, *(problem for _, problem in trail.missing())),
        unclosed=tuple(sorted(name for name, chain in trail.chains.items() if not chain[max(chain)].is_close)),
        repeated=trail.repeated,
    )


class _Link(NamedTuple):
    """The parts of an event that hold a chain together."""

    previous: str
    hash: str
    is_genuine: bool
    is_close: bool

    @classmethod
    def of(cls, event: AuditEvent, stored: Stored) -> _Link:
        is_close = event.event_type is AuditEventType.CLOSE
        return cls(event.previous, event.hash, event.hash == stored.digest(), is_close)


class _Trail:
    """The chains of a trail, as far as they were read."""

    def __init__(self) -> None:
        self.chains: dict[str, dict[int, _Link]] = {}
        self.problems: list[str] = []
        self.checked = self.repeated = 0
        self._marks: list[AuditEvent] = []
        self._last: dict[str, int] = {}

    def add(self, stored: Stored, *, in_order: bool) -> None:
        self.checked += 1
        event = stored.decode()
        if event.chain == DAMAGED:
            self.problems.append(f"{stored.name} cannot be read: {event.error_message}")
            return
        chain = self.chains.setdefault(event.chain, {})
        found, known = _Link.of(event, stored), chain.get(event.sequence)
        if found.is_genuine and found == known:
            self.repeated += 1
            return
        if not found.is_genuine:
            self.problems.append(f"event {event.event_id} was changed")
        if known is not None:
            self.problems.append(f"event {event.event_id} is there twice")
        if in_order and event.sequence < self._last.get(event.chain, 0):
            self.problems.append(f"event {event.event_id} is not in its place")
        self._last[event.chain] = event.sequence
        chain[event.sequence] = found
        if event.event_type in MARKS:
            self._marks.append(event)

    def complete(self, chains: set[str], again: Iterable[Stored]) -> None:
        """Add genuine events of some chains. The heads that they name may be still younger, and are not asked for."""
        for stored in again:
            event = stored.decode()
            if event.chain in chains and (found := _Link.of(event, stored)).is_genuine:
                self.chains.setdefault(event.chain, {}).setdefault(event.sequence, found)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Yield the chains that lack something, and a sentence about it."""
        for name, chain in self.chains.items():
            previous = ""
            for place, (sequence, found) in enumerate(sorted(chain.items())):
                if sequence != place and sequence - 1 not in chain:
                    yield name, f"events before {name}-{sequence} were removed"
                elif found.previous != previous:
                    yield name, f"event {name}-{sequence} does not follow the one before it"
                previous = found.hash
        hashes = {(name, found.hash) for name, chain in self.chains.items() for found in chain.values()}
        for event in self._marks:
            heads = event.metadata.get(HEADS, {})
            if not isinstance(heads, dict) or not all(isinstance(hash, str) for hash in heads.values()):
                yield event.chain, f"event {event.event_id} does not name heads as it should"
                continue
            for name, hash in heads.items():
                if (name, hash) not in hashes:
                    yield name, f"chain {name} lacks the head that {event.event_id} names"
