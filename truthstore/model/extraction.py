"""Extraction of the indexed fields from items, by a function that is written for one collection.

A loop over the fields, with what each of their types asks for, takes twice as long as the same written out. So it is
written out, as dataclasses and attrs do with their methods: each part on the way to several fields is fetched once, and a
value that is indexed as it is costs a comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from truthstore.model.fields import EPOCH, MAX_FIELD_BYTES, MAX_INT, MICROSECOND, MIN_INT

if TYPE_CHECKING:
    from truthstore.model.fields import Field
    from truthstore.model.record import FieldValue

__all__ = ["Extract", "extractor"]

Extract: TypeAlias = "Callable[[Any], dict[str, FieldValue]]"
Convert: TypeAlias = "Callable[[str, Any], FieldValue]"

# For each type, when a value is not yet in its indexed form. A character has at most four bytes.
_UNUSUAL: Final[Mapping[type, str]] = {
    str: f"type({{0}}) is not str or len({{0}}) > {MAX_FIELD_BYTES // 4} or not {{0}}.isprintable()",
    int: f"type({{0}}) is not int or not {MIN_INT} <= {{0}} <= {MAX_INT}",
    float: f"type({{0}}) is not float or not {-sys.float_info.max!r} <= {{0}} <= {sys.float_info.max!r}",
    bool: "type({0}) is not bool",
    datetime: "type({0}) is not datetime or {0}.tzinfo is not UTC",
}
_NAMES: Final = {"EPOCH": EPOCH, "MICROSECOND": MICROSECOND, "UTC": UTC, "Enum": Enum, "datetime": datetime}


def extractor(fields: Mapping[str, Field], convert: Convert) -> Extract:
    """Make the function that returns an item's fields as they are indexed.

    It raises AttributeError, or what `convert` raises, where something on the way is None or a dict.

    Args:
        fields: the declared fields.
        convert: brings an unusual value of a field into its indexed form, or raises.
    """
    owners = {"": "item"}
    lines: list[str] = []
    for number, (name, field) in enumerate(fields.items()):
        path = ""
        for step in field.path.split("."):
            owner, path = owners[path], f"{path}.{step}"
            if path not in owners:
                owners[path] = f"part{len(owners)}"
                is_name = step.isidentifier() and not iskeyword(step)
                lines.append(f"{owners[path]} = {f'{owner}.{step}' if is_name else f'getattr({owner}, {step!r})'}")
        value = f"value{number}"
        lines.append(f"{value} = {owners[path]}")
        if field.type is str:
            lines.append(f"if type({value}) is not str and isinstance({value}, Enum): {value} = {value}._value_")
        lines.append(f"if {value} is not None and ({_UNUSUAL[field.type].format(value)}):")
        lines.append(f"    {value} = convert({name!r}, {value})")
        if field.type is datetime:
            lines.append(f"elif {value} is not None: {value} = ({value} - EPOCH) // MICROSECOND")
    values = ", ".join(f"{name!r}: value{number}" for number, name in enumerate(fields))
    source = "\n    ".join(["def extract(item):", *lines, f"return {{{values}}}"])
    made: dict[str, Any] = {**_NAMES, "convert": convert}
    exec(source, made)  # noqa: S102  # of names that were checked to be names
    extract: Extract = made["extract"]
    return extract
