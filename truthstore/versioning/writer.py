"""Write versions.

A save copies the old head to the history, put-if-absent and under its own revision, so that copying it again is harmless,
and then replaces the head by compare-and-set. A delete does the same with a tombstone. A delete with all versions writes
the tombstone first, so that the item is gone at once, then deletes the versions, then the tombstone; cut short, it is
finished by the same call, by the next save or by `maintain`.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from truthstore.errors import (
    StoreBulkError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreWriteError,
    VersionConflictError,
    shown,
)
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Expect, Meta, Options, Record
from truthstore.runtime.forks import in_child
from truthstore.store.records import conflict
from truthstore.versioning.diff import changed_parts
from truthstore.versioning.meta import (
    VersionMeta,
    VersionOptions,
    as_version,
    copy_of,
    history_of,
    version_id,
    version_meta,
    with_version,
)

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.records import ChangeCopy
    from truthstore.store.store import BaseStore
    from truthstore.versioning.base import VersioningConfig
    from truthstore.versioning.reader import VersionReader
    from truthstore.versioning.strategies import VersioningStrategy

__all__ = ["VersionWriter"]

R = TypeVar("R")
P = ParamSpec("P")

BACKEND: Final = "versioning"
STRIPES: Final = 64
PATIENCE_SECONDS: Final = 120.0
SHORTEST_PAUSE_SECONDS: Final = 0.001
LONGEST_PAUSE_SECONDS: Final = 1.0

log: Final = logging.getLogger("truthstore.versioning")


class HeadChangedError(Exception):
    """Another writer replaced the head since it was read."""


def _in_turn(
    attempt: Callable[Concatenate[VersionWriter, str, Collection[Any], P], R],
) -> Callable[Concatenate[VersionWriter, str, Collection[Any], P], R]:
    """Let writers of one item wait for each other in this process, and try again after a `HeadChangedError`.

    Raises:
        StoreWriteError: nothing was changed in two minutes.
    """

    @functools.wraps(attempt)
    def in_turn(self: VersionWriter, id: str, collection: Collection[Any], /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.locks[hash((collection.name, id)) % STRIPES]:
            start = time.monotonic()
            while True:
                try:
                    return attempt(self, id, collection, *args, **kwargs)
                except HeadChangedError as error:
                    spent = time.monotonic() - start
                    if spent > PATIENCE_SECONDS:
                        raise StoreWriteError(
                            f"{collection.name} {shown(id)}: nothing was changed, because others change it all the time; repeat",
                            collection=collection.name,
                            identifier=id,
                            retryable=True,
                        ) from error
                # Pauses grow with the time spent: microseconds in memory, many requests on object storage.
                longest = min(max(spent, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
                time.sleep(random.uniform(0, longest))  # noqa: S311  # no secret

    return in_turn


class VersionWriter:
    """Makes and deletes versions."""

    def __init__(
        self, base: BaseStore[Any], config: VersioningConfig, strategy: VersioningStrategy, reader: VersionReader
    ) -> None:
        self._base = base
        self._config = config
        self._hash: Callable[..., Any] = getattr(hashlib, config.checksum_algorithm)
        self._strategy = strategy
        self._reader = reader
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        self.locks = tuple(threading.RLock() for _ in range(STRIPES))

    @_in_turn
    def put(
        self,
        id: str,
        collection: Collection[Any],
        record: Record,
        expect: Expect,
        said: VersionOptions,
        options: Options,
    ) -> Record:
        """Save a new version and return its head. The same revision, given once more, is saved already."""
        expected = None if said.expected is None else self._reader.number(id, said.expected, collection)
        if not isinstance(expect, str) and not expected and self._base.definitely_absent(id, collection=collection):
            first = with_version(record, self._next_version(record, said))
            with suppress(StoreConflictError):  # there is one after all
                return self._base.put_record(first, collection=collection, expect=ABSENT, options=options)
        before = self._reader.head(id, collection, body=True)
        if before is not None and before.revision == record.revision:
            return before.head()
        known = self._check(before, id, collection, expect)
        live = before is not None and not before.meta.deleted
        if expected is not None:
            actual = known.number if known is not None and live else None
            if expected != (actual or 0):
                raise VersionConflictError(id, expected, actual, collection=collection.name)
        if known is not None and known.purged:
            self.purge(id, collection, ANY)
            raise HeadChangedError
        version = self._next_version(record, said, known, before if live else None)
        copied = known if live else None
        if before is not None and copied is not None:
            self._copy(before, collection, copied)
        stored = self._replace(with_version(record, version), collection, before, expect, options, copied)
        if self._config.auto_cleanup:
            try:
                self._prune(id, collection, version)
            except StoreError:
                # The save is durable already; the next one, or `maintain`, does it.
                log.exception("old versions of %s %s could not be deleted", collection.name, shown(id))
        return stored

    def put_first(
        self, records: Sequence[Record], collection: Collection[Any], said: VersionOptions, options: Options
    ) -> tuple[list[Record], dict[str, Exception]]:
        """Save the first records of new ids in one go; return their heads, and the errors other than conflicts by id."""
        query = StoreQuery(ids=[record.id for record in records], include_deleted=True)
        seen = set(self._base.scan_ids(query, collection=collection))
        first: list[Record] = []
        for record in records:
            if record.id not in seen:
                seen.add(record.id)
                first.append(with_version(record, self._next_version(record, said)))
        try:
            return self._base.put_records(first, collection=collection, expect=ABSENT, options=options), {}
        except StoreBulkError as error:
            stored = set(error.stored)
            failed = {id: e for id, e in error.failed.items() if not isinstance(e, StoreConflictError)}
            return [record.head() for record in first if record.id in stored], failed

    def _next_version(
        self,
        record: Record,
        said: VersionOptions,
        known: VersionMeta | None = None,
        before: Record | None = None,
    ) -> VersionMeta:
        """Build the version of a record, of the version that it replaces, a tombstone's too, and of the live head."""
        id, body = record.meta.id, record.body or b""
        now = time.time_ns() // 1_000
        parent: int | None = None
        changes: list[str] = []
        if known is not None:
            now = max(now, known.at)
            parent = known.number if before is not None else known.parent
        if before is not None and self._config.track_changes and _is_json(before.meta) and _is_json(record.meta):
            changes = changed_parts(before.body or b"", body)
        return VersionMeta(
            self._strategy.get_next_version(id, known.latest if known is not None else None, said.metadata),
            now,
            said.created_by,
            said.message,
            dict(said.metadata),
            parent,
            self._hash(body, usedforsecurity=False).hexdigest(),
            len(body),
            changes,
        )

    def _check(self, before: Record | None, id: str, collection: Collection[Any], expect: Expect) -> VersionMeta | None:
        """Return the version of a head.

        Raises:
            StoreConflictError: `expect` does not hold.
        """
        live = before is not None and not before.meta.deleted
        actual = before.revision if before is not None else None
        if live if expect is ABSENT else (isinstance(expect, str) and actual != expect):
            raise conflict(id, expect, actual, backend=BACKEND, collection=collection.name)
        return None if before is None else self._reader.version(before, collection)

    def _copy(self, head: Record, collection: Collection[Any], version: VersionMeta) -> None:
        """Copy a head to the history; nothing is left to copy of a damaged one."""
        if head.body is None:
            return
        copy, history = copy_of(head, collection, version), history_of(collection)
        try:
            self._base.put_record(copy, collection=history, expect=ABSENT)
        except StoreConflictError:
            # Another copy has the number: left by a late writer, of a head replaced long ago; or this writer is late.
            try:
                other = self._base.head_record(copy.id, collection=history)
                self._check_unchanged(head.id, collection, head)
                self._base.put_record(copy, collection=history, expect=other.revision)
            except (StoreConflictError, StoreNotFoundError) as error:
                raise HeadChangedError from error

    def _check_unchanged(self, id: str, collection: Collection[Any], head: Record | None) -> None:
        now = self._reader.head(id, collection)
        if (now and now.revision) != (head and head.revision):
            raise HeadChangedError

    def _replace(
        self,
        record: Record,
        collection: Collection[Any],
        before: Record | None,
        expect: Expect,
        options: Options = NONE,
        copied: VersionMeta | None = None,
    ) -> Record:
        """Replace a head, or none, by its revision, after it was copied as a version.

        Raises:
            StoreConflictError: the caller expected a revision.
        """
        try:
            return self._base.put_record(
                record, collection=collection, expect=ABSENT if before is None else before.revision, options=options
            )
        except StoreConflictError as error:
            if before is not None and copied is not None:
                self._delete_late_copy(before, copied, collection)
            if isinstance(expect, str):
                raise
            raise HeadChangedError from error

    def _delete_late_copy(self, head: Record, version: VersionMeta, collection: Collection[Any]) -> None:
        """Delete a copy made after its version was deleted, unless newer versions hide that."""
        now = self._reader.head(head.id, collection)
        newest = None if now is None else self._reader.version(now, collection)
        if newest is None or newest.purged or version.number >= newest.number:
            with suppress(StoreConflictError):
                self._base.delete_record(
                    version_id(head.id, version.number), collection=history_of(collection), expect=head.revision
                )

    def _delete_copies(self, copies: Iterable[Record], collection: Collection[Any]) -> int:
        """Delete copies by their revisions: an item that began again meanwhile may have others under the same numbers."""
        deleted = 0
        for copied in copies:
            with suppress(StoreConflictError):
                deleted += self._base.delete_record(
                    copied.id, collection=history_of(collection), expect=copied.revision
                )
        return deleted

    def _prune(self, id: str, collection: Collection[Any], version: VersionMeta, *, live: bool = True) -> int:
        """Delete the oldest versions beyond `max_versions`, never the head; return their number."""
        most = self._config.max_versions
        if not most or version.parent is None or version.number <= most:  # there are no more than their greatest number
            return 0
        return self._delete_copies(list(self._reader.copies(id, collection, version, offset=most - live)), collection)

    @_in_turn
    def delete(self, id: str, collection: Collection[Any], expect: Expect, options: Options) -> bool:
        """Delete an item and keep its versions."""
        before = self._reader.head(id, collection, body=True)
        known = self._check(before, id, collection, expect)
        if before is None or known is None or before.meta.deleted:
            return False
        self._copy(before, collection, known)
        self._replace(self._tombstone(id, collection, known), collection, before, expect, options, known)
        return True

    def _tombstone(self, id: str, collection: Collection[Any], known: VersionMeta, *, purged: bool = False) -> Record:
        number, now = self._strategy.get_next_version(id, known.latest), time.time_ns() // 1_000
        meta = collection.empty_meta(id, deleted=True, stored_at=now)
        version = VersionMeta(number, max(now, known.at), parent=known.number, purged=purged)
        return with_version(Record(meta, b""), version)

    @_in_turn
    def delete_version(
        self, id: str, collection: Collection[Any], version: int | str, expect: Expect, options: Options
    ) -> bool:
        """Delete one version. The place of the newest is taken by the one before it, under its own number."""
        number = self._reader.number(id, version, collection)
        before = self._reader.head(id, collection)
        known = self._check(before, id, collection, expect)
        history = history_of(collection)
        if known is not None and (known.purged or number > known.number):
            return False
        if before is None or known is None or number < known.number:
            return self._base.delete_record(version_id(id, number), collection=history)
        if before.meta.deleted:
            return False
        newest = next(self._reader.copies(id, collection, known, limit=1), None)
        if newest is None:
            return self.purge(id, collection, expect, options)
        try:
            older = as_version(self._base.get_record(newest.id, collection=history), collection)
        except StoreNotFoundError as error:
            raise HeadChangedError from error
        # A copy of the head, left by a save that went no further, would come back with the next save.
        self._base.delete_record(version_id(id, number), collection=history)
        restored = msgspec.structs.replace(self._reader.copied_version(newest), last=known.latest)
        self._replace(with_version(Record(older.meta, older.body), restored), collection, before, expect, options)
        return True

    @_in_turn
    def purge(self, id: str, collection: Collection[Any], expect: Expect, options: Options = NONE) -> bool:
        """Delete an item and all its versions."""
        try:
            before = self._reader.head(id, collection)
        except StoreCorruptError:
            if isinstance(expect, str):
                raise
            deleted = self._delete_copies(list(self._reader.copies(id, collection)), collection)
            return self._base.delete_record(id, collection=collection, options=options) or bool(deleted)
        known = self._check(before, id, collection, expect)
        copies = list(self._reader.copies(id, collection))
        if known is None or known.purged:
            # Else the item may have begun again, and the copies may be its own.
            self._check_unchanged(id, collection, before)
        if before is None or known is None:
            return bool(self._delete_copies(copies, collection))
        if copies and not known.purged:
            before = self._replace(self._tombstone(id, collection, known, purged=True), collection, before, expect)
        deleted = self._delete_copies(copies, collection)
        try:
            gone = self._base.delete_record(id, collection=collection, expect=before.revision, options=options)
        except StoreConflictError as error:
            if copies or known.purged:
                return bool(deleted) or not known.purged  # the item is there again, without its old versions
            if isinstance(expect, str):
                raise
            raise HeadChangedError from error
        return (gone and not known.purged) or bool(deleted)

    def change_copies(self, change: ChangeCopy, collection: Collection[Any]) -> None:
        """Put what `change` returns for an older version in its place, under its number; skip one that was deleted meanwhile."""
        history = history_of(collection)
        for copied in self._base.scan(EVERYTHING, collection=history, bodies=True):
            version = self._reader.copied_version(copied)
            item = change(f"version {version.number}", collection.decode(as_version(copied, collection)))
            if item is None:
                continue
            record = collection.encode(item, self._base.encoding, indent=self._base.indent)
            body = record.body or b""
            checksum = self._hash(body, usedforsecurity=False).hexdigest()
            changed = msgspec.structs.replace(version, checksum=checksum, size=len(body))
            annotations = {**copied.meta.annotations, **record.meta.annotations}
            whole = Record(record.meta.replace(annotations=annotations), body, record.revision)
            with suppress(StoreConflictError):
                self._base.put_record(copy_of(whole, collection, changed), collection=history, expect=copied.revision)

    def finish(self, head: Record, collection: Collection[Any]) -> int:
        """Delete old versions of an item, or the rest of a delete that was cut short; return the number of deletes."""
        version = version_meta(head)
        if version is None:
            return 0
        if version.purged:
            return int(self.purge(head.id, collection, ANY))
        return self._prune(head.id, collection, version, live=not head.meta.deleted)


def _is_json(meta: Meta) -> bool:
    return meta.encoding == "json" and not meta.encodings
