"""What the questions need of a store; `BaseStore` has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from truthstore.model.record import NONE, Options, Record

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery

__all__ = ["Source"]


class Source(Protocol):
    """A store, as far as it is asked here."""

    aliases: Mapping[str, str]

    def layers(self) -> Iterator[Any]:
        """Iterate over the layers."""
        ...

    def collection(self, collection: Collection[Any]) -> Any:
        """Return the store over another collection."""
        ...

    def save(self, item: Any, *, expect: Any = ..., **options: Any) -> str:
        """Store an item."""
        ...

    def change_copies(self, change: Any, *, collection: Collection[Any]) -> None:
        """Replace the copies of items that layers keep."""
        ...

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Query records."""
        ...

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over records."""
        ...

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Query rows."""
        ...

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over rows."""
        ...

    def newest_rows(
        self,
        query: StoreQuery,
        keep: StoreQuery = ...,
        *,
        collection: Collection[Any],
        series: Iterable[tuple[Any, ...]] | None = None,
        options: Options = NONE,
    ) -> list[Record]:
        """Return the newest row of each series, or of some, where it fulfils a query."""
        ...
