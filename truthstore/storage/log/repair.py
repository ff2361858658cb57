"""Comparing the bodies with an index that is a log, and making the index anew from the bodies, while others write."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.errors import StoreCorruptError
from truthstore.model.query import EVERYTHING
from truthstore.store.health import Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truthstore.runtime.parallel import SideBySide
    from truthstore.storage.log.entry import Fact
    from truthstore.storage.log.follower import LogIndex
    from truthstore.storage.log.objects import Bodies, Body
    from truthstore.storage.log.replica import Replica

__all__ = ["rebuild", "verify"]

PAGE: Final = 1_000
log: Final = logging.getLogger("truthstore")


class Found(NamedTuple):
    """What lies at the key of a body."""

    key: str
    body: Body | None
    problem: str | None


def read_bodies(bodies: Bodies, side_by_side: SideBySide) -> Iterator[Found]:
    """Every body there is, or what is wrong with it."""

    def read(key: str) -> Found:
        try:
            return Found(key, bodies.read(key), None)
        except StoreCorruptError as error:
            return Found(key, None, str(error))

    keys = bodies.keys()
    while some := list(islice(keys, PAGE)):
        yield from side_by_side(read, some)


def verify(index: LogIndex, replica: Replica, side_by_side: SideBySide, follow: Callable[[], object]) -> Verification:
    """Reads every body and compares it with the index; looks twice at what differs."""
    bodies = index.bodies
    collection = bodies.collection
    follow()
    seen: set[str] = set()
    corrupt: dict[str, str] = {}
    differing: list[str] = []
    for key, body, problem in read_bodies(bodies, side_by_side):
        if problem is not None:
            corrupt[key] = problem
        elif body is not None and not body.removed:
            id = body.record.id
            seen.add(id)
            location = replica.find(collection, id)
            if location is None or location.revision != body.revision:
                differing.append(id)
    for id in replica.ids(EVERYTHING.replace(include_deleted=True).bind(collection)):
        problem = corrupt.pop(bodies.key(id), None)
        if problem is not None:
            corrupt[id] = problem
        elif id not in seen:
            differing.append(id)
    missing: list[str] = []
    unindexed: list[str] = []
    changed: list[str] = []
    if differing:
        follow()
        for id, body in zip(differing, side_by_side(bodies.get, differing), strict=True):
            location = replica.find(collection, id)
            live = body is not None and not body.removed
            if location is not None and not live:
                missing.append(id)
            elif location is None and live:
                unindexed.append(id)
            elif location is not None and body is not None and body.revision != location.revision:
                changed.append(id)
    return Verification(
        checked=len(seen) + len(corrupt),
        missing=tuple(missing),
        unindexed=tuple(unindexed),
        changed=tuple(changed),
        corrupt=corrupt,
    )


def rebuild(index: LogIndex, replica: Replica, side_by_side: SideBySide, follow: Callable[[], object]) -> None:
    """Tells the log of every body that it does not know, and writes this machine's rows anew.

    Items whose objects somebody removed leave the index; bodies that cannot be read keep out of it. Objects of the log
    that cannot be read are removed once other entries tell of every body.
    """
    bodies, collection = index.bodies, index.bodies.collection
    damaged = False
    try:
        follow()
    except StoreCorruptError as error:
        log.warning("the index of %s is made anew from the bodies: %s", collection.name, error)
        damaged = True
    facts: list[Fact] = []
    unread: set[str] = set()
    for key, body, problem in read_bodies(bodies, side_by_side):
        if problem is not None:
            log.warning("%s keeps out of the index: %s", key, problem)
            unread.add(key)
        elif body is not None:
            facts.append(bodies.fact(body))
    news = facts if damaged else replica.news(collection, facts)
    for start in range(0, len(news), PAGE):
        index.log.add(news[start : start + PAGE])
    if damaged:
        index.log.remove_damaged()
        follow()
    replica.renew(collection, facts)
    seen = {fact.id for fact in facts}
    lost: list[tuple[str, Any]] = [
        (id, stamp)
        for id, stamp in replica.live(collection).items()
        if id not in seen and bodies.key(id) not in unread and bodies.get(id) is None
    ]
    for id, stamp in lost:
        index.log.bury(id, stamp)
