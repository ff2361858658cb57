"""Versions of items: every save is kept, with its author, time and reason, to be read, compared and brought back."""

from __future__ import annotations

from truthstore.versioning.base import (
    DiffType,
    VersionChange,
    VersionConflictError,
    VersionDiff,
    VersionInfo,
    VersioningConfig,
    VersioningMode,
    VersionNotFoundError,
)
from truthstore.versioning.store import VersionedStore
from truthstore.versioning.strategies import (
    GitLikeStrategy,
    IncrementalStrategy,
    SemanticStrategy,
    TimestampStrategy,
    VersioningStrategy,
    get_strategy,
)

__all__ = [
    "DiffType",
    "GitLikeStrategy",
    "IncrementalStrategy",
    "SemanticStrategy",
    "TimestampStrategy",
    "VersionChange",
    "VersionConflictError",
    "VersionDiff",
    "VersionInfo",
    "VersionNotFoundError",
    "VersionedStore",
    "VersioningConfig",
    "VersioningMode",
    "VersioningStrategy",
    "get_strategy",
]
