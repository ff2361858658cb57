"""Runs that are easily told apart, and the stores that keep them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from truthstore import BaseStore, ResultStatus, ValidationResult, ValidatorResult, stack
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore
from truthstore.observability import ObservableStore
from truthstore.retention import CustomPolicy, RetentionStore
from truthstore.versioning import VersionedStore

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def retaining(base: BaseStore[Any]) -> BaseStore[Any]:
    """A layer that would let everything go."""
    return RetentionStore(base, CustomPolicy(lambda _: False, "nothing"), preserve_latest=False)


def layered(base: BaseStore[Any]) -> BaseStore[Any]:
    """All layers."""
    return stack(
        base,
        VersionedStore,
        retaining,
        lambda below: BatchedStore(below, flush_interval_seconds=None),
        CachedStore,
        ObservableStore,
    )


OPENERS: dict[str, Callable[[Path], BaseStore[Any]]] = {
    "memory": lambda path: MemoryStore(),
    "filesystem": lambda path: FileSystemStore(base_path=path / "s", durability="os"),
    "stack in memory": lambda path: layered(MemoryStore()),
    "stack on files": lambda path: layered(FileSystemStore(base_path=path / "s", durability="os")),
}


def check(name: str = "unique", status: str = "success", column: str | None = "id", **fields: Any) -> ValidatorResult:
    """A check with a status."""
    fields.setdefault("count", 0 if status == "success" else 3)
    return ValidatorResult(name, status == "success", column=column, status=status, **fields)


def run(
    run_id: str, hours_ago: float, *checks: ValidatorResult | str, asset: str = "orders", **fields: Any
) -> ValidationResult:
    """A run some hours ago; a status stands for the check ``id unique``."""
    results = [check(status=one) if isinstance(one, str) else one for one in checks]
    return ValidationResult(run_id, NOW - hours_ago * HOUR, asset, ResultStatus.of(results), results, **fields)


UNIQUE = "id unique"
