"""Frictionless: reports of validated tables, with what a schema asks for where it is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, installed_version, read, result_fields, shares_failing
from truthstore.items.results import ValidationResult
from truthstore.model.values import name_of, sample, text_of

__all__ = ["IMPORTER", "from_frictionless"]

_CUT: Final = re.compile(r"reached (row|error) limit")
_Key = tuple[str, str | None, str | None]
"""Type of an error, its field, and the constraint or formula."""


def from_frictionless(
    outcome: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    schema: object = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert a report of Frictionless, file by file.

    A report lists errors alone. Errors of one type, field and constraint make one check, whose `count` says how many rows have
    them. What a schema asks for and no error mentions has passed; without a schema, a file without errors is one check that
    passed. Frictionless stops at 1,000 errors: counts are lower bounds then (``complete`` is false in the metadata), and
    nothing that no error mentions has passed. A file that could not be read is an error.

    Args:
        outcome: a `Report`, its `to_dict()`, or the path of a file with it.
        data_asset: name of the data checked, for all files; if None, the place of each, or its name where it has none.
        tags: for queries.
        metadata: added to the values kept of the report itself.
        schema: the `Schema` of the table, or its descriptor, to list the checks that passed. For a report of one file only.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: the report is about something that is no file, and `data_asset` is not given.
    """
    content, written = opened(outcome)
    if not _is_report(content):
        raise TypeError(f"expected a Report of Frictionless, not {type(content).__name__}")
    report: Mapping[str, Any] = content if isinstance(content, Mapping) else content.to_dict()
    own: list[Any] = list(report.get("errors") or ())
    tasks: list[Any] = list(report["tasks"]) or [{**report, "errors": []}]
    handed_out = list(read(content, "tasks")) or [content]
    if schema is not None and len(tasks) > 1:
        raise ValueError("a schema is that of one table, and this report has several: convert it without schema")
    made = []
    for task, raw in zip(tasks, handed_out, strict=True):
        stats, place = read(task, "stats", {}), read(task, "place")
        errors = [*read(task, "errors", ()), *own]
        complete = not any(map(_CUT.match, read(task, "warnings", ())))
        rows = read(stats, "rows")
        results = _failed(errors, rows) + list(_declared(schema))
        results = _once(results, rows, complete=complete) or [
            ValidatorResult("no errors", success=bool(read(task, "valid")), checked=rows)
        ]
        fields = result_fields(
            results,
            tool="frictionless",
            tool_version=installed_version("frictionless"),
            tool_metadata=given(
                name=read(task, "name"),
                warnings=read(task, "warnings"),
                complete=None if complete else False,
                stats=stats,
            ),
            statistics=ResultStatistics.from_results(
                results,
                total_rows=rows if complete and rows else 0,
                total_columns=read(stats, "fields", 0),
                execution_time_ms=read(stats, "seconds", 0.0) * 1_000,
            ),
            succeeded=read(task, "valid"),
            data_asset=data_asset or text_of(read(task, "name", "") if place in {None, "<memory>"} else place),
            own_time=written,
            tags=tags,
            metadata=metadata,
            raw=raw,
            **options,
        )
        made.append(ValidationResult(**fields))
    return made


def _failed(errors: list[Any], rows: int | None) -> list[ValidatorResult]:
    found: dict[_Key, list[Any]] = {}
    for error in errors:
        found.setdefault(_key(error), []).append(error)
    return [_check(*key, cases, rows) for key, cases in found.items()]


def _key(error: Any) -> _Key:
    kind, note = text_of(read(error, "type")), text_of(read(error, "note", ""))
    rule = re.match(r'constraint "(\w+)" is|the row constraint to conform is "(.*)"', note, re.DOTALL)
    # An extra cell has a field without a name, or with none that the table knows.
    return kind, name_of(read(error, "fieldName")) or None, rule and (rule[1] or rule[2])


def _check(kind: str, column: str | None, rule: str | None, cases: list[Any], rows: int | None) -> ValidatorResult:
    result = _named(kind, column, rule)
    first, kinds = cases[0], set(read(cases[0], "tags", ()))
    title, notes = text_of(read(first, "title", kind)), {text_of(read(case, "note", "")) for case in cases}
    if "#table" not in kinds and "#file" not in kinds:
        result.issue_type, result.message, result.count = VALIDATOR_ERROR, title, 0
        result.details |= given(sample_message=read(first, "message"))
        return result
    numbers = {number for case in cases if (number := read(case, "rowNumber")) is not None}
    result.issue_type, result.count = kind, len(numbers)
    if "#row" in kinds:
        result.checked = rows
    values = [read(case, "cell") if "#cell" in kinds else read(case, "cells") for case in cases if "#row" in kinds]
    if len(notes) == 1 and "#row" in kinds:
        result.expected = notes.pop() or None
    result.message = f"{title}: {shares_failing(result.count, rows or 0, ())}" if numbers else title
    result.details |= given(
        errors=len(cases),
        sample_values=sample(values),
        sample_indexes=sample(sorted(numbers)),
        sample_message=read(first, "message"),
    )
    return result


def _named(kind: str, column: str | None, rule: str | None) -> ValidatorResult:
    return ValidatorResult(
        kind,
        success=False,
        column=column,
        details=given(parameters=given(**{"formula" if kind == "row-constraint" else "constraint": rule})),
    )


def _declared(schema: Any) -> Iterator[ValidatorResult]:
    """Yield what a schema asks for, as if it had passed."""
    descriptor = schema.to_dict() if callable(getattr(schema, "to_dict", None)) else schema or {}
    for field in descriptor.get("fields", ()):
        keys = [("type-error", None)] if field.get("type", "any") != "any" else []
        for constraint, limit in (field.get("constraints") or {}).items():
            if limit is not False:
                keys.append(("unique-error", None) if constraint == "unique" else ("constraint-error", constraint))
        for kind, rule in keys:
            result = _named(kind, text_of(field["name"]), rule)
            result.success = True
            yield result
    if key := descriptor.get("primaryKey"):
        columns = (key,) if isinstance(key, str) else tuple(key)
        yield ValidatorResult(
            "primary-key", success=True, column=", ".join(columns), columns=columns if len(columns) > 1 else None
        )
    for _ in (descriptor.get("foreignKeys") or ())[:1]:
        yield ValidatorResult("foreign-key", success=True)


def _once(results: list[ValidatorResult], rows: int | None, *, complete: bool) -> list[ValidatorResult]:
    """Return the checks that failed, and of the declared ones those that did not."""
    broken = any(result.errored for result in results)
    kept: dict[_Key, ValidatorResult] = {}
    for result in results:
        of_key = result.validator_name == "primary-key"
        key = result.validator_name, None if of_key else result.column, str(result.details.get("parameters"))
        if key in kept:
            if of_key:
                kept[key].column, kept[key].columns = result.column, result.columns
        else:
            kept[key] = result
            if result.success and (broken or not complete):
                result.success, result.status, result.count = False, "not_evaluated", None
            elif result.success:
                result.checked = rows
    return list(kept.values())


def _is_report(thing: Any) -> bool:
    tasks, stats = read(thing, "tasks"), read(thing, "stats")
    return isinstance(read(thing, "valid"), bool) and isinstance(tasks, list) and read(stats, "seconds") is not None


def _recognises(thing: Any) -> bool:
    return made_by(thing, "frictionless") or _is_report(thing)


IMPORTER: Final = Importer(
    name="frictionless",
    convert=from_frictionless,
    recognises=_recognises,
    wants="a Report, or its to_dict()",
)
