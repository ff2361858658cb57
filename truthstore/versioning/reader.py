"""Read versions: the version of a head, and the versions before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreCorruptError, StoreNotFoundError, shown
from truthstore.model.query import StoreQuery, from_microseconds
from truthstore.model.record import NONE, Options, Record
from truthstore.versioning.base import VersionInfo, VersionNotFoundError
from truthstore.versioning.meta import ITEM, NUMBER, VersionMeta, as_version, history_of, version_id, version_meta
from truthstore.versioning.strategies import TimestampStrategy, VersioningStrategy

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["VersionReader"]

LABEL_LENGTH: Final = 7
SHORTEST_CHECKSUM: Final = 4
"""Fewer characters of a checksum name no version, as in Git (git-scm.com/docs/git-config, core.abbrev)."""


class VersionReader:
    """Reads the versions in a store, which are labelled by the strategy, or by their content."""

    def __init__(self, base: BaseStore[Any], strategy: VersioningStrategy, *, by_content: bool) -> None:
        self._base = base
        self._strategy = strategy
        self._by_content = by_content

    def head(self, id: str, collection: Collection[Any], *, body: bool = False) -> Record | None:
        """Return the head, a tombstone too; None if there is none.

        Of a damaged item return the part known to the index, without a body.

        Raises:
            StoreCorruptError: it is damaged, and the index does not know it.
        """
        try:
            return (self._base.get_record if body else self._base.head_record)(id, collection=collection)
        except StoreNotFoundError:
            return None
        except StoreCorruptError:
            found = next(self._base.scan(StoreQuery(ids=[id], include_deleted=True), collection=collection), None)
            if found is None:
                raise
            return found

    def version(self, head: Record, collection: Collection[Any]) -> VersionMeta:
        """Return the version of a head.

        A head annotated as the first version may not be: a save that found no item may have replaced a tombstone written
        just before. Nor is a head written without this layer. Its number follows from the copies, alike for all readers.
        """
        known = version_meta(head)
        if known is not None and (known.parent is not None or known.last):
            return known
        newest: Record | None = None
        for copied in self.copies(head.id, collection):
            if copied.revision == head.revision:
                # Copied by a save that went no further, or replaced since it was read.
                return self.copied_version(copied)
            newest = newest or copied
        own = known or self._first(head)
        if newest is None:
            return own
        now = self.head(head.id, collection)
        if now is None or now.revision != head.revision:
            return own  # replaced since it was read, and its copy is gone: the copies do not come before it
        before = self.copied_version(newest).number
        number = before + 2  # the tombstone had the one between
        return msgspec.structs.replace(own, number=max(known.number, number) if known else number, parent=before)

    def _first(self, head: Record) -> VersionMeta:
        """Build the version of a head written without this layer."""
        stored_at = head.meta.stored_at
        if isinstance(self._strategy, TimestampStrategy):
            number = max(stored_at // 1_000, 1)
        else:
            number = self._strategy.get_next_version(head.id, None)
        return VersionMeta(number, stored_at, size=head.meta.size)

    @staticmethod
    def copied_version(copied: Record) -> VersionMeta:
        """Return the version of a copy.

        Raises:
            StoreCorruptError: it has none.
        """
        version = version_meta(copied)
        if version is None:
            raise StoreCorruptError(f"{shown(copied.id)} has lost its version", identifier=copied.id)
        return version

    def copies(
        self,
        id: str,
        collection: Collection[Any],
        before: VersionMeta | None = None,
        *,
        offset: int = 0,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Scan the heads of an item's older versions, or of those before one of them, newest first."""
        where: dict[str, Any] = {ITEM: id} if before is None else {ITEM: id, NUMBER: ("<", before.number)}
        query = StoreQuery(where=where, order_by=NUMBER, offset=offset, limit=limit)
        return self._base.scan(query, collection=history_of(collection))

    def find(self, id: str, number: int, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return a version with its body, as it was when it was the head.

        Raises:
            VersionNotFoundError: there is none with this number.
            StoreCorruptError: it is damaged.
        """
        head = self.head(id, collection)
        if head is not None:
            version = self.version(head, collection)
            if version.purged or number > version.number or (head.meta.deleted and number == version.number):
                raise VersionNotFoundError(id, number, collection=collection.name)
            if number == version.number:
                record = self._base.get_record(id, collection=collection, options=options)
                if record.revision == head.revision:
                    return record
                # Replaced meanwhile: it was copied before that.
        try:
            copied = self._base.get_record(version_id(id, number), collection=history_of(collection), options=options)
        except StoreNotFoundError as error:
            raise VersionNotFoundError(id, number, collection=collection.name) from error
        return as_version(copied, collection)

    def info(self, head: Record, collection: Collection[Any]) -> VersionInfo:
        """Build the public value of a version that is or was the head."""
        return self._info(head.id, self.version(head, collection))

    def _info(self, id: str, version: VersionMeta) -> VersionInfo:
        by_content = self._by_content and version.checksum
        return VersionInfo(
            version.number,
            id,
            from_microseconds(version.at),
            version.by,
            version.message,
            version.parent,
            version.metadata,
            version.checksum,
            version.size,
            by_content[:LABEL_LENGTH] if by_content else self._strategy.format_version(version.number),
            tuple(version.changes),
        )

    def infos(self, id: str, collection: Collection[Any], limit: int | None = None) -> Iterator[VersionInfo]:
        """Iterate over the public values of an item's versions, newest first; a limit saves reading more."""
        head = self.head(id, collection)
        version = self.version(head, collection) if head is not None else None
        if head is not None and version is not None:
            if version.purged:
                return
            if not head.meta.deleted:
                yield self._info(id, version)
        for copied in self.copies(id, collection, version, limit=limit):
            yield self._info(id, self.copied_version(copied))

    def number(self, id: str, version: int | str, collection: Collection[Any]) -> int:
        """Return the number of a version given by its number or label.

        Raises:
            VersionNotFoundError: the label is none, or the beginning of several checksums.
        """
        if not isinstance(version, str):
            return version
        if self._by_content and len(version) >= SHORTEST_CHECKSUM:
            # Of the same content saved twice the newest is found.
            found = {
                info.checksum: info.version
                for info in reversed(list(self.infos(id, collection)))
                if info.checksum is not None and info.checksum.startswith(version)
            }
            if len(found) == 1:
                return found.popitem()[1]
            if found:
                raise VersionNotFoundError(id, f"{version} ({len(found)} begin so)", collection=collection.name)
        try:
            return self._strategy.parse_version(version)
        except ValueError as error:
            raise VersionNotFoundError(id, version, collection=collection.name) from error
