"""What all items have in common: `to_dict` and `from_dict`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Self, cast, get_args

import msgspec

from truthstore.model.fields import plain_time

__all__ = ["Item", "time_of"]


class Item:
    """A Struct whose instances become dicts and come back."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON-ready builtins: times as ISO strings.

        Raises:
            ValueError: a free-form dict holds a cycle.
        """
        from truthstore.model.values import storable_mapping  # which most programs never need

        return storable_mapping(msgspec.structs.asdict(cast("msgspec.Struct", self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Invert `to_dict`. Unknown fields are ignored; optional ones may be missing or None, times datetimes or ISO strings.

        Raises:
            TypeError: `data` is no dict.
            ValueError: a required field is missing, or one has the wrong type (msgspec's `ValidationError`).
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"data is a dict, not {type(data).__name__}")
        given = _without_none(cls, data)
        try:
            return msgspec.convert(given, cls, from_attributes=True, str_keys=True)
        except msgspec.ValidationError:
            if not {"NaN", "Infinity"}.intersection(re.findall(r"\w+", repr(given))):
                raise
            return msgspec.convert(given, cls, from_attributes=True, str_keys=True, strict=False)


def _without_none(kind: Any, data: Any) -> Any:
    """Leave out what is None in the dict of an item, and in those of the items within it."""
    if not isinstance(data, Mapping):
        return data
    given = {name: value for name, value in data.items() if value is not None}
    for name, inner in _inner_items(kind).items():
        if isinstance(several := given.get(name), list | tuple):
            given[name] = [_without_none(inner, one) for one in several]
        elif name in given:
            given[name] = _without_none(inner, given[name])
    return given


@cache
def _inner_items(kind: Any) -> dict[str, type[Item]]:
    """Return the fields that hold an item or a list of items, with its class."""
    found = {field.name: next(iter(get_args(field.type)), field.type) for field in msgspec.structs.fields(kind)}
    return {name: inner for name, inner in found.items() if isinstance(inner, type) and issubclass(inner, Item)}


def time_of(value: Any, name: str = "a time") -> datetime | None:
    """Return a plain datetime for a datetime of any class, a NumPy time or an ISO string; None for None and NaT.

    Raises:
        ValueError: it is none of these.
    """
    plain = plain_time(datetime.fromisoformat(value) if isinstance(value, str) else value)
    if plain is not None and not isinstance(plain, datetime):
        raise ValueError(f"{name} must be a datetime or an ISO string, not {value!r:.80}")  # as documented
    return plain
