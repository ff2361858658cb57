"""The layers of this library by name, and which of them has a method or an option."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from truthstore.errors import StoreConfigError, echoed, nearest

__all__ = ["LAYERS", "layer_named", "layers_with", "why_missing", "why_refused"]

ENTRY_POINTS: Final = "truthstore.layers"

LAYERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "backpressure": "truthstore.backpressure:BackpressureStore",
        "batching": "truthstore.batching:BatchedStore",
        "caching": "truthstore.caching:CachedStore",
        "migration": "truthstore.migration:MigratingStore",
        "compression": "truthstore.compression:CompressedStore",
        "encryption": "truthstore.encryption:EncryptedStore",
        "observability": "truthstore.observability:ObservableStore",
        "replication": "truthstore.replication:ReplicatedStore",
        "retention": "truthstore.retention:RetentionStore",
        "tiering": "truthstore.tiering:TieredStore",
        "versioning": "truthstore.versioning:VersionedStore",
    }
)
"""Layers of this library by their short names."""


def layer_named(name: str) -> type[Any]:
    """Return the class of a layer by its short name: one of this library, or of an installed package that offers it.

    Raises:
        StoreConfigError: there is no such layer, or it cannot be loaded.
    """
    if (place := LAYERS.get(name)) is not None:
        return _loaded(place)
    from importlib import metadata  # which takes as long to import as all of this

    points = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    if (point := points.get(name)) is None:
        known = (*LAYERS, *sorted(points))
        raise StoreConfigError(f"there is no layer {echoed(name, known)}: use one of {', '.join(known)}")
    try:
        kind: type[Any] = point.load()
    except (ImportError, AttributeError) as error:
        raise StoreConfigError(f"the layer {name} of {point.value} cannot be loaded: {error}") from error
    return kind


def layers_with(store: Any, name: str) -> list[type]:
    """Return the classes of the layers below a store, but for the backend, that have a public method."""
    if name.startswith("_"):
        return []
    *above, _ = store.layers()
    return [type(layer) for layer in above[1:] if hasattr(type(layer), name)]


def why_missing(store: Any, name: str) -> str:
    """Return the message for a method that a store does not have, with the layer that does."""
    message = f"{type(store).__name__!r} object has no attribute {name!r}"
    if name.startswith("_"):
        return message
    *_, backend = store.layers()
    kinds = layers_with(store, name) or [type(backend)] * hasattr(type(backend), name)
    if kinds:
        names = " and ".join(kind.__name__ for kind in kinds)
        return f"{message}, but {names} below has: store.layer({kinds[-1].__name__}).{name}"
    owners = [kind.__name__ for kind in _layers() if hasattr(kind, name)]
    return f"{message}: it belongs to {owners[0]}, and there is none in this stack" if owners else message


def why_refused(operation: str, option: str, taken: frozenset[str]) -> str:
    """Return the message for an option that no layer of a stack takes, with the nearest that one does, or the layer that would."""
    message = f"{operation}() of this stack has no option {option!r}"
    owners = [kind.__name__ for kind in _layers() if option in kind.OPTIONS.get(operation, ())]
    return (
        f"{message}: it belongs to {owners[0]}, and there is none" if owners else f"{message}: {nearest(option, taken)}"
    )


def _layers() -> Iterator[type[Any]]:
    return map(_loaded, LAYERS.values())


def _loaded(place: str) -> type[Any]:
    module, _, kind = place.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), kind)
    return found
