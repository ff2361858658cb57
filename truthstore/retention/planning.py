"""Making a plan: one pass over the heads, newest first, without loading a body."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from truthstore.model.query import StoreQuery, from_microseconds
from truthstore.retention.base import (
    ItemMetadata,
    PolicyEvaluator,
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
)
from truthstore.retention.lines import Lines
from truthstore.retention.plan import PlannedItem, RetentionPlan

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore

__all__ = ["make_plan", "metadata_of"]

EVERYTHING: Final = StoreQuery()
GENTLEST_FIRST: Final = (RetentionAction.QUARANTINE, RetentionAction.ARCHIVE, RetentionAction.DELETE)


def metadata_of(head: Record, collection: Collection[Any]) -> ItemMetadata:
    """What policies see of an item."""
    meta = head.meta
    fields = meta.fields
    time = fields.get(collection.time) if collection.time is not None else None
    return ItemMetadata(
        meta.id,
        fields.get("data_asset") or "",  # type: ignore[arg-type]  # strings, in every collection that has them
        from_microseconds(meta.stored_at if time is None else time),  # type: ignore[arg-type]  # a time is an int
        meta.size,
        fields.get("status") or "",  # type: ignore[arg-type]  # as above
        meta.tags,
    )


# A layer may keep tags in a mapping that is no dict.
_encode: Final = msgspec.json.Encoder(enc_hook=dict).encode
_decode: Final = msgspec.json.Decoder(tuple[str, ItemMetadata]).decode


_Verdict: TypeAlias = tuple[tuple[RetentionPolicy, ...], RetentionAction, tuple[str, ...]]
"""The policies that let an item go, and what comes of that."""


class _Items:
    """All items of a collection, newest first.

    Once a policy has looked at them, they stay as it saw them: what is saved meanwhile is not judged by a policy that
    does not know of it.
    """

    def __init__(self, base: BaseStore[Any], collection: Collection[Any]) -> None:
        self._base = base
        self._collection = collection
        self._seen: Lines[tuple[str, ItemMetadata]] | None = None

    def __iter__(self) -> Iterator[ItemMetadata]:
        if self._seen is None:
            seen = Lines[tuple[str, ItemMetadata]](_encode, _decode)
            for one in self.with_revisions():
                seen.add(one)
            self._seen = seen
        return (item for _, item in self._seen)

    def with_revisions(self) -> Iterator[tuple[str, ItemMetadata]]:
        """Each with the revision that is looked at."""
        if self._seen is not None:
            return iter(self._seen)
        return ((head.revision, metadata_of(head, self._collection)) for head in self._heads())

    def _heads(self) -> Iterator[Record]:
        collection, time = self._collection, self._collection.time
        if time is None:
            return self._base.scan(EVERYTHING, collection=collection)  # by the time at which they were saved
        # None sorts lowest. An item without a time that is saved from now on is not judged, rather than as the oldest.
        lowest = next(self._base.scan(StoreQuery(limit=1, ascending=True), collection=collection), None)
        dated = takewhile(
            lambda head: head.meta.fields.get(time) is not None, self._base.scan(EVERYTHING, collection=collection)
        )
        if lowest is None or lowest.meta.fields.get(time) is not None:
            return dated
        undated = self._base.scan(StoreQuery(where={time: None}, order_by="stored_at"), collection=collection)

        def age_key(head: Record) -> tuple[Any, str]:
            told = head.meta.fields.get(time)
            return head.meta.stored_at if told is None else told, head.meta.id

        return heapq.merge(dated, undated, key=age_key, reverse=True)

    def close(self) -> None:
        """Removes what was kept of them."""
        if self._seen is not None:
            self._seen.close()


def make_plan(base: BaseStore[Any], collection: Collection[Any], config: RetentionConfig) -> RetentionPlan:
    """Judges every item of a collection."""
    plan = RetentionPlan()
    if not config.policies or not collection.is_users:
        return plan
    items = _Items(base, collection)
    try:
        _judge_all(items, plan, config)
    except BaseException:
        plan.close()
        raise
    finally:
        items.close()
    return plan


def _judge_all(items: _Items, plan: RetentionPlan, config: RetentionConfig) -> None:
    judge = PolicyEvaluator(config.policies, config.mode).ready(items)
    held = config.held_tags
    held_assets = frozenset(config.excluded_assets)
    seen: set[str] = set()
    verdicts: dict[tuple[int, ...], _Verdict] = {}
    for revision, item in items.with_revisions():
        plan.items_scanned += 1
        against = judge(item)
        if is_held(item, held, held_assets):
            plan.items_excluded += 1
            seen.add(item.data_asset)
            continue
        if config.preserve_latest and item.data_asset not in seen:
            seen.add(item.data_asset)
            continue
        if against:
            which = tuple(map(id, against))  # a policy need not be hashable: it may be a dataclass
            told = verdicts.get(which)
            if told is None:
                reasons = tuple(dict.fromkeys(policy.description for policy in against))
                told = verdicts[which] = against, action_of(against, config.default_action), reasons
            plan.add(PlannedItem(item.item_id, revision, item.data_asset, item.created_at, item.size_bytes, *told[1:]))


def is_held(item: ItemMetadata, held: Any, held_assets: frozenset[str]) -> bool:
    """Whether an item is under a legal hold."""
    if item.data_asset in held_assets:
        return True
    tags = item.tags
    return bool(held) and any(key in tags and value in {None, tags[key]} for key, value in held.items())


def action_of(against: tuple[RetentionPolicy, ...], default: RetentionAction) -> RetentionAction:
    """What becomes of an item: of several actions that are asked for, the one that can best be undone."""
    asked = {policy.action for policy in against if policy.action is not None}
    return next((action for action in GENTLEST_FIRST if action in asked), default)
