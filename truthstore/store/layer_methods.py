"""Methods of layers, such as `rollback`, called on the outermost store of a stack."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from truthstore.store.config_text import LAYERS

if TYPE_CHECKING:
    from truthstore.store.bulk import BulkOperations

__all__ = ["layers_with", "why_missing"]


def layers_with(store: BulkOperations[Any], name: str) -> list[type]:
    """Return the classes of the layers below a store, but for the backend, that have a public method."""
    if name.startswith("_"):
        return []
    *above, _ = store.layers()
    return [type(layer) for layer in above[1:] if hasattr(type(layer), name)]


def why_missing(store: BulkOperations[Any], name: str) -> str:
    """Return the message for a method that a store does not have, with the layer that does."""
    message = f"{type(store).__name__!r} object has no attribute {name!r}"
    if name.startswith("_"):
        return message
    *_, backend = store.layers()
    kinds = layers_with(store, name) or [type(backend)] * hasattr(type(backend), name)
    if kinds:
        names = " and ".join(kind.__name__ for kind in kinds)
        return f"{message}, but {names} below has: store.layer({kinds[-1].__name__}).{name}"
    for place in LAYERS.values():
        module, _, kind = place.partition(":")
        if hasattr(getattr(importlib.import_module(module), kind), name):
            return f"{message}: it belongs to {kind}, and there is none in this stack"
    return message
