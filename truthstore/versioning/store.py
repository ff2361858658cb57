"""Versions over any store: the head is the newest version, and every save keeps the one before it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec

from truthstore.errors import StoreBulkError, StoreError, StoreNotFoundError
from truthstore.model.fields import check_id
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore
from truthstore.versioning.base import VersionDiff, VersionInfo, VersioningConfig, VersioningMode, VersionNotFoundError
from truthstore.versioning.diff import differences
from truthstore.versioning.meta import KEY, versions_of
from truthstore.versioning.options import DELETE, GET, SAVE, take_delete, take_save, take_version
from truthstore.versioning.reader import Past
from truthstore.versioning.strategies import get_strategy
from truthstore.versioning.turns import Turns
from truthstore.versioning.writer import Writing

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.store.health import Verification
    from truthstore.store.store import BaseStore

__all__ = ["VersionedStore"]

T = TypeVar("T")

WHY_NOT_CACHES: Final = "below the versions it would answer with heads that were replaced: put it above"


class VersionedStore(WrapperStore[T]):
    """Keeps every version of every item, in the store below, with who saved it, when and why.

    `save` makes a new version, `get(id, version=2)` reads an old one. `delete(id)` removes the item and keeps its
    versions, so that `rollback` can bring it back; `delete(id, delete_all_versions=True)` removes them too. Versions are
    numbers; where one is asked for, its label (``"v3"``, ``"1.0.2"``) will do as well.

    Args:
        base: the store below.
        config: the options, or
        options: the same as keywords.
    """

    name: ClassVar[str] = "versioning"
    OPTIONS: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType(
        {"save": SAVE, "get": GET, "exists": GET, "delete": DELETE}
    )
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "versioning": "one layer keeps the versions of all items",
            "retention": "it would remove items and leave their history: put it above the versions",
            "cached": WHY_NOT_CACHES,
            "batching": "a version is numbered when it is written: put it above the versions",
        }
    )

    def __init__(self, base: BaseStore[T], config: VersioningConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self._config = configure(VersioningConfig, config, options, "VersionedStore")
        self._strategy = get_strategy(self._config.mode)
        self._past = Past(base, self._strategy, by_content=self._config.mode is VersioningMode.GIT_LIKE)
        self._writing = Writing(base, self._config, self._strategy, self._past)
        self._turns = Turns()

    @property
    def config(self) -> VersioningConfig:
        """The options."""
        return self._config

    def save(  # noqa: D417  # the rest is told by the base class
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
        """Saves a new version of an item and returns the item's id.

        Args:
            item: the item.
            message: why.
            created_by: who.
            metadata: what else is to be known of the version.
            expected_version: the version that must be the newest now; 0 means that there is no such item.

        Raises:
            VersionConflictError: another version is the newest.
        """
        if message is None and created_by is None and metadata is None and expected_version is None:
            return super().save(item, expect=expect, **options)
        said = _given(message=message, created_by=created_by, metadata=metadata, expected_version=expected_version)
        return super().save(item, expect=expect, **said, **options)

    def get(self, id: str, version: int | str | None = None, **options: Any) -> T:
        """The item, or one of its versions.

        Raises:
            StoreNotFoundError: there is no such item.
            VersionNotFoundError: it has no such version.
        """
        return super().get(id, **_given(version=version), **options)

    def exists(self, id: str, version: int | str | None = None, **options: Any) -> bool:
        """Whether there is such an item, or such a version of it."""
        return super().exists(id, **_given(version=version), **options)

    def delete(  # noqa: D417  # as above
        self,
        id: str,
        expect: Expect = ANY,
        *,
        version: int | str | None = None,
        delete_all_versions: bool = False,
        **options: Any,
    ) -> bool:
        """Removes an item and keeps its versions; False if there was none.

        Args:
            id: the id.
            version: remove just this version; of the newest, the one before it takes the place.
            delete_all_versions: remove all versions too.
        """
        said = _given(version=version, delete_all_versions=delete_all_versions or None)
        return super().delete(id, expect=expect, **said, **options)

    def save_version(
        self,
        item: T,
        message: str | None = None,
        created_by: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_version: int | str | None = None,
        *,
        expect: Expect = ANY,
    ) -> VersionInfo:
        """Saves a new version and says what is known of it."""
        self._check()
        said = _given(message=message, created_by=created_by, metadata=metadata, expected_version=expected_version)
        record = self._collection.encode(item, self.encoding, indent=self.indent)
        head = self.put_record(record, collection=self._collection, expect=expect, options=said)
        return self._past.info(head.id, self._past.stamp(head, self._collection))

    def rollback(self, id: str, version: int | str, message: str | None = None, created_by: str | None = None) -> str:
        """Saves an old version as the newest one, also of an item that was deleted, and returns the id.

        Raises:
            VersionNotFoundError: there is no such version.
        """
        self._check()
        collection = self._collection
        number = self._past.number(check_id(id), version, collection)
        record, _ = self._past.find(id, number, collection)
        others = {name: value for name, value in record.meta.annotations.items() if name != KEY}
        meta = record.meta.replace(stored_at=time.time_ns() // 1_000, annotations=others)
        said = _given(
            message=message or f"Rollback to version {self._strategy.format_version(number)}",
            created_by=created_by,
            metadata={"rollback_from": number},
        )
        return self.put_record(Record(meta, record.body), collection=collection, options=said).id

    def get_version(self, id: str, version: int | str) -> T:
        """One version of an item."""
        return self.get(id, version=version)

    def get_version_history(self, id: str, limit: int | None = None, offset: int = 0) -> list[VersionInfo]:
        """What is known of the versions of an item, newest first; of an unknown item nothing."""
        self._check()
        if (limit is not None and limit < 0) or offset < 0:
            raise ValueError("limit and offset cannot be negative")
        stop = None if limit is None else offset + limit
        return list(islice(self._past.infos(check_id(id), self._collection, stop), offset, stop))

    def get_history(self, data_asset: str, limit: int | None = 10) -> list[Any]:
        """The same as `get_version_history`: of an id here, not of an asset."""
        return self.get_version_history(data_asset, limit)

    def list_versions(self, id: str) -> list[int]:
        """The numbers of an item's versions, newest first."""
        self._check()
        return [info.version for info in self._past.infos(check_id(id), self._collection)]

    def count_versions(self, id: str) -> int:
        """How many versions an item has."""
        self._check()
        collection = self._collection
        head = self._past.head(check_id(id), collection)
        if head is None:
            return self._past.count(id, collection, None)
        stamp = self._past.stamp(head, collection)
        if stamp.purged:
            return 0
        return self._past.count(id, collection, stamp) + (not head.meta.deleted)

    def get_version_info(self, id: str, version: int | str) -> VersionInfo:
        """What is known of a version.

        Raises:
            VersionNotFoundError: there is none.
        """
        self._check()
        number = self._past.number(check_id(id), version, self._collection)
        _, stamp = self._past.find(id, number, self._collection)
        return self._past.info(id, stamp)

    def get_latest_version_info(self, id: str) -> VersionInfo | None:
        """What is known of the newest version, or None if there is none."""
        self._check()
        return next(self._past.infos(check_id(id), self._collection, 1), None)

    def diff(self, id: str, version_a: int | str, version_b: int | str | None = None) -> VersionDiff:
        """How two versions differ; without the second, how the newest differs from the first.

        Raises:
            VersionNotFoundError: there is no such version.
        """
        self._check()
        collection = self._collection
        one = self._past.number(check_id(id), version_a, collection)
        if version_b is None:
            latest = self.get_latest_version_info(id)
            if latest is None:
                raise VersionNotFoundError(id, version_a, collection=collection.name)
            other = latest.version
        else:
            other = self._past.number(id, version_b, collection)
        return VersionDiff.of(id, one, other, differences(self._document(id, one), self._document(id, other)))

    def _document(self, id: str, number: int) -> Any:
        item: Any = self._collection.decode(self._past.find(id, number, self._collection)[0])
        to_dict = getattr(item, "to_dict", None)
        if isinstance(item, msgspec.Struct) and callable(to_dict):
            return to_dict()  # results and suites tell every field, those with their default value too
        whole: Any = item
        return msgspec.json.decode(self._collection.encode(whole).body or b"null")

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Stores a record as a new version."""
        if not collection.is_users:
            return self._base.put_record(record, collection=collection, expect=expect, options=options)
        saying, rest = take_save(options, self._config)
        id = record.meta.id
        expected = None if saying.expected is None else self._past.number(id, saying.expected, collection)
        return self._turns.take(
            id,
            lambda: self._writing.put(record, collection, expect, saying, expected, rest),
            collection=collection.name,
        )

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Stores records as new versions; those whose ids are new in one go."""
        if not collection.is_users:
            return self._base.put_records(records, collection=collection, expect=expect, options=options)
        saying, rest = take_save(options, self._config)
        heads: dict[int, Record] = {}
        failed: dict[str, Exception] = {}
        if not isinstance(expect, str) and saying.expected is None and len(records) > 1:
            first = {record.id: place for place, record in reversed(list(enumerate(records)))}
            stored, failed = self._writing.put_fresh(
                [records[place] for place in first.values()], collection, saying, rest
            )
            heads = {first[head.id]: head for head in stored}
        for place, record in enumerate(records):
            if place in heads or record.id in failed:
                continue
            try:
                heads[place] = self.put_record(record, collection=collection, expect=expect, options=options)
            except StoreError as error:
                failed[record.id] = error
        if failed:
            done = [heads[place].id for place in sorted(heads)]
            raise StoreBulkError(done, failed, backend=self.name, collection=collection.name)
        return [heads[place] for place in range(len(records))]

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """The record, or one of its versions."""
        if not options or not collection.is_users:
            return self._base.get_record(id, collection=collection, options=options)
        version, rest = take_version(options)
        if version is None:
            return self._base.get_record(id, collection=collection, options=rest)
        return self._past.find(id, self._past.number(id, version, collection), collection, rest)[0]

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """The head of the record, or of one of its versions."""
        if not options:
            return self._base.head_record(id, collection=collection)
        return self.get_record(id, collection=collection, options=options).head()

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """The records, or one version of each."""
        if not options:
            return self._base.get_records(ids, collection=collection)
        found: dict[str, Record] = {}
        for id in ids:
            try:
                found[id] = self.get_record(id, collection=collection, options=options)
            except StoreNotFoundError:
                continue
        return found

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Removes the record and keeps its versions, or removes one of them, or all."""
        if not collection.is_users:
            return self._base.delete_record(id, collection=collection, expect=expect, options=options)
        version, everything, rest = take_delete(options)
        number = None if version is None else self._past.number(id, version, collection)

        def attempt() -> bool:
            if everything:
                return self._writing.purge(id, collection, expect, rest)
            if number is not None:
                return self._writing.delete_version(id, number, collection, expect, rest)
            return self._writing.delete(id, collection, expect, rest)

        return self._turns.take(id, attempt, collection=collection.name)

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Forwards: queries are about the newest versions."""
        return self._base.scan(query, collection=collection, bodies=bodies, options=options)

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Forwards."""
        return self._base.scan_ids(query, collection=collection, options=options)

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Forwards."""
        return self._base.count_records(query, collection=collection, options=options)

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Forwards."""
        return self._base.aggregate_records(query, aggregation, collection=collection, options=options)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintains the store below, then removes versions beyond `max_versions` and what cut-short removals left."""
        end = None if budget is None else time.monotonic() + budget
        done = super().maintain(budget)
        collection = self._collection
        if not collection.is_users:
            return done
        removed = 0
        for head in self._base.scan(EVERYTHING.replace(include_deleted=True), collection=collection):
            if end is not None and time.monotonic() > end:
                break
            removed += self._finish(head, collection)
        return {**done, "versions_removed": removed}

    def _finish(self, head: Record, collection: Collection[Any]) -> int:
        return self._turns.take(head.id, lambda: self._writing.finish(head, collection), collection=collection.name)

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Checks the records below, and those of the older versions."""
        found = self._base.verify_records(collection)
        if not collection.is_users:
            return found
        older = self._base.verify_records(versions_of(collection))
        return replace(
            found,
            missing=(*found.missing, *older.missing),
            unindexed=(*found.unindexed, *older.unindexed),
            changed=(*found.changed, *older.changed),
            corrupt={**found.corrupt, **older.corrupt},
        )

    def rebuild_index(self) -> int:
        """Rebuilds the index below, that of the older versions too."""
        if self._collection.is_users:
            self._check()
            self._base.collection(versions_of(self._collection)).rebuild_index()
        return super().rebuild_index()


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
