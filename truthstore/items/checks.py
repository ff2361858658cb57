"""The result of one check, and the figures of many."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NoReturn

import msgspec

from truthstore.items.item import Item

__all__ = ["SEVERITIES", "VALIDATOR_ERROR", "ResultStatistics", "ResultStatus", "ValidatorResult", "severity_of"]

VALIDATOR_ERROR: Final = "validator_error"
"""The `issue_type` of a check that could not run. It counts as an error, not as an issue of the data."""

SEVERITIES: Final = ("critical", "high", "medium", "low")


class ValidatorResult(Item, msgspec.Struct, omit_defaults=True):
    """The result of one check.

    Attributes:
        validator_name: name of the check.
        success: the data passed.
        column: the column checked; None for the whole table. Several are joined: ``"latitude, longitude"``.
        issue_type: the kind of issue, None if the check passed; `VALIDATOR_ERROR` if it could not run.
        count: number of values (or rows) that failed.
        severity: ``critical``, ``high``, ``medium`` or ``low``; None if nothing failed or the tool has no severities.
        message: the fault, for people.
        details: further values of the tool: expected and observed values, samples, parameters.
        execution_time_ms: how long the check took, in milliseconds; 0.0 if the tool does not say.
    """

    validator_name: str
    success: bool
    column: str | None = None
    issue_type: str | None = None
    count: int = 0
    severity: str | None = None
    message: str | None = None
    details: dict[str, Any] = {}
    execution_time_ms: float = 0.0

    @property
    def errored(self) -> bool:
        """True if the check could not run, so that nothing is known about the data."""
        return not self.success and self.issue_type == VALIDATOR_ERROR


class ResultStatus(StrEnum):
    """The outcome of a run."""

    SUCCESS = "success"
    """Every check ran and passed."""
    FAILURE = "failure"
    """A check of critical, high or unstated severity failed."""
    ERROR = "error"
    """A check could not run, and no other check means failure."""
    WARNING = "warning"
    """Only checks of medium or low severity failed."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"a status is one of {', '.join(cls)}, not {value!r:.80}")

    @classmethod
    def of(cls, results: Iterable[ValidatorResult]) -> ResultStatus:
        """Return the status that follows from the results of the checks."""
        errored = warned = False
        for result in results:
            if result.success:
                continue
            if result.errored:
                errored = True
            elif severity_of(result) in ("medium", "low"):
                warned = True
            else:
                return cls.FAILURE
        if errored:
            return cls.ERROR
        return cls.WARNING if warned else cls.SUCCESS


class ResultStatistics(Item, msgspec.Struct, omit_defaults=True, gc=False):
    """The figures of a run; they are indexed, so that lists and trends load no result.

    An issue is a check that failed, on one column: how many values failed is in `ValidatorResult.count`.

    Attributes:
        total_validators: checks in all; the next three add up to it.
        passed_validators: checks that passed.
        failed_validators: checks that failed.
        error_validators: checks that could not run.
        total_rows: rows of the table; 0 if not known.
        total_columns: columns of the table; 0 if not known.
        total_issues: issues in all, those without a severity too.
        critical_issues: issues of severity critical.
        high_issues: issues of severity high.
        medium_issues: issues of severity medium.
        low_issues: issues of severity low.
        execution_time_ms: how long the run took, in milliseconds; 0.0 if not known.
    """

    total_validators: int = 0
    passed_validators: int = 0
    failed_validators: int = 0
    error_validators: int = 0
    total_rows: int = 0
    total_columns: int = 0
    total_issues: int = 0
    critical_issues: int = 0
    high_issues: int = 0
    medium_issues: int = 0
    low_issues: int = 0
    execution_time_ms: float = 0.0

    @property
    def issue_count(self) -> int:
        """`total_issues`, as results call it."""
        return self.total_issues

    @property
    def pass_rate(self) -> float | None:
        """Checks that passed, as a fraction of all checks (0.0 to 1.0); None if there were none."""
        return self.passed_validators / self.total_validators if self.total_validators else None

    @property
    def issue_rate(self) -> float:
        """Issues per row of the table; 0.0 if the number of rows is not known. Above 1.0 in small, bad tables."""
        return self.total_issues / self.total_rows if self.total_rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every field, and the two rates."""
        return {**super().to_dict(), "pass_rate": self.pass_rate, "issue_rate": self.issue_rate}

    @classmethod
    def from_results(
        cls,
        results: Iterable[ValidatorResult],
        *,
        total_rows: int = 0,
        total_columns: int = 0,
        execution_time_ms: float | None = None,
    ) -> ResultStatistics:
        """Count results, each as one check.

        Args:
            results: the results of the checks.
            total_rows: rows of the table.
            total_columns: columns of the table.
            execution_time_ms: how long the run took, in milliseconds; the sum over the checks if None.
        """
        issues = dict.fromkeys(SEVERITIES, 0)
        total = passed = failed = 0
        own_time = 0.0
        for result in results:
            total += 1
            own_time += result.execution_time_ms
            if result.success:
                passed += 1
            elif not result.errored:
                failed += 1
                if (severity := severity_of(result)) in issues:
                    issues[severity] += 1
        return cls(
            total_validators=total,
            passed_validators=passed,
            failed_validators=failed,
            error_validators=total - passed - failed,
            total_rows=total_rows,
            total_columns=total_columns,
            total_issues=failed,
            **{f"{severity}_issues": count for severity, count in issues.items()},
            execution_time_ms=own_time if execution_time_ms is None else execution_time_ms,
        )


def severity_of(result: ValidatorResult) -> str:
    """Return the severity in lower case; empty if the check has none."""
    return (result.severity or "").lower()
