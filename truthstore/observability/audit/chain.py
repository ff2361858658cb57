"""Tamper evidence: each process chains its events by hashes, and names the newest hashes of other chains."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from truthstore.observability.audit.event import AuditEvent, AuditEventType, Stored, encode_event, make_encodable

__all__ = ["ChainVerification", "Tip", "link", "mark", "newest_heads", "verify_events", "verify_stored"]

log: Final = logging.getLogger("truthstore.observability")
HEADS: Final = "heads"
UNREAD: Final = "heads_unread"
"""In the metadata of an event that should name heads and could not read them, the class of the error."""
MARKS: Final = frozenset({AuditEventType.OPEN, AuditEventType.CLOSE})
"""Events that name heads."""
MAX_HEADS: Final = 32
"""A chain names at most so many heads of others."""
MAX_MARKS: Final = 8
"""The search for heads ends behind so many events that name heads: they named what lies before them."""


class Tip(NamedTuple):
    """The end of a chain, to which the next event is linked; without a name, the next event begins a chain."""

    chain: str = ""
    sequence: int = 0
    previous: str = ""


def link(tip: Tip, events: Iterable[AuditEvent]) -> tuple[Tip, list[AuditEvent], int]:
    """Give events their places in a chain; return its new tip, the events, and how many had to be altered for that."""
    chain, sequence, previous = tip
    linked: list[AuditEvent] = []
    altered = 0
    for event in events:
        one = msgspec.structs.replace(event, chain=chain, sequence=sequence, previous=previous, hash="")
        try:
            hash = one.digest()
        except Exception as error:  # noqa: BLE001  # one event must not cost those beside it
            altered += 1
            one = make_encodable(one, error)
            hash = one.digest()
        # Nothing else has this copy yet: it need not be copied once more.
        msgspec.structs.force_setattr(one, "hash", hash)
        linked.append(one)
        sequence, previous = sequence + 1, hash
    return Tip(chain, sequence, previous), linked, altered


def begin() -> Tip:
    """Begin a chain."""
    return Tip(secrets.token_hex(8))


def mark(kind: AuditEventType, tip: Tip, heads: Callable[[], Mapping[str, str]], like: AuditEvent) -> AuditEvent:
    """Build the event that opens or closes a chain and names the heads of others.

    Args:
        kind: `OPEN` or `CLOSE`.
        tip: the end of the chain.
        heads: reads the heads.
        like: an event of the same process.
    """
    metadata: dict[str, Any] = {HEADS: {}, "process": os.getpid()}
    try:
        metadata[HEADS] = {chain: hash for chain, hash in heads().items() if chain != tip.chain}
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


def newest_heads(newest_first: Iterable[AuditEvent]) -> dict[str, str]:
    """Find the newest hashes of chains that no chain has named yet, as far as the newest events tell."""
    newest: dict[str, str] = {}
    named: set[tuple[str, str]] = set()
    marks = 0
    for event in newest_first:
        newest.setdefault(event.chain, event.hash)
        heads = event.metadata.get(HEADS) if event.event_type in MARKS else None
        if isinstance(heads, dict):
            named.update((chain, hash) for chain, hash in heads.items() if isinstance(hash, str))
            marks += 1
            if marks == MAX_MARKS:
                break
    return dict(itertools.islice((head for head in newest.items() if head not in named), MAX_HEADS))


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


def verify_events(events: Iterable[AuditEvent], *, in_order: bool = False) -> ChainVerification:
    """Verify every chain among events; see `verify_stored`."""
    return verify_stored(lambda: (Stored(event.event_id, encode_event(event)) for event in events), in_order=in_order)


def verify_stored(read: Callable[[], Iterable[Stored]], *, in_order: bool = False) -> ChainVerification:
    """Verify every chain of a trail, by the very bytes that are stored.

    Args:
        read: reads the trail. It is called again if something seems to be missing: it may have been written meanwhile.
        in_order: events of one chain must also come in its order, as in a file.
    """
    trail = _Trail()
    for stored in read():
        trail.add(stored, in_order=in_order)
    missing = list(trail.missing())
    if missing:
        trail.complete({chain for chain, _ in missing}, read())
        missing = list(trail.missing())
    return trail.result([problem for _, problem in missing])


class _Link(NamedTuple):
    """The parts of an event that hold a chain together."""

    previous: str
    hash: str
    is_genuine: bool
    is_close: bool


def _link_of(event: AuditEvent, stored: Stored) -> _Link:
    is_genuine = event.hash == stored.digest()
    return _Link(event.previous, event.hash, is_genuine, event.event_type is AuditEventType.CLOSE)


class _Trail:
    """The chains of a trail, as far as they were read."""

    def __init__(self) -> None:
        self._chains: dict[str, dict[int, _Link]] = {}
        self._named: list[tuple[AuditEvent, Any]] = []
        self._problems: list[str] = []
        self._last: dict[str, int] = {}
        self._checked = self._repeated = 0

    def add(self, stored: Stored, *, in_order: bool) -> None:
        self._checked += 1
        try:
            event = stored.decode()
        except ValueError as error:
            self._problems.append(f"{stored.name} cannot be read: {error}")
            return
        chain = self._chains.setdefault(event.chain, {})
        found, known = _link_of(event, stored), chain.get(event.sequence)
        if found.is_genuine and found == known:
            self._repeated += 1
            return
        if not found.is_genuine:
            self._problems.append(f"event {event.event_id} was changed")
        if known is not None:
            self._problems.append(f"event {event.event_id} is there twice")
        if in_order and event.sequence < self._last.get(event.chain, 0):
            self._problems.append(f"event {event.event_id} is not in its place")
        self._last[event.chain] = event.sequence
        chain[event.sequence] = found
        if event.event_type in MARKS:
            self._named.append((event, event.metadata.get(HEADS, {})))

    def complete(self, chains: set[str], again: Iterable[Stored]) -> None:
        """Add genuine events of some chains. The heads that they name may be still younger, and are not asked for."""
        for stored in again:
            event = stored.decode_anyhow()
            if event.chain in chains and (found := _link_of(event, stored)).is_genuine:
                self._chains.setdefault(event.chain, {}).setdefault(event.sequence, found)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Yield the chains that lack something, and a sentence about it."""
        hashes: set[tuple[str, Any]] = set()
        for name, chain in self._chains.items():
            previous = ""
            for place, (sequence, found) in enumerate(sorted(chain.items())):
                if sequence != place and sequence - 1 not in chain:
                    yield name, f"events before {name}-{sequence} were removed"
                elif found.previous != previous:
                    yield name, f"event {name}-{sequence} does not follow the one before it"
                previous = found.hash
                hashes.add((name, found.hash))
        for event, heads in self._named:
            if not isinstance(heads, dict) or not all(isinstance(hash, str) for hash in heads.values()):
                yield event.chain, f"event {event.event_id} does not name heads as it should"
                continue
            for head in heads.items():
                if head not in hashes:
                    yield head[0], f"chain {head[0]} lacks the head that {event.event_id} names"

    def result(self, missing: Sequence[str]) -> ChainVerification:
        return ChainVerification(
            checked=self._checked,
            chains=len(self._chains),
            problems=(*self._problems, *missing),
            unclosed=tuple(sorted(name for name, chain in self._chains.items() if not chain[max(chain)].is_close)),
            repeated=self._repeated,
        )
