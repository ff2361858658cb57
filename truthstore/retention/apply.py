"""Carrying out a plan, item by item, each by the revision that the plan saw."""

from __future__ import annotations

import functools
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import (
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreWriteError,
    shown,
)
from truthstore.model.collection import Collection, Derivation
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, NONE, Meta, Options, Record
from truthstore.retention.base import RetentionAction, RetentionResult
from truthstore.versioning.meta import ITEM, history_of

if TYPE_CHECKING:
    from truthstore.retention.plan import PlannedItem, RetentionPlan
    from truthstore.store.store import BaseStore

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
        copies: _Copies | None = None
        if item.action is RetentionAction.ARCHIVE:
            assert self._archive is not None
            copies = _Copies(self._archive)
            self._copy(item, collection, copies, collection)
        elif item.action is RetentionAction.QUARANTINE:
            copies = _Copies(self._base)
            self._copy(item, collection, copies, quarantine_of(collection))
        options = {"delete_all_versions": True} if self._versioned else {}
        if item.action is RetentionAction.QUARANTINE:
            options = {}  # what comes back comes back with its history
        try:
            self._base.delete_record(item.item_id, collection=collection, expect=item.revision, options=options)
        except StoreConflictError:
            # Of an item that is gone the copy stays: it may be the only one.
            if copies is not None and self._is_there(item.item_id, collection):
                copies.take_back()
            raise

    def _is_there(self, id: str, collection: Collection[Any]) -> bool:
        try:
            self._base.head_record(id, collection=collection)
        except StoreNotFoundError:
            return False
        return True

    def _copy(self, item: PlannedItem, collection: Collection[Any], copies: _Copies, into: Collection[Any]) -> None:
        """Copies an item as it was planned, with its history if it leaves the store, and reads the copies back.

        Raises:
            StoreConflictError: it is another one by now.
            StoreWriteError: another one was copied there before.
            StoreCorruptError: the copy is not the item.
        """
        record = self._base.get_record(item.item_id, collection=collection)
        if record.revision != item.revision:
            raise StoreConflictError(f"{collection.name} {shown(item.item_id)} changed", identifier=item.item_id)
        try:
            if self._versioned and into is collection:
                aside = history_of(collection)
                for head in self._base.scan(StoreQuery(where={ITEM: item.item_id}), collection=aside):
                    copies.add(self._base.get_record(head.id, collection=aside), aside)
            copies.add(record, into)
        except StoreError:
            copies.take_back()
            raise

    def release(self, id: str, collection: Collection[Any]) -> None:
        """Brings back what was set aside; see `RetentionStore.release`."""
        aside = quarantine_of(collection)
        record = self._base.get_record(id, collection=aside)
        meta = record.meta
        if meta.encoding == "json" and not meta.encodings:
            derive = Derivation(collection, record.body or b"", "json", collection.times(meta.fields))
            meta = Meta(id, size=meta.size, derive=derive, stored_at=meta.stored_at, annotations=meta.annotations)
        options = _said(self._base, "released from quarantine")
        self._base.put_record(Record(meta, record.body), collection=collection, expect=ABSENT, options=options)
        self._base.delete_record(id, collection=aside, expect=record.revision)


class _Copies:
    """The copies of one item. Nothing that was there before is lost.

    Args:
        target: where they are put.
    """

    def __init__(self, target: BaseStore[Any]) -> None:
        self._target = target
        self._versioned = any(layer.name == "versioning" for layer in target.layers())
        self._new: list[tuple[Record, Collection[Any]]] = []

    def add(self, record: Record, into: Collection[Any]) -> None:
        """Copies a record, unless it is there already, and reads the copy back."""
        target = self._target
        meta = record.meta.replace(fields=dict(record.meta.fields), tags=dict(record.meta.tags))
        wanted = Record(meta, record.body)
        options = _said(target, "archived") if into.is_users else NONE
        try:
            stored = target.put_record(wanted, collection=into, expect=ABSENT, options=options)
        except StoreConflictError:
            there = target.get_record(record.id, collection=into)
            # Versions above a store keep what is replaced.
            if not (self._versioned and into.is_users) and not _is_copy(there, wanted, annotations=True):
                raise StoreWriteError(
                    f"{target!r} holds another {into.name} {shown(record.id)} already: this one is kept where it is",
                    identifier=record.id,
                ) from None
            # The same, of a clean-up that was cut short or that goes on elsewhere: under a revision of ours it is not
            # taken back from there.
            target.put_record(wanted, collection=into, expect=there.revision, options=options)
        else:
            self._new.append((stored, into))
        if not _is_copy(target.get_record(record.id, collection=into), wanted):
            raise StoreCorruptError(
                f"the copy of {shown(record.id)} in {target!r} is not what was copied: the item is kept where it is",
                identifier=record.id,
            )

    def take_back(self) -> None:
        """Removes what was put where nothing was, unless another clean-up relies on it by now."""
        for stored, into in reversed(self._new):
            with suppress(StoreError):  # the copy stays, and will do for the next clean-up
                self._target.delete_record(stored.id, collection=into, expect=stored.revision)


def _is_copy(one: Record, other: Record, *, annotations: bool = False) -> bool:
    same = one.body == other.body and dict(one.meta.fields) == dict(other.meta.fields)
    same = same and dict(one.meta.tags) == dict(other.meta.tags)
    return same and (not annotations or _annotated(one) == _annotated(other))


def _annotated(record: Record) -> bytes:
    # As JSON: what was stored meanwhile has lists where there were tuples.
    return msgspec.json.encode(dict(record.meta.annotations), order="deterministic")


def _said(store: BaseStore[Any], message: str) -> Options:
    """What is said about a save, where a layer takes that."""
    return {"message": message} if any("message" in layer.OPTIONS.get("save", ()) for layer in store.layers()) else NONE
