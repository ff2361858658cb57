r"""Any value as one that JSON has: the table of docs/data-types.md, for items that are saved and for other tools' results.

| value | becomes |
|---|---|
| NumPy scalars | Python numbers, strings, times; then as below |
| NaN, Infinity, -Infinity | the strings ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` |
| pandas.NaT, pandas.NA, NumPy's NaT, None | None |
| datetime, pandas.Timestamp, numpy.datetime64 | ISO 8601 with offset; naive ones without, which means local time |
| date, time, numpy.datetime64 of days and longer | ISO 8601 |
| timedelta, pandas.Timedelta, numpy.timedelta64 | ISO 8601 duration: ``"P1DT2.5S"`` |
| Decimal, Fraction, complex, UUID, Path | strings |
| bytes | Base64 |
| Enum members | their value |
| tuples, sets, arrays, Series, Index, iterators of dict views | lists; sets sorted |
| mappings | dicts; keys become strings, those that become equal are distinguished by their type: ``1``, ``1 (str)`` |
| tables (pandas, polars) | a list of one dict per row |
| dataclasses, attrs classes, msgspec Structs, objects with `to_json_dict()` or `to_dict()` | dicts |

Of other tools' results, functions and classes become their dotted name, anything else its `str()`, and U+0000 and lone
surrogates are escaped (``\x00``, ``\ud800``); items that hold such things are refused.

No tool is imported here: values are known by what they can do.
"""

from __future__ import annotations

import base64
import copy
import enum
import json
import math
import os
import re
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, Sequence, Set as AbstractSet, ValuesView
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from numbers import Number
from operator import is_
from types import NoneType
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from truthstore.model.attribute_paths import attributes

__all__ = [
    "SAMPLE_SIZE",
    "capped",
    "finite",
    "is_json",
    "name_of",
    "plain",
    "sample",
    "storable",
    "storable_mapping",
    "text_of",
    "tidy",
]

SAMPLE_SIZE: Final = 20
"""How many failing values a result keeps."""

SAMPLE_TEXT: Final = 1_000
LIST_LENGTH: Final = 100
MAX_DEPTH: Final = 100
# For each unit of NumPy's durations how many seconds, and of how many digits behind the point.
_UNITS: Final = {
    "W": (604_800, 0),
    "D": (86_400, 0),
    "h": (3_600, 0),
    "m": (60, 0),
    "s": (1, 0),
    **{unit: (1, 3 * place) for place, unit in enumerate(("ms", "us", "ns", "ps", "fs", "as"), 1)},
}
_UNIT: Final = re.compile(r"\[(\d*)(\w+)\]")
_ATOMS: Final = frozenset({str, int, bool, NoneType, bytes, date, time, timedelta, Decimal, UUID})
_TEXT: Final = frozenset({str})


def storable(value: Any) -> Any:
    """Return another tool's value as builtins, as the table above says.

    Raises:
        ValueError: it is nested deeper than 100 levels, or holds itself.
    """
    return _storable(value, 0, strict=False)


def storable_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Do the same for a mapping."""
    return _mapping(value, storable, strict=False)


def plain(value: Any) -> Any:
    """Return builtins for an object in an item that msgspec does not know, as the table above says.

    Raises:
        NotImplementedError: the table does not have it (msgspec's own convention for hooks).
        ValueError: it is nested deeper than 100 levels, or holds itself.
    """
    return _storable(value, 0, strict=True)


def tidy(value: Any) -> Any:
    """Return a value in which msgspec finds nothing that JSON would lose or change; mostly it is the same object.

    That are keys that are not strings, numbers that are not finite, the order of sets, and offsets with seconds.
    """
    kind: Any = type(value)
    if kind in _ATOMS:
        return value
    if kind is float:
        return finite(value)
    if isinstance(value, dict):
        inner = value.values()
        if _TEXT.issuperset(map(type, value)):
            if _ATOMS.issuperset(map(type, inner)):
                return value
            tidied = list(map(tidy, inner))
            return value if all(map(is_, tidied, inner)) else dict(zip(value, tidied, strict=True))
        return _mapping(value, tidy, strict=True)
    if isinstance(value, list | tuple):
        if _ATOMS.issuperset(map(type, value)):
            return value
        tidied = list(map(tidy, value))
        return value if all(map(is_, tidied, value)) else tidied
    if isinstance(value, AbstractSet):
        return sorted(map(tidy, value), key=_order)
    if isinstance(value, datetime):
        offset = None if kind is not datetime or value.tzinfo is UTC else value.utcoffset()
        return value.isoformat() if offset and offset % timedelta(minutes=1) else value
    if isinstance(value, enum.Enum):
        return value if type(value.value) in {str, int} else plain(value)  # the others are msgspec's only in JSON
    changed = {}
    for name in _attributes(kind):
        before = getattr(value, name, None)
        if (after := tidy(before)) is not before:
            changed[name] = after
    if changed:
        value = copy.copy(value)
        for name, after in changed.items():
            set_attribute(value, name, after)
    return value


_Json: Any = None | bool | int | float | str
for _ in range(4):
    _Json = None | bool | int | float | str | list[_Json] | dict[str, _Json]


# Made by a loop: msgspec knows no recursive types.
_Free: Final = msgspec.defstruct("_Free", [("values", list[dict[str, _Json]])])


def is_json(values: Sequence[Any]) -> bool:
    """Return whether dicts hold only what JSON has, down to five levels, but for NaN and infinities: `tidy`, in C."""
    try:
        msgspec.convert({"values": values}, _Free)
    except (
        AttributeError,
        ValueError,
    ):  # of msgspec 0.21 for NumPy's floats; also of a decimal that is a signalling NaN
        return False
    return True


@lru_cache(maxsize=1_000)
def _attributes(kind: type) -> tuple[str, ...]:
    try:
        return tuple(attributes(kind))
    except TypeError:
        return ()


def set_attribute(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, of frozen objects too."""
    if isinstance(owner, msgspec.Struct):
        msgspec.structs.force_setattr(owner, name, value)
    else:
        object.__setattr__(owner, name, value)


def sample(values: Iterable[Any], size: int = SAMPLE_SIZE) -> list[Any]:
    """Return the first values, storable; long strings are cut to 1,000 characters. The true count belongs beside them."""
    return [_cut(storable(value)) for value in islice(values, size)]


def _cut(value: Any) -> Any:
    return value[:SAMPLE_TEXT] + "…" if isinstance(value, str) and len(value) > SAMPLE_TEXT else value


def capped(value: Any, length: int = LIST_LENGTH) -> Any:
    """Return a storable value with long lists cut; a last entry says how many are missing: ``"… 900 more"``."""
    if isinstance(value, dict):
        return {name: capped(inner, length) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        values: list[Any] = value
        kept = [capped(inner, length) for inner in values[:length]]
        return [*kept, f"… {len(values) - length:,} more"] if len(values) > length else kept
    return value


def text_of(value: object) -> str:
    """Return any object as text that every backend can store."""
    text = str(value)
    if text.isprintable():
        return str.__str__(text)
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def name_of(value: object) -> str | None:
    """Return a column's or check's name: strings as they are, None for None, names of several levels joined by dots."""
    if isinstance(value, tuple):
        return ".".join(text_of(part) for part in value)
    return None if value is None else text_of(value)


def finite(value: float) -> float | str:
    """Return a number that JSON has, or the name of one that it lacks."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _storable(value: Any, depth: int, *, strict: bool) -> Any:
    if isinstance(value, enum.Enum):
        return _storable(value.value, depth, strict=strict)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value) if strict else text_of(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return finite(float(value))
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value // timedelta(microseconds=1) * 1_000 + getattr(value, "nanoseconds", 0), 9)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, os.PathLike):
        return _storable(os.fsdecode(value), depth, strict=strict)
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels, or holds itself")
    return _compound(value, depth + 1, strict=strict)


def _compound(value: Any, depth: int, *, strict: bool) -> Any:
    def inner(part: Any) -> Any:
        return _storable(part, depth, strict=strict)

    if isinstance(value, Mapping):
        return _mapping(value, inner, strict=strict)
    if isinstance(value, AbstractSet) and not isinstance(value, ItemsView | KeysView):
        return sorted(map(inner, value), key=_order)
    if isinstance(value, Sequence | ItemsView | KeysView | ValuesView):
        return list(map(inner, value))
    if (rows := _rows(value)) is not None:
        return list(map(inner, rows))
    if hasattr(value, "dtype") and (content := _array(value)) is not value:
        return inner(content)
    if isinstance(value, Number | UUID):
        return str(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        if not strict:
            return f"{value.__module__}.{value.__qualname__}"
    elif (fields := _fields(value)) is not None:
        return _mapping(fields, inner, strict=strict)
    if strict:
        raise NotImplementedError(f"{type(value).__module__}.{type(value).__qualname__} cannot be stored")
    return text_of(value)


def _mapping(value: Mapping[Any, Any], convert: Callable[[Any], Any], *, strict: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, inner in value.items():
        name = key_type = _key(key, strict=strict)
        if name in result:
            name = f"{key_type} ({type(key).__name__})"
            number = 2
            while name in result:
                name = f"{key_type} ({type(key).__name__} {number})"
                number += 1
        result[name] = convert(inner)
    return result


def _key(key: Any, *, strict: bool) -> str:
    name = _storable(key, 0, strict=strict)
    return name if isinstance(name, str) else json.dumps(name, ensure_ascii=False)


def _order(value: Any) -> tuple[str, Any, str]:
    """Sort a set's members: numbers by value, all else by their JSON, each kind by itself."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", value, ""
    return type(value).__name__, 0, json.dumps(value, sort_keys=True, default=repr)


def _array(value: Any) -> Any:
    """Return the content of a NumPy scalar, array, pandas or polars column as Python objects; the value itself if unknown."""
    kind = getattr(value.dtype, "kind", "")
    if kind in {"M", "m"} and not hasattr(value, "array"):
        return _numpy_time(value, kind) if value.ndim == 0 else list(value)
    if kind in {"f", "c"} and value.dtype.itemsize > 8 * (1 + (kind == "c")):
        return value.astype("f8" if kind == "f" else "c16").tolist()  # NumPy keeps what Python's numbers do not hold
    for name in ("tolist", "to_list", "item"):
        if callable(method := getattr(value, name, None)):
            return method()
    return value


def _numpy_time(value: Any, kind: str) -> Any:
    """Return what a NumPy time or duration says, with all its digits."""
    number = value.tolist()
    if not isinstance(number, int):
        return number
    if kind == "M":
        text = str(value)
        return text.rstrip("0").rstrip(".") if "." in text else text
    found = _UNIT.search(value.dtype.str)
    if found is None:
        return number  # of no unit
    number *= int(found[1] or 1)
    if found[2] not in _UNITS:  # years and months, which have no fixed length
        return f"{'-' * (number < 0)}P{abs(number)}{found[2]}"
    seconds, digits = _UNITS[found[2]]
    return _duration(number * seconds, digits)


def _duration(number: int, digits: int) -> str:
    """Return a whole number of 10**-digits seconds as ISO 8601 has it."""
    seconds, part = divmod(abs(number), 10**digits)
    days, seconds = divmod(seconds, 86_400)
    fraction = f".{part:0{digits}}".rstrip("0") if part else ""
    clock = f"T{seconds}{fraction}S" if seconds or part or not days else ""
    return f"{'-' * (number < 0)}P{f'{days}D' if days else ''}{clock}"


def _rows(value: Any) -> list[dict[Any, Any]] | None:
    """Return the rows of a table, None for anything else."""
    if callable(method := getattr(value, "to_dicts", None)):
        return list(cast("list[dict[Any, Any]]", method()))
    if callable(method := getattr(value, "itertuples", None)):
        names = _distinct(value.columns)
        rows = cast("Iterable[tuple[Any, ...]]", method(index=False, name=None))
        return [dict(zip(names, row, strict=True)) for row in rows]
    return None


def _distinct(names: Iterable[Any]) -> list[Any]:
    """Return the names of columns, those that occur again numbered, so that none of them is lost."""
    found: dict[Any, None] = {}
    for name in names:
        one, number = name, 1
        while one in found:
            number += 1
            one = f"{text_of(name)} ({number})"
        found[one] = None
    return list(found)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    kind: Any = type(value)
    if names := _attributes(kind):
        return {name: getattr(value, name) for name in names}
    for name in ("to_json_dict", "to_dict"):
        if callable(method := getattr(value, name, None)):
            mapping = method()
            return mapping if isinstance(mapping, Mapping) else None
    return None
