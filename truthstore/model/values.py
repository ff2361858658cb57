r"""Other tools' values as builtins that every encoding keeps and gives back equal.

| value | becomes |
|---|---|
| NumPy scalars | Python numbers, strings, times; then as below |
| NaN, Infinity, -Infinity | the strings ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` |
| pandas.NaT, pandas.NA, NumPy's NaT, None | None |
| datetime, pandas.Timestamp, numpy.datetime64 | ISO 8601 with offset; naive ones without, which means local time |
| date, time | ISO 8601 |
| timedelta, pandas.Timedelta, numpy.timedelta64 | ISO 8601 duration: ``"P1DT2.5S"`` |
| Decimal, Fraction, complex, UUID, Path | strings |
| whole numbers beyond 64 bits | strings |
| bytes | Base64 |
| Enum members | their value |
| tuples, sets, arrays, Series, Index, iterators of dict views | lists; sets sorted |
| mappings | dicts; keys become strings |
| tables (pandas, polars) | a list of one dict per row |
| dataclasses, attrs classes, msgspec Structs, named tuples, objects with `to_json_dict()` or `to_dict()` | dicts |
| functions and classes | their dotted name |
| anything else | `str()` of it |
| text with U+0000 or lone surrogates | the same, with these escaped (``\x00``, ``\ud800``) |

No tool is imported here: values are known by what they can do.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
import os
from collections.abc import ItemsView, Iterable, KeysView, Mapping, Sequence, Set as AbstractSet, ValuesView
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final, cast

import msgspec

__all__ = ["SAMPLE_SIZE", "capped", "name_of", "sample", "storable", "storable_mapping", "text_of"]

SAMPLE_SIZE: Final = 20
"""How many failing values a result keeps."""

SAMPLE_TEXT: Final = 1_000
LIST_LENGTH: Final = 100
MAX_DEPTH: Final = 100
SMALLEST: Final = -(2**63)
LARGEST: Final = 2**63 - 1


def storable(value: Any) -> Any:
    """Return the value as builtins, as the table above says.

    Raises:
        ValueError: it holds itself, or is nested deeper than 100 levels.
    """
    return _storable(value, ())


def storable_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Do the same for a mapping. Keys that become equal as strings are distinguished by their type: ``1``, ``1 (str)``.

    Raises:
        ValueError: it holds itself, or is nested deeper than 100 levels.
    """
    return _mapping(value, (id(value),))


def sample(values: Iterable[Any], size: int = SAMPLE_SIZE) -> list[Any]:
    """Return the first values, storable; long strings are cut to 1,000 characters. The true count belongs beside them."""
    return [_cut(storable(value)) for value in islice(values, size)]


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
    return _text(str(value))


def name_of(value: object) -> str | None:
    """Return a column's or check's name: strings as they are, None for None, names of several levels joined by dots."""
    if isinstance(value, tuple):
        return ".".join(text_of(part) for part in value)
    return None if value is None else text_of(value)


def _text(text: str) -> str:
    if text.isprintable():
        return str(text)
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _cut(value: Any) -> Any:
    return value[:SAMPLE_TEXT] + "…" if isinstance(value, str) and len(value) > SAMPLE_TEXT else value


def _storable(value: Any, above: tuple[int, ...]) -> Any:
    """Convert a value; `above` holds the ids of the containers that it lies in."""
    if isinstance(value, enum.Enum):
        return _storable(value.value, above)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value) if SMALLEST <= value <= LARGEST else str(int(value))
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, date | time | timedelta | Decimal | bytes | bytearray | memoryview | os.PathLike):
        return _scalar(value)
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if id(value) in above:
        raise ValueError(f"a {type(value).__name__} holds itself and cannot be stored")
    if len(above) >= MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return _compound(value, (*above, id(value)))


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _scalar(value: date | time | timedelta | Decimal | bytes | bytearray | memoryview | os.PathLike[Any]) -> str | None:
    if isinstance(value, date | time):
        text = value.isoformat()
        # pandas.NaT passes for a datetime.
        return None if text == "NaT" else text
    if isinstance(value, timedelta):
        return str(msgspec.to_builtins(timedelta(value.days, value.seconds, value.microseconds)))
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, os.PathLike):
        return _text(os.fsdecode(value))
    return _special_decimal(value)


def _special_decimal(value: Decimal) -> str:
    return str(value) if value.is_finite() else str(_float(float("nan") if value.is_nan() else float(value)))


def _compound(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value, above)
    if isinstance(value, AbstractSet) and not isinstance(value, ItemsView | KeysView):
        return sorted((_storable(inner, above) for inner in value), key=_order)
    if callable(fields := getattr(value, "_asdict", None)):
        return _mapping(cast("Mapping[Any, Any]", fields()), above)
    if isinstance(value, Sequence | ItemsView | KeysView | ValuesView):
        return [_storable(inner, above) for inner in value]
    if (rows := _rows(value)) is not None:
        return [_storable(row, above) for row in rows]
    if hasattr(value, "dtype") and (inner := _array(value)) is not value:
        return _storable(inner, above)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if (mapping := _fields(value)) is not None:
        return _mapping(mapping, above)
    return text_of(value)


def _mapping(value: Mapping[Any, Any], above: tuple[int, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, inner in value.items():
        name = key_type = _key(key)
        if name in result:
            name = f"{key_type} ({type(key).__name__})"
            number = 2
            while name in result:
                name = f"{key_type} ({type(key).__name__} {number})"
                number += 1
        result[name] = _storable(inner, above)
    return result


def _key(key: Any) -> str:
    if type(key) is str and key.isprintable():
        return key
    plain = storable(key)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _order(value: Any) -> tuple[str, Any, str]:
    """Sort a set's members: numbers by value, all else by their JSON, each kind by itself."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", value, ""
    return type(value).__name__, 0, json.dumps(value, sort_keys=True)


def _array(value: Any) -> Any:
    """Return the content of a NumPy scalar, array, pandas or polars column as Python objects; the value itself if unknown."""
    kind = getattr(value.dtype, "kind", "")
    if kind in {"M", "m"} and hasattr(value, "astype") and hasattr(value, "item") and not hasattr(value, "array"):
        # NumPy gives nanoseconds as bare integers; microseconds as datetime and timedelta.
        return value.astype(f"{'datetime' if kind == 'M' else 'timedelta'}64[us]").tolist()
    for name in ("tolist", "to_list", "item"):
        if callable(method := getattr(value, name, None)):
            return method()
    return value


def _rows(value: Any) -> list[dict[Any, Any]] | None:
    """Return the rows of a table, None for anything else."""
    if callable(method := getattr(value, "to_dicts", None)):
        return list(cast("list[dict[Any, Any]]", method()))
    if callable(method := getattr(value, "itertuples", None)):
        names = list(value.columns)
        rows = cast("Iterable[tuple[Any, ...]]", method(index=False, name=None))
        return [dict(zip(names, row, strict=True)) for row in rows]
    return None


def _fields(value: Any) -> Mapping[Any, Any] | None:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if attributes := getattr(type(value), "__attrs_attrs__", None):
        return {attribute.name: getattr(value, attribute.name) for attribute in attributes}
    for name in ("to_json_dict", "to_dict"):
        if callable(method := getattr(value, name, None)):
            mapping = method()
            return mapping if isinstance(mapping, Mapping) else None
    return None
