"""The rule, the counts and the conflicts of a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from truthstore.errors import StoreConflictError, shown

__all__ = ["Conflict", "CopyConflictError", "CopyCounts", "Progress", "Tally"]

Conflict = Literal["raise", "source", "target"]
"""The rule for an id under which the target holds another revision: see `copy_store`."""
MOST_CONFLICTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCounts:
    """What a copy has done: of one collection so far, or of all in the end.

    Attributes:
        collection: the collection; empty for all.
        compared: records of the source that were looked at.
        copied: records that were written.
        unchanged: records whose revisions the target held already.
        kept: records of which the target kept another revision.
        deleted: records that were removed from the target.
        bytes: length of the bodies that were written.
    """

    collection: str = ""
    compared: int = 0
    copied: int = 0
    unchanged: int = 0
    kept: int = 0
    deleted: int = 0
    bytes: int = 0


Progress = Callable[[CopyCounts], object]


class CopyConflictError(StoreConflictError):
    """The target holds other revisions under some ids; these stay, and everything else is copied.

    Attributes:
        counts: what was done beside.
        ids: collection and id of each, at most the first thousand.
    """

    def __init__(self, counts: CopyCounts, ids: list[tuple[str, str]]) -> None:
        collection, id = ids[0]
        super().__init__(
            f"the target holds another revision of {counts.kept} records, first of {collection} {shown(id)}; all else is "
            "copied. Copy again with conflict='source' to replace them, or conflict='target' to keep them",
            collection=collection,
            identifier=id,
        )
        self.counts = counts
        self.ids = tuple(ids)


@dataclass(slots=True)
class Tally:
    """Counts what is done."""

    progress: Progress | None = None
    conflicts: list[tuple[str, str]] = field(default_factory=list)
    by_collection: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, collection: str, **counts: int) -> None:
        """Add counts of a collection, and report them."""
        own = self.by_collection.setdefault(collection, Counter())
        own.update(counts)
        if self.progress is not None:
            self.progress(CopyCounts(collection=collection, **own))

    def conflict(self, collection: str, id: str) -> None:
        """Count a conflict."""
        self.add(collection, kept=1)
        if len(self.conflicts) < MOST_CONFLICTS:
            self.conflicts.append((collection, id))

    def result(self) -> CopyCounts:
        """Return the counts of all collections.

        Raises:
            CopyConflictError: there were conflicts.
        """
        total: Counter[str] = sum(self.by_collection.values(), Counter())
        counts = CopyCounts(collection="", **total)
        if self.conflicts:
            raise CopyConflictError(counts, self.conflicts)
        return counts
