"""Reports of the checks of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Health", "Verification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of a store.

    Attributes:
        healthy: it answered.
        backend: name of the backend.
        message: what is wrong and how to fix it; empty when healthy. Never a secret.
        details: figures of the backend.
    """

    healthy: bool
    backend: str
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.healthy


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of reading everything back.

    Attributes:
        checked: how many items were read.
        missing: ids that the index holds and the bodies lack.
        unindexed: ids whose bodies are there and which the index lacks.
        changed: ids whose bodies were changed outside the library, or whose rows in the index are not those of the body.
        corrupt: what is wrong with each id or file that could not be read.
    """

    checked: int
    missing: tuple[str, ...] = ()
    unindexed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    corrupt: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not (self.missing or self.unindexed or self.changed or self.corrupt)

    def __bool__(self) -> bool:
        return self.ok
