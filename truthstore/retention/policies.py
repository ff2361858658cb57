"""The policies: by age, number, size, status, tags, by a function, and several as one."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from heapq import heappop, heappush
from typing import Self

from truthstore.errors import echoed
from truthstore.model.fields import to_microseconds
from truthstore.retention.base import (
    ItemMetadata,
    PolicyEvaluator,
    PolicyMode,
    RetentionAction,
    RetentionPolicy,
    age_of,
    check_tags,
)
from truthstore.store.config import member

__all__ = [
    "CompositePolicy",
    "CountBasedPolicy",
    "CustomPolicy",
    "RetentionPolicy",
    "SizeBasedPolicy",
    "StatusBasedPolicy",
    "TagBasedPolicy",
    "TimeBasedPolicy",
]

KILO = 1_024


def _is_older(item: ItemMetadata, age: timedelta) -> bool:
    try:
        oldest = datetime.now(UTC) - age
    except OverflowError:
        return False  # nothing is older than the calendar
    return to_microseconds(item.created_at) < to_microseconds(oldest)


class TimeBasedPolicy(RetentionPolicy):
    """Keep items up to an age.

    Args:
        max_age_days: days, to which
        max_age_hours: hours and
        max_age_minutes: minutes are added, or
        max_age: the age itself.
        action: what to do with older items.
    """

    def __init__(
        self,
        max_age_days: float = 0,
        max_age_hours: float = 0,
        max_age_minutes: float = 0,
        action: RetentionAction | None = None,
        *,
        max_age: timedelta | None = None,
    ) -> None:
        if max_age is not None and not isinstance(max_age, timedelta):
            raise TypeError(f"max_age is a timedelta, not {echoed(max_age)}: give days as max_age_days")
        age = age_of(max_age_days, max_age_hours, max_age_minutes)
        if max_age is not None and age:
            raise ValueError("give either max_age or max_age_days, max_age_hours and max_age_minutes, not both")
        self.max_age = age if max_age is None else max_age
        if self.max_age <= timedelta():
            raise ValueError("the age is greater than 0: give max_age, max_age_days, max_age_hours or max_age_minutes")
        self._rule = str(self.max_age)
        self.action = action and member(RetentionAction, action, "action")

    def should_retain(self, item: ItemMetadata) -> bool:
        """Return whether the item is not too old."""
        return not _is_older(item, self.max_age)


class _NewestPolicy(RetentionPolicy):
    """Keep the newest items, up to an amount, of all items or of each data asset."""

    def __init__(self, limit: int, *, per_asset: bool, action: RetentionAction | None) -> None:
        self.per_asset = per_asset
        self.action = action and member(RetentionAction, action, "action")
        self._limit = limit
        self._rule = f"{limit}{' per asset' if per_asset else ''}"
        self._newest_dropped: Mapping[str, tuple[int, str]] = {}

    @abstractmethod
    def _amount(self, item: ItemMetadata) -> int:
        """Return the part of the limit that an item takes."""

    def _group(self, item: ItemMetadata) -> str:
        return item.data_asset if self.per_asset else ""

    def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
        """Find the newest item beyond the limit. The items may come in any order; only those within it are held."""
        dropped: dict[str, tuple[int, str]] = {}
        kept: defaultdict[str, list[tuple[tuple[int, str], int]]] = defaultdict(list)  # heaps, the oldest on top
        total: defaultdict[str, int] = defaultdict(int)
        for item in items:
            group, age_key, amount = self._group(item), item.age_key, self._amount(item)
            if group in dropped and age_key < dropped[group]:
                continue
            heappush(kept[group], (age_key, amount))
            total[group] += amount
            while total[group] > self._limit:
                dropped[group], amount = heappop(kept[group])
                total[group] -= amount
        self._newest_dropped = dropped

    def should_retain(self, item: ItemMetadata) -> bool:
        """Return whether the item is among the newest of those prepared; before that, it is."""
        dropped = self._newest_dropped.get(self._group(item))
        return dropped is None or item.age_key > dropped


class CountBasedPolicy(_NewestPolicy):
    """Keep the newest items, up to a number.

    Args:
        max_count: the number.
        per_asset: of each data asset.
        action: what to do with the others.
    """

    def __init__(self, max_count: int, per_asset: bool = False, action: RetentionAction | None = None) -> None:  # noqa: FBT001, FBT002
        if not isinstance(max_count, int):
            raise TypeError(f"max_count is a whole number, not {echoed(max_count)}")
        if max_count < 1:
            raise ValueError("max_count is at least 1")
        super().__init__(max_count, per_asset=per_asset, action=action)
        self.max_count = max_count

    def _amount(self, item: ItemMetadata) -> int:
        return 1


class SizeBasedPolicy(_NewestPolicy):
    """Keep the newest items, up to a size, the sum of its parts.

    Args:
        max_size_bytes: bytes.
        max_size_kb: 1,024 bytes.
        max_size_mb: 1,024 of these.
        max_size_gb: and of these.
        per_asset: of each data asset.
        action: what to do with the others.
    """

    def __init__(
        self,
        max_size_bytes: float = 0,
        max_size_kb: float = 0,
        max_size_mb: float = 0,
        max_size_gb: float = 0,
        per_asset: bool = False,  # noqa: FBT001, FBT002  # as users of the first system know it
        action: RetentionAction | None = None,
    ) -> None:
        size = max_size_bytes + KILO * (max_size_kb + KILO * (max_size_mb + KILO * max_size_gb))
        if not 1 <= size < math.inf:
            raise ValueError("the size is finite and greater than 0: give max_size_bytes, _kb, _mb or _gb")
        self.max_size = int(size)
        super().__init__(self.max_size, per_asset=per_asset, action=action)

    def _amount(self, item: ItemMetadata) -> int:
        return item.size_bytes


class StatusBasedPolicy(RetentionPolicy):
    """Judge items of one status, and keep all others.

    Args:
        status: the status.
        max_age_days: keep them up to this age.
        retain: False lets them go at once.
        action: what to do with them.
    """

    def __init__(
        self,
        status: str | Enum,
        max_age_days: float | None = None,
        retain: bool = True,  # noqa: FBT001, FBT002  # as users of the first system know it
        action: RetentionAction | None = None,
    ) -> None:
        if max_age_days is not None and max_age_days <= 0:
            raise ValueError("max_age_days is greater than 0; retain=False lets items go at once")
        value = status.value if isinstance(status, Enum) else status
        if not isinstance(value, str):
            raise TypeError(f"a status is a string, not {echoed(status)}")
        self.status = value
        self.max_age = None if max_age_days is None else age_of(max_age_days)
        self.retain = retain
        self._rule = f"{value}: {(self.max_age or 'all') if retain else 'none'}"
        self.action = action and member(RetentionAction, action, "action")

    def should_retain(self, item: ItemMetadata) -> bool:
        """Return whether the item has another status, or is not too old."""
        if item.status != self.status:
            return True
        return self.retain and (self.max_age is None or not _is_older(item, self.max_age))


class TagBasedPolicy(RetentionPolicy):
    """Judge items by their tags.

    Args:
        required_tags: keep only items with these tags.
        delete_tags: let items with these tags go.
        any_match: one of the tags is enough; otherwise an item must have all.
        action: what to do with items that go.
        tag_key: let items with this tag go,
        tag_value: of this value; None means any,
        max_age_days: when they are older than this.
    """

    def __init__(
        self,
        required_tags: Mapping[str, str] | None = None,
        delete_tags: Mapping[str, str] | None = None,
        any_match: bool = False,  # noqa: FBT001, FBT002  # as users of the first system know it
        action: RetentionAction | None = None,
        *,
        tag_key: str | None = None,
        tag_value: str | None = None,
        max_age_days: float | None = None,
    ) -> None:
        for name, tags in (("required_tags", required_tags), ("delete_tags", delete_tags)):
            if tags is not None and not isinstance(tags, Mapping):
                raise TypeError(f"{name} is a dict of tags and their values, not {echoed(tags)}")
            # A value that no tag can have would match nothing: all would go, or none.
            check_tags(name, tags or {})
        for name, value in (("tag_key", tag_key), ("tag_value", tag_value)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a string, not {echoed(value)}")
        if not required_tags and not delete_tags and tag_key is None:
            raise ValueError("give required_tags, delete_tags or tag_key")
        if tag_key is not None and max_age_days is None:
            raise ValueError("tag_key needs max_age_days; to let such items go at once, give delete_tags")
        if tag_key is None and (tag_value is not None or max_age_days is not None):
            raise ValueError("tag_value and max_age_days belong to tag_key")
        if max_age_days is not None and max_age_days <= 0:
            raise ValueError("max_age_days is greater than 0; to let such items go at once, give delete_tags")
        self.required_tags = dict(required_tags or {})
        self.delete_tags = dict(delete_tags or {})
        self.any_match = any_match
        self.tag_key = tag_key
        self.tag_value = tag_value
        self.max_age = None if max_age_days is None else age_of(max_age_days)
        rules = [f"requires {self.required_tags}"] if required_tags else []
        rules += [f"deletes {self.delete_tags}"] if delete_tags else []
        rules += [f"{tag_key}={tag_value or 'any'} up to {self.max_age}"] if tag_key is not None else []
        self._rule = ", ".join(rules)
        self.action = action and member(RetentionAction, action, "action")

    def should_retain(self, item: ItemMetadata) -> bool:
        """Return whether the item's tags keep it."""
        tags = item.tags
        if self.delete_tags and self._match(self.delete_tags, tags):
            return False
        if self.required_tags and not self._match(self.required_tags, tags):
            return False
        value = tags.get(self.tag_key) if self.tag_key is not None else None
        if self.max_age is None or value is None or self.tag_value not in {None, value}:
            return True
        return not _is_older(item, self.max_age)

    def _match(self, wanted: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        enough = any if self.any_match else all
        return enough(tags.get(key) == value for key, value in wanted.items())


class CustomPolicy(RetentionPolicy):
    """Keep the items that a function keeps.

    Args:
        predicate: True for items that are kept.
        description: for people; the policy's name in plans.
        action: what to do with the others.
    """

    def __init__(
        self,
        predicate: Callable[[ItemMetadata], bool],
        description: str = "",
        action: RetentionAction | None = None,
    ) -> None:
        if not callable(predicate):
            raise TypeError("predicate is a function of an ItemMetadata")
        self.predicate = predicate
        self._description = description or getattr(predicate, "__name__", "custom")
        self.action = action and member(RetentionAction, action, "action")

    @property
    def name(self) -> str:
        """The description."""
        return self._description

    def should_retain(self, item: ItemMetadata) -> bool:
        """Return the function's answer."""
        return bool(self.predicate(item))


class CompositePolicy(PolicyEvaluator, RetentionPolicy):
    """Several policies as one.

    Args:
        policies: the policies.
        mode: ``ALL`` keeps the items that every policy keeps, ``ANY`` those that one of them keeps.
        action: what to do with items that go; None leaves that to the policies.
    """

    def __init__(
        self,
        policies: Sequence[RetentionPolicy],
        mode: PolicyMode = PolicyMode.ALL,
        action: RetentionAction | None = None,
    ) -> None:
        if not policies:
            raise ValueError("a composite policy is made of policies")
        PolicyEvaluator.__init__(self, policies, mode)
        self.action = action and member(RetentionAction, action, "action")

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.policies = tuple(copy.copy(policy) for policy in self.policies)
        return twin

    @property
    def description(self) -> str:
        """The name, the policies and the mode."""
        return f"{self.name}({self.mode}: {', '.join(policy.description for policy in self.policies)})"

    @property
    def actions(self) -> frozenset[RetentionAction]:
        """The actions that it or one of its policies may ask for."""
        if self.action is not None:
            return frozenset({self.action})
        return frozenset[RetentionAction]().union(*(policy.actions for policy in self.policies))

    def should_retain(self, item: ItemMetadata) -> bool:
        """Return whether the policies together keep the item."""
        return self.evaluate(item)[0]
