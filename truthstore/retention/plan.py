"""Plan a clean-up: judge every item by its head, without loading a body, and keep the plan in a temporary file."""

from __future__ import annotations

import copy
import heapq
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from truthstore.errors import StoreCorruptError
from truthstore.model.query import EVERYTHING, StoreQuery, from_microseconds
from truthstore.retention.base import (
    ItemMetadata,
    PolicyEvaluator,
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
    RetentionResult,
)
from truthstore.retention.policies import CompositePolicy
from truthstore.runtime.spooled import SpooledList, SpooledPlan

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore

__all__ = ["PlannedItem", "RetentionPlan", "make_plan", "metadata_of"]

GENTLEST_FIRST: Final = (RetentionAction.QUARANTINE, RetentionAction.ARCHIVE, RetentionAction.DELETE)


class PlannedItem(ItemMetadata, frozen=True):
    """An item of a plan.

    Attributes:
        revision: its revision when the plan was made; an item that has another one later is kept.
        action: what would be done with it.
        reasons: the policies that let it go.
    """

    revision: str = ""
    action: RetentionAction = RetentionAction.DELETE
    reasons: tuple[str, ...] = ()


_encode: Final = msgspec.json.Encoder(enc_hook=dict).encode  # a layer may keep tags in a mapping that is no dict
_decode: Final = msgspec.json.Decoder(PlannedItem).decode


class _Heading(msgspec.Struct, frozen=True, tag="retention plan 1", tag_field="format"):
    collection: str
    made_at: datetime
    items_scanned: int
    items_excluded: int
    items: int


class RetentionPlan(SpooledPlan[PlannedItem]):
    """The items that would go, newest first; it can be iterated over any number of times, until it is closed.

    `save` writes it to a file, and `RetentionPlan.load` reads that, in another process or on another day.

    Attributes:
        collection: name of the collection of the items.
        made_at: time of its making.
        items_scanned: number of the items judged.
        items_excluded: number of the items kept for their tags or assets.
        bytes_planned: size of all items that would go.
        actions: number of items for each action.
    """

    def __init__(self, collection: str, made_at: datetime, items_scanned: int = 0, items_excluded: int = 0) -> None:
        super().__init__(PlannedItem)
        self.collection = collection
        self.made_at = made_at
        self.items_scanned = items_scanned
        self.items_excluded = items_excluded
        self.bytes_planned = 0
        self.actions: Counter[RetentionAction] = Counter()

    def add(self, item: PlannedItem) -> None:
        """Add one item."""
        self.actions[item.action] += 1
        self.bytes_planned += item.size_bytes
        self._items.append(item)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file, one item a line."""
        heading = _Heading(self.collection, self.made_at, self.items_scanned, self.items_excluded, len(self))
        with open(os.path.expanduser(path), "wb") as file:
            file.writelines(_encode(line) + b"\n" for line in (heading, *self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a plan that was saved.

        Raises:
            StoreCorruptError: the file is not a whole plan.
        """
        with open(os.path.expanduser(path), "rb") as file:
            try:
                heading = msgspec.json.decode(file.readline(), type=_Heading)
                plan = cls(heading.collection, heading.made_at, heading.items_scanned, heading.items_excluded)
                for line in file:
                    plan.add(_decode(line))
            except msgspec.MsgspecError as error:
                raise StoreCorruptError(f"{os.fspath(path)} is no retention plan: {error}") from error
        if len(plan) != heading.items:
            raise StoreCorruptError(f"{os.fspath(path)} holds {len(plan)} of the {heading.items} items of its plan")
        return plan

    def __len__(self) -> int:
        return self.actions.total()

    def result(self) -> RetentionResult:
        """Report the clean-up that would do all of it."""
        return RetentionResult(
            start_time=self.made_at,
            end_time=datetime.now(UTC),
            items_scanned=self.items_scanned,
            items_deleted=self.actions[RetentionAction.DELETE],
            items_archived=self.actions[RetentionAction.ARCHIVE],
            items_quarantined=self.actions[RetentionAction.QUARANTINE],
            items_preserved=self.items_scanned - len(self),
            items_excluded=self.items_excluded,
            bytes_freed=self.bytes_planned,
            dry_run=True,
        )

    def __repr__(self) -> str:
        actions = ", ".join(f"{action} {count}" for action, count in sorted(self.actions.items())) or "nothing to do"
        return f"RetentionPlan({actions}; {self.items_scanned} items judged)"


def make_plan(base: BaseStore[Any], collection: Collection[Any], config: RetentionConfig) -> RetentionPlan:
    """Judge every item of a collection, as it is now: one that is saved meanwhile is not judged unseen."""
    plan = RetentionPlan(collection.name, datetime.now(UTC))
    if not collection.is_users:
        return plan
    items = SpooledList(PlannedItem)
    try:
        for head in _heads(base, collection):
            items.append(metadata_of(head, collection))
        _judge_all(items, plan, config)
    except BaseException:
        plan.close()
        raise
    finally:
        items.close()
    return plan


def _heads(base: BaseStore[Any], collection: Collection[Any]) -> Iterator[Record]:
    """Iterate over all heads, newest first."""
    time = collection.time
    if time is None:
        return base.scan(EVERYTHING, collection=collection)  # by the time at which they were saved

    def age_key(head: Record) -> tuple[Any, str]:
        value = head.meta.fields.get(time)
        return head.meta.stored_at if value is None else value, head.meta.id

    # None sorts lowest.
    dated = takewhile(lambda head: head.meta.fields.get(time) is not None, base.scan(EVERYTHING, collection=collection))
    undated = base.scan(StoreQuery(where={time: None}, order_by="stored_at"), collection=collection)
    return heapq.merge(dated, undated, key=age_key, reverse=True)


def metadata_of(head: Record, collection: Collection[Any]) -> PlannedItem:
    """Return an item as policies see it, with its revision."""
    meta = head.meta
    fields: Mapping[str, Any] = meta.fields
    time = fields.get(collection.time) if collection.time is not None else None
    return PlannedItem(
        meta.id,
        fields.get("data_asset") or "",
        from_microseconds(meta.stored_at if time is None else time),
        meta.size,
        fields.get("status") or "",
        meta.tags,
        revision=head.revision,
    )


def _judge_all(items: SpooledList[PlannedItem], plan: RetentionPlan, config: RetentionConfig) -> None:
    # Copies: what one plan prepares in a policy must not judge the items of another one, made at the same time.
    evaluator = PolicyEvaluator([copy.copy(policy) for policy in config.policies], config.mode)
    evaluator.prepare_batch(items)
    assets: set[str] = set()
    for item in items:
        plan.items_scanned += 1
        keeps, against = evaluator.evaluate(item)
        held = config.holds(item.data_asset, item.tags)
        plan.items_excluded += held
        newest = item.data_asset not in assets
        assets.add(item.data_asset)
        if keeps or held or (newest and config.preserve_latest):
            continue
        reasons = [reason for policy in against for reason in _reasons(policy, item)]
        asked = {policy.action for policy in reasons}
        action = next((action for action in GENTLEST_FIRST if action in asked), config.default_action)
        names = tuple(dict.fromkeys(policy.description for policy in reasons))
        plan.add(msgspec.structs.replace(item, action=action, reasons=names))


def _reasons(policy: RetentionPolicy, item: ItemMetadata) -> list[RetentionPolicy]:
    """Return a policy that lets an item go, or, of several policies as one, those of them that do."""
    if not isinstance(policy, CompositePolicy) or policy.action is not None:
        return [policy]
    parts = [part for part in policy.policies if not part.should_retain(item)]
    return [reason for part in parts for reason in _reasons(part, item)] or [policy]
