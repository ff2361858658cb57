"""Several policies as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from truthstore.model.fields import to_microseconds
from truthstore.retention.base import (
    Decide,
    ItemMetadata,
    PolicyEvaluator,
    PolicyMode,
    RetentionAction,
    RetentionPolicy,
)

__all__ = ["CompositePolicy"]


class CompositePolicy(RetentionPolicy):
    """Several policies as one.

    Args:
        policies: the policies.
        mode: ``ALL`` keeps what every policy keeps, ``ANY`` what one of them keeps.
        action: what becomes of items that go; None leaves that to the policies.
    """

    def __init__(
        self,
        policies: Sequence[RetentionPolicy],
        mode: PolicyMode = PolicyMode.ALL,
        action: RetentionAction | None = None,
    ) -> None:
        if not policies:
            raise ValueError("a composite policy is made of policies")
        self._together = PolicyEvaluator(policies, mode)
        self.action = None if action is None else RetentionAction(action)

    @property
    def policies(self) -> tuple[RetentionPolicy, ...]:
        """The policies."""
        return self._together.policies

    @property
    def mode(self) -> PolicyMode:
        """How they decide."""
        return self._together.mode

    @property
    def description(self) -> str:
        """The policies and the mode."""
        return f"{self.name}({self.mode}: {', '.join(policy.description for policy in self.policies)})"

    @property
    def actions(self) -> frozenset[RetentionAction]:
        """What it or one of its policies may ask for."""
        if self.action is not None:
            return frozenset({self.action})
        return frozenset[RetentionAction]().union(*(policy.actions for policy in self.policies))

    def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
        """Lets every policy look at all items."""
        if isinstance(items, Iterator):
            items = list(items)  # each of them goes through it
        for policy in self.policies:
            policy.prepare_batch(items)

    def should_retain(self, item: ItemMetadata) -> bool:
        """Whether the policies together keep the item."""
        return self._together.evaluate(item)[0]

    def get_expiry_time(self, item: ItemMetadata) -> datetime | None:
        """When the policies together let the item go, if that is a matter of time."""
        times = [policy.get_expiry_time(item) for policy in self.policies]
        known = [time for time in times if time is not None]
        if self.mode is PolicyMode.ALL:
            return min(known, key=to_microseconds, default=None)
        return max(known, key=to_microseconds) if len(known) == len(times) else None

    def ready(self, items: Iterable[ItemMetadata]) -> Decide:
        """Judges as its policies do."""
        if self._says_more_than(CompositePolicy):
            return super().ready(items)
        return self._whole(self._together.ready(items))

    def judge(self, item: ItemMetadata) -> tuple[RetentionPolicy, ...]:
        """The policies that let an item go."""
        against = self._whole(self._together.together([policy.judge for policy in self.policies]))(item)
        if self._has_own("should_retain", CompositePolicy):
            # A subclass may keep what they let go, and let go what they keep.
            return () if self.should_retain(item) else against or (self,)
        return against

    def _whole(self, judge: Decide) -> Decide:
        if self.action is None:
            return judge
        return lambda item: (self,) if judge(item) else ()
