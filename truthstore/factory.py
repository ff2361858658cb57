"""From a name, a URL or a YAML file to a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from truthstore.errors import StoreConfigError
from truthstore.items.results import RESULTS
from truthstore.store.config_text import Description, read_yaml
from truthstore.store.registry import get_store, is_backend_available, list_available_backends, register_store, stack
from truthstore.store.urls import shown_url

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
    allow: Iterable[str] = (),
) -> BaseStore[Any]:
    """Open a store by URL, or as a YAML file describes it.

    The file has the key ``backend`` (a name or a URL), the backend's options beside it, and ``layers``, a list with the
    innermost first: each a short name such as ``versioning`` or ``caching``, or an ``import.path:Class``, or a mapping with ``layer`` and the layer's options, in which a mapping with
    ``type: import.path:Class`` makes an object of that class. ``${NAME}`` is replaced from the environment,
    ``${NAME:-default}`` with a default if the variable is not set or empty; ``$$`` is a dollar sign. Options that take
    text get the variable's text, whatever it looks like.

    Args:
        source: a URL, or the path of a YAML file.
        collection: the collection that the public operations act on.
        environment: where ``${NAME}`` is looked up; the process's own by default.
        allow: modules beside truthstore's whose classes the file may name; their submodules too.

    Raises:
        StoreConfigError: the file does not exist or does not describe a store, names a class that is not allowed or not of
            the kind that is expected, a variable is not set, or a ``${`` begins no reference to one.
    """
    text = os.fspath(source)
    if "://" in text:
        return get_store(text, collection=collection)
    if isinstance(allow, str):
        raise TypeError("allow is a list of modules, not one string")
    shown = shown_url(text)
    try:
        with open(os.path.expanduser(text), encoding="utf-8") as file:
            raw = file.read()
    except UnicodeDecodeError:
        raise StoreConfigError(f"{shown} is not text in UTF-8") from None
    except OSError as error:
        raise StoreConfigError(f"cannot read {shown}: {error.strerror}") from None
    described = read_yaml(raw, shown)
    if not isinstance(described, dict) or not isinstance(described.get("backend"), str):
        raise StoreConfigError(f"{shown} must hold a mapping with the key 'backend'")
    layers = described.pop("layers", None) or []
    if not isinstance(layers, list):
        raise StoreConfigError(f"{shown}: layers is a list, innermost first")
    if "collection" in described:
        raise StoreConfigError(f"{shown}: a collection is declared in code: open_store(…, collection=…)")
    variables = os.environ if environment is None else environment
    description = Description(source=shown, environment=variables, allowed=tuple(allow))
    try:
        wrappers = [description.layer(entry) for entry in layers]
        settings = description.interpolated(described)
        return get_store(str(settings.pop("backend")), collection=collection, layers=wrappers, **settings)
    except (TypeError, ValueError) as error:
        raise StoreConfigError(f"{shown}: {error}") from error
