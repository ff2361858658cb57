"""From a name or a URL to a store: the backends of this library, those that users register, and those of installed packages."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, overload

from truthstore.errors import StoreConfigError, echoed, nearest
from truthstore.items.results import RESULTS, ValidationResult
from truthstore.model.collection import Collection
from truthstore.store.config import check_options, converted
from truthstore.store.layer_names import layer_named
from truthstore.store.store import BaseStore
from truthstore.store.urls import check_url, shown_url, split_url

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["get_store", "is_backend_available", "list_available_backends", "register_store", "stack"]

T = TypeVar("T")
S = TypeVar("S", bound=Callable[..., BaseStore[Any]])

Factory = Callable[..., BaseStore[Any]]
Layer = str | Callable[[BaseStore[Any]], BaseStore[Any]]

ENTRY_POINTS: Final = "truthstore.stores"


class _Backend(NamedTuple):
    """Place and needs of a backend of this library, and the module that reads its URLs by `options_of_url`."""

    module: str
    store: str
    needs: str | None = None
    extra: str | None = None
    url: str = ""


_CLOUD: Final = "truthstore.backends.cloud.config"
_FOLDER: Final = "truthstore.backends.filesystem"
_SQL: Final = "truthstore.backends.database"
_BACKENDS: Final[Mapping[str, _Backend]] = {
    "azure": _Backend("truthstore.backends.azure_blob", "AzureBlobStore", "azure.storage.blob", "azure", _CLOUD),
    "database": _Backend(_SQL, "DatabaseStore", "sqlalchemy", "db", f"{_SQL}.config"),
    "filesystem": _Backend(_FOLDER, "open_folder", url=f"{_FOLDER}.config"),
    "gcs": _Backend("truthstore.backends.gcs", "GCSStore", "google.cloud.storage", "gcs", _CLOUD),
    "memory": _Backend("truthstore.backends.memory", "MemoryStore"),
    "s3": _Backend("truthstore.backends.s3", "S3Store", "boto3", "s3", _CLOUD),
}
_ALIASES: Final = {"azure_blob": "azure", "db": "database", "file": "filesystem", "sql": "database"}
_SCHEMES: Final = {
    "az": "azure",
    "file": "filesystem",
    "gs": "gcs",
    "memory": "memory",
    "s3": "s3",
    **dict.fromkeys(
        ("cockroachdb", "duckdb", "mariadb", "mssql", "mysql", "oracle", "postgres", "postgresql", "sqlite"), "database"
    ),
}
"""The backends by the scheme of a URL; a ``+`` and what follows it names a driver."""

_PLANNED: Final = {"git": "git", "mongodb": "mongodb", "redis": "redis", "rediss": "redis"}
"""Backends that are yet to come, by name and scheme: they are neither misspelt nor databases."""

_FOLDER_HINT: Final = "for a folder write get_store('filesystem', base_path=…), or file:///path"
_POSTGRES_HINT: Final = "write get_store('postgresql://user:password@host/database')"
_HINTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("azure", "abfs", "abfss", "adl", "azblob", "wasb", "wasbs"), "write az://container/prefix"),
    **dict.fromkeys(("gcs", "gs"), "write gs://bucket/prefix"),
    **dict.fromkeys(("s3", "s3a", "s3n", "aws"), "write s3://bucket/prefix"),
    **dict.fromkeys(("minio", "r2"), "write s3://bucket/prefix?endpoint_url=…"),
    **dict.fromkeys(("http", "https"), "write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"),
    **dict.fromkeys(("filesystem", "local", "fs"), _FOLDER_HINT),
    **dict.fromkeys(("pg", "pgsql", "psql", "postgres", "postgresql"), _POSTGRES_HINT),
    **dict.fromkeys(("mysql", "mariadb"), "write get_store('mysql://user:password@host/database')"),
    **dict.fromkeys(("sqlite", "sqlite3"), "write get_store('sqlite:///store.db')"),
    "database": "write sqlite:///store.db, or postgresql://, mysql:// or mariadb://user:password@host/database",
}
"""What to write instead of names and schemes that others use, or for a backend that needs a URL."""

# The one piece of mutable module state: stores that users register.
_registered: dict[str, Factory] = {}


def register_store(name: str) -> Callable[[S], S]:
    """Register a store class, or a function that returns a store, under a name; a decorator.

    Packages do the same for their users with an entry point in the group ``truthstore.stores``.

    Raises:
        StoreConfigError: the name is taken, or is no name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_+.-]*", name):
        raise StoreConfigError(f"{name!r} cannot name a store: use [a-z][a-z0-9_+.-]*")
    if name in _BACKENDS or name in _ALIASES:
        raise StoreConfigError(f"{name!r} is a store of this library: choose another name")

    def register(factory: S) -> S:
        if name in _registered and _place(_registered[name]) != _place(factory):
            raise StoreConfigError(f"a store named {name!r} is registered already")
        _registered[name] = factory
        return factory

    return register


def _place(factory: Factory) -> tuple[str, str]:
    # A module that is reloaded defines the same class again.
    return factory.__module__, getattr(factory, "__qualname__", repr(factory))


def list_available_backends() -> list[str]:
    """Return the names of the backends whose dependencies are installed."""
    return sorted(name for name in _known_names() if is_backend_available(name))


def is_backend_available(name: str) -> bool:
    """Return whether a backend is known and its dependencies are installed."""
    backend = _BACKENDS.get(_ALIASES.get(name, name))
    return name in _known_names() if backend is None else _is_installed(backend.needs)


def _is_installed(module: str | None) -> bool:
    try:
        return module is None or find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _entry_points() -> dict[str, EntryPoint]:
    from importlib import metadata  # which takes as long to import as all of this

    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def _known_names() -> set[str]:
    return {*_BACKENDS, *_registered, *_entry_points()}


def _factory_of(name: str) -> Factory:
    """Return the class or function that makes the stores of a backend.

    Raises:
        StoreConfigError: there is no such backend, or it cannot be loaded.
    """
    name = _ALIASES.get(name, name)
    if (backend := _BACKENDS.get(name)) is not None:
        _check_installed(name, backend)
        factory: Factory = getattr(importlib.import_module(backend.module), backend.store)
        return factory
    if name in _registered:
        return _registered[name]
    if (point := _entry_points().get(name)) is not None:
        try:
            loaded: Factory = point.load()
        except ImportError as error:
            raise StoreConfigError(
                f"the {name} store of {point.value} cannot be loaded: {error}", backend=name
            ) from error
        return loaded
    raise _unknown(name)


def _check_installed(name: str, backend: _Backend) -> None:
    if backend.needs and not _is_installed(backend.needs):
        needs = f"the {name} store needs {backend.needs.replace('.', '-')}"
        raise StoreConfigError(f"{needs}: pip install 'truthstore[{backend.extra}]'", backend=name)


def _unknown(name: str) -> StoreConfigError:
    """Return the error for what is neither the name nor the URL of a store."""
    scheme = re.split(r"[+:]", name.lower())[0]
    if (planned := _PLANNED.get(scheme)) is not None:
        there = ", ".join(sorted(_known_names()))
        return StoreConfigError(f"this version has no {planned} backend yet: there are {there}", backend=planned)
    hint = _HINTS.get(scheme) or _HINTS.get(_SCHEMES.get(scheme, ""))
    if hint is None and re.search(r"\.(db|sqlite3?)$", name):
        hint = _HINTS["sqlite"]
    if hint is None and re.search(r"[/\\]|^[.~]", name):
        hint = _FOLDER_HINT
    if hint is None:
        hint = nearest(scheme, _known_names() | set(_ALIASES), "there are")
    is_place = ":" in name or re.match(r"[/\\.~]", name)
    shown = repr(shown_url(name)) if is_place else echoed(name, {*_known_names(), *_ALIASES, *_HINTS})
    return StoreConfigError(f"there is no store {shown}: {hint}")


def _read_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the backend's name and the options in a URL; stores that are not of this library get it as ``url``.

    Raises:
        StoreConfigError: the URL says something that its backend cannot mean.
    """
    scheme = url.partition("://")[0]
    check_url(url)
    if scheme in {*_registered, *_entry_points()}:
        return scheme, {**split_url(url)[1], "url": url.partition("?")[0]}
    name = _SCHEMES.get(scheme) or _SCHEMES.get(scheme.partition("+")[0])
    if name is None:
        raise _unknown(scheme)
    backend = _BACKENDS[name]
    if not backend.url:
        return name, split_url(url)[1]
    _check_installed(name, backend)
    options: dict[str, Any] = importlib.import_module(backend.url).options_of_url(url)
    return name, options


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
        layers: wrappers, innermost first: see `stack`.
        options: options of the backend.

    Raises:
        StoreConfigError: no such store, a missing dependency, options that make no sense, or an unknown one in the URL.
        TypeError: an unknown keyword.
    """
    if not isinstance(backend, str):
        raise TypeError(f"backend is a name or a URL, not {type(backend).__name__}: {_FOLDER_HINT}")
    if not isinstance(collection, Collection):
        raise TypeError(f"collection is a Collection (see Collection.of), not {collection!r:.80}")
    given: dict[str, Any] = {}
    if ":" in backend:
        if "://" not in backend:
            raise _unknown(backend)
        backend, given = _read_url(backend)
    factory = _factory_of(backend)
    options = {**_from_url(factory, given, backend), **converted(factory, options)}
    return stack(factory(collection=collection, **options), *layers)


def _from_url(factory: Factory, given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the options that a URL gives, checked and as the store declares them.

    Raises:
        StoreConfigError: there is no such option, or its value is of another type.
    """
    check_options(factory, given, f"the {name} store")
    try:
        return converted(factory, given)
    except TypeError as error:
        raise StoreConfigError(str(error)) from error


def stack(base: BaseStore[T], *layers: Layer) -> BaseStore[T]:
    """Put layers on a store, innermost first: classes, functions from a store to a store, or short names (``"caching"``).

    Packages offer layers of their own by a name with an entry point in the group ``truthstore.layers``.

    Raises:
        TypeError: a layer is no function, or does not return a store.
        StoreConfigError: there is no layer of that name, or it cannot stand there.
    """
    store: BaseStore[Any] = base
    for layer in layers:
        make = layer_named(layer) if isinstance(layer, str) else layer
        if not callable(make):
            raise TypeError(f"a layer is a class, a function from a store to a store, or a name, not {layer!r:.80}")
        store = make(store)
        if not isinstance(store, BaseStore):
            raise TypeError(f"a layer takes a store and returns one; {layer!r} returned a {type(store).__name__}")
    return store
