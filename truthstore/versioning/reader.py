"""Reading versions: which number the head has, and which versions lie before it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreCorruptError, StoreNotFoundError
from truthstore.model.query import StoreQuery
from truthstore.model.record import NONE, Options, Record
from truthstore.versioning.base import VersionInfo, VersionNotFoundError
from truthstore.versioning.meta import (
    ITEM,
    NUMBER,
    Stamp,
    as_version,
    first_stamp,
    stamp_of,
    version_id,
    versions_of,
)
from truthstore.versioning.strategies import TimestampStrategy, VersioningStrategy

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["Past"]

SHORTEST_CHECKSUM: Final = 4
"""Fewer characters of a checksum name no version, as in Git (git-scm.com/docs/git-config, core.abbrev)."""


class Past:
    """The versions that a store holds.

    Args:
        base: the store below the versions.
        strategy: how versions are numbered.
        by_content: whether versions are called by their checksum.
    """

    __slots__ = ("_base", "_by_content", "_strategy")

    def __init__(self, base: BaseStore[Any], strategy: VersioningStrategy, *, by_content: bool) -> None:
        self._base = base
        self._strategy = strategy
        self._by_content = by_content

    def current(self, id: str, collection: Collection[Any], options: Options = NONE) -> Record | None:
        """The head with its body, a tombstone too; None if there is none."""
        try:
            return self._base.get_record(id, collection=collection, options=options)
        except StoreNotFoundError:
            return None

    def head(self, id: str, collection: Collection[Any]) -> Record | None:
        """The same without its body, also of an item that is damaged, as long as the index knows it."""
        try:
            return self._base.head_record(id, collection=collection)
        except StoreNotFoundError:
            return None
        except StoreCorruptError as error:
            return self._indexed(id, collection, error)

    def current_or_head(self, id: str, collection: Collection[Any]) -> Record | None:
        """The head with its body, or without it where that is damaged and the index knows the rest.

        Raises:
            StoreCorruptError: it is damaged, and the index does not know it.
        """
        try:
            return self.current(id, collection)
        except StoreCorruptError as error:
            return self._indexed(id, collection, error)

    def _indexed(self, id: str, collection: Collection[Any], error: StoreCorruptError) -> Record:
        """What the index says of an item that is damaged; raises the error if that is nothing."""
        found = next(self._base.scan(StoreQuery(ids=[id], include_deleted=True), collection=collection), None)
        if found is None:
            raise error
        return found

    def stamp(self, head: Record, collection: Collection[Any]) -> Stamp:
        """What is known of a head as a version.

        A head that says that it is the first may not be: it was made where nothing was seen, and a tombstone may have
        come and been overwritten between the look and the write; or it was written without this layer. Then the
        versions that lie there tell its number, to every reader alike.
        """
        known = stamp_of(head)
        if known is not None and (known.parent is not None or known.since or known.last):
            return known
        newest = next(self.copies(head.id, collection, limit=1), None)
        if newest is None:
            return known or first_stamp(head, self._first_number(head))
        before = self.copied_stamp(newest)
        uid = known.uid if known is not None else head.revision
        if before.uid == uid:
            return before  # copied already, by a save that went no further
        now = self.head(head.id, collection)
        if now is None or now.revision != head.revision:
            # It was replaced since it was read: the newest copy is of what came after it.
            own = next(
                (one for one in map(self.copied_stamp, self.copies(head.id, collection)) if one.uid == uid), None
            )
            return own or known or first_stamp(head, self._first_number(head))
        number = before.number + 2  # the tombstone had the one between
        if known is None:
            return msgspec.structs.replace(first_stamp(head, number), parent=before.number)
        return msgspec.structs.replace(known, number=max(known.number, number), parent=before.number)

    def _first_number(self, head: Record) -> int:
        if isinstance(self._strategy, TimestampStrategy):
            return max(head.meta.stored_at // 1_000, 1)
        return self._strategy.get_next_version(head.id, None)

    @staticmethod
    def copied_stamp(copied: Record) -> Stamp:
        """What is known of an older version.

        Raises:
            StoreCorruptError: nothing.
        """
        stamp = stamp_of(copied)
        if stamp is None:
            raise StoreCorruptError(f"{copied.id!r:.90} says nothing of its version", identifier=copied.id)
        return stamp

    def copies(
        self,
        id: str,
        collection: Collection[Any],
        before: Stamp | None = None,
        *,
        offset: int = 0,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Heads of the older versions, newest first.

        Args:
            id: the item's id.
            collection: the item's collection.
            before: of the head; versions that do not come before it do not count.
            offset: skip so many.
            limit: at most so many.
        """
        found = self._base.scan(self._query(id, before, offset=offset, limit=limit), collection=versions_of(collection))
        if before is None or not before.since:
            return found
        since = before.since
        return takewhile(lambda copied: copied.meta.fields[NUMBER] >= since, found)  # type: ignore[operator]  # an int

    @staticmethod
    def _query(id: str, before: Stamp | None, *, offset: int = 0, limit: int | None = None) -> StoreQuery:
        where: dict[str, Any] = {ITEM: id}
        if before is not None:
            where[NUMBER] = ("<", before.number)
        return StoreQuery(where=where, order_by=NUMBER, offset=offset, limit=limit)

    def copy_ids(self, id: str, collection: Collection[Any], before: Stamp | None, *, offset: int = 0) -> list[str]:
        """Ids of the records of the older versions, newest first, those on their way out too."""
        query = self._query(id, before, offset=offset)
        return self._base.scan_ids(query, collection=versions_of(collection))

    def count(self, id: str, collection: Collection[Any], before: Stamp | None) -> int:
        """How many older versions there are."""
        if before is not None and before.since:
            return sum(1 for _ in self.copies(id, collection, before))
        return self._base.count_records(self._query(id, before), collection=versions_of(collection))

    def find(self, id: str, number: int, collection: Collection[Any], options: Options = NONE) -> tuple[Record, Stamp]:
        """A version with its body, as it was when it was the head, and its stamp.

        Raises:
            VersionNotFoundError: there is none with this number.
        """
        damage: StoreCorruptError | None = None
        try:
            head = self.current(id, collection, options)
        except StoreCorruptError as error:
            head, damage = self.head(id, collection), error
        if head is not None:
            stamp = self.stamp(head, collection)
            if number == stamp.number and not head.meta.deleted:
                if damage is not None:
                    raise damage
                return head, stamp
            if number >= stamp.number or number < stamp.since:
                raise VersionNotFoundError(id, number, collection=collection.name)
        try:
            copied = self._base.get_record(version_id(id, number), collection=versions_of(collection), options=options)
        except StoreNotFoundError as error:
            raise VersionNotFoundError(id, number, collection=collection.name) from error
        return as_version(copied, collection), self.copied_stamp(copied)

    def info(self, id: str, stamp: Stamp) -> VersionInfo:
        """What users see of a version."""
        return stamp.info(id, self._strategy, by_content=self._by_content)

    def infos(self, id: str, collection: Collection[Any], limit: int | None = None) -> Iterator[VersionInfo]:
        """The same of all versions of an item, newest first; a limit saves looking at more."""
        head = self.head(id, collection)
        stamp = self.stamp(head, collection) if head is not None else None
        if head is not None and stamp is not None:
            if stamp.purged:
                return
            if not head.meta.deleted:
                yield self.info(id, stamp)
        for copied in self.copies(id, collection, stamp, limit=limit):
            yield self.info(id, self.copied_stamp(copied))

    def number(self, id: str, version: int | str, collection: Collection[Any]) -> int:
        """The number of a version that is asked for by its number or label.

        Raises:
            VersionNotFoundError: the label is none, or the beginning of several checksums.
        """
        if not isinstance(version, str):
            return version
        if self._by_content and len(version) >= SHORTEST_CHECKSUM:
            # The same content saved twice is found where it is newest.
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
