"""From the name of a backend, or a URL, to a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from truthstore.errors import StoreConfigError
from truthstore.items.results import RESULTS, ValidationResult
from truthstore.model.collection import Collection
from truthstore.store.config_text import settled
from truthstore.store.registry import factory_of, options_of_url
from truthstore.store.store import BaseStore
from truthstore.store.urls import shown_url

__all__ = ["Layer", "get_store", "stack"]

T = TypeVar("T")

Layer = Callable[[BaseStore[Any]], BaseStore[Any]]


@overload
def get_store(
    backend: str = ..., *, collection: Collection[ValidationResult] = ..., layers: Iterable[Layer] = ..., **options: Any
) -> BaseStore[ValidationResult]: ...
@overload
def get_store(
    backend: str = ..., *, collection: Collection[T], layers: Iterable[Layer] = ..., **options: Any
) -> BaseStore[T]: ...
def get_store(
    backend: str = "filesystem",
    *,
    collection: Collection[Any] = RESULTS,
    layers: Iterable[Layer] = (),
    **options: Any,
) -> BaseStore[Any]:
    """Open a store by the name of its backend, or by URL.

    Args:
        backend: ``filesystem``, ``memory``, a registered name, or a URL: ``file:///path``, ``memory://``. Options may
            stand in the URL's query (``file:///data?namespace=prod``); keywords win over them.
        collection: the collection that the public operations act on; validation results by default.
        layers: wrappers, innermost first: classes, or functions from a store to a store.
        options: options of the backend.

    Raises:
        StoreConfigError: no such store, a missing dependency, or options that make no sense.
        TypeError: an unknown option.
    """
    if not isinstance(backend, str):
        raise TypeError(f"backend is a name or a URL, not {type(backend).__name__}")
    if not isinstance(collection, Collection):
        raise TypeError(f"collection is a Collection (see Collection.of), not {collection!r:.80}")
    if ":" in backend:
        if "://" not in backend:
            raise StoreConfigError(f"{shown_url(backend)!r} is neither the name of a store nor a URL")
        backend, given = options_of_url(backend)
        options = {**given, **options}
    factory = factory_of(backend)
    return stack(factory(collection=collection, **settled(factory, options)), *layers)


def stack(base: BaseStore[T], *layers: Layer) -> BaseStore[T]:
    """Put layers on a store, innermost first.

    Raises:
        TypeError: a layer is no function, or does not return a store.
    """
    store: BaseStore[Any] = base
    for layer in layers:
        if not callable(layer):
            raise TypeError(f"a layer is a class, or a function from a store to a store, not {layer!r:.80}")
        store = layer(store)
        if not isinstance(store, BaseStore):
            raise TypeError(f"a layer takes a store and returns one; {layer!r} returned a {type(store).__name__}")
    return store
