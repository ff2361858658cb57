"""Carrying out a plan, item by item, each by the revision that the plan saw."""

from __future__ import annotations

import functools
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from truthstore.collection import Collection, Derivation
from truthstore.errors import StoreConflictError, StoreCorruptError, StoreError, StoreNotFoundError, shown
from truthstore.query import StoreQuery
from truthstore.record import ABSENT, Meta, Record
from truthstore.retention.base import RetentionAction, RetentionResult
from truthstore.versioning.history import ITEM, versions_of

if TYPE_CHECKING:
    from truthstore.retention.plan import PlannedItem, RetentionPlan
    from truthstore.store import BaseStore

__all__ = ["Cleaning", "quarantine_of"]

MOST_ERRORS: Final = 100


@functools.cache
def quarantine_of(collection: Collection[Any]) -> Collection[Any]:
    """The collection in which items of another one are set aside."""
    return Collection.of_records(
        collection.derived("quarantine"), index=collection.fields, time=collection.time, lookups=()
    )


class Cleaning:
    """Does what plans say.

    Args:
        base: the store below the policies.
        archive: where items are archived, or None.
        batch_size: how many items are removed between two looks at the clock.
    """

    def __init__(self, base: BaseStore[Any], archive: BaseStore[Any] | None, batch_size: int) -> None:
        self._base = base
        self._archive = archive
        self._batch_size = batch_size
        self._versioned = any(layer.name == "versioning" for layer in base.layers())

    def apply(self, plan: RetentionPlan, collection: Collection[Any], seconds: float | None = None) -> RetentionResult:
        """Carries out a plan; what changed since it was made is kept.

        Args:
            plan: the plan.
            collection: what it is about.
            seconds: begin nothing new after so long.
        """
        start = datetime.now(UTC)
        end = None if seconds is None else time.monotonic() + seconds
        done: Counter[str] = Counter()
        errors: list[str] = []
        left = len(plan)
        for item in plan:
            if end is not None and (len(plan) - left) % self._batch_size == 0 and time.monotonic() > end:
                break
            left -= 1
            try:
                self._carry_out(item, collection)
            except (StoreConflictError, StoreNotFoundError):
                done["changed"] += 1
            except StoreError as error:
                done["failed"] += 1
                if len(errors) < MOST_ERRORS:
                    errors.append(f"{item.item_id}: {error}")
            else:
                done[item.action] += 1
                done["bytes"] += item.size_bytes
        gone = len(plan) - left - done["changed"] - done["failed"]
        return replace(
            plan.result(),
            start_time=start,
            end_time=datetime.now(UTC),
            items_deleted=done[RetentionAction.DELETE],
            items_archived=done[RetentionAction.ARCHIVE],
            items_quarantined=done[RetentionAction.QUARANTINE],
            items_preserved=plan.items_scanned - gone,
            items_changed=done["changed"],
            items_left=left,
            bytes_freed=done["bytes"],
            errors=tuple(errors),
            dry_run=False,
        )

    def _carry_out(self, item: PlannedItem, collection: Collection[Any]) -> None:
        if item.action is RetentionAction.ARCHIVE:
            assert self._archive is not None
            self._copy(item, collection, self._archive, collection)
        elif item.action is RetentionAction.QUARANTINE:
            self._copy(item, collection, self._base, quarantine_of(collection))
        options = {"delete_all_versions": True} if self._versioned else {}
        if item.action is RetentionAction.QUARANTINE:
            options = {}  # what comes back comes back with its history
        self._base.delete_record(item.item_id, collection=collection, expect=item.revision, options=options)

    def _copy(
        self, item: PlannedItem, collection: Collection[Any], target: BaseStore[Any], into: Collection[Any]
    ) -> None:
        """Copies an item as it was planned, and reads the copy back.

        Raises:
            StoreConflictError: it is another one by now.
            StoreCorruptError: the copy is not the item.
        """
        record = self._base.get_record(item.item_id, collection=collection)
        if record.revision != item.revision:
            raise StoreConflictError(f"{collection.name} {shown(item.item_id)} changed", identifier=item.item_id)
        if self._versioned and into is collection:
            self._copy_versions(item.item_id, collection, target)
        _copy_record(record, target, into)

    def _copy_versions(self, id: str, collection: Collection[Any], target: BaseStore[Any]) -> None:
        aside = versions_of(collection)
        for head in self._base.scan(StoreQuery(where={ITEM: id}), collection=aside):
            _copy_record(self._base.get_record(head.id, collection=aside), target, aside)

    def release(self, id: str, collection: Collection[Any]) -> None:
        """Brings back what was set aside; see `RetentionStore.release`."""
        aside = quarantine_of(collection)
        record = self._base.get_record(id, collection=aside)
        meta = record.meta
        if meta.encoding == "json" and not meta.encodings:
            derive = Derivation(collection, record.body or b"", "json", collection.times(meta.fields))
            meta = Meta(id, size=meta.size, derive=derive, stored_at=meta.stored_at, annotations=meta.annotations)
        self._base.put_record(Record(meta, record.body), collection=collection, expect=ABSENT)
        self._base.delete_record(id, collection=aside, expect=record.revision)


def _copy_record(record: Record, target: BaseStore[Any], into: Collection[Any]) -> None:
    meta = record.meta.replace(fields=dict(record.meta.fields), tags=dict(record.meta.tags))
    target.put_record(Record(meta, record.body), collection=into)
    copied = target.get_record(record.id, collection=into)
    same = dict(copied.meta.fields) == dict(meta.fields) and dict(copied.meta.tags) == dict(meta.tags)
    if copied.body != record.body or not same:
        raise StoreCorruptError(
            f"the copy of {shown(record.id)} in {target!r} is not what was copied: the item is kept where it is",
            identifier=record.id,
        )
