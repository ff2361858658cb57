"""One expectation of Great Expectations: what it demanded, what was measured, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any, Final

from truthstore.items.checks import VALIDATOR_ERROR, ValidatorResult
from truthstore.items.conversion import given, read, shares_failing, shortened
from truthstore.model.values import SAMPLE_SIZE, sample, storable, text_of

__all__ = ["check_of"]

SEVERITIES: Final = {"critical": "critical", "warning": "medium", "info": "low"}
COLUMN_NAMES: Final = ("column", "column_A", "column_B", "column_list")
OF_CONDITIONS: Final = ("row_condition", "condition_parser", "unexpected_rows_query")
THRESHOLDS: Final = frozenset({"min_value", "max_value", "strict_min", "strict_max", "value"})
"""Limits of what is measured once for a table or a column. In expectations of rows they belong to the rule."""

OF_ROWS: Final = ("expect_column_value", "expect_column_pair", "expect_compound", "expect_select", "expect_multicolumn")
TRACEBACK_LENGTH: Final = 2_000


def check_of(outcome: Any) -> ValidatorResult:
    """Return the check that an expectation's result is."""
    config = read(outcome, "expectation_config", {})
    # A figure that is not a number was not measured.
    measured = {
        name: value
        for name, value in read(outcome, "result", {}).items()
        if not (isinstance(value, float) and isnan(value))
    }
    kwargs = {name: value for name, value in read(config, "kwargs", {}).items() if name != "batch_id"}
    name = text_of(read(config, "type") or read(config, "expectation_type"))
    columns = _columns(kwargs)
    success = bool(read(outcome, "success", default=False))
    observed = storable(measured.get("observed_value"))
    element_count = measured.get("element_count")
    result = ValidatorResult(
        validator_name=name,
        success=success,
        column=", ".join(columns) or None,
        columns=tuple(columns) if len(columns) > 1 else None,
        count=_count(kwargs, measured, read(outcome, "result", {}), success=success),
        checked=None if element_count is None else int(element_count),
        observed=observed if isinstance(observed, str | int | float) and not isinstance(observed, bool) else None,
        expected=_expected(kwargs),
        details=given(
            expectation_id=read(config, "id"),
            kwargs=kwargs,
            parameters=_parameters(name, kwargs),
            columns=columns if len(columns) > 1 else None,
            severity=read(config, "severity"),
            description=read(config, "description"),
            notes=read(config, "notes"),
            meta=read(config, "meta"),
            **_measured(measured),
        ),
    )
    if success:
        return result
    severity = read(config, "severity")
    if raised := _exceptions(read(outcome, "exception_info", {})):
        result.issue_type, result.count = VALIDATOR_ERROR, 0
        result.message = "could not run"
        result.details["sample_message"] = "; ".join(dict.fromkeys(message for message, _ in raised))
        result.details["exception_traceback"] = raised[0][1][-TRACEBACK_LENGTH:]
    else:
        result.issue_type = name.removeprefix("expect_")
        result.message = _message(result, read(config, "description"), samples=False)
        result.details["sample_message"] = _message(result, read(config, "description"), samples=True)
    if severity is not None:
        word = str(getattr(severity, "value", severity)).lower()
        result.severity = SEVERITIES.get(word, word)
    return result


def _count(
    kwargs: Mapping[str, Any], measured: Mapping[str, Any], said: Mapping[str, Any], *, success: bool
) -> int | None:
    """Return how many rows failed; if that is not known, 0 in a failure and None in a success."""
    counted = measured.get("unexpected_count")
    if counted is None and "unexpected_rows_query" in kwargs:
        counted = measured.get("observed_value")
    if counted is None and success and ("unexpected_count" in said or kwargs.get("mostly", 1) != 1):
        return None
    return int(counted or 0)


def _parameters(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells the check from others of its name and columns, without thresholds."""
    left_out = {*COLUMN_NAMES, "mostly", "condition_parser"}
    if not name.startswith(OF_ROWS):
        left_out |= THRESHOLDS
    return {key: value for key, value in kwargs.items() if key not in left_out}


def _expected(kwargs: Mapping[str, Any]) -> str | None:
    """Return what was asked for, as people write it."""
    asked = {key: value for key, value in kwargs.items() if key not in {*COLUMN_NAMES, *OF_CONDITIONS}}
    return shortened(", ".join(f"{key} = {storable(value)}" for key, value in asked.items()), 200) or None


def _columns(parameters: Mapping[str, Any]) -> list[str]:
    """Return the columns of an expectation, under any of the parameters for them."""
    for one_or_more in (("column",), ("column_A", "column_B")):
        if all(isinstance(parameters.get(name), str) for name in one_or_more):
            return [text_of(parameters[name]) for name in one_or_more]
    several = parameters.get("column_list")
    return [text_of(name) for name in several] if isinstance(several, list | tuple) else []


def _measured(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the observed values: figures as they are, lists of failing values cut to a sample."""
    values = measured.get("unexpected_list") or measured.get("partial_unexpected_list") or ()
    indexes = measured.get("unexpected_index_list") or measured.get("partial_unexpected_index_list") or ()
    kept = ["observed_value", "element_count", "missing_count", "unexpected_percent", "unexpected_percent_nonmissing"]
    details = measured.get("details")
    if isinstance(details, Mapping) and (rows := details.get("unexpected_rows")):
        details, values = None, rows
    members: Any = None
    if "element_count" not in measured:  # of a set: what is missing are members of it, not rows
        kept.remove("missing_count")
        members = measured.get("partial_missing_list")
    return {
        "sample_values": sample(values),
        "missing_members": members,
        "missing_member_count": measured.get("missing_count") if members else None,
        "sample_indexes": sample(indexes),
        "sample_counts": (measured.get("partial_unexpected_counts") or [])[:SAMPLE_SIZE],
        "sample_details": details,
        **{name: measured.get(name) for name in kept},
    }


def _message(result: ValidatorResult, description: Any, *, samples: bool) -> str:
    details = result.details
    observed = details.get("observed_value")
    if "element_count" in details:
        shown = details.get("sample_values", ()) if samples else ()
        found = shares_failing(result.count or 0, details["element_count"], shown)
    elif result.count and observed == result.count:
        found = f"{result.count:,} row{'' if result.count == 1 else 's'} failed"
    elif (members := details.get("missing_members")) is not None:
        found = f"missing {', '.join(map(repr, members[:3]))}"
    elif observed is not None and (samples or not isinstance(observed, list | dict)):
        found = f"observed {observed}"
    else:
        found = "failed"
    return found if description is None else f"{text_of(description)}: {found}"


def _exceptions(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return message and traceback of the exception. The info is one exception, or one for each metric that failed."""
    entries = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, Mapping)]
    return [
        (
            text_of(entry.get("exception_message") or "unknown exception"),
            text_of(entry.get("exception_traceback") or ""),
        )
        for entry in entries
        if entry.get("raised_exception")
    ]
