"""Objects as what they hold, under the names that it has there: only then is it seen what is sensitive in them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["opened", "plain"]


def opened(value: Any) -> Any:
    """What an object holds, one level deep; anything else as it is.

    Dataclasses, named tuples, classes of msgspec and attrs become dicts, enumerations their values, sets lists.
    """
    if isinstance(value, type):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return list(value)
    names = _names(value)
    # What was never set is not told; msgspec does not tell it either.
    return value if names is None else {told: getattr(value, name) for told, name in names if hasattr(value, name)}


def _names(value: Any) -> list[tuple[str, str]] | None:
    """The names under which an object is told, and those of its attributes."""
    if isinstance(value, msgspec.Struct):
        pairs = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return [(told, name) for told, name in pairs if getattr(value, name) is not msgspec.UNSET]
    if dataclasses.is_dataclass(value):
        return [(field.name, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)  # of a named tuple
    else:
        names = [field.name for field in getattr(value, "__attrs_attrs__", ())] or None
    return None if names is None else [(name, name) for name in names]


def plain(value: Any) -> Any:
    """The same with all objects opened, however deep."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {opened(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if type(value) is tuple:
        return tuple(plain(one) for one in value)
    told = opened(value)
    return value if told is value else plain(told)
