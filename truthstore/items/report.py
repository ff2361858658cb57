"""Truthound: the run result of `truthound.check()`, and the `Report` of older versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from truthstore.items.artefacts import opened
from truthstore.items.check_rows import identity
from truthstore.items.checks import SEVERITIES, VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, installed_version, read, result_fields, shares_failing
from truthstore.items.item import time_of
from truthstore.model.values import SAMPLE_SIZE, name_of, sample, text_of

__all__ = ["report_fields"]

KEPT = ("element_count", "missing_count", "observed_value", "unexpected_percent", "unexpected_percent_nonmissing")


def report_fields(
    report: object,
    data_asset: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    execution_time_ms: float | None = None,
    **options: Unpack[ImportOptions],
) -> dict[str, Any]:
    """Return the fields of a `ValidationResult` for a Truthound run result or report; see `from_truthound`."""
    report, written = opened(report)
    checks, issues = read(report, "checks"), read(report, "issues")
    is_report = _are_issues(issues) and read(report, "source") is not None
    if not is_report or not (checks is None or _are_checks(checks)):
        raise TypeError(f"expected a Truthound Report or run result, not {type(report).__name__}")
    rows, columns = int(read(report, "row_count", 0)), int(read(report, "column_count", 0))
    if checks is None:
        results = [_issue(issue) for issue in issues]
        statistics = _with_passed(ResultStatistics.from_results(results), read(report, "statistics"))
    else:
        errors = {str(read(error, "check_name")): error for error in read(report, "execution_issues", ())}
        found = [_outcomes(check, errors) for check in checks]
        results = [_check(check, outcomes) for check, outcomes in zip(checks, found, strict=True)]
        statistics = _with_issues(ResultStatistics.from_results(results), found)
    statistics.total_rows, statistics.total_columns = rows, columns
    statistics.execution_time_ms = execution_time_ms or 0.0
    tool_run_id = read(report, "run_id")
    source = text_of(read(report, "source"))
    return result_fields(
        results,
        tool="truthound",
        tool_version=installed_version("truthound"),
        tool_run=() if tool_run_id is None else (str(tool_run_id),),
        tool_metadata=given(
            source=source,
            result_format=read(report, "result_format"),
            execution_mode=read(report, "execution_mode"),
            tool_metadata=read(report, "metadata"),
        ),
        statistics=statistics,
        succeeded=read(report, "success"),
        data_asset=data_asset or source,
        suite_name=read(report, "suite_name"),
        run_id=run_id,
        own_time=time_of(read(report, "run_time")) or written,
        tags=tags,
        metadata=metadata,
        raw=report,
        **options,
    )


def _are_issues(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(read(issue, "issue_type") is not None for issue in found)


def _are_checks(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(
        read(check, "name") is not None and _are_issues(read(check, "issues", ())) for check in found
    )


def _outcomes(check: Any, errors: Mapping[str, Any]) -> list[ValidatorResult]:
    """Return one entry per issue of a check, or a single one if it has none."""
    name = text_of(read(check, "name"))
    if found := [_issue(issue, name) for issue in read(check, "issues", ())]:
        return found
    if (error := errors.get(name)) is not None:
        return [_error(name, text_of(read(error, "message", "")), read(error, "exception_type"))]
    said = read(check, "success")
    count = 0 if said else int(read(check, "issue_count", 0))
    return [ValidatorResult(name, success=bool(said), count=count, status="not_evaluated" if said is None else None)]


def _check(check: Any, outcomes: list[ValidatorResult]) -> ValidatorResult:
    """Return the entry of a check, known by its name and parameters: it names columns only when it fails."""
    name, notes = text_of(read(check, "name")), read(check, "metadata")
    # Why Truthound chose a check is a sentence, and no part of what is checked.
    chosen = {key: value for key, value in notes.items() if key.startswith("auto_")} if isinstance(notes, dict) else {}
    parameters = {key: value for key, value in notes.items() if key not in chosen} if chosen else notes
    result = outcomes[0] if len(outcomes) == 1 else _joined(name, outcomes)
    result.details = given(category=read(check, "category"), parameters=parameters, chosen=chosen) | result.details
    result.check_id = identity(name, None, result.details.get("parameters"))
    return result


def _joined(name: str, issues: list[ValidatorResult]) -> ValidatorResult:
    """Return one entry for several issues; those of columns where the check could not run are only listed."""
    ran = [issue for issue in issues if not issue.errored] or issues
    columns = tuple(dict.fromkeys(issue.column for issue in ran if issue.column is not None))
    kinds = {issue.issue_type for issue in ran}
    checked = [issue.checked for issue in ran if issue.checked is not None]
    count = sum(issue.count or 0 for issue in ran)
    by_column = [(issue.column or "*", issue.details) for issue in issues]
    return ValidatorResult(
        name,
        success=False,
        column=", ".join(columns) or None,
        columns=columns if len(columns) > 1 else None,
        issue_type=kinds.pop() if len(kinds) == 1 else name,
        count=count,
        severity=min((issue.severity for issue in ran), key=_rank),
        checked=sum(checked) if len(checked) == len(ran) else None,
        message=shares_failing(count, 0, ()),
        details=given(
            issues=[
                {**given(column=issue.column, issue_type=issue.issue_type, count=issue.count, severity=issue.severity)}
                | {key: value for key, value in issue.details.items() if not key.startswith("sample_")}
                for issue in issues
            ],
            sample_message="; ".join(f"{column}: {about.get('sample_message')}" for column, about in by_column),
            sample_values={column: about["sample_values"] for column, about in by_column if "sample_values" in about},
            sample_indexes={
                column: about["sample_indexes"] for column, about in by_column if "sample_indexes" in about
            },
        ),
    )


def _rank(severity: str | None) -> int:
    word = (severity or "").lower()
    return SEVERITIES.index(word) if word in SEVERITIES else len(SEVERITIES)


def _issue(issue: Any, check_name: str | None = None) -> ValidatorResult:
    issue_type = text_of(read(issue, "issue_type"))
    name = text_of(read(issue, "validator_name", check_name or issue_type))
    message = read(issue, "details")
    if exception := read(issue, "exception_info"):
        return _error(name, text_of(read(exception, "exception_message", message)), read(exception, "exception_type"))
    severity = read(issue, "severity")
    column = name_of(read(issue, "column"))
    measured = read(issue, "result", {})
    samples = read(issue, "sample_values") or read(measured, "unexpected_list") or ()
    checked, expected = read(measured, "element_count"), read(issue, "expected")
    return ValidatorResult(
        validator_name=name,
        success=False,
        checked=checked if isinstance(checked, int) else None,
        expected=None if expected is None else text_of(expected),
        # Truthound writes "*" for issues of the whole table.
        column=None if column == "*" else column,
        issue_type=issue_type,
        count=int(read(issue, "count", 0)),
        severity=None if severity is None else str(getattr(severity, "value", severity)),
        message=shares_failing(int(read(issue, "count", 0)), 0, ()),
        details=given(
            sample_message=message,
            expected=read(issue, "expected"),
            actual=read(issue, "actual"),
            sample_values=sample(samples),
            sample_indexes=sample(read(measured, "unexpected_index_list", ())),
            sample_counts=read(measured, "partial_unexpected_counts", [])[:SAMPLE_SIZE],
            **{name: read(measured, name) for name in KEPT},
        ),
    )


def _error(name: str, message: str, exception_type: Any) -> ValidatorResult:
    return ValidatorResult(
        name,
        success=False,
        issue_type=VALIDATOR_ERROR,
        message="could not run" if exception_type is None else f"could not run: {text_of(exception_type)}",
        details=given(exception_type=exception_type, sample_message=message),
    )


def _with_issues(statistics: ResultStatistics, found: list[list[ValidatorResult]]) -> ResultStatistics:
    """Count issues one by one: a check may find them in several columns."""
    issues = ResultStatistics.from_results(issue for outcomes in found for issue in outcomes)
    for name in ("total_issues", *(f"{severity}_issues" for severity in SEVERITIES)):
        setattr(statistics, name, getattr(issues, name))
    return statistics


def _with_passed(statistics: ResultStatistics, figures: Any) -> ResultStatistics:
    """Add the checks that passed, which a report counts but does not list."""
    passed = 0 if figures is None else int(read(figures, "successful_validations", 0))
    statistics.passed_validators += passed
    statistics.total_validators += passed
    return statistics
