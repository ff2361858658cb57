"""The policies: by age, reads, size, schedule, by a function, and several as one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from truthstore.errors import StoreConfigError
from truthstore.tiering.base import MigrationDirection, TierInfo, TierPolicy

__all__ = [
    "AccessBasedTierPolicy",
    "AgeBasedTierPolicy",
    "CompositeTierPolicy",
    "CustomTierPolicy",
    "ScheduledTierPolicy",
    "SizeBasedTierPolicy",
    "TierPolicy",
]

KILO = 1_024
DEMOTE = MigrationDirection.DEMOTE


class AgeBasedTierPolicy(TierPolicy):
    """Move items from an age on.

    Args:
        from_tier: where they lie.
        to_tier: where they go.
        after_days: days, to which
        after_hours: hours are added.
        direction: of the move.
    """

    def __init__(
        self,
        from_tier: str,
        to_tier: str,
        after_days: float = 0,
        after_hours: float = 0,
        direction: MigrationDirection = DEMOTE,
    ) -> None:
        super().__init__(from_tier, to_tier, direction)
        self.after_days = after_days
        self.after_hours = after_hours
        self._after = timedelta(days=after_days, hours=after_hours)
        if self._after <= timedelta():
            raise StoreConfigError("the age is greater than 0: give after_days or after_hours")

    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether the item is old enough."""
        return info.current_tier == self.from_tier and info.age >= self._after

    def get_priority(self, info: TierInfo) -> int:
        """Return its age in days."""
        return info.age.days

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        return f"{super().description} after {self._after}"


class AccessBasedTierPolicy(TierPolicy):
    """Move items that were not read for some time, or that are read often.

    Args:
        from_tier: where they lie.
        to_tier: where they go.
        inactive_days: they were not read for so long, and are older than that; or
        min_access_count: they were read so often since their last move,
        access_window_days: the last time within so many days.
        direction: of the move; to a hotter tier where `min_access_count` is given.
    """

    def __init__(
        self,
        from_tier: str,
        to_tier: str,
        inactive_days: float | None = None,
        min_access_count: int | None = None,
        access_window_days: float | None = None,
        direction: MigrationDirection | None = None,
    ) -> None:
        if (inactive_days is None) is (min_access_count is None):
            raise StoreConfigError("give either inactive_days or min_access_count")
        usual = DEMOTE if min_access_count is None else MigrationDirection.PROMOTE
        super().__init__(from_tier, to_tier, direction or usual)
        self.inactive_days = inactive_days
        self.min_access_count = min_access_count
        self.access_window_days = access_window_days

    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether the item is read too rarely, or often enough."""
        if info.current_tier != self.from_tier:
            return False
        quiet = datetime.now(UTC) - max(filter(None, (info.last_accessed, info.migrated_at, info.created_at)))
        if self.inactive_days is not None:
            return quiet >= timedelta(days=self.inactive_days)
        read_lately = info.last_accessed is not None and (
            self.access_window_days is None
            or datetime.now(UTC) - info.last_accessed <= timedelta(days=self.access_window_days)
        )
        return read_lately and info.access_count >= (self.min_access_count or 0)

    def get_priority(self, info: TierInfo) -> int:
        """Return the number of reads, where many are wanted."""
        return 0 if self.min_access_count is None else info.access_count

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        rule = f"after {self.inactive_days} days without a read"
        if self.min_access_count is not None:
            rule = f"after {self.min_access_count} reads"
        return f"{super().description} {rule}"


class SizeBasedTierPolicy(TierPolicy):
    """Move large items, or the oldest ones beyond a total size of their tier.

    Args:
        from_tier: where they lie.
        to_tier: where they go.
        min_size_bytes: the least size of an item, to which
        min_size_kb: kilobytes,
        min_size_mb: megabytes and
        min_size_gb: gigabytes are added.
        tier_max_size_gb: the total size up to which the newest items stay, whatever their size.
        direction: of the move.
    """

    def __init__(
        self,
        from_tier: str,
        to_tier: str,
        min_size_bytes: int = 0,
        min_size_kb: float = 0,
        min_size_mb: float = 0,
        min_size_gb: float = 0,
        tier_max_size_gb: float | None = None,
        direction: MigrationDirection = DEMOTE,
    ) -> None:
        super().__init__(from_tier, to_tier, direction)
        self.min_size = int(min_size_bytes + KILO * (min_size_kb + KILO * (min_size_mb + KILO * min_size_gb)))
        self.tier_max_size_gb = tier_max_size_gb
        if (self.min_size > 0) is (tier_max_size_gb is not None):
            raise StoreConfigError("give either the least size of an item or tier_max_size_gb")
        self._oldest_kept: tuple[datetime, str] | None = None

    def prepare_batch(self, infos: Iterable[TierInfo]) -> None:
        """Find the oldest item within the size of the tier."""
        if self.tier_max_size_gb is None:
            return
        left = self.tier_max_size_gb * KILO**3
        own = (
            (info.created_at, info.item_id, info.size_bytes) for info in infos if info.current_tier == self.from_tier
        )
        self._oldest_kept = datetime.max.replace(tzinfo=UTC), ""
        for created_at, item_id, size in sorted(own, reverse=True):
            left -= size
            if left < 0:
                return
            self._oldest_kept = created_at, item_id

    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether the item is too large, or beyond the size of the tier as it was prepared."""
        if info.current_tier != self.from_tier:
            return False
        if self.tier_max_size_gb is None:
            return info.size_bytes >= self.min_size
        return self._oldest_kept is not None and (info.created_at, info.item_id) < self._oldest_kept

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        limit = f"from {self.min_size} bytes on" if self.min_size else f"beyond {self.tier_max_size_gb} GB"
        return f"{super().description} {limit}"


class ScheduledTierPolicy(TierPolicy):
    """Move items on some days, or from an hour of the day on, local time.

    Args:
        from_tier: where they lie.
        to_tier: where they go.
        on_days: days of the week, Monday is 0; None for all.
        at_hour: the hour of the day, 0 to 23; None for all day.
        min_age_days: they are at least so old.
        direction: of the move.
    """

    def __init__(
        self,
        from_tier: str,
        to_tier: str,
        on_days: Sequence[int] | None = None,
        at_hour: int | None = None,
        min_age_days: float = 0,
        direction: MigrationDirection = DEMOTE,
    ) -> None:
        super().__init__(from_tier, to_tier, direction)
        if (at_hour is not None and at_hour not in range(24)) or any(day not in range(7) for day in on_days or ()):
            raise StoreConfigError("at_hour is an hour from 0 to 23, and on_days are days from 0, Monday, to 6, Sunday")
        self.on_days = on_days
        self.at_hour = at_hour
        self.min_age_days = min_age_days

    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether it is time, and the item is old enough."""
        now = datetime.now().astimezone()
        is_time = (self.on_days is None or now.weekday() in self.on_days) and now.hour >= (self.at_hour or 0)
        return is_time and info.current_tier == self.from_tier and info.age >= timedelta(days=self.min_age_days)

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        days = "every day" if self.on_days is None else f"on days {list(self.on_days)}"
        return f"{super().description} {days}" + ("" if self.at_hour is None else f" from {self.at_hour}:00")


class CompositeTierPolicy(TierPolicy):
    """Move what several policies move: all of them, or any. Its tiers and direction are those of the first.

    Args:
        policies: the policies.
        require_all: all of them must move an item.
        from_tier: another tier than that of the first policy.
        to_tier: the same.
    """

    def __init__(
        self,
        policies: Sequence[TierPolicy],
        require_all: bool = True,  # noqa: FBT001, FBT002  # as users of the first system write it
        from_tier: str | None = None,
        to_tier: str | None = None,
    ) -> None:
        if not policies:
            raise StoreConfigError("CompositeTierPolicy takes at least one policy")
        first = policies[0]
        super().__init__(from_tier or first.from_tier, to_tier or first.to_tier, first.direction)
        self.require_all = require_all
        self._policies = tuple(policies)

    def prepare_batch(self, infos: Iterable[TierInfo]) -> None:
        """Let every policy look at all items."""
        if isinstance(infos, Iterator):
            infos = list(infos)  # each of them iterates over it
        for policy in self._policies:
            policy.prepare_batch(infos)

    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether all policies, or any, move the item."""
        wanted = (policy.should_migrate(info) for policy in self._policies)
        return info.current_tier == self.from_tier and (all(wanted) if self.require_all else any(wanted))

    def get_priority(self, info: TierInfo) -> int:
        """Return that of the most urgent policy."""
        return max(policy.get_priority(info) for policy in self._policies)

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        return (" and " if self.require_all else " or ").join(policy.description for policy in self._policies)

    def to_dict(self) -> dict[str, Any]:
        """Return its class, options and policies as JSON-ready builtins."""
        return {**super().to_dict(), "policies": [policy.to_dict() for policy in self._policies]}

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self), _policies=tuple(map(copy.copy, self._policies)))
        return copied


class CustomTierPolicy(TierPolicy):
    """Move what a function chooses.

    Args:
        from_tier: where they lie.
        to_tier: where they go.
        predicate: takes a `TierInfo` and returns whether that item moves.
        description: the rule, for people.
        direction: of the move.
    """

    def __init__(
        self,
        from_tier: str,
        to_tier: str,
        predicate: Callable[[TierInfo], bool],
        description: str = "",
        direction: MigrationDirection = DEMOTE,
    ) -> None:
        super().__init__(from_tier, to_tier, direction)
        self.predicate = predicate
        self._description = description

    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether the function chooses the item."""
        return info.current_tier == self.from_tier and bool(self.predicate(info))

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        return self._description or super().description
