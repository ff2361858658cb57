"""Public values of versioning: its options, the description of a version, the difference of two, and its errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from truthstore.errors import StoreConfigError, StoreNotFoundError, VersionConflictError, one_of, shown
from truthstore.store.config import member

__all__ = [
    "DiffType",
    "VersionChange",
    "VersionConflictError",
    "VersionDiff",
    "VersionInfo",
    "VersionNotFoundError",
    "VersioningConfig",
    "VersioningMode",
]

CHECKSUMS: Final = tuple(sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")))


class VersioningMode(StrEnum):
    """Numbering of versions."""

    INCREMENTAL = "incremental"
    """1, 2, 3."""
    SEMANTIC = "semantic"
    """1.0.0, 1.0.1; ``metadata={"bump": "minor"}`` chooses the part that grows."""
    TIMESTAMP = "timestamp"
    """Milliseconds since 1970."""
    GIT_LIKE = "git_like"
    """1, 2, 3, shown as the beginning of the content's checksum."""


@dataclass(frozen=True, slots=True)
class VersioningConfig:
    """Options of versioning.

    Attributes:
        mode: numbering of versions.
        max_versions: keep at most so many versions of an item, the current one among them; 0 means all.
        auto_cleanup: delete older ones at every save; if not, `VersionedStore.maintain` does.
        track_changes: keep with each version the names of the item's parts that differ from the version before.
        require_message: refuse to save without a message.
        enable_branching: not offered: a history is one line.
        checksum_algorithm: ``sha256``, or another algorithm of `hashlib`.

    Raises:
        StoreConfigError: an option that is not offered, or `mode` is no mode.
        ValueError: `max_versions` is negative.
    """

    mode: VersioningMode = VersioningMode.INCREMENTAL
    max_versions: int = 0
    auto_cleanup: bool = True
    track_changes: bool = True
    require_message: bool = False
    enable_branching: bool = False
    checksum_algorithm: str = "sha256"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", member(VersioningMode, self.mode, "mode"))
        if not isinstance(self.max_versions, int) or isinstance(self.max_versions, bool):
            raise TypeError(f"max_versions is an integer, not {type(self.max_versions).__name__}")
        if self.max_versions < 0:
            raise ValueError("max_versions cannot be negative: 0 keeps all versions")
        if self.enable_branching:
            raise StoreConfigError(
                "enable_branching: versions of an item are one line, branches are not offered; "
                "save the variants under ids of their own"
            )
        if self.checksum_algorithm not in CHECKSUMS:
            raise StoreConfigError(one_of("checksum_algorithm", self.checksum_algorithm, CHECKSUMS))


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """Description of one version of an item.

    Attributes:
        version: its number; a later version has a greater one.
        item_id: the item's id.
        created_at: time of the save.
        created_by: author.
        message: reason.
        parent_version: number of the version before, or None.
        metadata: further values given with the save.
        checksum: of the saved bytes.
        size_bytes: number of the saved bytes.
        label: the number as shown by its mode: ``v3``, ``1.0.2``, ``2026-03-01T12:00:00.000+00:00``, ``9f86d08``.
        changes: parts of the item that differ from the version before; empty for the first.
    """

    version: int
    item_id: str
    created_at: datetime
    created_by: str | None = None
    message: str | None = None
    parent_version: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    size_bytes: int = 0
    label: str = ""
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON-ready builtins."""
        return {**asdict(self), "created_at": self.created_at.isoformat(), "changes": list(self.changes)}


class DiffType(StrEnum):
    """Kind of a difference."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"


@dataclass(frozen=True, slots=True)
class VersionChange:
    """One difference, also readable like a dict: ``change["old_value"]``.

    Attributes:
        path: its place: ``status``, ``tags.team``, ``results[not_null, amount].count``.
        type: added, removed or modified.
        old: the value before, None if it was added.
        new: the value after, None if it was removed.
    """

    path: str
    type: DiffType
    old: Any = None
    new: Any = None

    def __getitem__(self, name: str) -> Any:
        return {**self.to_dict(), "old": self.old, "new": self.new}[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as builtins."""
        return {"path": self.path, "type": self.type.value, "old_value": self.old, "new_value": self.new}


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Difference of two versions of an item.

    Attributes:
        item_id: the item's id.
        version_a: the one version.
        version_b: the other.
        changes: the differences, in the order of the item's parts.
        created_at: time of the comparison.
    """

    item_id: str
    version_a: int
    version_b: int
    changes: Sequence[VersionChange] = ()
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def summary(self) -> str:
        """Like ``1 added, 0 removed, 2 modified``."""
        return ", ".join(f"{sum(change.type is kind for change in self.changes)} {kind}" for kind in DiffType)

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as builtins."""
        changes = [change.to_dict() for change in self.changes]
        created_at = self.created_at.isoformat()
        return {**asdict(self), "changes": changes, "summary": self.summary, "created_at": created_at}


class VersionNotFoundError(StoreNotFoundError):
    """The item has no version of this number or label."""

    def __init__(self, item_id: str, version: object, *, collection: str | None = None) -> None:
        super().__init__("version", item_id, collection=collection)
        self.message = f"{shown(item_id)} has no version {version}: it was never saved, or was deleted"
        self.version = version
