"""From a name, a URL or a YAML file to a store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, overload

import yaml

from truthstore.errors import StoreConfigError
from truthstore.items.results import RESULTS, ValidationResult
from truthstore.model.collection import Collection
from truthstore.store.config import Text
from truthstore.store.config_text import interpolated_options, layer_of, settled
from truthstore.store.registry import (
    factory_of,
    is_backend_available,
    is_planned,
    known_names,
    list_available_backends,
    register_store,
)
from truthstore.store.store import BaseStore

__all__ = [
    "get_store",
    "is_backend_available",
    "list_available_backends",
    "open_store",
    "register_store",
    "stack",
]

T = TypeVar("T")

Layer = Callable[[BaseStore[Any]], BaseStore[Any]]

_BUCKETS: Final = {"az": ("azure", "container"), "gs": ("gcs", "bucket"), "s3": ("s3", "bucket")}
"""By scheme: the backend, and the option that the URL's host gives. The path is the prefix."""

_DATABASES: Final = frozenset(
    {
        "cockroachdb",
        "duckdb",
        "mariadb",
        "mssql",
        "mysql",
        "oracle",
        "postgres",
        "postgresql",
        "sqlite",
    }
)
"""Schemes that are SQLAlchemy's; so is every one that is not registered and names a driver (``dialect+driver``)."""


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
        backend, given = _from_url(backend)
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


def _from_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the backend's name and the options in a URL."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        raise StoreConfigError(f"{_without_password(url)!r} is neither the name of a store nor a URL")
    from urllib.parse import parse_qsl, unquote, urlsplit

    if scheme not in known_names() and not is_planned(scheme) and (scheme in _DATABASES or "+" in scheme):
        return "database", _database_options(url)
    if "#" in url:
        raise StoreConfigError(f"{_without_password(url)!r}: a # would cut off what follows it: write %23")
    parts = urlsplit(url)
    options: dict[str, Any] = {name: Text(value) for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    if scheme == "file":
        if parts.netloc not in {"", "localhost"}:
            raise StoreConfigError(
                f"{_without_password(url)!r} names a host: a local path has three slashes, file:///path"
            )
        options.setdefault("base_path", unquote(parts.path))
        return "filesystem", options
    if scheme == "memory":
        return "memory", options
    if scheme in _BUCKETS:
        name, option = _BUCKETS[scheme]
        if "@" in parts.netloc or ":" in parts.netloc:
            raise StoreConfigError(
                f"{_without_password(url)!r}: after {scheme}:// comes the name of the {option} alone"
            )
        options.setdefault(option, unquote(parts.netloc))
        if parts.path.strip("/"):
            options.setdefault("prefix", unquote(parts.path).strip("/"))
        return name, options
    # Registered stores read their own URLs.
    return scheme, {**options, "url": url.partition("?")[0]}


def _database_options(url: str) -> dict[str, Any]:
    """Return the options of the database store in a URL; the rest of its query is for the driver."""
    from urllib.parse import parse_qsl, urlencode

    from truthstore.backends.database.config import DatabaseConfig

    known = {option.name for option in dataclasses.fields(DatabaseConfig)}
    address, _, query = url.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    options = {name: Text(value) for name, value in given if name in known}
    rest = urlencode([(name, value) for name, value in given if name not in known])
    return {"connection_url": f"{address}?{rest}" if rest else address, **options}


def _without_password(url: str) -> str:
    """Return a URL, or a text that was meant as one, for a message: without all that stands before the last ``@``."""
    before, at, after = url.rpartition("@")
    return f"{before.partition(':')[0]}:…@{after}" if at else url


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
