"""A store that decorates another. It forwards everything; a subclass overrides the operations that it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

from truthstore.errors import StoreConfigError
from truthstore.model.record import NONE, Options, Record
from truthstore.store.layer_names import layers_with
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.store.health import Health

__all__ = ["WrapperStore"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

PAGE: Final = 100


def _forwarded(method: F) -> F:
    """Return the method that calls the one of the same name of the store below."""

    def forward(self: Any, /, *arguments: Any, **options: Any) -> Any:
        return getattr(self._base, name)(*arguments, **options)

    name = forward.__name__ = method.__name__
    forward.__doc__ = method.__doc__
    return cast("F", forward)


class WrapperStore(BaseStore[T], Generic[T]):
    """Forward every operation to the store below.

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
        "get_record": ("head_record", "get_records", "scan", "definitely_absent"),
        "delete_record": ("delete_records",),
        "scan": (
            *("scan_ids", "scan_revisions", "count_records", "aggregate_records", "scan_rows"),
            *("digest_records", "revision_records"),
        ),
        "scan_rows": ("aggregate_rows", "latest_rows"),
        "latest_rows": ("newest_rows",),
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
        base._lifecycle.covered = True  # noqa: SLF001  # the same stack
        self.encoding = base.encoding
        self.indent = base.indent
        self.aliases = base.aliases

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for operation, forms in cls._FORMS.items():
            if getattr(cls, operation) is getattr(WrapperStore, operation):
                continue
            for form in forms:
                # A class above may have named the form beside the operation.
                if cls._depth(form) > cls._depth(operation) and getattr(cls, form) is getattr(WrapperStore, form):
                    replacement = _scan_through_get if form == "scan" else getattr(BaseStore, form)
                    setattr(cls, form, replacement)

    @classmethod
    def _depth(cls, name: str) -> int:
        return next(depth for depth, kind in enumerate(cls.__mro__) if name in vars(kind))

    @property
    def base(self) -> BaseStore[Any]:
        """The store below."""
        return self._base

    definitely_absent = _forwarded(BaseStore.definitely_absent)
    put_record = _forwarded(BaseStore.put_record)
    get_record = _forwarded(BaseStore.get_record)
    delete_record = _forwarded(BaseStore.delete_record)
    scan = _forwarded(BaseStore.scan)
    head_record = _forwarded(BaseStore.head_record)
    put_records = _forwarded(BaseStore.put_records)
    get_records = _forwarded(BaseStore.get_records)
    delete_records = _forwarded(BaseStore.delete_records)
    scan_ids = _forwarded(BaseStore.scan_ids)
    scan_revisions = _forwarded(BaseStore.scan_revisions)
    collection_names = _forwarded(BaseStore.collection_names)
    count_records = _forwarded(BaseStore.count_records)
    aggregate_records = _forwarded(BaseStore.aggregate_records)
    digest_records = _forwarded(BaseStore.digest_records)
    revision_records = _forwarded(BaseStore.revision_records)
    scan_rows = _forwarded(BaseStore.scan_rows)
    aggregate_rows = _forwarded(BaseStore.aggregate_rows)
    latest_rows = _forwarded(BaseStore.latest_rows)
    newest_rows = _forwarded(BaseStore.newest_rows)
    sealed = _forwarded(BaseStore.sealed)
    opened = _forwarded(BaseStore.opened)
    held_ids = _forwarded(BaseStore.held_ids)
    copied_ids = _forwarded(BaseStore.copied_ids)
    change_copies = _forwarded(BaseStore.change_copies)
    verify_records = _forwarded(BaseStore.verify_records)
    subscribe = _forwarded(BaseStore.subscribe)
    """Subscribe where writes become durable: at the backend."""

    def layers(self) -> Iterator[BaseStore[Any]]:
        """Iterate over this layer and those below it, outermost first."""
        yield self
        yield from self._base.layers()

    @property
    def identity(self) -> str:
        """The identity of the store below."""
        return self._base.identity

    def initialize(self) -> None:
        """Open the whole stack."""
        super().initialize()
        self._base.initialize()

    def get_history(self, data_asset: str, limit: int = 10) -> list[Any]:
        """Return the history of the layers below: where one of them keeps versions, the versions of an id."""
        if all(type(layer).get_history in PLAIN_HISTORY for layer in self._base.layers()):
            return self.asset_history(data_asset, limit)
        self._check()
        return self._base.collection(self._collection).get_history(data_asset, limit)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintain the store below."""
        done = super().maintain(budget)
        return {**done, **self._base.collection(self._collection).maintain(budget)}

    def rebuild_index(self) -> int:
        """Rebuild the index of the store below, for the collection of this one."""
        super().rebuild_index()
        return self._base.collection(self._collection).rebuild_index()

    def health_check(self) -> Health:
        """Check the store below, then read through this layer."""
        below = self._base.health_check()
        if not below.healthy:
            return below
        own = super().health_check()
        return replace(below, healthy=own.healthy, message=own.message)

    def stats(self) -> dict[str, Any]:
        """Return figures about the store below, and the names of the layers."""
        layers = [layer.name for layer in self.layers()]
        return {**self._base.collection(self._collection).stats(), "layers": layers}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Find a method of a layer below, where just one has it."""
            if len(layers_with(self, name)) == 1:
                return getattr(self._base.collection(self._collection), name)
            return super().__getattr__(name)

    def close(self) -> None:
        """Close the whole stack."""
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
    """Scan for a wrapper that overrides only `get_record`: heads from below, bodies through the override."""
    heads = self.base.scan(query, collection=collection, options=options)
    if not bodies:
        return heads
    return _with_bodies(self, heads, collection, options)


def _with_bodies(
    store: WrapperStore[Any], heads: Iterator[Record], collection: Collection[Any], options: Options
) -> Iterator[Record]:
    while ids := [head.id for head in islice(heads, PAGE)]:
        found = store.get_records(ids, collection=collection, options=options)
        yield from (found[id] for id in ids if id in found)
