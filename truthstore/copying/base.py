"""What a copy is told, and what it says: rules, progress, result, conflicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from truthstore.errors import StoreConflictError, shown
from truthstore.model.record import ANY, NONE, Expect, Listed, Options, Record

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery

__all__ = ["Conflict", "CopyConflictError", "CopyProgress", "CopyResult", "Place", "Progress"]

Conflict = Literal["raise", "source", "target", "newer"]
"""What becomes of an id under which the target holds another revision: see `copy_store`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """How far a copy is, said after each batch.

    Attributes:
        collection: the collection that is being copied.
        compared: records of it that were looked at.
        total: records of it that there were at the start; None where that is not known.
        copied: records of it that were written.
        bytes: length of their bodies.
    """

    collection: str
    compared: int
    total: int | None
    copied: int
    bytes: int


Progress = Callable[[CopyProgress], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What a copy did.

    Attributes:
        copied: records that were written.
        unchanged: records that the target held already, by their revisions.
        kept: records of which the target kept another revision, as `conflict` said.
        deleted: records that were removed at the target, because the source has them no more.
        bytes: length of the bodies that were written.
        collections: the number of records written, by collection.
        left_out: collections with the state of layers of the source, which a copy does not need.
    """

    copied: int
    unchanged: int
    kept: int
    deleted: int
    bytes: int
    collections: Mapping[str, int] = MappingProxyType({})
    left_out: tuple[str, ...] = ()


class CopyConflictError(StoreConflictError):
    """The target holds other revisions under some ids; these were left as they are, and everything else is copied.

    Args:
        count: how many there are.
        ids: collection and id of each, at most the first thousand.

    Attributes:
        count: how many there are.
        ids: collection and id of each, at most the first thousand.
    """

    def __init__(self, count: int, ids: Sequence[tuple[str, str]]) -> None:
        collection, id = ids[0]
        super().__init__(
            f"the target holds another revision of {count} records, first of {collection} {shown(id)}: they were left as "
            "they are, all else is copied; copy again with conflict='source' to replace them, 'target' to keep them, or "
            "'newer' to let the later stored_at win",
            collection=collection,
            identifier=id,
        )
        self.count = count
        self.ids = tuple(ids)


class Place(Protocol):
    """What a copy needs of a store; an export file has no more."""

    def scan_revisions(
        self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE
    ) -> Iterator[Listed]:
        """Iterate over ids, revisions and sizes."""
        ...

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Count records."""
        ...

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids."""
        ...

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store records."""
        ...

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record."""
        ...

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections."""
        ...
