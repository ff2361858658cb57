"""What to do about index objects that cannot be read: the bodies tell what they would have told.

A damaged object may hide any item, so no query can be answered beside it, and no list of the bodies' names is enough, for
an item may have been replaced. All bodies are read once, by whoever meets it first, and a segment that covers the damaged
object has the rows of all of them. From then on it is an object that was compacted, and may be removed.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreCorruptError, StoreError
from truthstore.model.record import new_revision
from truthstore.storage.log.compact import Source
from truthstore.storage.log.entry import Confirmed, LogObject, is_segment, split_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from truthstore.storage.log.log import Log
    from truthstore.storage.log.objects import BodyObject
    from truthstore.storage.log.replica import Replica

__all__ = ["confirm_unlisted", "read_objects", "replace_damaged"]

PAGE: Final = 1_000
logger: Final = logging.getLogger("truthstore.storage")


def read_objects(log: Log, keys: Iterable[str] | None = None) -> Iterator[tuple[str, BodyObject | None, str | None]]:
    """Read every body object, or those with some keys: its key, the body, and the problem with it."""

    def read(key: str) -> tuple[str, BodyObject | None, str | None]:
        try:
            return key, log.objects.read(key), None
        except StoreCorruptError as error:
            return key, None, str(error)

    rest = iter(log.objects.keys() if keys is None else keys)
    while some := list(islice(rest, PAGE)):
        yield from log.parallel(read, some)


def confirm_unlisted(log: Log, replica: Replica, *, limit: int | None) -> None:
    """Confirm bodies that a log does not list, and that bodies are gone which it lists.

    One that does not go on as it was may be that of a restored store, or objects of it were removed, or it was restored and
    the bodies were not. Only names are read of what agrees.

    Raises:
        StoreCorruptError: more bodies than `limit` are not listed.
    """
    objects = log.objects
    known = {objects.key(id) for id in replica.ranks(log.collection)}
    keys = set(objects.keys())
    rows: list[Confirmed] = []
    for _, body, _ in read_objects(log, sorted(keys - known)):
        # Tombstones outlive their rows where the service removes nothing conditionally; what is damaged `verify` names.
        if body is None or body.removed:
            continue
        rows.append(objects.confirmed(body))
        if limit is not None and len(rows) > limit:
            raise StoreCorruptError(
                f"the index of {log.collection.name} lacks more than {limit} items that are there: call rebuild_index()",
                collection=log.collection.name,
            )
    rows.extend(_gone(log, replica, keys))
    if rows:
        logger.warning(
            "the index of %s did not agree with its items: %d rows are put right", log.collection.name, len(rows)
        )
        log.confirm_now(rows)
        replica.apply(log.collection, [Source("", LogObject(tuple(rows)))])


def replace_damaged(
    log: Log, replica: Replica, damaged: Mapping[str, StoreCorruptError], *, limit: int | None = None
) -> None:
    """Write a segment in the place of damaged objects; where that is not allowed, apply its rows here alone.

    Args:
        log: the log that they are in.
        replica: has applied all that can be read.
        damaged: the names, and what is wrong.
        limit: read at most so many bodies, and none that is damaged and may be among what was not to be read; None reads
            all there are, and leaves out of the index which cannot be read.

    Raises:
        StoreCorruptError: there are more bodies, or a damaged one.
    """
    name, error = next(iter(damaged.items()))
    if limit is not None and len(list(islice(log.objects.keys(), limit + 1))) > limit:
        raise error
    for each in damaged.values():
        logger.warning("the bodies of %s are read, for %s", log.collection.name, each)
    rows = _told_by_bodies(log, replica, name if limit is not None else None)
    now = log.now()
    if not all(is_segment(each) or split_name(each).age + log.timing.slow < now for each in damaged):
        # A write that it announces may still be under way: the next query reads all of this again.
        replica.apply(log.collection, [Source("", LogObject(rows))])
        return
    content = LogObject(rows, coverage=frozenset(damaged))
    try:
        made = log.put_segment(content, damaged)
    except StoreError as failure:
        if failure.retryable:
            raise
        made = None
        logger.info("damaged index objects in %s could not be replaced: %s", log.folder, failure)
    replica.apply(log.collection, [made if made is not None else Source("", content)])


def _told_by_bodies(log: Log, replica: Replica, beside: str | None) -> tuple[Confirmed, ...]:
    """Return the rows about all bodies, also about those that are known here, and about bodies that are not there any more."""
    objects, collection = log.objects, log.collection
    keys: set[str] = set()
    rows: list[Confirmed] = []
    unread: dict[str, str] = {}
    for key, body, problem in read_objects(log):
        keys.add(key)
        if problem is not None:
            unread[key] = problem
        elif body is not None:
            rows.append(objects.confirmed(body))
    unknown = unread.keys() - {objects.key(id) for id in replica.ranks(collection)}
    if beside is not None and unknown:
        key = min(unknown)
        raise StoreCorruptError(
            f"{key} is damaged ({unread[key]}), and so is the index object {beside}, which may tell of it: restore one of"
            " them, or call rebuild_index(), which leaves it out of the index",
            collection=collection.name,
        )
    for key in unknown:
        logger.warning("%s keeps out of the index: %s", key, unread[key])
    return (*rows, *_gone(log, replica, keys))


def _gone(log: Log, replica: Replica, keys: set[str]) -> list[Confirmed]:
    """Return rows about items whose bodies are gone, given the keys of those that are there."""
    missing = [(id, stamp) for id, stamp in replica.live(log.collection).items() if log.objects.key(id) not in keys]
    found = log.parallel(log.objects.get, [id for id, _ in missing])
    return [
        Confirmed(id, stamp + 1, new_revision(), None)
        for (id, stamp), body in zip(missing, found, strict=True)
        if body is None
    ]
