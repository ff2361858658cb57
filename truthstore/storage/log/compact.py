"""Joining index objects, and compacting several into one. Pure functions: the same in any order, and when repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from truthstore.storage.log.entry import Confirmed, Intent, LogObject, is_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Joined", "Source", "compact", "covered_by", "join", "said", "unexplained"]

_pack: Final = msgspec.msgpack.encode
_unpack: Final = msgspec.msgpack.Decoder(list[tuple[str, str, int, str]]).decode


class Source(NamedTuple):
    """An index object and its name."""

    name: str
    content: LogObject


class Joined(NamedTuple):
    """The latest confirmed row of each id, the intents that are open beside it, and late rows that nothing announces."""

    confirmed: dict[str, Confirmed]
    intents: dict[str, set[Intent]]
    floor: int
    late: tuple[Confirmed, ...] = ()

    @property
    def doubts(self) -> dict[str, set[Intent]]:
        """The open intents, and one for each late row: of these ids only the bodies tell."""
        found = {id: set(some) for id, some in self.intents.items()}
        for row in self.late:
            # Its base is its stamp, so that it announces nothing, and is resolved by a larger one.
            found.setdefault(row.id, set()).add(Intent(row.id, row.stamp, row.stamp, row.revision))
        return found


def covered_by(sources: Iterable[Source]) -> frozenset[str]:
    """Return the names that some objects replace."""
    return frozenset[str]().union(*(source.content.coverage for source in sources))


def join(sources: Sequence[Source]) -> Joined:
    """Join the rows of index objects. Objects that another one covers add nothing."""
    covered = covered_by(sources)
    used = [source for source in sources if source.name not in covered]
    floor = max((source.content.floor for source in used), default=0)
    guards = [
        (source, {id for id, row in _latest(source.content.confirmed).items() if row.head is not None})
        for source in used
        if source.content.floor
    ]
    certain: list[Confirmed] = []
    intents: dict[str, set[Intent]] = {}
    announced, late = _announced(used)
    for source in used:
        for intent in source.content.intents:
            intents.setdefault(intent.id, set()).add(intent)
        for row in (*source.content.confirmed, *(row for row in source.content.late if _key(row) in announced)):
            if row.head is not None and row.stamp <= floor and _is_doubtful(row, source, guards):
                # It may have been deleted and forgotten: readers must look at the body.
                intents.setdefault(row.id, set()).add(Intent(row.id, row.stamp - 1, row.stamp, row.revision))
            else:
                certain.append(row)
    confirmed = _latest(certain)
    waiting = tuple(row for row in late if row.id not in confirmed or row.rank > confirmed[row.id].rank)
    return Joined(confirmed, _still_open(intents, confirmed), floor, waiting)


def _key(row: Confirmed | Intent) -> tuple[str, int, str]:
    return row.id, row.stamp, row.revision


def _announced(sources: Sequence[Source]) -> tuple[set[tuple[str, int, str]], list[Confirmed]]:
    """Return the writes of late rows that were announced, or confirmed elsewhere, and the other late rows."""
    late = {_key(row): row for source in sources for row in source.content.late}
    announced: set[tuple[str, int, str]] = set()
    if late:
        for source in sources:
            announced.update(key for row in source.content.confirmed if (key := _key(row)) in late)
            announced.update(_key(intent) for intent in source.content.intents if intent.base < intent.stamp)
    return announced, [row for key, row in late.items() if key not in announced]


def _latest(rows: Iterable[Confirmed]) -> dict[str, Confirmed]:
    """Return the row with the largest rank of each id, the first of those with the same."""
    latest: dict[str, Confirmed] = {}
    for row in rows:
        known = latest.get(row.id)
        if known is None or row.rank > known.rank:
            latest[row.id] = row
    return latest


def _still_open(intents: Mapping[str, set[Intent]], confirmed: Mapping[str, Confirmed]) -> dict[str, set[Intent]]:
    found: dict[str, set[Intent]] = {}
    for id, some in intents.items():
        row = confirmed.get(id)
        left = some if row is None else {intent for intent in some if intent.stamp > row.stamp}
        if left:
            found[id] = left
    return found


def _is_doubtful(row: Confirmed, source: Source, guards: Sequence[tuple[Source, set[str]]]) -> bool:
    """Return True if another object, made after deletes were forgotten, ought to hold a put and does not."""
    return any(
        guard is not source
        and guard.content.floor >= row.stamp
        and row.id not in live
        and guard.name not in source.content.coverage
        for guard, live in guards
    )


def compact(sources: Sequence[Source], *, forget_before: int | None = None) -> LogObject:
    """Return one object that replaces several.

    Args:
        sources: the objects.
        forget_before: leave out tombstones with stamps up to this one. Only allowed when `sources` is everything.
    """
    joined = join(sources)
    confirmed, floor = joined.confirmed, joined.floor
    if forget_before is not None:
        open_ids = joined.doubts.keys()
        dead = [
            id
            for id, row in confirmed.items()
            if row.head is None and row.stamp <= forget_before and id not in open_ids
        ]
        for id in dead:
            del confirmed[id]
        if dead:
            floor = max(floor, forget_before)
    coverage = {source.name for source in sources}
    coverage.update(name for name in covered_by(sources) if is_segment(name))
    listed = tuple(intent for some in joined.intents.values() for intent in some)
    return LogObject(tuple(confirmed.values()), listed, frozenset(coverage), floor, joined.late)


def said(content: LogObject) -> bytes:
    """Return which writes an entry tells of, without what it tells of them."""
    parts = (("c", content.confirmed), ("i", content.intents), ("l", content.late))
    return _pack([(kind, *_key(row)) for kind, rows in parts for row in rows])


def unexplained(gone: Mapping[str, bytes | None], sources: Iterable[Source]) -> set[str]:
    """Return the names of objects that are gone although what they said is neither repeated nor outdone by others.

    Args:
        gone: what each said; None of a segment, which only its successors replace.
        sources: objects that were read since.
    """
    told = {name: _unpack(each) for name, each in gone.items() if each}
    if told:
        ids = {id for each in told.values() for _, id, _, _ in each}
        repeated: set[tuple[str, str, int, str]] = set()
        latest: dict[str, tuple[int, str]] = {}
        for source in sources:
            for row in source.content.confirmed:
                if row.id in ids:
                    latest[row.id] = max(latest.get(row.id, row.rank), row.rank)
            repeated.update(("i", *_key(row)) for row in source.content.intents)
            repeated.update(("l", *_key(row)) for row in source.content.late)
        told = {
            name: each
            for name, each in told.items()
            if not all(row in repeated or latest.get(row[1], (0, "")) >= row[2:] for row in each)
        }
    return {name for name, each in gone.items() if each is None} | told.keys()
