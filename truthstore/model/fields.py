"""Ids, fields and tags: their limits, and the form in which they are indexed."""

from __future__ import annotations

import enum
import math
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreKeyError, StoreWriteError, shown

if TYPE_CHECKING:
    from truthstore.model.record import FieldValue

__all__ = [
    "Field",
    "check_id",
    "check_string",
    "check_tags",
    "index_value",
    "plain_text",
    "plain_time",
    "to_microseconds",
]

MAX_ID: Final = 1_024
HOLD_TAG: Final = "truthstore.protected"
HOLD_VALUE: Final = "yes"
"""The tag of an item that retention must keep."""
MAX_FIELD_BYTES: Final = 4_096
MAX_TAGS: Final = 100
MAX_TAG_KEY: Final = 256
MAX_TAG_VALUE: Final = 1_024
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1
FIELD_TYPES: Final = (str, int, float, bool, datetime)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
FIRST_MOMENT: Final = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)
_CONTROL_OR_SURROGATE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Field(msgspec.Struct, frozen=True):
    """A field that queries may name.

    Attributes:
        type: str, int, float, bool or datetime. Every field may also be None.
        path: where it lies in the item, as a dotted path of attributes; empty means under its own name.
        indexed: whether it gets an index of its own, not just a place in the index rows.
    """

    type: type
    path: str = ""
    indexed: bool = True


def to_microseconds(value: datetime | date) -> int:
    """Convert a time to UTC microseconds since 1970. A naive time means local time; a date means its first moment."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001  # naive means local, here too
    elif type(value) is datetime and value.tzinfo is UTC:
        return (value - EPOCH) // MICROSECOND
    try:
        # Whole seconds are exact in a float; microseconds beside them would not be.
        return int(value.replace(microsecond=0).timestamp()) * 1_000_000 + value.microsecond
    except (ValueError, OverflowError):
        # Within a day of the calendar's ends a local time cannot be converted. Further in the offset is the same.
        inwards = timedelta(days=-2 if value.year > EPOCH.year else 2)
        return (
            int((value + inwards).replace(microsecond=0).timestamp()) * 1_000_000
            + value.microsecond
            - inwards // MICROSECOND
        )


def plain_text(value: Any) -> Any:
    """Return the plain string that a string's subclass, an enum member or a path stands for, and anything else as it is."""
    if type(value) is str:
        return value
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return str.__str__(value) if isinstance(value, str) else value


def plain_time(value: Any) -> Any:
    """Return the plain datetime that a subclass of it or a NumPy datetime64 stands for, and anything else as it is.

    What is finer than microseconds is cut off; NaT becomes None.
    """
    if type(value).__name__ == "NaTType":
        return None
    if type(value).__name__ == "datetime64":
        return value.astype("datetime64[us]").tolist()
    if isinstance(value, datetime) and type(value) is not datetime:
        return datetime.combine(value.date(), value.timetz())
    return value


def check_id(id: object) -> str:
    """Return the id as a plain string, if it can be used.

    Raises:
        TypeError: it is not a string.
        StoreKeyError: it is empty, longer than 1,024 characters, or holds control characters or lone surrogates.
    """
    id = plain_text(id)
    if not isinstance(id, str):
        raise TypeError(f"an id is a string, not {type(id).__name__}")
    if not id:
        raise StoreKeyError("an id cannot be empty", identifier=id)
    if len(id) > MAX_ID:
        raise StoreKeyError(f"id of {len(id)} characters: at most {MAX_ID} are allowed", identifier=id)
    # Printable strings, nearly all ids, hold neither control characters nor surrogates.
    if not id.isprintable() and (found := _CONTROL_OR_SURROGATE.search(id)):
        raise StoreKeyError(
            f"id {shown(id)} holds U+{ord(found[0]):04X}: control characters are not allowed", identifier=id
        )
    return id


def check_tags(tags: Mapping[Any, Any]) -> dict[str, str]:
    """Return the tags, if they are within the limits.

    Raises:
        StoreWriteError: they are not strings, hold U+0000 or lone surrogates, or are too many or too long.
    """
    if len(tags) > MAX_TAGS:
        raise StoreWriteError(f"{len(tags)} tags: at most {MAX_TAGS} are allowed")
    if not {*map(type, tags), *map(type, tags.values())} <= {str}:
        tags = {plain_text(key): plain_text(value) for key, value in tags.items()}
    elif len(together := "".join([*tags, *tags.values()])) <= MAX_TAG_KEY and together.isprintable() and "" not in tags:
        return dict(tags)  # nearly always: all of it is no longer than one key may be
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            wrong = value if isinstance(key, str) else key
            raise StoreWriteError(f"tag {key!r:.80}: keys and values are strings, not {type(wrong).__name__}")
        if not key or len(key) > MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise StoreWriteError(
                f"tag {shown(key)}: a key has 1 to {MAX_TAG_KEY} characters, a value at most {MAX_TAG_VALUE}"
            )
        check_string(key)
        check_string(value)
    return dict(tags)


def check_string(value: str) -> str:
    """Return the string, if every backend can keep it.

    Raises:
        StoreWriteError: it holds U+0000 or lone surrogates.
    """
    if not value.isprintable():
        if "\0" in value:
            raise StoreWriteError(f"{shown(value)} holds U+0000, which SQL databases cannot keep")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise StoreWriteError(f"{shown(value)} holds a lone surrogate") from error
    return value


def _to_str(value: Any) -> str:
    value = plain_text(value)
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {type(value).__name__}")
    if len(value) > MAX_FIELD_BYTES // 4 and len(value.encode(errors="replace")) > MAX_FIELD_BYTES:
        raise ValueError(f"longer than {MAX_FIELD_BYTES} bytes")
    return check_string(value)


def _to_int(value: Any) -> int:
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise TypeError(f"expected an integer, got {type(value).__name__}")
    number = int(value)
    if not MIN_INT <= number <= MAX_INT:
        raise OverflowError(f"{number} does not fit 64 bits")
    return number


def _to_float(value: Any) -> float | None:
    if type(value) is not float and (isinstance(value, str) or not hasattr(value, "__float__")):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    number = float(value)
    return None if math.isnan(number) else number


def _to_bool(value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ not in {"bool", "bool_"}:
        raise TypeError(f"expected a bool, got {type(value).__name__}")
    return bool(value)


def _to_time(value: Any) -> int:
    if not isinstance(value, date):
        raise TypeError(f"expected a datetime, got {type(value).__name__}")
    if isinstance(value, datetime) and value.tzinfo is not None and value.tzinfo is not UTC:
        offset = value.utcoffset()
        if offset is not None and offset.total_seconds() % 60:
            # RFC 3339 (5.6) has no seconds in an offset: what is read back would be another moment.
            raise ValueError(f"its distance from UTC, {offset}, is not in whole minutes: convert it to UTC")
    return to_microseconds(value)


CONVERT: Final[Mapping[type, Callable[[Any], FieldValue]]] = MappingProxyType(
    {str: _to_str, int: _to_int, float: _to_float, bool: _to_bool, datetime: _to_time}
)


def index_value(field: Field, value: Any) -> FieldValue:
    """Return a value in the form in which a field is indexed.

    Raises:
        TypeError, ValueError: it is of another type, or does not fit.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    elif field.type is datetime:
        value = plain_time(value)
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    return CONVERT[field.type](value)
