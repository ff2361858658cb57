"""Joining index objects, and compacting several into one. Pure functions: the same in any order, and when repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from truthstore.storage.log.entry import Confirmed, Intent, LogObject, is_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Joined", "Source", "compact", "covered_by", "join"]


class Source(NamedTuple):
    """An index object and its name."""

    name: str
    content: LogObject


class Joined(NamedTuple):
    """The latest confirmed row of each id, and the intents that are open beside it."""

    confirmed: dict[str, Confirmed]
    intents: dict[str, set[Intent]]
    floor: int


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
    for source in used:
        for intent in source.content.intents:
            intents.setdefault(intent.id, set()).add(intent)
        for row in source.content.confirmed:
            if row.head is not None and row.stamp <= floor and _is_doubtful(row, source, guards):
                # It may have been deleted and forgotten: readers must look at the body.
                intents.setdefault(row.id, set()).add(Intent(row.id, row.stamp - 1, row.stamp, row.revision))
            else:
                certain.append(row)
    confirmed = _latest(certain)
    return Joined(confirmed, _still_open(intents, confirmed), floor)


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
    confirmed, intents, floor = join(sources)
    if forget_before is not None:
        dead = [
            id for id, row in confirmed.items() if row.head is None and row.stamp <= forget_before and id not in intents
        ]
        for id in dead:
            del confirmed[id]
        if dead:
            floor = max(floor, forget_before)
    coverage = {source.name for source in sources}
    coverage.update(name for name in covered_by(sources) if is_segment(name))
    listed = tuple(intent for some in intents.values() for intent in some)
    return LogObject(tuple(confirmed.values()), listed, frozenset(coverage), floor)
