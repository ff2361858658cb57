"""The backends by name: those of this library, those that users register, and those of installed packages."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from truthstore.errors import StoreConfigError, nearest
from truthstore.store.store import BaseStore
from truthstore.store.urls import split_url

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "Factory",
    "factory_of",
    "is_backend_available",
    "is_planned",
    "known_names",
    "list_available_backends",
    "options_of_url",
    "register_store",
]

S = TypeVar("S", bound=Callable[..., BaseStore[Any]])

Factory = Callable[..., BaseStore[Any]]

ENTRY_POINTS: Final = "truthstore.stores"


class _Backend(NamedTuple):
    """Place and needs of a backend of this library, and the reader of its URLs (``module:function``)."""

    module: str
    store: str
    needs: str | None = None
    extra: str | None = None
    url: str = ""


_BUCKET_URL: Final = "truthstore.backends.cloud.config:options_of_url"
_BACKENDS: Final[Mapping[str, _Backend]] = {
    "azure": _Backend("truthstore.backends.azure_blob", "AzureBlobStore", "azure.storage.blob", "azure", _BUCKET_URL),
    "database": _Backend(
        "truthstore.backends.database",
        "DatabaseStore",
        "sqlalchemy",
        "db",
        "truthstore.backends.database.config:options_of_url",
    ),
    "filesystem": _Backend(
        "truthstore.backends.filesystem", "open_folder", url="truthstore.backends.filesystem.config:options_of_url"
    ),
    "gcs": _Backend("truthstore.backends.gcs", "GCSStore", "google.cloud.storage", "gcs", _BUCKET_URL),
    "memory": _Backend("truthstore.backends.memory", "MemoryStore"),
    "s3": _Backend("truthstore.backends.s3", "S3Store", "boto3", "s3", _BUCKET_URL),
}
_SCHEMES: Final = {"az": "azure", "file": "filesystem", "gs": "gcs", "memory": "memory", "s3": "s3"}
_DATABASES: Final = frozenset(
    {"cockroachdb", "duckdb", "mariadb", "mssql", "mysql", "oracle", "postgres", "postgresql", "sqlite"}
)
"""Schemes that are SQLAlchemy's; so is every one that is not registered and names a driver (``dialect+driver``)."""
_ALIASES: Final = {"azure_blob": "azure", "db": "database", "file": "filesystem", "sql": "database"}

_PLANNED: Final = {"git": "git", "mongodb": "mongodb", "redis": "redis", "rediss": "redis"}
"""Backends that are yet to come, by name and scheme: they are neither misspelt nor databases."""

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
        known = _registered.get(name)
        if known is not None and known is not factory and _place(known) != _place(factory):
            raise StoreConfigError(f"a store named {name!r} is registered already")
        _registered[name] = factory
        return factory

    return register


def _place(factory: Factory) -> tuple[str, str]:
    # A module that is reloaded defines the same class again.
    return getattr(factory, "__module__", ""), getattr(factory, "__qualname__", repr(factory))


def list_available_backends() -> list[str]:
    """Return the names of the backends whose dependencies are installed."""
    return sorted(name for name in known_names() if is_backend_available(name))


def is_backend_available(name: str) -> bool:
    """Return whether a backend is known and its dependencies are installed."""
    name = _ALIASES.get(name, name)
    backend = _BACKENDS.get(name)
    if backend is not None:
        return backend.needs is None or _is_installed(backend.needs)
    return name in _registered or name in _entry_points()


def _is_installed(module: str) -> bool:
    try:
        from importlib.util import find_spec

        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _entry_points() -> dict[str, EntryPoint]:
    from importlib import metadata

    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def known_names() -> set[str]:
    """Return the names of all backends, with or without their dependencies."""
    return {*_BACKENDS, *_registered, *_entry_points()}


def is_planned(name: str) -> bool:
    """Return whether a name or scheme belongs to a backend that is yet to come."""
    return name.partition("+")[0] in _PLANNED


def factory_of(name: str) -> Factory:
    """Return the class or function that makes the stores of a backend.

    Raises:
        StoreConfigError: there is no such backend, or it cannot be loaded.
    """
    name = _ALIASES.get(name, name)
    backend = _BACKENDS.get(name)
    if backend is not None:
        if backend.needs is not None and not _is_installed(backend.needs):
            raise StoreConfigError(
                f"the {name} store needs {backend.needs}: pip install 'truthstore[{backend.extra}]'", backend=name
            )
        factory: Factory = getattr(importlib.import_module(backend.module), backend.store)
        return factory
    if name in _registered:
        return _registered[name]
    point = _entry_points().get(name)
    if point is not None:
        try:
            loaded: Factory = point.load()
        except ImportError as error:
            raise StoreConfigError(
                f"the {name} store of {point.value} cannot be loaded: {error}", backend=name
            ) from error
        return loaded
    if is_planned(name):
        planned, there = _PLANNED[name.partition("+")[0]], ", ".join(sorted(known_names()))
        raise StoreConfigError(f"this version has no {planned} backend yet: there are {there}", backend=planned)
    known = known_names() | set(_ALIASES)
    raise StoreConfigError(f"there is no store {name!r}: {nearest(name, known).replace('it takes', 'there are')}")


def options_of_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the backend's name and the options in a URL; registered stores read their own URLs.

    Raises:
        StoreConfigError: the URL says something that its backend cannot mean.
    """
    scheme = url.partition("://")[0]
    name = _SCHEMES.get(scheme)
    if name is None and scheme not in known_names() and not is_planned(scheme):
        name = "database" if scheme in _DATABASES or "+" in scheme else None
    reader = _BACKENDS[name].url if name is not None else ""
    if name is not None and reader:
        module, _, function = reader.partition(":")
        options: dict[str, Any] = getattr(importlib.import_module(module), function)(url)
        return name, options
    _, options = split_url(url)
    return (name, options) if name is not None else (scheme, {**options, "url": url.partition("?")[0]})
