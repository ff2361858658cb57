"""Plan moves: judge every item of every tier by its head, and keep the plan in a temporary file."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from truthstore.model.query import from_microseconds
from truthstore.runtime.spooled import SpooledList, SpooledPlan
from truthstore.tiering.base import MigrationDirection, TierInfo, TieringResult, TierPolicy
from truthstore.tiering.reads import logical

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record

__all__ = ["PlannedMove", "TierPlan", "info_of", "judge"]


class PlannedMove(TierInfo, frozen=True, kw_only=True):
    """An item of a plan.

    Attributes:
        revision: its revision when the plan was made; an item that has another one later stays.
        to_tier: where it would go.
        direction: of the move.
        reason: the rule that moves it.
    """

    revision: str = ""
    to_tier: str = ""
    direction: MigrationDirection = MigrationDirection.DEMOTE
    reason: str = ""


class TierPlan(SpooledPlan[PlannedMove]):
    """The items that would move; it can be iterated over any number of times, until it is closed.

    Attributes:
        made_at: time of its making.
        items_scanned: number of the items judged.
        bytes_planned: size of all items that would move.
        migrations: number of moves by ``from → to``.
    """

    def __init__(self) -> None:
        super().__init__(PlannedMove)
        self.made_at = datetime.now(UTC)
        self.items_scanned = 0
        self.bytes_planned = 0
        self.migrations: Counter[str] = Counter()

    def add(self, move: PlannedMove) -> None:
        """Add one item."""
        self.migrations[f"{move.current_tier} → {move.to_tier}"] += 1
        self.bytes_planned += move.size_bytes
        self._items.append(move)

    def __len__(self) -> int:
        return self.migrations.total()

    def result(self) -> TieringResult:
        """Report the run that would do all of it."""
        return TieringResult(
            start_time=self.made_at,
            end_time=datetime.now(UTC),
            items_scanned=self.items_scanned,
            items_migrated=len(self),
            bytes_migrated=self.bytes_planned,
            migrations=dict(self.migrations),
            dry_run=True,
        )


def info_of(record: Record, tier: str, known: TierInfo | None, collection: Collection[Any]) -> PlannedMove:
    """Return an item as policies see it, of its head and of what else is known."""
    item = logical(record)
    fields: Mapping[str, Any] = item.meta.fields
    time = fields.get(collection.time) if collection.time is not None else None
    more = known or TierInfo(item_id=item.id, current_tier=tier)
    return PlannedMove(
        item_id=item.id,
        current_tier=tier,
        created_at=from_microseconds(item.meta.stored_at if time is None else time),
        migrated_at=more.migrated_at,
        promoted_at=more.promoted_at,
        access_count=more.access_count,
        last_accessed=more.last_accessed,
        size_bytes=item.meta.size,
        data_asset=str(fields.get("data_asset") or ""),
        tags=item.meta.tags,
        metadata=more.metadata,
        revision=item.revision,
    )


def judge(
    infos: SpooledList[PlannedMove], plan: TierPlan, policies: Sequence[TierPolicy], promote: tuple[str, int] | None
) -> None:
    """Judge items: the most urgent policy moves an item; `promote` is the tier to which so many reads move it otherwise."""
    # Copies: what one plan prepares in a policy must not judge the items of another one, made at the same time.
    policies = [copy.copy(policy) for policy in policies]
    for policy in policies:
        policy.prepare_batch(infos)
    for info in infos:
        plan.items_scanned += 1
        movers = [policy for policy in policies if policy.should_migrate(info)]
        if movers:
            policy = max(movers, key=lambda policy: policy.get_priority(info))  # the first of equals
            plan.add(_planned(info, policy.to_tier, policy.direction, policy.description))
        elif promote is not None and info.current_tier != promote[0] and info.access_count >= promote[1]:
            plan.add(_planned(info, promote[0], MigrationDirection.PROMOTE, f"{info.access_count} reads"))


def _planned(info: PlannedMove, to_tier: str, direction: MigrationDirection, reason: str) -> PlannedMove:
    return msgspec.structs.replace(info, to_tier=to_tier, direction=direction, reason=reason)
