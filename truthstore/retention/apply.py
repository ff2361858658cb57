"""Carry out a plan, item by item, each by the revision that the plan saw.

An item is copied under its own revision, so that copying it again is harmless; the copy is read back; then the item is
deleted. A copy is never taken back: another clean-up may have deleted the item because of it.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from truthstore.checks.notes import notes_of
from truthstore.errors import (
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreWriteError,
    shown,
)
from truthstore.items.check_rows import has_checks
from truthstore.items.parts import STREAM_TAG, parts_of
from truthstore.model.collection import Collection, Derivation
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Meta, Options, Record
from truthstore.retention.base import RetentionAction, RetentionResult

if TYPE_CHECKING:
    from truthstore.retention.base import RetentionConfig
    from truthstore.retention.plan import PlannedItem, RetentionPlan
    from truthstore.store.records import ChangeCopy
    from truthstore.store.store import BaseStore

__all__ = ["apply_plan", "change_archived", "change_quarantined", "quarantine_of", "release"]

MOST_ERRORS: Final = 100


def _history_of(store: BaseStore[Any], collection: Collection[Any]) -> Collection[Any] | None:
    """Return the collection in which a layer keeps older versions; its field ``item`` holds the ids of their items."""
    for layer in store.layers() if collection.is_users else ():
        history_of: Callable[[Collection[Any]], Collection[Any]] | None = getattr(type(layer), "history_of", None)
        if history_of is not None:
            return history_of(collection)
    return None


def _belongings(
    record: Record, base: BaseStore[Any], collection: Collection[Any]
) -> Iterator[tuple[Collection[Any], StoreQuery]]:
    """Iterate over what other collections keep for an item: its older versions, and the parts of a run with their note."""
    history = _history_of(base, collection)
    if history is not None:
        yield history, StoreQuery(where={"item": record.id})
    stream = record.meta.tags.get(STREAM_TAG)
    if stream is not None and has_checks(collection):
        yield parts_of(collection), StoreQuery(where={"stream": stream})
        yield notes_of(collection), StoreQuery(where={"check_id": record.id, "kind": "streamed"})


@functools.cache
def quarantine_of(collection: Collection[Any]) -> Collection[Any]:
    """Return the collection in which items of another one are set aside."""
    return Collection.of_records(
        collection.derived("quarantine"), index=collection.fields, time=collection.time, lookups=()
    )


def apply_plan(
    plan: RetentionPlan,
    collection: Collection[Any],
    base: BaseStore[Any],
    archive: BaseStore[Any] | None,
    config: RetentionConfig,
    seconds: float | None = None,
) -> RetentionResult:
    """Carry out a plan, and begin nothing new after some seconds; an item that changed since it was made is kept.

    Raises:
        StoreConfigError: it is a plan for another collection.
    """
    if plan.collection != collection.name:
        raise StoreConfigError(
            f"this plan is for {plan.collection}: apply it to store.collection(…) of that, not to {collection.name}"
        )
    start = datetime.now(UTC)
    end = None if seconds is None else time.monotonic() + seconds
    done: Counter[str] = Counter()
    errors: list[str] = []
    for item in plan:
        if end is not None and time.monotonic() > end:
            break
        done["begun"] += 1
        if config.holds(item.data_asset, item.tags):  # by a rule that is newer than the plan
            done["held"] += 1
            continue
        try:
            _carry_out(item, collection, base, archive)
        except (StoreConflictError, StoreNotFoundError):
            done["changed"] += 1
        except StoreError as error:
            done["failed"] += 1
            if len(errors) < MOST_ERRORS:
                errors.append(f"{item.item_id}: {error}")
        else:
            done[item.action] += 1
            done["bytes"] += item.size_bytes
    return replace(
        plan.result(),
        start_time=start,
        end_time=datetime.now(UTC),
        items_deleted=done[RetentionAction.DELETE],
        items_archived=done[RetentionAction.ARCHIVE],
        items_quarantined=done[RetentionAction.QUARANTINE],
        items_preserved=plan.items_scanned - done["begun"] + done["changed"] + done["failed"] + done["held"],
        items_excluded=plan.items_excluded + done["held"],
        items_changed=done["changed"],
        items_left=len(plan) - done["begun"],
        bytes_freed=done["bytes"],
        errors=tuple(errors),
        dry_run=False,
    )


def _carry_out(
    item: PlannedItem, collection: Collection[Any], base: BaseStore[Any], archive: BaseStore[Any] | None
) -> None:
    options: Options = _option(base, "delete", "delete_all_versions", value=True)
    if item.action is not RetentionAction.DELETE:
        record = base.get_record(item.item_id, collection=collection)
        if record.revision != item.revision:
            raise StoreConflictError(f"{collection.name} {shown(item.item_id)} changed", identifier=item.item_id)
        if item.action is RetentionAction.QUARANTINE:
            options = NONE  # an item that comes back comes back with its history
            _copy(record, base, quarantine_of(collection))
        elif archive is None:
            raise StoreConfigError(f"{item.action.name} needs archive_store=, or archive_store_name=")
        else:
            _copy(record, archive, collection)
            for others, query in _belongings(record, base, collection):
                for head in base.scan(query, collection=others):
                    _copy(base.get_record(head.id, collection=others), archive, others)
    base.delete_record(item.item_id, collection=collection, expect=item.revision, options=options)


def _copy(record: Record, target: BaseStore[Any], into: Collection[Any]) -> None:
    """Copy a record, unless it is there already, and read the copy back.

    Raises:
        StoreWriteError: another record of this id is there.
        StoreCorruptError: the copy is not the record.
    """
    meta = record.meta.replace(fields=dict(record.meta.fields), tags=dict(record.meta.tags))
    options = _option(target, "save", "message", value="archived") if into.is_users else NONE
    # Versions keep the record that is replaced.
    expect = ABSENT if _history_of(target, into) is None else ANY
    try:
        target.put_record(Record(meta, record.body, record.revision), collection=into, expect=expect, options=options)
    except StoreConflictError:
        if target.head_record(record.id, collection=into).revision != record.revision:
            raise StoreWriteError(
                f"{target!r} holds another {into.name} {shown(record.id)} already: this one is kept where it is",
                identifier=record.id,
            ) from None
    there = target.get_record(record.id, collection=into)
    if there.body != record.body or (dict(there.meta.fields), dict(there.meta.tags)) != (meta.fields, meta.tags):
        raise StoreCorruptError(
            f"the copy of {shown(record.id)} in {target!r} is not the item: the item is kept where it is",
            identifier=record.id,
        )


def change_quarantined(change: ChangeCopy, collection: Collection[Any], base: BaseStore[Any]) -> None:
    """Change the items that are set aside."""
    aside = quarantine_of(collection)
    for record in base.scan(StoreQuery(), collection=aside, bodies=True):
        _change(record, change, "quarantine", collection, base, aside)


def change_archived(change: ChangeCopy, collection: Collection[Any], archive: BaseStore[Any]) -> None:
    """Change the items that are in the archive, and the copies of its layers."""
    for part in (collection, parts_of(collection)) if has_checks(collection) else (collection,):
        for record in archive.scan(StoreQuery(), collection=part, bodies=True):
            _change(record, change, "archive", part, archive, part)
    archive.change_copies(lambda place, item: change(f"archive, {place}", item), collection=collection)


def _change(
    record: Record,
    change: ChangeCopy,
    place: str,
    collection: Collection[Any],
    store: BaseStore[Any],
    into: Collection[Any],
) -> None:
    """Put what `change` returns for an item in its place.

    Raises:
        StoreConflictError: it was changed meanwhile: the call can be repeated.
    """
    item = change(place, collection.decode(record))
    if item is not None:
        changed = collection.encode(item, store.encoding, indent=store.indent)
        meta = changed.meta.replace(annotations=record.meta.annotations)
        options = _option(store, "save", "message", value="changed in its copies") if into.is_users else NONE
        store.put_record(
            Record(meta, changed.body, changed.revision), collection=into, expect=record.revision, options=options
        )


def release(id: str, collection: Collection[Any], base: BaseStore[Any]) -> None:
    """Bring back an item that was set aside; see `RetentionStore.release`."""
    aside = quarantine_of(collection)
    record = base.get_record(id, collection=aside)
    meta = record.meta
    if meta.encoding == "json" and not meta.encodings:
        derive = Derivation(collection, record.body or b"", "json", collection.times(meta.fields))
        meta = Meta(id, size=meta.size, derive=derive, stored_at=meta.stored_at, annotations=meta.annotations)
    options = _option(base, "save", "message", value="released from quarantine")
    # Under a new revision: a plan of before must not take it away again.
    base.put_record(Record(meta, record.body), collection=collection, expect=ABSENT, options=options)
    base.delete_record(id, collection=aside, expect=record.revision)


def _option(store: BaseStore[Any], operation: str, name: str, *, value: object) -> Options:
    """Return an option if a layer of the store takes it."""
    return {name: value} if any(name in layer.OPTIONS.get(operation, ()) for layer in store.layers()) else NONE
