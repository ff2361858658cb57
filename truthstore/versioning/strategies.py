"""How versions are numbered. Every strategy gives integers that only grow, so that order is the order of saving."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import msgspec

from truthstore.model.encoding import plain
from truthstore.versioning.base import VersioningMode

__all__ = [
    "GitLikeStrategy",
    "IncrementalStrategy",
    "SemanticStrategy",
    "TimestampStrategy",
    "VersioningStrategy",
    "get_strategy",
]

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
MINOR: Final = 100
MAJOR: Final = 10_000


class VersioningStrategy(ABC):
    """Numbers versions."""

    @abstractmethod
    def get_next_version(
        self, item_id: str, current_version: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> int:
        """The number of the next version: greater than that of the current one.

        Args:
            item_id: the item's id.
            current_version: the greatest number that was given so far, or None.
            metadata: what the save says about the version.
        """

    @abstractmethod
    def format_version(self, version: int) -> str:
        """A number for people."""

    @abstractmethod
    def parse_version(self, version_str: str) -> int:
        """The number that `format_version` wrote.

        Raises:
            ValueError: it is not one.
        """


class IncrementalStrategy(VersioningStrategy):
    """1, 2, 3; shown as ``v1``."""

    def get_next_version(
        self, item_id: str, current_version: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> int:
        """One more."""
        return (current_version or 0) + 1

    def format_version(self, version: int) -> str:
        """``v3``."""
        return f"v{version}"

    def parse_version(self, version_str: str) -> int:
        """``v3`` or ``3``."""
        return _whole(version_str.removeprefix("v"), version_str)


class SemanticStrategy(VersioningStrategy):
    """1.0.0, 1.0.1; ``{"bump": "major"}``, ``"minor"`` or ``"patch"`` in the metadata says which part grows.

    The number is major * 10,000 + minor * 100 + patch. After 1.0.99 comes 1.1.0, after 1.99.99 comes 2.0.0.
    """

    def get_next_version(
        self, item_id: str, current_version: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> int:
        """The next patch, or what the metadata asks for.

        Raises:
            ValueError: the metadata asks for another part.
        """
        bump = (metadata or NOTHING).get("bump", "patch")
        if bump not in {"major", "minor", "patch"}:
            raise ValueError(f"bump is 'major', 'minor' or 'patch', not {bump!r}")
        if current_version is None:
            return MAJOR
        if bump == "major":
            return (current_version // MAJOR + 1) * MAJOR
        if bump == "minor":
            return (current_version // MINOR + 1) * MINOR
        return current_version + 1

    def format_version(self, version: int) -> str:
        """``1.2.3``."""
        return f"{version // MAJOR}.{version // MINOR % MINOR}.{version % MINOR}"

    def parse_version(self, version_str: str) -> int:
        """``1.2.3`` or ``v1.2.3``."""
        parts = version_str.removeprefix("v").split(".")
        if len(parts) != 3:  # noqa: PLR2004  # major, minor, patch
            raise ValueError(f"{version_str!r} is not a version: write it as 1.2.3")
        major, minor, patch = (_whole(part, version_str) for part in parts)
        if minor >= MINOR or patch >= MINOR:
            raise ValueError(f"{version_str!r} is not a version: minor and patch are below {MINOR}")
        return major * MAJOR + minor * MINOR + patch


class TimestampStrategy(VersioningStrategy):
    """Milliseconds since 1970, one more where two versions fall into the same.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def get_next_version(
        self, item_id: str, current_version: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> int:
        """The time, or one millisecond after the current version."""
        return max(int(self._clock() * 1_000), (current_version or 0) + 1)

    def format_version(self, version: int) -> str:
        """The time in UTC, as ISO 8601."""
        return (EPOCH + version * MILLISECOND).isoformat(timespec="milliseconds")

    def parse_version(self, version_str: str) -> int:
        """A time in ISO 8601; without an offset it means local time."""
        return (datetime.fromisoformat(version_str).astimezone(UTC) - EPOCH) // MILLISECOND


class GitLikeStrategy(VersioningStrategy):
    """1, 2, 3, shown as the beginning of the content's hash.

    It remembers the hashes of content that it is given. A `VersionedStore` does not need that: each of its versions
    keeps its checksum.

    Args:
        hash_length: how many characters of a hash are shown.
    """

    def __init__(self, hash_length: int = 7) -> None:
        if hash_length < 1:
            raise ValueError("hash_length is at least 1")
        self.hash_length = hash_length
        self._hashes: dict[int, str] = {}

    def get_next_version(
        self, item_id: str, current_version: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> int:
        """One more; ``content`` in the metadata is hashed."""
        version = (current_version or 0) + 1
        if metadata is not None and "content" in metadata:
            content = msgspec.json.encode(metadata["content"], enc_hook=plain, order="deterministic")
            self._hashes[version] = hashlib.sha256(content).hexdigest()
        return version

    def get_content_hash(self, version: int) -> str | None:
        """The whole hash of the content that a version was made for, or None."""
        return self._hashes.get(version)

    def format_version(self, version: int) -> str:
        """The beginning of the hash; of a version without content its number, filled up with zeros."""
        known = self._hashes.get(version)
        return known[: self.hash_length] if known else f"{version:0{self.hash_length}d}"

    def parse_version(self, version_str: str) -> int:
        """The number of a known hash, or of a number filled up with zeros."""
        for version, known in self._hashes.items():
            if version_str and known.startswith(version_str):
                return version
        return _whole(version_str, version_str)


def get_strategy(mode: str | VersioningMode, **options: Any) -> VersioningStrategy:
    """The strategy of a mode.

    Args:
        mode: ``incremental``, ``semantic``, ``timestamp`` or ``git_like``.
        options: what the strategy's class takes.

    Raises:
        ValueError: there is no such mode.
    """
    return _STRATEGIES[VersioningMode(mode)](**options)


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
