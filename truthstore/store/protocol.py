"""The two protocols: `RecordStore`, which backends and wrappers implement, and `ValidationStore`, which users type against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from truthstore.model.record import ANY, NONE, Expect, Options, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from truthstore.model.aggregate import Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.model.record import Change
    from truthstore.store.health import Health, Verification

__all__ = ["RecordStore", "ValidationStore"]

T = TypeVar("T")
U = TypeVar("U")


@runtime_checkable
class RecordStore(Protocol):
    """What a backend or a wrapper has to be able to do."""

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Stores a record, durably, and returns its head as stored, with its new revision.

        A tombstone (`meta.deleted`) counts as absent for `ABSENT`; its revision can be expected like any other.

        Raises:
            StoreConflictError: `expect` did not hold.
            StoreWriteError: it was not stored, or may not have been; the message says which.
        """
        ...

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """The record with its body.

        Raises:
            StoreNotFoundError: there is none.
        """
        ...

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Removes a record; False if there was none.

        Raises:
            StoreConflictError: `expect` did not hold.
        """
        ...

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """What a query finds, in its order, lazily; heads unless bodies are asked for."""
        ...

    def close(self) -> None:
        """Gives up connections and files. Closing twice is harmless."""
        ...


@runtime_checkable
class ValidationStore(Protocol[T]):
    """A store of items of one type: what pipelines use. Every store of this library is one."""

    def initialize(self) -> None:
        """Opens the store now instead of at the first operation."""
        ...

    def save(self, item: T, *, expect: Expect = ANY, **options: Any) -> str:
        """Stores an item, durably, and returns its id."""
        ...

    def get(self, id: str, **options: Any) -> T:
        """The item with this id."""
        ...

    def head(self, id: str, **options: Any) -> Record:
        """The item's head, with its revision, without its body."""
        ...

    def exists(self, id: str, **options: Any) -> bool:
        """Whether there is an item with this id."""
        ...

    def delete(self, id: str, expect: Expect = ANY, **options: Any) -> bool:
        """Removes an item; False if there was none."""
        ...

    def save_many(self, items: Iterable[T], *, expect: Expect = ANY, **options: Any) -> list[str]:
        """Stores many items, in chunks, and returns their ids in order."""
        ...

    def get_many(self, ids: Iterable[str], missing: str = "raise", **options: Any) -> dict[str, T]:
        """The items with these ids, by id."""
        ...

    def delete_many(self, ids: Iterable[str], **options: Any) -> int:
        """Removes many items and returns how many there were."""
        ...

    def list_ids(self, query: StoreQuery | None = None) -> list[str]:
        """Ids of what a query finds."""
        ...

    def query(self, query: StoreQuery | None = None) -> list[T]:
        """The items that a query finds."""
        ...

    def iter_query(self, query: StoreQuery | None = None, batch_size: int = 100) -> Iterator[T]:
        """The same, lazily, in pages."""
        ...

    def entries(self, query: StoreQuery | None = None) -> Iterator[Record]:
        """Heads of what a query finds, with their revisions, lazily."""
        ...

    def count(self, query: StoreQuery | None = None) -> int:
        """How many items fulfil the conditions of a query."""
        ...

    def clear(self, query: StoreQuery | None = None) -> int:
        """Removes exactly what a query finds, and returns how many that were."""
        ...

    def get_latest(self, data_asset: str) -> T | None:
        """The newest item of an asset, or None if it has none."""
        ...

    def list_runs(self, data_asset: str) -> list[str]:
        """Ids of an asset's items, newest first."""
        ...

    def asset_history(self, data_asset: str, limit: int = 10) -> list[T]:
        """An asset's newest items, newest first."""
        ...

    def get_failures(self, data_asset: str | None = None, limit: int = 100) -> list[T]:
        """The newest items with status ``failure``."""
        ...

    def list_assets(self) -> list[str]:
        """Names of all assets, sorted."""
        ...

    def distinct(self, field: str, query: StoreQuery | None = None) -> list[Any]:
        """The different values of a field, sorted, without None."""
        ...

    def aggregate(
        self,
        query: StoreQuery | None = None,
        *,
        by: str | Sequence[str] = (),
        bucket: str | None = None,
        metrics: str | Sequence[str] = ("count",),
    ) -> list[Row]:
        """Figures by field and time."""
        ...

    def subscribe(self, callback: Callable[[Sequence[Change]], object]) -> None:
        """Calls back after every write, in the writer's thread."""
        ...

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Does bounded periodic work and says what it did."""
        ...

    def verify(self) -> Verification:
        """Reads everything back and says what is wrong."""
        ...

    def rebuild_index(self) -> int:
        """Makes derived data anew from the bodies and returns how many items it holds."""
        ...

    def health_check(self) -> Health:
        """Whether the store can be used, and if not, why."""
        ...

    def stats(self) -> dict[str, Any]:
        """Figures about the store."""
        ...

    def get_history(self, data_asset: str, limit: int = 10) -> list[Any]:
        """The same as `asset_history`; stores with versions answer with the versions of an id."""
        ...

    def collection(self, collection: Collection[Any]) -> Any:
        """The same stack over another collection: a store of that collection's items."""
        ...

    def layer(self, kind: type[U]) -> U:
        """The outermost layer of a class."""
        ...

    def __enter__(self) -> Self:
        """Opens the store."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        ...

    def close(self) -> None:
        """Gives up connections and files."""
        ...
