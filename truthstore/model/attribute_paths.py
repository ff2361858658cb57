"""Dotted paths of attributes to values in an item, through dicts and lists on the way."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from inspect import get_annotations
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from truthstore.errors import StoreConfigError, nearest

__all__ = ["attributes", "check_path", "choices_at", "follow", "kinds_at", "strings"]


def attributes(cls: type) -> tuple[str, ...]:
    """Return the names of the attributes of a Struct, dataclass or attrs class.

    Raises:
        TypeError: the class is of none of the three kinds.
    """
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    if hasattr(cls, "__attrs_attrs__"):
        return tuple(attribute.name for attribute in cls.__attrs_attrs__)
    raise TypeError(f"{cls.__name__} is neither a msgspec Struct nor a dataclass nor an attrs class")


def check_path(collection: str, path: str, known: frozenset[str], cls: type) -> None:
    """Check that a path can start in a class.

    Raises:
        StoreConfigError: the class has no such attribute.
    """
    first = path.split(".", maxsplit=1)[0]
    if first not in known and not hasattr(cls, first):
        raise StoreConfigError(f"{collection}: {cls.__name__} has no attribute {first!r}: {nearest(first, known)}")


def _hint(cls: type, name: str) -> Any:
    """Return the annotation of one attribute: to compile all of a class takes longer than a query."""
    owner = next(kind for kind in cls.__mro__ if name in get_annotations(kind))
    alone = SimpleNamespace(__annotations__={name: get_annotations(owner)[name]})
    return get_type_hints(alone, vars(sys.modules[owner.__module__]), dict(vars(owner)))[name]


@lru_cache(maxsize=1_000)
def kinds_at(cls: type, path: str) -> tuple[Any, ...]:
    """Return the types with which the attribute at a path is annotated, but for None; none if they are not known."""
    kinds: tuple[Any, ...] = (cls,)
    for step in path.split("."):
        try:
            (owner,) = kinds
            hint = _hint(owner, step)
        except Exception:  # noqa: BLE001  # annotations may name what is not there, and run any code
            return ()
        kinds = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
        kinds = tuple(kind for kind in kinds if kind is not NoneType)
    return kinds


def choices_at(cls: type, path: str) -> frozenset[str]:
    """Return the values that an attribute can have which is annotated as an enum; none for any other."""
    kinds = kinds_at(cls, path)
    if not all(isinstance(kind, type) and issubclass(kind, enum.Enum) for kind in kinds):
        return frozenset()
    return frozenset(member.value for kind in kinds for member in kind)


def cannot_be_time(cls: type, path: str) -> bool:
    """Return whether an attribute is annotated with nothing but built-in types, such as ``int | None``."""
    kinds = [get_origin(kind) or kind for kind in kinds_at(cls, path)]
    return bool(kinds) and all(
        isinstance(kind, type) and kind.__module__ == "builtins" and kind is not object for kind in kinds
    )


def follow(item: Any, path: str) -> Any:
    """Return the value at a path; None if something on the way is None."""
    for step in path.split("."):
        if item is None:
            return None
        item = item.get(step) if isinstance(item, Mapping) else getattr(item, step)
    return item


def strings(item: Any, path: Sequence[str]) -> Iterator[str]:
    """Iterate over the strings at a path, of all items of the lists on the way and below its end."""
    if item is None:
        return
    if isinstance(item, enum.Enum):
        item = item.value
    if isinstance(item, str):
        if not path:
            yield item
        return
    if isinstance(item, Mapping):
        inner: Iterable[Any] = [item.get(path[0])] if path else item.values()
        for value in inner:
            yield from strings(value, path[1:])
    elif isinstance(item, Iterable):
        for value in item:
            yield from strings(value, path)
    elif path:
        yield from strings(getattr(item, path[0]), path[1:])
    else:
        yield str(item)
