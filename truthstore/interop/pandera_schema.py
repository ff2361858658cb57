"""The demands of a pandera schema, listed: the checks that a validation runs, each with its column and a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from truthstore.items.conversion import given, read, shortened
from truthstore.model.values import name_of, text_of

__all__ = [
    "DeclaredCheck",
    "absent_columns",
    "check_details",
    "check_names",
    "columns_of",
    "declared_checks",
    "is_table",
    "several_of",
]


class DeclaredCheck(msgspec.Struct, frozen=True):
    """One demand of a schema.

    Attributes:
        column: the column it is about; None for the whole table.
        name: name of the check, as in the errors.
        details: its parameters.
        of_values: it looks at values, not just at the table's shape.
        warns: it warns instead of failing.
    """

    column: str | None
    name: str
    details: dict[str, Any]
    of_values: bool = True
    warns: bool = False

    @property
    def label(self) -> str:
        """Column and name in one string."""
        return self.name if self.column is None else f"{self.column}.{self.name}"


def declared_checks(schema: object, table: object = None) -> list[DeclaredCheck]:
    """Return the checks that ran, or would run, on a table.

    Args:
        schema: a schema of a table or of a series.
        table: the table validated. If given, optional columns are left out that it lacks, and patterns replaced by the columns
            that match.
    """
    present = _present(table)
    return list(_of_table(schema, present) if is_table(schema) else _of_component(schema, columns_of(schema)))


def absent_columns(schema: object, table: object) -> list[str]:
    """Return the columns that a schema requires and a table lacks."""
    present, columns = _present(table), read(schema, "columns", {})
    if present is None or not is_table(schema):
        return []
    names = [str(name_of(key)) for key, column in columns.items() if _is_required(column)]
    return [name for name in names if name not in present]


def _is_required(column: object) -> bool:
    return bool(read(column, "required", default=True)) and not read(column, "regex")


def several_of(column: str | None) -> tuple[str, ...] | None:
    """Return the columns of a check over several."""
    return tuple(column.split(", ")) if column and ", " in column else None


def is_table(schema: object) -> bool:
    """Return whether a schema is that of a table, not of one column, index or series."""
    return hasattr(schema, "columns")


def columns_of(component: object) -> str | None:
    """Return the name under which results list a column, index or series."""
    if (name := name_of(read(component, "name"))) is not None:
        return name
    return "index" if "Index" in type(component).__name__ else None


def check_names(checks: Iterable[object]) -> list[str]:
    """Return a name for each check of one column: its own, or its error text; several of one name are numbered."""
    names: list[str] = []
    for position, check in enumerate(checks):
        own = read(check, "name")
        if own is None or own == "<lambda>":
            own = read(check, "error") or read(check, "title") or f"check {position}"
        name = unnumbered = shortened(text_of(own))
        number = 1
        while name in names:
            number += 1
            name = f"{unnumbered} #{number}"
        names.append(name)
    return names


def check_details(check: object) -> dict[str, Any]:
    """Return the details of a check: its description of itself, and its parameters."""
    text = read(check, "error")
    return given(check=None if text is None else shortened(text_of(text), 1_000), parameters=read(check, "statistics"))


def _present(table: Any) -> list[str] | None:
    """Return the names of a table's columns; None if there is no table with columns."""
    if hasattr(table, "collect_schema"):
        return [text_of(name) for name in table.collect_schema().names()]
    columns = getattr(table, "columns", None)
    return None if columns is None else [str(name_of(name)) for name in columns]


def _of_table(schema: Any, present: list[str] | None) -> Iterator[DeclaredCheck]:
    if read(schema, "strict") is True:
        yield DeclaredCheck(None, "column_in_schema", {}, of_values=False)
    if read(schema, "ordered"):
        yield DeclaredCheck(None, "column_ordered", {}, of_values=False)
    if read(schema, "unique_column_names"):
        yield DeclaredCheck(None, "dataframe_column_labels_unique", {}, of_values=False)
    if unique := read(schema, "unique"):
        yield DeclaredCheck(", ".join(text_of(column) for column in unique), "multiple_fields_uniqueness", {})
    yield from _checks(schema, None)
    for key, column in schema.columns.items():
        for name in _matching(column, str(name_of(key)), present):
            if read(column, "required", default=True):
                yield DeclaredCheck(name, "column_in_dataframe", {}, of_values=False)
            yield from _of_component(column, name, coerce=bool(read(schema, "coerce")))
    if (index := read(schema, "index")) is not None:
        for level in read(index, "indexes", [index]):
            yield from _of_component(level, columns_of(level))


def _matching(column: Any, name: str, present: list[str] | None) -> list[str]:
    """Return the columns of the table that belong to a column of the schema."""
    if read(column, "regex"):
        return [name] if present is None else [found for found in present if re.match(name, found)]
    return [name] if _is_required(column) or (present is not None and name in present) else []


def _of_component(component: Any, column: str | None, *, coerce: bool = False) -> Iterator[DeclaredCheck]:
    dtype = read(component, "dtype")
    if dtype is not None:
        details = given(expected=text_of(dtype))
        if coerce or read(component, "coerce"):
            yield DeclaredCheck(column, "coerce_dtype", details, of_values=False)
        yield DeclaredCheck(column, "dtype", details, of_values=False)
    if not read(component, "nullable", default=False):
        yield DeclaredCheck(column, "not_nullable", {})
    if read(component, "unique"):
        yield DeclaredCheck(column, "field_uniqueness", {})
    yield from _checks(component, column)


def _checks(schema: Any, column: str | None) -> Iterator[DeclaredCheck]:
    checks = read(schema, "checks", ())
    for check, name in zip(checks, check_names(checks), strict=True):
        yield DeclaredCheck(column, name, check_details(check), warns=bool(read(check, "raise_warning")))
