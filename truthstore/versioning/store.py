"""Versions over any store: the head is the newest version, and every save keeps the version before it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec

from truthstore.errors import StoreBulkError, StoreError
from truthstore.model.fields import check_id
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import ANY, AS_STORED, NONE, Expect, Options, Record
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore
from truthstore.versioning.base import VersionDiff, VersionInfo, VersioningConfig, VersioningMode, VersionNotFoundError
from truthstore.versioning.diff import differences
from truthstore.versioning.meta import ITEM, KEY, VersionOptions, check_version, history_of
from truthstore.versioning.reader import VersionReader
from truthstore.versioning.strategies import get_strategy
from truthstore.versioning.writer import VersionWriter

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.health import Verification
    from truthstore.store.records import ChangeCopy
    from truthstore.store.store import BaseStore

__all__ = ["VersionedStore"]

T = TypeVar("T")

SAVE: Final = frozenset({"message", "created_by", "metadata", "expected_version"})
GET: Final = frozenset({"version"})
DELETE: Final = frozenset({"version", "delete_all_versions"})
STORED: Final = next(iter(AS_STORED))


class VersionedStore(WrapperStore[T]):
    """Keep every version of every item, in the store below, with its author, time and reason.

    `save` makes a new version; `get(id, version=2)` reads an old one, and `exists(id, version=2)` looks for it. `delete(id)`
    deletes the item and keeps its versions, so that `rollback` can bring it back; `delete(id, delete_all_versions=True)`
    deletes them too, and `delete(id, version=2)` just one: the place of the newest is taken by the one before it. A version
    is given by its number or by its label (``"v3"``, ``"1.0.2"``).

    Args:
        base: the store below.
        config: the options, or
        options: the same as keywords.

    Attributes:
        config: the options.
    """

    name: ClassVar[str] = "versioning"
    OPTIONS: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType(
        {"save": SAVE, "get": GET, "exists": GET, "delete": DELETE}
    )
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "versioning": "one layer keeps the versions of all items",
            "retention": "it would delete items and leave their history: put it above the versions",
            "cached": "below the versions it would answer with heads that were replaced: put it above",
            "batched": "a version is numbered when it is written: put it above the versions",
        }
    )

    def __init__(self, base: BaseStore[T], config: VersioningConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self.config = configure(VersioningConfig, config, options, "VersionedStore")
        self._strategy = get_strategy(self.config.mode)
        by_content = self.config.mode is VersioningMode.GIT_LIKE
        self._reader = VersionReader(base, self._strategy, by_content=by_content)
        self._writer = VersionWriter(base, self.config, self._strategy, self._reader)

    @staticmethod
    def history_of(collection: Collection[Any]) -> Collection[Any]:
        """Return the collection of the older versions of a collection's items; its field ``item`` holds their ids."""
        return history_of(collection)

    def save(  # noqa: D417  # the rest is described in the base class
        self,
        item: T,
        message: str | None = None,
        created_by: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_version: int | str | None = None,
        *,
        expect: Expect = ANY,
        **options: Any,
    ) -> str:
        """Save a new version of an item and return the item's id.

        Args:
            item: the item.
            message: the reason.
            created_by: the author.
            metadata: further values to keep with the version.
            expected_version: the version that must be the newest now; 0 means that there is no such item.

        Raises:
            VersionConflictError: another version is the newest.
        """
        if message is None and created_by is None and metadata is None and expected_version is None:
            return super().save(item, expect=expect, **options)
        said = _given(message=message, created_by=created_by, metadata=metadata, expected_version=expected_version)
        return super().save(item, expect=expect, **said, **options)

    def rollback(self, id: str, version: int | str, message: str | None = None, created_by: str | None = None) -> str:
        """Save an old version as the newest one, also of a deleted item, and return the id.

        Raises:
            VersionNotFoundError: there is no such version.
        """
        self._check()
        collection = self._collection
        number = self._reader.number(check_id(id), version, collection)
        record = self._reader.find(id, number, collection)
        others = {name: value for name, value in record.meta.annotations.items() if name != KEY}
        meta = record.meta.replace(stored_at=time.time_ns() // 1_000, annotations=others)
        said = _given(
            message=message or f"Rollback to version {self._strategy.format_version(number)}",
            created_by=created_by,
            metadata={"rollback_from": number},
        )
        return self.put_record(Record(meta, record.body), collection=collection, options=said).id

    def get_version(self, id: str, version: int | str) -> T:
        """Return one version of an item."""
        return self.get(id, version=version)

    def get_version_history(self, id: str, limit: int | None = None, offset: int = 0) -> list[VersionInfo]:
        """Describe the versions of an item, newest first; an unknown item has none."""
        self._check()
        if min(limit or 0, offset) < 0:
            raise ValueError("limit and offset cannot be negative")
        stop = None if limit is None else offset + limit
        return list(islice(self._reader.infos(check_id(id), self._collection, stop), offset, stop))

    def get_history(self, data_asset: str, limit: int | None = 10) -> list[Any]:
        """Describe the newest versions: of an id here, not of an asset."""
        return self.get_version_history(data_asset, limit)

    def list_versions(self, id: str) -> list[int]:
        """Return the numbers of an item's versions, newest first."""
        return [info.version for info in self.get_version_history(id)]

    def count_versions(self, id: str) -> int:
        """Count the versions of an item."""
        return len(self.get_version_history(id))

    def get_version_info(self, id: str, version: int | str) -> VersionInfo:
        """Describe a version.

        Raises:
            VersionNotFoundError: there is none.
        """
        self._check()
        number = self._reader.number(check_id(id), version, self._collection)
        return self._reader.info(self._reader.find(id, number, self._collection), self._collection)

    def get_latest_version_info(self, id: str) -> VersionInfo | None:
        """Describe the newest version; return None if there is none."""
        return next(iter(self.get_version_history(id, limit=1)), None)

    def diff(self, id: str, version_a: int | str, version_b: int | str | None = None) -> VersionDiff:
        """Compare two versions; without the second, compare the first with the newest.

        Raises:
            VersionNotFoundError: there is no such version.
        """
        self._check()
        collection = self._collection
        one = self._reader.number(check_id(id), version_a, collection)
        if version_b is None:
            latest = self.get_latest_version_info(id)
            if latest is None:
                raise VersionNotFoundError(id, version_a, collection=collection.name)
            other = latest.version
        else:
            other = self._reader.number(id, version_b, collection)
        return VersionDiff(id, one, other, differences(self._document(id, one), self._document(id, other)))

    def _document(self, id: str, number: int) -> Any:
        item: Any = self._collection.decode(self._reader.find(id, number, self._collection))
        to_dict = getattr(item, "to_dict", None)
        if isinstance(item, msgspec.Struct) and callable(to_dict):
            return to_dict()  # results and suites have every field in it, also those with their default value
        whole: Any = item
        return msgspec.json.decode(self._collection.encode(whole).body or b"null")

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record as a new version."""
        if _passes(collection, options):
            return self._base.put_record(record, collection=collection, expect=expect, options=options)
        said = VersionOptions.of(options, self.config)
        return self._writer.put(record.meta.id, collection, record, expect, said, _without(options, SAVE))

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store records as new versions; those of new ids in one go."""
        if _passes(collection, options):
            return self._base.put_records(records, collection=collection, expect=expect, options=options)
        said = VersionOptions.of(options, self.config)
        rest = _without(options, SAVE)
        heads: dict[str, Record] = {}
        failed: dict[str, Exception] = {}
        if not isinstance(expect, str) and said.expected is None and len(records) > 1:
            stored, failed = self._writer.put_first(records, collection, said, rest)
            heads = {head.revision: head for head in stored}
        for record in records:
            if record.revision in heads or record.id in failed:
                continue
            try:
                heads[record.revision] = self._writer.put(record.id, collection, record, expect, said, rest)
            except StoreError as error:
                failed[record.id] = error
        if failed:
            done = [record.id for record in records if record.revision in heads]
            raise StoreBulkError(done, failed, backend=self.name, collection=collection.name)
        return [heads[record.revision] for record in records]

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record, or one of its versions."""
        if not options or not collection.is_users:
            return self._base.get_record(id, collection=collection, options=options)
        version, rest = check_version(options.get("version")), _without(options, GET)
        if version is None:
            return self._base.get_record(id, collection=collection, options=rest)
        return self._reader.find(id, self._reader.number(id, version, collection), collection, rest)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of the record, or of one of its versions."""
        if not options:
            return self._base.head_record(id, collection=collection)
        return self.get_record(id, collection=collection, options=options).head()

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records, or one version of each."""
        if not options or _passes(collection, options):
            return self._base.get_records(ids, collection=collection, options=options)
        return super(WrapperStore, self).get_records(ids, collection=collection, options=options)

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Delete the record and keep its versions, or delete one of them, or all."""
        if _passes(collection, options):
            return self._base.delete_record(id, collection=collection, expect=expect, options=options)
        version, rest = check_version(options.get("version")), _without(options, DELETE)
        everything = bool(options.get("delete_all_versions", False))
        if everything and version is not None:
            raise TypeError("delete takes either version= or delete_all_versions=True, not both")
        if version is not None:
            return self._writer.delete_version(id, collection, version, expect, rest)
        return (self._writer.purge if everything else self._writer.delete)(id, collection, expect, rest)

    def copied_ids(self, ids: Sequence[str], *, collection: Collection[Any]) -> frozenset[str]:
        """Return the ids that have older versions, and those that are copied below."""
        below = self._base.copied_ids(ids, collection=collection)
        if not collection.is_users:
            return below
        older = self._base.scan(StoreQuery(where={ITEM: ("in", ids)}), collection=history_of(collection))
        return below.union(str(head.meta.fields[ITEM]) for head in older)

    def change_copies(self, change: ChangeCopy, *, collection: Collection[Any]) -> None:
        """Change the copies below, and the older versions."""
        self._base.change_copies(change, collection=collection)
        if collection.is_users:
            self._writer.change_copies(change, collection)

    scan = WrapperStore.scan  # queries are about the newest versions

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintain the store below, then delete versions beyond `max_versions` and the rest of deletes cut short."""
        end = None if budget is None else time.monotonic() + budget
        done = super().maintain(budget)
        collection = self._collection
        if not collection.is_users:
            return done
        deleted = 0
        for head in self._base.scan(EVERYTHING.replace(include_deleted=True), collection=collection):
            if end is not None and time.monotonic() > end:
                break
            deleted += self._writer.finish(head, collection)
        return {**done, "versions_removed": deleted}

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Check the records below, and those of the older versions."""
        found = self._base.verify_records(collection)
        if not collection.is_users:
            return found
        older = self._base.verify_records(history_of(collection))
        ids: dict[str, Any] = {
            name: (*getattr(found, name), *getattr(older, name)) for name in ("missing", "unindexed", "changed")
        }
        return replace(found, corrupt={**found.corrupt, **older.corrupt}, **ids)

    def rebuild_index(self) -> int:
        """Rebuild the index below, that of the older versions too."""
        if self._collection.is_users:
            self._check()
            self._base.collection(history_of(self._collection)).rebuild_index()
        return super().rebuild_index()


def _passes(collection: Collection[Any], options: Options) -> bool:
    """Return True for a call that makes no version: of the library's own records, or of those that move between stores."""
    return "." in collection.name or options.get(STORED) is True


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _without(options: Options, own: frozenset[str]) -> Options:
    """Return the options of other layers."""
    return {name: value for name, value in options.items() if name not in own} if options else options
