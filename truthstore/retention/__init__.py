"""Retention: policies that let items go, a plan that shows them, and a clean-up that carries it out."""

from __future__ import annotations

from truthstore.retention.base import (
    ItemMetadata,
    PolicyEvaluator,
    PolicyMode,
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
    RetentionResult,
    RetentionSchedule,
)
from truthstore.retention.plan import PlannedItem, RetentionPlan
from truthstore.retention.policies import (
    CompositePolicy,
    CountBasedPolicy,
    CustomPolicy,
    SizeBasedPolicy,
    StatusBasedPolicy,
    TagBasedPolicy,
    TimeBasedPolicy,
)
from truthstore.retention.store import RetentionStore

__all__ = [
    "CompositePolicy",
    "CountBasedPolicy",
    "CustomPolicy",
    "ItemMetadata",
    "PlannedItem",
    "PolicyEvaluator",
    "PolicyMode",
    "RetentionAction",
    "RetentionConfig",
    "RetentionPlan",
    "RetentionPolicy",
    "RetentionResult",
    "RetentionSchedule",
    "RetentionStore",
    "SizeBasedPolicy",
    "StatusBasedPolicy",
    "TagBasedPolicy",
    "TimeBasedPolicy",
]
