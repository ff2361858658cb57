"""Errors of Pydantic and of JSON Schema over the rows of a table: each rule and field that some row breaks is a check."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, installed_version, result_fields, shares_failing
from truthstore.items.results import ValidationResult
from truthstore.items.run_ids import new_run_id
from truthstore.model.values import sample, text_of

__all__ = ["JSON_SCHEMA", "PYDANTIC", "from_json_schema", "from_pydantic"]

_Path = tuple[str | int, ...]
_OF_VALUES: Final = frozenset({"error", "tag"})
"""What Pydantic says of the value, not of the rule."""
_NO_RULES: Final = frozenset(
    [
        "$schema",
        "$id",
        "$ref",
        "$defs",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "definitions",
        "format",
        "properties",
        "items",
    ]
)


class _Error(NamedTuple):
    path: _Path
    rule: str
    parameters: dict[str, Any]
    message: str
    value: Any
    expected: Any = None


def from_pydantic(
    errors: object,
    data_asset: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    checked: int | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert what Pydantic raised for the rows of a table.

    Errors of one type and field make one check, whose `count` says how many rows have them. Fields in fields are joined by
    dots, positions in lists left out. Pydantic does not say what passed: without any error there is one check, which passed.

    Args:
        errors: the `ValidationError` for a list of models; or one entry for each row, which is None where it is valid; or a
            dict with the errors of the rows that are not; or `errors()` of the first, as a list, or as the file of its `json()`.
        data_asset: name of the data checked.
        run_id: the id to store it under; if None it is derived from a document, or else new.
        tags: for queries.
        metadata: added to the result's own.
        checked: number of rows validated; known without it where there is an entry for each row.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `errors` is none of these.
        ValueError: there is no error, and nothing says how many rows were validated.
    """
    return _result("pydantic", errors, _of_pydantic, data_asset, run_id, checked, [], tags, metadata, options)


def from_json_schema(
    errors: object,
    data_asset: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    checked: int | None = None,
    schema: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert errors of the package jsonschema for the rows of a table.

    Errors of one keyword and field make one check, as `from_pydantic` does it. With the schema of a row, what it demands and
    no row breaks has passed.

    Args:
        errors: the errors of an array of rows, from `iter_errors()`; or one entry for each row, a list of its errors; or a
            dict with the errors of the rows that have some.
        data_asset: name of the data checked.
        run_id: the id to store it under; a new one if None.
        tags: for queries.
        metadata: added to the result's own.
        checked: number of rows validated; known without it where there is an entry for each row.
        schema: the schema of a row.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `errors` is none of these.
        ValueError: there is no error, and nothing says how many rows were validated.
    """
    declared = list(_declared(schema, ())) if schema else []
    title = (schema.get("title") or schema.get("$id")) if schema else None
    return _result(
        "jsonschema", errors, _of_json_schema, data_asset, run_id, checked, declared, tags, metadata, options, title
    )


def _result(
    tool: str,
    errors: Any,
    read_error: Callable[[Any], Iterator[_Error]],
    data_asset: str,
    run_id: str | None,
    checked: int | None,
    declared: list[ValidatorResult],
    tags: Mapping[str, str] | None,
    metadata: Mapping[str, Any] | None,
    options: ImportOptions,
    title: str | None = None,
) -> ValidationResult:
    content, written = opened(errors)
    titles: set[str] = set() if title is None else {title}
    is_document = isinstance(content, list) and bool(content) and all(isinstance(e, Mapping) for e in content)
    if isinstance(content, Iterator):
        content = list(content)
    found: list[tuple[int | str, _Error]] = []
    rows: Iterable[tuple[Any, Any]]
    if isinstance(content, Mapping):
        rows = content.items()
    elif isinstance(content, Sequence) and not isinstance(content, str) and not all(map(_is_error, content)):
        rows, checked = enumerate(content), len(content) if checked is None else checked
    else:
        rows = [(None, content)]  # the errors themselves say which row they are about
    for row, entry in rows:
        for error in _each(entry):
            if not _is_error(error):
                raise TypeError(f"expected errors of {tool}, not {type(error).__name__}")
            if row is not None and (name := getattr(error, "title", None)):
                titles.add(text_of(name))
            for read_one in read_error(error):
                if row is None and read_one.path and isinstance(read_one.path[0], int):
                    found.append((read_one.path[0], read_one._replace(path=read_one.path[1:])))
                else:
                    found.append((row or 0, read_one))
    if not found and checked is None:
        raise ValueError("no error, and nothing says how many rows were validated: give checked")
    results = _checks(found, checked)
    seen = {(r.validator_name, r.column, str(r.details.get("parameters"))) for r in results}
    for passed in declared:
        if (passed.validator_name, passed.column, str(passed.details.get("parameters"))) not in seen:
            passed.checked = checked
            results.append(passed)
    results = results or [ValidatorResult("no errors", success=True, checked=checked)]
    time = options.get("run_time") or written
    fields = result_fields(
        results,
        tool=tool,
        tool_version=installed_version(tool),
        statistics=ResultStatistics.from_results(results, total_rows=checked or 0),
        data_asset=data_asset,
        suite_name=titles.pop() if len(titles) == 1 else None,
        run_id=run_id or (None if is_document else new_run_id(time)),
        own_time=written,
        tags=tags,
        metadata=metadata,
        raw=content,
        **options,
    )
    return ValidationResult(**fields)


def _checks(found: list[tuple[Any, _Error]], checked: int | None) -> list[ValidatorResult]:
    groups: dict[tuple[str | None, str, str], list[tuple[Any, _Error]]] = {}
    for row, error in found:
        key = _column(error.path), error.rule, json.dumps(error.parameters, sort_keys=True, default=str)
        groups.setdefault(key, []).append((row, error))
    results = []
    for (column, rule, _), cases in groups.items():
        rows = list(dict.fromkeys(row for row, _ in cases))
        values = [error.value for _, error in cases if rule not in {"missing", "required"}]
        results.append(
            ValidatorResult(
                rule,
                success=False,
                column=column,
                issue_type=rule,
                count=len(rows),
                checked=checked,
                expected=cases[0][1].expected,
                message=shares_failing(len(rows), checked or 0, ()),
                details=given(
                    parameters=cases[0][1].parameters,
                    errors=len(cases),
                    sample_values=sample(values),
                    sample_indexes=sample(rows),
                    sample_message=cases[0][1].message,
                ),
            )
        )
    return results


def _of_pydantic(error: Any) -> Iterator[_Error]:
    for said in error.errors(include_url=False) if callable(getattr(error, "errors", None)) else [error]:
        context = {name: value for name, value in (said.get("ctx") or {}).items() if name not in _OF_VALUES}
        yield _Error(
            tuple(said["loc"]), text_of(said["type"]), given(**context), text_of(said["msg"]), said.get("input")
        )


def _of_json_schema(error: Any) -> Iterator[_Error]:
    path, rule = tuple(error.absolute_path), text_of(error.validator)
    if rule == "required" and (missing := re.match(r"'(.*)' is a required property", error.message, re.DOTALL)):
        path, parameters = (*path, missing[1]), {}
    else:
        parameters = given(value=error.validator_value)
    yield _Error(path, rule, parameters, text_of(error.message), error.instance, _short(error.validator_value))


def _declared(schema: Any, path: _Path) -> Iterator[ValidatorResult]:
    """Yield what a schema demands of a row and of the fields in it, as if it had passed."""
    if not isinstance(schema, Mapping):
        return
    for rule, value in schema.items():
        if rule == "required":
            for name in value:
                yield ValidatorResult(rule, success=True, column=_column((*path, name)))
        elif rule not in _NO_RULES:
            details = given(parameters=given(value=value))
            yield ValidatorResult(rule, success=True, column=_column(path), expected=_short(value), details=details)
    for name, inner in (schema.get("properties") or {}).items():
        yield from _declared(inner, (*path, name))
    yield from _declared(schema.get("items"), path)


def _column(path: _Path) -> str | None:
    return ".".join(text_of(part) for part in path if not isinstance(part, int)) or None


def _short(value: Any) -> str | float | None:
    return (
        value
        if isinstance(value, str | int | float) and not isinstance(value, bool)
        else text_of(json.dumps(value, default=str))
    )


def _each(entry: Any) -> Iterable[Any]:
    if entry is None:
        return ()
    return entry if isinstance(entry, Iterable) and not isinstance(entry, Mapping | str) else (entry,)


def _is_error(thing: Any) -> bool:
    if isinstance(thing, Mapping):
        return {"type", "loc", "msg"} <= thing.keys()
    return callable(getattr(thing, "errors", None)) or hasattr(thing, "absolute_path")


def _recognises(package: str) -> Callable[[Any], bool]:
    def recognises(thing: Any) -> bool:
        several = isinstance(thing, list | tuple) and next((part for part in thing if part), None)
        one = (several[0] if isinstance(several, list) and several else several) or thing
        is_listed = (
            package == "pydantic_core" and isinstance(thing, list) and isinstance(one, Mapping) and _is_error(one)
        )
        return made_by(one, package) or is_listed

    return recognises


PYDANTIC: Final = Importer(
    name="pydantic",
    convert=from_pydantic,
    recognises=_recognises("pydantic_core"),
    wants="a ValidationError, one for each row, or its errors() (JSON)",
)
JSON_SCHEMA: Final = Importer(
    name="jsonschema",
    convert=from_json_schema,
    recognises=_recognises("jsonschema"),
    wants="the errors of a validator, or a list of them for each row",
)
