"""Pandera: the errors of a schema's validation, or its success; schemas of pandas and of polars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.interop.pandera_schema import (
    DeclaredCheck,
    check_details,
    check_names,
    columns_of,
    declared_checks,
    is_table,
)
from truthstore.items.artefacts import column_names, made_by
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import (
    ImportOptions,
    given,
    installed_version,
    read,
    result_fields,
    shares_failing,
    shortened,
)
from truthstore.items.results import ValidationResult
from truthstore.model.values import name_of, sample, text_of

__all__ = ["IMPORTER", "from_pandera"]

# Reasons that concern the table's shape, not its values.
SHAPE: Final = (
    "INVALID_TYPE",
    "DATATYPE_COERCION",
    "COLUMN_NOT_IN_SCHEMA",
    "COLUMN_NOT_ORDERED",
    "DUPLICATE_COLUMN_LABELS",
    "COLUMN_NOT_IN_DATAFRAME",
    "WRONG_FIELD_NAME",
    "WRONG_DATATYPE",
    "ADD_MISSING_COLUMN_NO_DEFAULT",
    "INVALID_COLUMN_NAME",
    "MISMATCH_INDEX",
)
COLUMN_MESSAGES: Final = {
    "COLUMN_NOT_IN_DATAFRAME": "the column is missing",
    "COLUMN_NOT_IN_SCHEMA": "the schema has no such column",
    "COLUMN_NOT_ORDERED": "the column is not where the schema has it",
}
COULD_NOT_RUN: Final = ("CHECK_ERROR", "PARSER_ERROR")


def from_pandera(
    outcome: object,
    data_asset: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    schema: object = None,
    lazy: bool = True,
    execution_time_ms: float | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert the errors raised by a pandera schema's `validate`, or the table returned.

    Checks that failed come from the errors, checks that passed from the schema: what it demands and no error mentions.
    Pandera has no severities: what concerns the shape of the table (a missing column, a wrong type) is critical, what
    concerns values is high. A check that raised is an error, not a failure. Failing values are kept, 20 of each check;
    their indexes too, with pandas. Pandera names neither a run nor its time, so every conversion gets a new id.

    Not listed, because nothing is known of them: checks of columns that are missing; checks with `raise_warning`, which
    only warn (their names are kept in the metadata as ``unreported_checks``); checks of values of a polars LazyFrame.

    Args:
        outcome: a `SchemaErrors` or `SchemaError`, or, if validation succeeded, the table that it returned, or None.
        data_asset: name of the data checked.
        run_id: the id to store it under; a new one if None.
        tags: for queries.
        metadata: added to the result's own.
        schema: the schema, or a model class. Needed to list the checks that passed; `SchemaErrors` brings its own, and so does a
            table that passed.
        lazy: validation ran with ``lazy=True``. If not, pandera stopped at the first failure, and nothing is
            known of the other checks. A `SchemaError` is never lazy.
        execution_time_ms: how long validation took, in milliseconds; pandera does not say.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: `outcome` is a success that does not say what was checked, and `schema` is not given, or errors that were
            pickled, which keep texts alone.
    """
    if callable(to_schema := getattr(schema, "to_schema", None)):
        schema = to_schema()
    errors: list[Any] = getattr(outcome, "schema_errors", None) or []
    if not errors and hasattr(outcome, "reason_code"):
        errors, lazy = [outcome], False
    if not errors and isinstance(outcome, BaseException | Mapping | list | str | bytes | int | float):
        raise TypeError(
            f"expected what pandera's validate raised or returned (SchemaErrors, SchemaError, a table or None), "
            f"not {type(outcome).__name__}"
        )
    if {"schema_context", "check", "failure_case"} <= {*map(str, getattr(outcome, "columns", ()))}:
        raise TypeError(
            "this is a table of failure cases, not what validate returned: give the SchemaErrors that holds it"
        )
    if any(isinstance(error.schema, str) for error in errors):
        raise ValueError(
            "these errors were pickled, which keeps texts alone: convert them in the process that validated"
        )
    table = read(outcome, "data") if errors else outcome
    if schema is None:
        # A table that passed keeps the schema that it passed.
        schema = (
            read(outcome, "schema") if hasattr(outcome, "schema_errors") else read(read(outcome, "pandera"), "schema")
        )
    if schema is None and not errors:
        raise ValueError("nothing says what was checked: give schema")
    rows, columns = _shape(table)
    failed = [_failure(error, rows) for error in errors]
    declared = [] if schema is None or (errors and not lazy) else declared_checks(schema, table)
    results = _passed(declared, failed) + failed
    fields = result_fields(
        results,
        tool="pandera",
        tool_version=installed_version("pandera"),
        tool_metadata=given(
            unreported_checks=[check.label for check in declared if check.warns],
            schema_title=read(schema, "title"),
            schema_metadata=read(schema, "metadata"),
            complete=None if lazy or not errors else False,
        ),
        statistics=ResultStatistics.from_results(
            results, total_rows=rows, total_columns=columns, execution_time_ms=execution_time_ms
        ),
        data_asset=data_asset or "",
        suite_name=name_of(read(schema, "name")),
        run_id=run_id,
        tags=tags,
        metadata=metadata,
        raw=read(outcome, "failure_cases") if errors else None,
        **options,
    )
    return ValidationResult(**fields)


def _passed(declared: list[DeclaredCheck], failed: list[ValidatorResult]) -> list[ValidatorResult]:
    """Return the declared checks that no error mentions and that are known to have run."""
    missing = {result.column for result in failed if result.validator_name == "column_in_dataframe"}
    mentioned = {(result.column, result.validator_name) for result in failed}
    # These two fail column by column, but are demanded of the whole table.
    mentioned |= {(None, name) for _, name in mentioned if name in {"column_in_schema", "column_ordered"}}
    return [
        ValidatorResult(check.name, success=True, column=check.column, details=check.details)
        for check in declared
        if not check.warns and check.column not in missing and (check.column, check.name) not in mentioned
    ]


def _failure(error: Any, rows: int) -> ValidatorResult:
    reason = str(getattr(error.reason_code, "name", error.reason_code))
    name, details = _check_of(error)
    if reason in COULD_NOT_RUN:
        return ValidatorResult(
            validator_name=name,
            success=False,
            column=_column_of(error, reason),
            issue_type=VALIDATOR_ERROR,
            message="could not run",
            details=details | given(sample_message=text_of(error.failure_cases)),
        )
    count, values, indexes = (1, [], []) if reason in COLUMN_MESSAGES else _cases(error)
    # A scalar is the value found, a type's name or False, not the values that failed.
    found = values[0] if values and not hasattr(error.failure_cases, "columns") and reason in SHAPE else None
    details |= given(
        sample_values=None if found is not None else values,
        sample_indexes=indexes,
        element_count=rows or None,
        observed_value=found,
    )
    return ValidatorResult(
        validator_name=name,
        success=False,
        column=_column_of(error, reason),
        issue_type=str(getattr(error.reason_code, "value", error.reason_code)),
        count=count,
        severity="critical" if reason in SHAPE else "high",
        message=_message(name, reason, details, count, rows, samples=False),
        details=details | given(sample_message=_message(name, reason, details, count, rows, samples=True)),
    )


def _message(name: str, reason: str, details: Mapping[str, Any], count: int, rows: int, *, samples: bool) -> str:
    if reason in COLUMN_MESSAGES:
        return COLUMN_MESSAGES[reason]
    demand = shortened(str(details.get("check") or details.get("expected") or name))
    if "observed_value" in details:
        return f"{demand}: found {details['observed_value']}"
    if "sample_values" not in details:
        return f"{demand}: failed"
    return f"{demand}: {shares_failing(count, rows, details['sample_values'] if samples else ())}"


def _check_of(error: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of the check of an error, and its details."""
    check, index = error.check, read(error, "check_index")
    if check is None or isinstance(check, str):
        # Checks of pandera's own are named like dtype('int64').
        name, _, rest = (check or "parser").partition("(")
        return name, given(expected=rest.removesuffix(")").strip("'\"") or None)
    names = check_names(read(error.schema, "checks", ()))
    name = names[index] if index is not None and index < len(names) else check_names([check])[0]
    return name, check_details(check)


def _column_of(error: Any, reason: str) -> str | None:
    if reason in COLUMN_MESSAGES and isinstance(error.failure_cases, str):
        return text_of(error.failure_cases)
    if (column := read(error, "column_name")) is not None:
        return name_of(column)
    schema, cases = error.schema, error.failure_cases
    if type(schema).__name__ == "MultiIndex" and "column" in getattr(cases, "columns", ()):
        return ", ".join(dict.fromkeys(map(text_of, cases["column"])))  # the levels
    if not is_table(schema):
        return columns_of(schema)
    return ", ".join(text_of(c) for c in read(schema, "unique", ())) if reason == "DUPLICATES" else None


def _cases(error: Any) -> tuple[int, list[Any], list[Any]]:
    """Return the number of values (or rows) that failed, and samples of them and of their indexes."""
    cases = error.failure_cases
    if cases is None or isinstance(cases, bool):
        return 1, [], []
    if isinstance(cases, str | int | float) or not hasattr(cases, "__len__"):
        return 1, sample([cases]), []
    columns: list[Any] = list(getattr(cases, "columns", ()))
    if not columns:
        return len(cases), sample(cases), []
    if "failure_case" not in columns:
        rows = cases.head(20).rows(named=True) if hasattr(cases, "rows") else []
        return len(cases), sample(row if len(columns) > 1 else row[columns[0]] for row in rows), []
    if "column" in columns:
        return _wide_cases(cases)
    indexes = sample(cases["index"]) if "index" in columns else []
    return _true_count(error, len(cases)), sample(cases["failure_case"]), indexes


def _wide_cases(cases: Any) -> tuple[int, list[Any], list[Any]]:
    """Return the cases of a check of whole rows, which pandera lists column by column."""
    rows: dict[Any, dict[Any, Any]] = {}
    for column, index, value in zip(cases["column"], cases["index"], cases["failure_case"], strict=True):
        rows.setdefault(index, {})[column] = value
    return len(rows), sample(rows.values()), sample(rows)


def _true_count(error: Any, listed: int) -> int:
    """Cases may be limited by the check itself (`n_failure_cases`); its output, one bool per value, is not."""
    limit, output = getattr(error.check, "n_failure_cases", None), read(error, "check_output")
    if limit is None or listed < limit or not hasattr(output, "sum"):
        return listed
    return max(listed, len(output) - int(output.sum()))


def _shape(table: Any) -> tuple[int, int]:
    """Return rows and columns of a table, 0 if they are not known without computing it."""
    shape = getattr(table, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return 0, 0
    return int(shape[0]), int(shape[1]) if len(shape) > 1 else 1


def _recognises(thing: Any) -> bool:
    is_failure_cases = {"schema_context", "check", "failure_case"} <= column_names(thing)
    return made_by(thing, "pandera") or is_failure_cases or read(read(thing, "pandera"), "schema") is not None


IMPORTER: Final = Importer(
    name="pandera",
    convert=from_pandera,
    recognises=_recognises,
    wants="SchemaErrors, SchemaError or a table that a schema has validated",
)
