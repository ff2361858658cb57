"""Text in a YAML file or a URL: variables, options of the types that are declared, and layers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError
from truthstore.store.config import Text, as_declared, converted

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["interpolated_options", "layer_of"]

LAYERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "batching": "truthstore.batching:BatchedStore",
        "caching": "truthstore.caching:CachedStore",
        "observability": "truthstore.observability:ObservableStore",
        "retention": "truthstore.retention:RetentionStore",
        "versioning": "truthstore.versioning:VersionedStore",
    }
)
"""Layers of this library by their short names."""

_VARIABLE: Final = re.compile(r"\$(\$)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}|(\$\{\w*)")


def interpolated_options(described: Mapping[Any, Any], environment: Mapping[str, str], source: str) -> dict[str, Any]:
    """Return options with their variables replaced.

    Raises:
        StoreConfigError: a variable is not set, or a reference is malformed.
    """
    return {str(name): _interpolated(value, environment, source) for name, value in described.items()}


def _interpolated(value: Any, environment: Mapping[str, str], source: str) -> Any:
    # Types are declared for options, not for values within them.
    if isinstance(value, dict):
        inside = interpolated_options(value, environment, source)
        return {name: as_declared(name, "", inner) for name, inner in inside.items()}
    if isinstance(value, list):
        return [as_declared("", "", _interpolated(inner, environment, source)) for inner in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        dollar, name, default, malformed = found.groups()
        if dollar:
            return "$"
        if malformed:
            # No more of it is shown: a default may be a secret.
            raise StoreConfigError(
                f"{source}: '{malformed}…' is no reference: write ${{NAME}} or ${{NAME:-default}}, and $${{ for ${{ itself"
            )
        result = environment.get(name)
        if not result and default is not None:
            return default
        if result is None:
            raise StoreConfigError(f"{source}: the environment variable {name} is not set")
        return result

    result = _VARIABLE.sub(replace, value)
    # A value that is one variable means what it would mean in its place: a number, true or false.
    whole = _VARIABLE.fullmatch(value)
    return Text(result) if whole is not None and not whole[1] else result


def layer_of(entry: Any, environment: Mapping[str, str], source: str) -> Callable[[BaseStore[Any]], BaseStore[Any]]:
    """Return the layer that an entry describes: a name, or a mapping with ``layer`` and its options.

    Raises:
        StoreConfigError: there is no such layer, or a variable is not set.
    """
    options: dict[str, Any] = {}
    if isinstance(entry, dict):
        options = interpolated_options(entry, environment, source)
        entry = options.pop("layer", None)
    else:
        entry = _interpolated(entry, environment, source)
    if not isinstance(entry, str):
        raise StoreConfigError(f"{source}: a layer is a name, or a mapping with the key 'layer'")
    wrapper = _imported(LAYERS.get(entry, entry), source)
    options = converted(wrapper, {name: _built(value, source) for name, value in options.items()})

    def apply(store: BaseStore[Any]) -> BaseStore[Any]:
        result: BaseStore[Any] = wrapper(store, **options)
        return result

    return apply


def _built(value: Any, source: str) -> Any:
    """Replace each mapping with a ``type`` that names a class by an object of it: a policy, a cache, a sink."""
    if isinstance(value, list):
        return [_built(inner, source) for inner in value]
    if not isinstance(value, dict):
        return value
    inside = {name: _built(inner, source) for name, inner in value.items()}
    kind = inside.get("type")
    if not isinstance(kind, str) or ":" not in kind:
        return inside
    del inside["type"]
    made = _imported(kind, source)
    return made(**converted(made, inside))


def _imported(name: str, source: str) -> Callable[..., Any]:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise StoreConfigError(
            f"{source}: there is no layer {name!r}: use one of {', '.join(LAYERS)}, or 'import.path:Class'"
        )
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise StoreConfigError(f"{source}: {name!r} cannot be loaded: {error}") from error
    return found
