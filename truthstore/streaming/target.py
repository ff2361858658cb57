"""What a run in parts needs of a store; `BaseStore` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from truthstore.checks.source import Source
from truthstore.model.record import ANY, NONE, Expect, Options, Record

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.encoding import Encoding
    from truthstore.model.query import StoreQuery

__all__ = ["Target"]


class Target(Source, Protocol):
    """A store, as far as it is used here."""

    encoding: Encoding
    indent: bool

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record."""
        ...

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return a record with its body."""
        ...

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove records."""
        ...

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Return ids."""
        ...

    def copied_ids(self, ids: Sequence[str], *, collection: Collection[Any]) -> frozenset[str]:
        """Return those ids of which a layer keeps copies."""
        ...
