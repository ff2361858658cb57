"""One error of pandera: which check failed, on which column, and how many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from truthstore.interop.pandera_schema import check_details, check_names, columns_of, is_table, several_of
from truthstore.items.checks import VALIDATOR_ERROR, ValidatorResult
from truthstore.items.conversion import given, read, shares_failing, shortened
from truthstore.model.values import name_of, sample, text_of

__all__ = ["failure_of"]

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


def failure_of(error: Any, rows: int) -> ValidatorResult:
    """Return the failed check that an error of a table of so many rows is."""
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
    count, values, indexes = (0, [], []) if reason in COLUMN_MESSAGES else _cases(error, rows)
    # A scalar is the value found, a type's name or False, not the values that failed.
    found = values[0] if values and not hasattr(error.failure_cases, "columns") and reason in SHAPE else None
    if found is not None:
        count = 0
    details |= given(
        sample_values=None if found is not None else values,
        sample_indexes=indexes,
        element_count=rows or None,
        observed_value=found,
    )
    column = _column_of(error, reason)
    return ValidatorResult(
        validator_name=name,
        success=False,
        column=column,
        columns=several_of(column),
        observed=found if isinstance(found, str | int | float) else None,
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
    listed = [*getattr(cases, "columns", ())]
    if type(schema).__name__ == "MultiIndex" and "column" in listed:
        # The levels; those without a name are called as the schema's are.
        return ", ".join(dict.fromkeys("index" if str(c) in {"None", "nan"} else text_of(c) for c in cases["column"]))
    if reason == "DATATYPE_COERCION":
        if "failure_case" not in listed:  # polars
            return ", ".join(map(text_of, listed)) or columns_of(schema)
        coerced = [case for case in cases["failure_case"] if isinstance(case, Mapping)]
        if coerced:  # of a whole table
            return ", ".join(dict.fromkeys(str(name_of(name)) for case in coerced for name in case))
    if not is_table(schema):
        return columns_of(schema)
    return ", ".join(text_of(c) for c in read(schema, "unique", ())) if reason == "DUPLICATES" else None


def _cases(error: Any, rows: int) -> tuple[int, list[Any], list[Any]]:
    """Return the number of values (or rows) that failed, 0 if there is none, and samples of them and of their indexes."""
    cases, output = error.failure_cases, read(error, "check_output")
    # One outcome for all rows, or for groups of them: no value of a row is at fault.
    is_aggregate = hasattr(output, "__len__") and hasattr(output, "sum") and len(output) == 1 != rows
    if cases is None or read(error.check, "groupby") is not None or (is_aggregate and hasattr(cases, "rows")):
        return 0, [], []
    if isinstance(cases, bool) or type(cases).__name__ in {"bool", "bool_"}:
        return 0, [], []
    if isinstance(cases, str | int | float) or not hasattr(cases, "__len__"):
        return 1, sample([cases]), []
    columns: list[Any] = list(getattr(cases, "columns", ()))
    if not columns:
        return len(cases), sample(cases), []
    if "failure_case" not in columns:
        found = cases.head(20).rows(named=True) if hasattr(cases, "rows") else []
        values = sample(row if len(columns) > 1 else row[columns[0]] for row in found)
        return _true_count(error, len(cases)), values, []
    if "column" in columns:
        count, values, indexes = _wide_cases(cases)
        return _true_count(error, count), values, indexes
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
    passed = output.sum()
    return max(listed, len(output) - int(passed if not hasattr(passed, "item") else passed.item()))
