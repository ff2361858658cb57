"""What several index objects say together, and folding them into one. Pure functions: the same in any order, and twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from truthstore.storage.log.entry import Fact, Intent, LogObject, is_segment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Joined", "Source", "fold", "join"]


class Source(NamedTuple):
    """An index object and its name."""

    name: str
    content: LogObject


class Joined(NamedTuple):
    """The latest fact about each id, and the intents that are open beside it."""

    facts: dict[str, Fact]
    intents: dict[str, set[Intent]]
    floor: int


def join(sources: Sequence[Source]) -> Joined:
    """What index objects say together. Objects that another one covers say nothing."""
    covered = frozenset[str]().union(*(source.content.coverage for source in sources))
    used = [source for source in sources if source.name not in covered]
    floor = max((source.content.floor for source in used), default=0)
    guards = [(source, _live(source.content)) for source in used if source.content.floor]
    facts: dict[str, Fact] = {}
    intents: dict[str, set[Intent]] = {}
    for source in used:
        for intent in source.content.intents:
            intents.setdefault(intent.id, set()).add(intent)
        for fact in source.content.facts:
            if fact.head is not None and fact.stamp <= floor and _is_doubtful(fact, source, guards):
                # It may have been deleted and forgotten: whoever asks must look at the body.
                doubt = Intent(fact.id, fact.stamp - 1, fact.stamp, fact.revision, live=True)
                intents.setdefault(fact.id, set()).add(doubt)
                continue
            known = facts.get(fact.id)
            if known is None or fact.rank > known.rank:
                facts[fact.id] = fact
    return Joined(facts, _still_open(intents, facts), floor)


def _still_open(intents: Mapping[str, set[Intent]], facts: Mapping[str, Fact]) -> dict[str, set[Intent]]:
    found: dict[str, set[Intent]] = {}
    for id, some in intents.items():
        fact = facts.get(id)
        left = some if fact is None else {intent for intent in some if intent.stamp > fact.stamp}
        if left:
            found[id] = left
    return found


def _live(content: LogObject) -> set[str]:
    """The ids that an object holds as live."""
    latest: dict[str, Fact] = {}
    for fact in content.facts:
        known = latest.get(fact.id)
        if known is None or fact.rank > known.rank:
            latest[fact.id] = fact
    return {id for id, fact in latest.items() if fact.head is not None}


def _is_doubtful(fact: Fact, source: Source, guards: Sequence[tuple[Source, set[str]]]) -> bool:
    """Whether some other object, made after deletes were forgotten, ought to hold a put and does not."""
    return any(
        guard is not source
        and guard.content.floor >= fact.stamp
        and fact.id not in live
        and guard.name not in source.content.coverage
        for guard, live in guards
    )


def fold(sources: Sequence[Source], *, forget_before: int | None = None) -> LogObject:
    """One object that replaces several.

    Args:
        sources: the objects.
        forget_before: leave out tombstones with stamps up to this one. Only allowed when `sources` is everything.
    """
    facts, intents, floor = join(sources)
    if forget_before is not None:
        dead = [
            id for id, fact in facts.items() if fact.head is None and fact.stamp <= forget_before and id not in intents
        ]
        for id in dead:
            del facts[id]
        if dead:
            floor = max(floor, forget_before)
    coverage = {source.name for source in sources}
    coverage.update(name for source in sources for name in source.content.coverage if is_segment(name))
    return LogObject(
        tuple(facts.values()), tuple(intent for some in intents.values() for intent in some), frozenset(coverage), floor
    )
