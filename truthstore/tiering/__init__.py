"""Tiers: items lie in the store that suits them, and move between stores as policies say."""

from truthstore.tiering.base import (
    InMemoryTierMetadataStore,
    MigrationDirection,
    StorageTier,
    TierAccessError,
    TierInfo,
    TieringConfig,
    TieringError,
    TieringResult,
    TierMetadataStore,
    TierMigrationError,
    TierNotFoundError,
    TierPolicy,
    TierType,
)
from truthstore.tiering.plan import PlannedMove, TierPlan
from truthstore.tiering.policies import (
    AccessBasedTierPolicy,
    AgeBasedTierPolicy,
    CompositeTierPolicy,
    CustomTierPolicy,
    ScheduledTierPolicy,
    SizeBasedTierPolicy,
)
from truthstore.tiering.store import TieredStore

__all__ = [
    "AccessBasedTierPolicy",
    "AgeBasedTierPolicy",
    "CompositeTierPolicy",
    "CustomTierPolicy",
    "InMemoryTierMetadataStore",
    "MigrationDirection",
    "PlannedMove",
    "ScheduledTierPolicy",
    "SizeBasedTierPolicy",
    "StorageTier",
    "TierAccessError",
    "TierInfo",
    "TierMetadataStore",
    "TierMigrationError",
    "TierNotFoundError",
    "TierPlan",
    "TierPolicy",
    "TierType",
    "TieredStore",
    "TieringConfig",
    "TieringError",
    "TieringResult",
]
