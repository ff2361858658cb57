"""Writing versions.

A save copies the old head aside, put-if-absent, and then replaces the head by compare-and-set. A removal does the same
with a tombstone. A removal with all versions makes the tombstone first, so that the item is gone at once, then removes
the versions, then the tombstone; cut short, it is finished by the same call or by `maintain`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import (
    StoreBulkError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    VersionConflictError,
)
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Expect, Options, Record
from truthstore.store.records import conflict
from truthstore.versioning.diff import changed_parts
from truthstore.versioning.meta import (
    Stamp,
    as_version,
    copy_of,
    new_uid,
    stamp_of,
    stamped,
    tombstone,
    version_id,
    versions_of,
)
from truthstore.versioning.turns import LONGEST_PAUSE_SECONDS, MovedError

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore
    from truthstore.versioning.base import VersioningConfig
    from truthstore.versioning.options import Saying
    from truthstore.versioning.reader import Past
    from truthstore.versioning.strategies import VersioningStrategy

__all__ = ["Writing"]

BACKEND: Final = "versioning"
log: Final = logging.getLogger("truthstore")


class Writing:
    """Makes and removes versions; each method is one attempt, to be repeated after a `MovedError`.

    Args:
        base: the store below the versions.
        config: the options.
        strategy: how versions are numbered.
        past: reads versions.
    """

    __slots__ = ("_base", "_config", "_hash", "_past", "_strategy")

    def __init__(
        self, base: BaseStore[Any], config: VersioningConfig, strategy: VersioningStrategy, past: Past
    ) -> None:
        self._base = base
        self._config = config
        self._hash: Callable[..., Any] = getattr(hashlib, config.checksum_algorithm)
        self._strategy = strategy
        self._past = past

    def put(
        self,
        record: Record,
        collection: Collection[Any],
        expect: Expect,
        saying: Saying,
        expected: int | None,
        options: Options,
    ) -> Record:
        """Saves a new version. Of a head that is damaged nothing is left that could be kept."""
        id = record.meta.id
        if not isinstance(expect, str) and not expected and self._base.surely_lacks(id, collection=collection):
            first = stamped(record, self.next_stamp(record, saying, None, None))
            with suppress(StoreConflictError):  # there is one after all
                return self._base.put_record(first, collection=collection, expect=ABSENT, options=options)
        before = self._past.current_or_head(id, collection)
        if before is not None and before.revision == record.revision:
            return before.head()  # the same write, once more
        live = before is not None and not before.meta.deleted
        _check_expect(id, collection, expect, before)
        known = self._past.stamp(before, collection) if before is not None else None
        if expected is not None:
            actual = known.number if known is not None and live else None
            if expected != (actual or 0):
                raise VersionConflictError(id, expected, actual, collection=collection.name)
        stamp = self.next_stamp(record, saying, known, before if live else None)
        copied = self._keep(before, collection, known) if before is not None and known is not None and live else None
        stored = self._replace(stamped(record, stamp), collection, before, expect, copied, options)
        if known is not None and self._config.auto_cleanup:
            self._prune_quietly(id, collection, stamp)
        return stored

    def put_fresh(
        self, records: Sequence[Record], collection: Collection[Any], saying: Saying, options: Options
    ) -> tuple[list[Record], dict[str, Exception]]:
        """Saves in one go those records whose ids are new; the heads of these, and what failed for good."""
        query = StoreQuery(ids=[record.id for record in records], include_deleted=True)
        there = set(self._base.scan_ids(query, collection=collection))
        fresh = [
            stamped(record, self.next_stamp(record, saying, None, None)) for record in records if record.id not in there
        ]
        try:
            return self._base.put_records(fresh, collection=collection, expect=ABSENT, options=options), {}
        except StoreBulkError as error:
            # Somebody else was faster: for those there is the long way.
            failed = {id: e for id, e in error.failed.items() if not isinstance(e, StoreConflictError)}
            kept = [record.id for record in fresh if record.id in set(error.stored)]
            return [self._base.head_record(id, collection=collection) for id in kept], failed

    def next_stamp(self, record: Record, saying: Saying, known: Stamp | None, before: Record | None) -> Stamp:
        """The stamp of a new version.

        Args:
            record: the new version.
            saying: what the save says about it.
            known: the stamp of the head that it replaces, a tombstone's too.
            before: that head, if it is live.
        """
        latest = known.latest if known is not None else None
        number = self._strategy.get_next_version(record.meta.id, latest, saying.metadata)
        now = time.time_ns() // 1_000
        parent: int | None = None
        since = 0
        changes: list[str] = []
        if known is not None:
            now = max(now, known.at)
            parent = known.number if before is not None else known.parent
            since = known.number if known.purged else known.since
        body = record.body or b""
        if before is not None and before.body is not None and self._config.track_changes:
            changes = list(changed_parts(before.body, body)) if _is_plain(before) and _is_plain(record) else []
        return Stamp(
            number,
            now,
            new_uid(),
            saying.created_by,
            saying.message,
            dict(saying.metadata),
            parent,
            self._hash(body, usedforsecurity=False).hexdigest(),
            len(body),
            changes,
            since=since,
        )

    def _keep(self, head: Record, collection: Collection[Any], stamp: Stamp) -> Record | None:
        """Copies the head aside; what was written, or None if it lies there already, or its body is lost."""
        if head.body is None:
            return None
        copy = copy_of(head, collection, stamp)
        aside = versions_of(collection)
        start = time.monotonic()
        try:
            return self._base.put_record(copy, collection=aside, expect=ABSENT)
        except StoreConflictError:
            pass
        try:
            there = self._base.head_record(copy.id, collection=aside)
        except StoreNotFoundError as error:
            raise MovedError from error
        if self._past.copied_stamp(there).uid == stamp.uid:
            self._give_way(head, collection, time.monotonic() - start)
            return None  # a save that went no further left it
        # Left by somebody who was late, of a head that is long gone; unless it is we who are late.
        now = self._past.head(head.id, collection)
        if now is None or now.revision != head.revision:
            raise MovedError
        try:
            return self._base.put_record(copy, collection=aside, expect=there.revision)
        except StoreConflictError as error:
            raise MovedError from error

    def _give_way(self, head: Record, collection: Collection[Any], seconds: float) -> None:
        """Waits about as long as the one who copied the head needs to replace it, unless that one is gone.

        Going on at once would mostly be in vain, and on object storage it costs both of them several requests.
        """
        time.sleep(min(seconds * random.uniform(0.5, 2.0), LONGEST_PAUSE_SECONDS))  # noqa: S311  # no secret
        now = self._past.head(head.id, collection)
        if now is None or now.revision != head.revision:
            raise MovedError

    def _replace(
        self,
        record: Record,
        collection: Collection[Any],
        before: Record | None,
        expect: Expect,
        copied: Record | None,
        options: Options = NONE,
    ) -> Record:
        try:
            return self._base.put_record(
                record, collection=collection, expect=ABSENT if before is None else before.revision, options=options
            )
        except StoreConflictError as error:
            if copied is not None:
                self._take_back(record.id, collection, copied)
            if isinstance(expect, str):
                raise
            raise MovedError from error

    def _take_back(self, id: str, collection: Collection[Any], copied: Record) -> None:
        """Removes a copy that was made too late: its item is gone, with all its versions, or this one of them."""
        number = self._past.copied_stamp(copied).number
        head = self._past.head(id, collection)
        if head is not None:
            stamp = self._past.stamp(head, collection)
            if stamp.since <= number < stamp.number and not stamp.purged:
                return
        with suppress(StoreConflictError):
            self._base.delete_record(copied.id, collection=versions_of(collection), expect=copied.revision)

    def _prune_quietly(self, id: str, collection: Collection[Any], stamp: Stamp) -> None:
        try:
            self.prune(id, collection, stamp)
        except StoreError:
            # The save is durable already; the next one, or `maintain`, does it.
            log.exception("old versions of %s %r.90 could not be removed", collection.name, id)

    def prune(self, id: str, collection: Collection[Any], stamp: Stamp, *, live: bool = True) -> int:
        """Removes the oldest versions beyond `max_versions`, never the head; how many."""
        if not self._config.max_versions or stamp.parent is None:
            return 0
        old = self._past.copy_ids(id, collection, stamp, offset=self._config.max_versions - live)
        return len(self._base.delete_records(old, collection=versions_of(collection))) if old else 0

    def delete(self, id: str, collection: Collection[Any], expect: Expect, options: Options) -> bool:
        """Removes the item and keeps its versions."""
        before = self._past.current_or_head(id, collection)
        if before is None or before.meta.deleted:
            if isinstance(expect, str) and (before is None or before.revision != expect):
                raise conflict(id, expect, None, backend=BACKEND, collection=collection.name)
            return False
        _check_expect(id, collection, expect, before)
        known = self._past.stamp(before, collection)
        copied = self._keep(before, collection, known)
        self._replace(self._tombstone(id, collection, known), collection, before, expect, copied, options)
        return True

    def _tombstone(self, id: str, collection: Collection[Any], known: Stamp, *, purged: bool = False) -> Record:
        number = self._strategy.get_next_version(id, known.latest)
        at = max(time.time_ns() // 1_000, known.at)
        stamp = Stamp(number, at, new_uid(), parent=known.number, since=known.since, purged=purged)
        return tombstone(collection, id, stamp)

    def delete_version(
        self, id: str, number: int, collection: Collection[Any], expect: Expect, options: Options
    ) -> bool:
        """Removes one version. In the place of the newest comes the one before it, under its own number."""
        before = self._past.current(id, collection)
        if before is None and isinstance(expect, str):
            raise conflict(id, expect, None, backend=BACKEND, collection=collection.name)
        _check_expect(id, collection, expect, before)
        aside = versions_of(collection)
        known = self._past.stamp(before, collection) if before is not None else None
        if before is None or known is None or number != known.number:
            if known is not None and not known.since <= number < known.number:
                return False
            return self._base.delete_record(version_id(id, number), collection=aside)
        if before.meta.deleted:
            return False
        newest = next(self._past.copies(id, collection, known, limit=1), None)
        if newest is None:
            return self.purge(id, collection, expect, options)
        try:
            older = as_version(self._base.get_record(newest.id, collection=aside), collection)
        except StoreNotFoundError as error:
            raise MovedError from error
        # A copy of the head, left by a save that went no further, would come back with the next save.
        self._base.delete_record(version_id(id, number), collection=aside)
        stamp = msgspec.structs.replace(self._past.copied_stamp(newest), last=known.latest, since=known.since)
        self._replace(stamped(Record(older.meta, older.body), stamp), collection, before, expect, None, options)
        return True

    def purge(self, id: str, collection: Collection[Any], expect: Expect, options: Options = NONE) -> bool:
        """Removes the item and all its versions."""
        aside = versions_of(collection)
        try:
            before = self._past.current(id, collection)
        except StoreCorruptError:
            if isinstance(expect, str):
                raise
            removed = self._base.delete_records(self._past.copy_ids(id, collection, None), collection=aside)
            return self._base.delete_record(id, collection=collection, options=options) or bool(removed)
        if before is None and isinstance(expect, str):
            raise conflict(id, expect, None, backend=BACKEND, collection=collection.name)
        _check_expect(id, collection, expect, before)
        known = self._past.stamp(before, collection) if before is not None else None
        old = self._past.copy_ids(id, collection, None)
        if before is None or known is None:
            return bool(self._base.delete_records(old, collection=aside)) if old else False
        if not old:
            return self._delete_head(id, collection, before, expect, options)
        dead = known
        if not known.purged:
            grave = self._tombstone(id, collection, known, purged=True)
            before = self._replace(grave, collection, before, expect, None)
            dead = self._past.copied_stamp(before)
            old = self._past.copy_ids(id, collection, dead)
        removed = self._base.delete_records(old, collection=aside)
        with suppress(StoreConflictError):  # the item is there again, and its new versions are its own
            self._base.delete_record(id, collection=collection, expect=before.revision, options=options)
        return bool(removed) or not known.purged

    def _delete_head(
        self, id: str, collection: Collection[Any], head: Record, expect: Expect, options: Options
    ) -> bool:
        try:
            return self._base.delete_record(id, collection=collection, expect=head.revision, options=options)
        except StoreConflictError as error:
            if isinstance(expect, str):
                raise
            raise MovedError from error

    def finish(self, head: Record, collection: Collection[Any]) -> int:
        """Does for one item what is due: removes old versions, or what a removal that was cut short left behind."""
        stamp = stamp_of(head)
        if stamp is None:
            return 0
        if stamp.purged:
            return int(self.purge(head.id, collection, ANY))
        return self.prune(head.id, collection, stamp, live=not head.meta.deleted)


def _check_expect(id: str, collection: Collection[Any], expect: Expect, before: Record | None) -> None:
    live = before is not None and not before.meta.deleted
    actual = before.revision if before is not None else None
    if live if expect is ABSENT else (isinstance(expect, str) and actual != expect):
        raise conflict(id, expect, actual, backend=BACKEND, collection=collection.name)


def _is_plain(record: Record) -> bool:
    return record.meta.encoding == "json" and not record.meta.encodings
