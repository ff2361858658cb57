"""A store that decorates another. It forwards everything; a subclass overrides what it changes."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from truthstore.errors import StoreConfigError
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.encoding import Encoding
    from truthstore.model.query import StoreQuery
    from truthstore.model.record import Change
    from truthstore.store.health import Health, Verification

__all__ = ["WrapperStore"]

T = TypeVar("T")

PAGE: Final = 100


class WrapperStore(BaseStore[T], Generic[T]):
    """Forwards every operation to the store below.

    Where a subclass overrides an operation but not its bulk, head or count form, that form is built on the override, so
    that nothing slips past it. A form that is to be forwarded all the same is named: ``scan = WrapperStore.scan``.

    Args:
        base: the store below.

    Raises:
        StoreConfigError: a layer below cannot stand under this one.
    """

    name: ClassVar[str] = "wrapper"
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Names of layers that cannot stand anywhere below this one, and why."""

    _FORMS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "put_record": ("put_records",),
        "get_record": ("head_record", "get_records", "scan", "surely_lacks"),
        "delete_record": ("delete_records",),
        "scan": ("scan_ids", "count_records", "aggregate_records"),
    }

    def __init__(self, base: BaseStore[T]) -> None:
        if not isinstance(base, BaseStore):
            raise TypeError(f"{type(self).__name__} wraps a store, not {type(base).__name__}")
        for layer in base.layers():
            if layer.name in self.CANNOT_COVER:
                raise StoreConfigError(
                    f"{type(self).__name__} cannot stand above {type(layer).__name__}: {self.CANNOT_COVER[layer.name]}"
                )
        super().__init__(base._collection)  # noqa: SLF001  # the same stack
        self._base = base
        # Asked for at every save: not by way of all layers.
        self._encoding: Encoding = base.encoding
        self._indent = base.indent

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for operation, forms in cls._FORMS.items():
            if getattr(cls, operation) is getattr(WrapperStore, operation):
                continue
            for form in forms:
                if form not in vars(cls) and getattr(cls, form) is getattr(WrapperStore, form):
                    replacement = _scan_through_get if form == "scan" else getattr(BaseStore, form)
                    setattr(cls, form, replacement)

    @property
    def base(self) -> BaseStore[Any]:
        """The store below."""
        return self._base

    def surely_lacks(self, id: str, *, collection: Collection[Any]) -> bool:
        """Forwards; a layer that reads in a way of its own says False."""
        return self._base.surely_lacks(id, collection=collection)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Forwards."""
        return self._base.put_record(record, collection=collection, expect=expect, options=options)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Forwards."""
        return self._base.get_record(id, collection=collection, options=options)

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Forwards."""
        return self._base.delete_record(id, collection=collection, expect=expect, options=options)

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Forwards."""
        return self._base.scan(query, collection=collection, bodies=bodies, options=options)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Forwards."""
        return self._base.head_record(id, collection=collection, options=options)

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Forwards."""
        return self._base.put_records(records, collection=collection, expect=expect, options=options)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Forwards."""
        return self._base.get_records(ids, collection=collection, options=options)

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Forwards."""
        return self._base.delete_records(ids, collection=collection, options=options)

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Forwards."""
        return self._base.scan_ids(query, collection=collection, options=options)

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Forwards."""
        return self._base.count_records(query, collection=collection, options=options)

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Forwards."""
        return self._base.aggregate_records(query, aggregation, collection=collection, options=options)

    @property
    def encoding(self) -> Encoding:
        """What the store below wants."""
        return self._encoding

    @property
    def indent(self) -> bool:
        """What the store below wants."""
        return self._indent

    def layers(self) -> Iterator[BaseStore[Any]]:
        """This layer and those below it, outermost first."""
        yield self
        yield from self._base.layers()

    @property
    def identity(self) -> str:
        """The identity of the store below."""
        return self._base.identity

    def initialize(self) -> None:
        """Opens the whole stack."""
        super().initialize()
        self._base.initialize()

    def subscribe(self, callback: Callable[[Sequence[Change]], object]) -> None:
        """Subscribes where writes become durable: at the backend."""
        self._base.subscribe(callback)

    def get_history(self, data_asset: str, limit: int = 10) -> list[Any]:
        """What the layers below make of it: where one of them keeps versions, the versions of an id."""
        if all(type(layer).get_history in PLAIN_HISTORY for layer in self._base.layers()):
            return self.asset_history(data_asset, limit)
        self._check()
        return self._base.collection(self._collection).get_history(data_asset, limit)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintains the store below."""
        super().maintain(budget)
        return self._base.collection(self._collection).maintain(budget)

    def rebuild_index(self) -> int:
        """Rebuilds the index of the store below, for the collection of this one."""
        super().rebuild_index()
        return self._base.collection(self._collection).rebuild_index()

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Forwards."""
        return self._base.verify_records(collection)

    def health_check(self) -> Health:
        """Checks the store below, then reads through this layer."""
        below = self._base.health_check()
        if not below.healthy:
            return below
        own = super().health_check()
        return replace(below, healthy=own.healthy, message=own.message)

    def stats(self) -> dict[str, Any]:
        """Figures about the store below, and the names of the layers."""
        layers = [layer.name for layer in self.layers()]
        return {**self._base.collection(self._collection).stats(), "layers": layers}

    def close(self) -> None:
        """Closes the whole stack."""
        super().close()
        self._base.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r})"


PLAIN_HISTORY: Final = (BaseStore.get_history, WrapperStore.get_history)
"""The ways to answer of layers that keep no versions."""


def _scan_through_get(
    self: WrapperStore[Any],
    query: StoreQuery,
    *,
    collection: Collection[Any],
    bodies: bool = False,
    options: Options = NONE,
) -> Iterator[Record]:
    """The scan of a wrapper that overrides only `get_record`: heads from below, bodies through the override."""
    heads = self.base.scan(query, collection=collection, options=options)
    if not bodies:
        return heads
    return _with_bodies(self, heads, collection, options)


def _with_bodies(
    store: WrapperStore[Any], heads: Iterator[Record], collection: Collection[Any], options: Options
) -> Iterator[Record]:
    page: list[str] = []
    for head in heads:
        page.append(head.id)
        if len(page) == PAGE:
            yield from _load(store, page, collection, options)
            page = []
    yield from _load(store, page, collection, options)


def _load(store: WrapperStore[Any], ids: list[str], collection: Collection[Any], options: Options) -> Iterator[Record]:
    found = store.get_records(ids, collection=collection, options=options)
    return iter([found[id] for id in ids if id in found])
