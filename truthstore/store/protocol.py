"""The two protocols: `RecordStore`, which backends and wrappers implement, and `ValidationStore`, which users type against."""

from __future__ import annotations

from abc import abstractmethod
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
    """The five operations of a backend or a wrapper."""

    @abstractmethod
    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record, durably, with the revision that it brings, and return its head as stored.

        Where that revision is stored already, nothing is done. A tombstone (`meta.deleted`) counts as absent for
        `ABSENT`; its revision can be expected like any other.

        Raises:
            StoreConflictError: `expect` did not hold.
            StoreWriteError: it was not stored, or may not have been; the message says which.
        """
        raise NotImplementedError

    @abstractmethod
    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record with its body.

        Raises:
            StoreNotFoundError: there is none.
        """
        raise NotImplementedError

    @abstractmethod
    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record; return False if there was none, or a tombstone.

        Raises:
            StoreConflictError: `expect` did not hold.
        """
        raise NotImplementedError

    @abstractmethod
    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the answer to a query, in its order, lazily; heads unless bodies are asked for."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Give up connections and files. Closing twice is harmless."""
        raise NotImplementedError


@runtime_checkable
class ValidationStore(Protocol[T]):
    """A store of items of one type, for type hints. Every store of this library is one; `BaseStore` documents the methods."""

    def initialize(self) -> None: ...
    def save(self, item: T, *, expect: Expect = ANY, **options: Any) -> str: ...
    def get(self, id: str, **options: Any) -> T: ...
    def head(self, id: str, **options: Any) -> Record: ...
    def exists(self, id: str, **options: Any) -> bool: ...
    def delete(self, id: str, expect: Expect = ANY, **options: Any) -> bool: ...
    def save_many(self, items: Iterable[T], *, expect: Expect = ANY, **options: Any) -> list[str]: ...
    def get_many(self, ids: Iterable[str], missing: str = "raise", **options: Any) -> dict[str, T]: ...
    def delete_many(self, ids: Iterable[str], **options: Any) -> int: ...
    def list_ids(self, query: StoreQuery | None = None) -> list[str]: ...
    def query(self, query: StoreQuery | None = None) -> list[T]: ...
    def iter_query(self, query: StoreQuery | None = None, batch_size: int = 100) -> Iterator[T]: ...
    def entries(self, query: StoreQuery | None = None) -> Iterator[Record]: ...
    def count(self, query: StoreQuery | None = None) -> int: ...
    def clear(self, query: StoreQuery | None = None) -> int: ...
    def get_latest(self, data_asset: str) -> T | None: ...
    def list_runs(self, data_asset: str) -> list[str]: ...
    def asset_history(self, data_asset: str, limit: int = 10) -> list[T]: ...
    def get_history(self, data_asset: str, limit: int = 10) -> list[Any]: ...
    def get_failures(self, data_asset: str | None = None, limit: int = 100) -> list[T]: ...
    def list_assets(self) -> list[str]: ...
    def distinct(self, field: str, query: StoreQuery | None = None) -> list[Any]: ...
    def aggregate(
        self,
        query: StoreQuery | None = None,
        *,
        by: str | Sequence[str] = (),
        bucket: str | None = None,
        metrics: str | Sequence[str] = ("count",),
    ) -> list[Row]: ...
    def subscribe(self, callback: Callable[[Sequence[Change]], object]) -> None: ...
    def maintain(self, budget: float | None = None) -> dict[str, int]: ...
    def verify(self) -> Verification: ...
    def rebuild_index(self) -> int: ...
    def health_check(self) -> Health: ...
    def stats(self) -> dict[str, Any]: ...
    def collection(self, collection: Collection[Any]) -> Any: ...
    def layer(self, kind: type[U]) -> U: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def close(self) -> None: ...
