"""Versions of schemas, what a migration did, and what can go wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from truthstore.errors import StoreError, echoed

__all__ = ["MigrationError", "MigrationPathError", "MigrationReport", "NewerSchemaError", "SchemaVersion"]

FORM: Final = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class SchemaVersion:
    """The version of the documents of a collection: ``2.1.0``.

    Attributes:
        major: first number.
        minor: second number.
        patch: third number.
    """

    major: int
    minor: int = 0
    patch: int = 0

    @classmethod
    def parse(cls, version: str | SchemaVersion) -> SchemaVersion:
        """Return a version from its text; what is left out is 0.

        Raises:
            ValueError: it is no version.
        """
        if isinstance(version, cls):
            return version
        found = FORM.fullmatch(version) if isinstance(version, str) else None
        if found is None:
            raise ValueError(f"a version is one to three numbers, such as '2.1.0', not {echoed(version)}")
        return cls(*(int(number or 0) for number in found.groups()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class MigrationError(StoreError):
    """A document could not be brought to the version that the program needs. What is stored is as it was."""


class MigrationPathError(MigrationError):
    """No registered migrations lead from the version of a document to the one that the program needs."""


class NewerSchemaError(MigrationError):
    """A document was written by a newer version of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What an upgrade of stored documents did, or would do.

    Attributes:
        total: documents looked at.
        migrated: documents that were brought to another version.
        current: documents that have it already.
        changed: documents that somebody else saved or removed meanwhile, which were left alone.
        failed: the error for each id of a document that could not be migrated, and is as it was.
    """

    total: int = 0
    migrated: int = 0
    current: int = 0
    changed: int = 0
    failed: dict[str, StoreError] = field(default_factory=dict)
