"""Stores whose items lie in several tiers, and move."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from truthstore import BaseStore
from truthstore.backends.memory import MemoryStore
from truthstore.store.schedule import Schedule
from truthstore.testing import SAMPLES
from truthstore.tiering import CustomTierPolicy, StorageTier, TieredStore, TierInfo, TierType

ALWAYS = Schedule(interval_hours=1e-9)
NAMES = ("hot", "warm", "cold")


def tier_by_id(id: str) -> str:
    """The tier that an item of `scattered` ends in."""
    return NAMES[crc32(id.encode()) % 3]


def _wanted(to_tier: str):
    return lambda info: tier_by_id(info.item_id) == to_tier


def scattered(*stores: BaseStore[Any], **options: Any) -> TieredStore[Any]:
    """A store that spreads its items over three tiers after every save."""
    policies = [CustomTierPolicy(one, other, _wanted(other)) for one in NAMES for other in NAMES if one != other]
    tiers = [
        StorageTier(name, store, priority=number)
        for number, (name, store) in enumerate(zip(NAMES, stores, strict=True))
    ]
    wanted: dict[str, Any] = {"policies": policies, "schedule": ALWAYS, **options}
    return TieredStore(tiers, **wanted)


def three_tiers(**options: Any) -> TieredStore[Any]:
    """A store over three tiers in memory, which moves nothing by itself."""
    stores = [MemoryStore(collection=SAMPLES) for _ in NAMES]
    return TieredStore(
        [
            StorageTier(name, store, TierType(name), number)
            for number, (name, store) in enumerate(zip(NAMES, stores, strict=True))
        ],
        **options,
    )


def holders(store: TieredStore[Any], id: str) -> list[str]:
    """The tiers that have something under an id."""
    query = {"collection": SAMPLES}
    return [tier.name for tier in store.tiers if id in tier.store.get_records([id], **query)]  # type: ignore[union-attr, arg-type]


def info(id: str = "a", tier: str = "hot", **facts: Any) -> TierInfo:
    """An item as policies see it."""
    return TierInfo(item_id=id, current_tier=tier, **facts)
