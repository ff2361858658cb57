"""Number versions. Every strategy gives integers that only grow, so that their order is the order of saving."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from truthstore.errors import one_of
from truthstore.store.config import member
from truthstore.versioning.base import VersioningMode

__all__ = [
    "GitLikeStrategy",
    "IncrementalStrategy",
    "SemanticStrategy",
    "TimestampStrategy",
    "VersioningStrategy",
    "get_strategy",
]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
MINOR: Final = 100
MAJOR: Final = 10_000
Metadata = Mapping[str, Any] | None


class VersioningStrategy(ABC):
    """Numbers versions."""

    @abstractmethod
    def get_next_version(self, item_id: str, current_version: int | None = None, metadata: Metadata = None) -> int:
        """Return the number of the next version, greater than the current one.

        Args:
            item_id: the item's id.
            current_version: the greatest number given so far, or None.
            metadata: the metadata of the save.
        """

    @abstractmethod
    def format_version(self, version: int) -> str:
        """Format a number for people."""

    @abstractmethod
    def parse_version(self, version_str: str) -> int:
        """Parse the output of `format_version`.

        Raises:
            ValueError: it is no version.
        """


class IncrementalStrategy(VersioningStrategy):
    """1, 2, 3; shown as ``v1``."""

    def get_next_version(self, item_id: str, current_version: int | None = None, metadata: Metadata = None) -> int:
        """Return the next integer."""
        return (current_version or 0) + 1

    def format_version(self, version: int) -> str:
        """Format as ``v3``."""
        return f"v{version}"

    def parse_version(self, version_str: str) -> int:
        """Parse ``v3`` or ``3``."""
        return _whole(version_str.removeprefix("v"), version_str)


class SemanticStrategy(VersioningStrategy):
    """1.0.0, 1.0.1; the metadata ``{"bump": "major"}``, ``"minor"`` or ``"patch"`` chooses the part that grows.

    The number is major * 10,000 + minor * 100 + patch. After 1.0.99 comes 1.1.0, after 1.99.99 comes 2.0.0.
    """

    def get_next_version(self, item_id: str, current_version: int | None = None, metadata: Metadata = None) -> int:
        """Return the next version; raise ValueError if the metadata asks for another part."""
        bump = (metadata or {}).get("bump", "patch")
        if bump not in {"major", "minor", "patch"}:
            raise ValueError(one_of("bump", bump, ("major", "minor", "patch")))
        if current_version is None:
            return MAJOR
        step = {"major": MAJOR, "minor": MINOR, "patch": 1}[bump]
        return (current_version // step + 1) * step

    def format_version(self, version: int) -> str:
        """Format as ``1.2.3``."""
        return f"{version // MAJOR}.{version // MINOR % MINOR}.{version % MINOR}"

    def parse_version(self, version_str: str) -> int:
        """Parse ``1.2.3`` or ``v1.2.3``."""
        parts = version_str.removeprefix("v").split(".")
        if len(parts) != 3:  # noqa: PLR2004  # major, minor, patch
            raise ValueError(f"{version_str!r} is not a version: write it as 1.2.3")
        major, minor, patch = (_whole(part, version_str) for part in parts)
        if minor >= MINOR or patch >= MINOR:
            raise ValueError(f"{version_str!r} is not a version: minor and patch are below {MINOR}")
        return major * MAJOR + minor * MINOR + patch


class TimestampStrategy(VersioningStrategy):
    """Milliseconds since 1970, one more if two versions fall into the same.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def get_next_version(self, item_id: str, current_version: int | None = None, metadata: Metadata = None) -> int:
        """Return the time, or one millisecond after the current version."""
        return max(int(self._clock() * 1_000), (current_version or 0) + 1)

    def format_version(self, version: int) -> str:
        """Format as ISO 8601, in UTC."""
        return (EPOCH + version * MILLISECOND).isoformat(timespec="milliseconds")

    def parse_version(self, version_str: str) -> int:
        """Parse ISO 8601; a time without an offset is local."""
        return (datetime.fromisoformat(version_str).astimezone(UTC) - EPOCH) // MILLISECOND


class GitLikeStrategy(IncrementalStrategy):
    """1, 2, 3; a `VersionedStore` shows the beginning of the content's checksum instead of the number.

    Args:
        hash_length: digits of a number by itself, filled up with zeros.
    """

    def __init__(self, hash_length: int = 7) -> None:
        if hash_length < 1:
            raise ValueError("hash_length is at least 1")
        self.hash_length = hash_length

    def format_version(self, version: int) -> str:
        """Fill the number up with zeros."""
        return f"{version:0{self.hash_length}d}"


def get_strategy(mode: str | VersioningMode, **options: Any) -> VersioningStrategy:
    """Build the strategy of a mode, of which its class takes the options.

    Raises:
        StoreConfigError: there is no such mode.
    """
    return _STRATEGIES[member(VersioningMode, mode, "mode")](**options)


_STRATEGIES: Final[Mapping[VersioningMode, type[VersioningStrategy]]] = MappingProxyType(
    {
        VersioningMode.INCREMENTAL: IncrementalStrategy,
        VersioningMode.SEMANTIC: SemanticStrategy,
        VersioningMode.TIMESTAMP: TimestampStrategy,
        VersioningMode.GIT_LIKE: GitLikeStrategy,
    }
)


def _whole(text: str, version: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{version!r} is not a version")
    return int(text)
