"""Items for the tests of retention."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from truthstore.results import ResultStatus, ValidationResult
from truthstore.retention import (
    ItemMetadata,
    RetentionPolicy,
)

__all__ = ["NOW", "item", "kept", "result"]

NOW = datetime.now(UTC)


def result(id: str, days: float = 0, asset: str = "orders", status: str = "success", **tags: str) -> ValidationResult:
    return ValidationResult(
        run_id=id, run_time=NOW - timedelta(days=days), data_asset=asset, status=ResultStatus(status), tags=tags
    )


def item(id: str, days: float = 0, asset: str = "orders", status: str = "", size: int = 1, **tags: str) -> ItemMetadata:
    return ItemMetadata(id, asset, datetime.now(UTC) - timedelta(days=days), size, status, tags)


def kept(policy: RetentionPolicy, items: Iterable[ItemMetadata]) -> list[str]:
    """The order in which a policy sees the items to be judged makes no difference."""
    known = list(items)
    found = []
    for order in (known, known[::-1], sorted(known, key=lambda one: one.age_key, reverse=True)):
        policy.prepare_batch(order)
        found.append([one.item_id for one in known if policy.should_retain(one)])
    assert found[0] == found[1] == found[2]
    return found[0]
