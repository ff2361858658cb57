"""Making a plan: one pass over the heads, newest first, without loading a body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from truthstore.query import StoreQuery, from_microseconds
from truthstore.retention.base import (
    ItemMetadata,
    PolicyEvaluator,
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
)
from truthstore.retention.plan import PlannedItem, RetentionPlan

if TYPE_CHECKING:
    from truthstore.collection import Collection
    from truthstore.record import Record
    from truthstore.store import BaseStore

__all__ = ["make_plan", "metadata_of"]

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


class _Items:
    """All items of a collection, newest first, each time anew."""

    def __init__(self, base: BaseStore[Any], collection: Collection[Any]) -> None:
        self._base = base
        self.collection = collection

    def heads(self) -> Iterator[Record]:
        return self._base.scan(StoreQuery(), collection=self.collection)

    def __iter__(self) -> Iterator[ItemMetadata]:
        for head in self.heads():
            yield metadata_of(head, self.collection)


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
    return plan


def _judge_all(items: _Items, plan: RetentionPlan, config: RetentionConfig) -> None:
    judge = PolicyEvaluator(config.policies, config.mode).ready(items)
    held = config.held_tags
    held_assets = frozenset(config.excluded_assets)
    seen: set[str] = set()
    verdicts: dict[tuple[RetentionPolicy, ...], tuple[RetentionAction, tuple[str, ...]]] = {}
    for head in items.heads():
        item = metadata_of(head, items.collection)
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
            told = verdicts.get(against)
            if told is None:
                reasons = tuple(dict.fromkeys(policy.description for policy in against))
                told = verdicts[against] = action_of(against, config.default_action), reasons
            plan.add(PlannedItem(item.item_id, head.revision, item.data_asset, item.created_at, item.size_bytes, *told))


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
