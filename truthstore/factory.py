"""From a name, a URL or a YAML file to a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from truthstore.errors import StoreConfigError
from truthstore.items.results import RESULTS
from truthstore.store.config_text import interpolated_options, layer_of
from truthstore.store.registry import get_store, is_backend_available, list_available_backends, register_store, stack

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = [
    "get_store",
    "is_backend_available",
    "list_available_backends",
    "open_store",
    "register_store",
    "stack",
]


def open_store(
    source: str | os.PathLike[str],
    *,
    collection: Collection[Any] = RESULTS,
    environment: Mapping[str, str] | None = None,
) -> BaseStore[Any]:
    """Open a store by URL, or as a YAML file describes it.

    The file has the key ``backend`` (a name or a URL), the backend's options beside it, and ``layers``, a list with the
    innermost first: each ``versioning``, ``retention``, ``caching``, ``observability`` or an ``import.path:Class``, or a
    mapping with ``layer`` and the layer's options, in which a mapping with ``type: import.path:Class`` makes an object of
    that class. ``${NAME}`` is replaced from the environment, ``${NAME:-default}`` with a default if the variable is not
    set or empty; ``$$`` is a dollar sign. Options that take text get the variable's text, whatever it looks like.

    Args:
        source: a URL, or the path of a YAML file.
        collection: the collection that the public operations act on.
        environment: where ``${NAME}`` is looked up; the process's own by default.

    Raises:
        StoreConfigError: the file does not exist or does not describe a store, a variable is not set, or a ``${`` begins
            no reference to one.
    """
    text = os.fspath(source)
    if "://" in text:
        return get_store(text, collection=collection)
    try:
        with open(text, encoding="utf-8") as file:
            raw = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreConfigError(f"cannot read {text}: {error}") from error
    try:
        described = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise StoreConfigError(f"{text} is not YAML: {error}") from error
    if not isinstance(described, dict) or not isinstance(described.get("backend"), str):
        raise StoreConfigError(f"{text} must hold a mapping with the key 'backend'")
    variables = os.environ if environment is None else environment
    layers = described.pop("layers", None) or []
    if not isinstance(layers, list):
        raise StoreConfigError(f"{text}: layers is a list, innermost first")
    settings = interpolated_options(described, variables, text)
    backend = str(settings.pop("backend"))
    if "collection" in settings:
        raise StoreConfigError(f"{text}: a collection is declared in code: open_store(…, collection=…)")
    try:
        wrappers = [layer_of(entry, variables, text) for entry in layers]
        return get_store(backend, collection=collection, layers=wrappers, **settings)
    except (TypeError, ValueError) as error:
        raise StoreConfigError(f"{text}: {error}") from error
