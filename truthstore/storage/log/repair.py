"""Comparing the bodies with an index that is a log, and rebuilding the index from the bodies, while others write."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreError
from truthstore.model.query import EVERYTHING
from truthstore.storage.log.damage import PAGE, read_objects
from truthstore.store.health import Verification

if TYPE_CHECKING:
    from collections.abc import Callable

    from truthstore.storage.log.entry import Confirmed
    from truthstore.storage.log.follower import LogIndex

__all__ = ["rebuild", "verify"]

logger: Final = logging.getLogger("truthstore.storage")


def verify(index: LogIndex, follow: Callable[[], object]) -> Verification:
    """Read every body and compare it with the index; look twice at those that differ."""
    objects, replica = index.objects, index.replica
    collection = objects.collection
    follow()
    seen: set[str] = set()
    corrupt: dict[str, str] = {}
    differing: list[str] = []
    tombstones = 0
    for key, body, problem in read_objects(index.log):
        if problem is not None:
            corrupt[key] = problem
        elif body is not None and not body.removed:
            id = body.record.id
            seen.add(id)
            tombstones += body.record.meta.deleted
            location = replica.find(collection, id)
            if location is None or location.revision != body.revision:
                differing.append(id)
    for id in replica.ids(EVERYTHING.replace(include_deleted=True).bind(collection)):
        problem = corrupt.pop(objects.key(id), None)
        if problem is not None:
            corrupt[id] = problem
        elif id not in seen:
            differing.append(id)
    missing: list[str] = []
    unindexed: list[str] = []
    changed: list[str] = []
    if differing:
        follow()
        for id, body in zip(differing, index.log.parallel(objects.get, differing), strict=True):
            location = replica.find(collection, id)
            live = body is not None and not body.removed
            if location is not None and not live:
                missing.append(id)
            elif location is None and live:
                unindexed.append(id)
            elif location is not None and body is not None and body.revision != location.revision:
                changed.append(id)
    return Verification(
        checked=len(seen) - tombstones + len(corrupt),
        missing=tuple(missing),
        unindexed=tuple(unindexed),
        changed=tuple(changed),
        corrupt=corrupt,
    )


def rebuild(index: LogIndex, follow: Callable[[], object]) -> None:
    """Confirm every body that the log does not know, and rewrite this machine's rows.

    Items whose objects another program removed leave the index, those that it set back are in it as they are now; bodies
    that cannot be read keep out of it.

    Raises:
        StoreError: an item cannot be taken out of the index; the others are done.
    """
    log, replica = index.log, index.replica
    objects, collection = log.objects, log.collection
    follow()
    known = replica.ranks(collection)
    confirmed: list[Confirmed] = []
    unread: set[str] = set()
    for key, body, problem in read_objects(log):
        if problem is not None:
            logger.warning("%s keeps out of the index: %s", key, problem)
            unread.add(key)
        elif body is not None:
            confirmed.append(objects.confirmed(body))
    news = [row for row in confirmed if row.id not in known or row.rank > known[row.id]]
    set_back = [row.id for row in confirmed if row.id in known and row.rank < known[row.id]]
    for id, body in zip(set_back, log.parallel(objects.get, set_back), strict=True):
        if body is not None and (body.stamp, body.revision) < known[id]:
            row = log.fence(body, max(known[id][0] + 1, log.now()))
            news.extend([row] if row is not None else [])
    for start in range(0, len(news), PAGE):
        replica.apply(collection, [log.add(news[start : start + PAGE])])
    replica.believe(collection, {row.id: row for row in confirmed})
    seen = {row.id for row in confirmed}
    lost = [
        (id, stamp)
        for id, stamp in replica.live(collection).items()
        if id not in seen and objects.key(id) not in unread and objects.get(id) is None
    ]
    errors: list[StoreError] = []
    for id, stamp in lost:
        try:
            log.write_tombstone(id, stamp)
        except StoreError as error:  # something else may be in its place, such as a folder
            errors.append(error)
    if errors:
        raise errors[0]
