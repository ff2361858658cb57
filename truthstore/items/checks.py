"""The result of one check, and the figures of many."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NoReturn

import msgspec

from truthstore.items.item import Item

__all__ = [
    "SEVERITIES",
    "VALIDATOR_ERROR",
    "CheckStatus",
    "ResultStatistics",
    "ResultStatus",
    "ValidatorResult",
    "severity_of",
    "status_of",
]

VALIDATOR_ERROR: Final = "validator_error"
"""The `issue_type` of a check that could not run. It counts as an error, not as an issue of the data."""

SEVERITIES: Final = ("critical", "high", "medium", "low")


class CheckStatus(StrEnum):
    """The outcome of a check. Only `SUCCESS` has passed."""

    SUCCESS = "success"
    """It ran and passed."""
    WARNING = "warning"
    """It ran and failed, with a severity of medium or low, or as the tool's warning."""
    FAILURE = "failure"
    """It ran and failed."""
    ERROR = "error"
    """It could not run, or broke."""
    SKIPPED = "skipped"
    """It was left out on purpose, or because of what failed before it."""
    NOT_EVALUATED = "not_evaluated"
    """It should have run, and has no outcome."""


_STATUSES: Final = frozenset(CheckStatus)


class ValidatorResult(Item, msgspec.Struct, omit_defaults=True):
    """The result of one check.

    Attributes:
        validator_name: name of the check.
        success: the data passed.
        column: the column checked; None for the whole table. Several are joined: ``"latitude, longitude"``.
        issue_type: the kind of issue, None if the check passed; `VALIDATOR_ERROR` if it could not run.
        count: number of values (or rows) that failed; None if it passed, but nobody knows how many failed all the same.
            0 in a check that failed means that it is not known.
        severity: ``critical``, ``high``, ``medium`` or ``low``; None if nothing failed or the tool has no severities.
        message: the fault, for people.
        details: further values of the tool: expected and observed values, samples, parameters.
        execution_time_ms: how long the check took, in milliseconds; 0.0 if the tool does not say.
        check_id: identity of the check over runs, tools and thresholds; if None, it is made of name, column and
            ``details["parameters"]``.
        status: one of `CheckStatus`, where `success`, `severity` and `issue_type` do not say it: for ``warning``,
            ``skipped`` and ``not_evaluated``. Only ``success`` goes with `success`.
        checked: number of values (or rows) that were looked at; None if not known.
        observed: what was seen.
        expected: what was asked for.
        owner: who looks after the check.
        columns: the columns of a check over several.
    """

    validator_name: str
    success: bool
    column: str | None = None
    issue_type: str | None = None
    count: int | None = 0
    severity: str | None = None
    message: str | None = None
    details: dict[str, Any] = {}
    execution_time_ms: float = 0.0
    check_id: str | None = None
    status: str | None = None
    checked: int | None = None
    observed: str | float | None = None
    expected: str | float | None = None
    owner: str | None = None
    columns: tuple[str, ...] | None = None

    @property
    def errored(self) -> bool:
        """True if the check could not run, so that nothing is known about the data."""
        if self.status is None:
            return not self.success and self.issue_type == VALIDATOR_ERROR
        return self.status == "error"

    @property
    def failed(self) -> bool:
        """True if the check ran and failed, be it with a warning."""
        return not self.success and status_of(self) in {"failure", "warning"}


class ResultStatus(StrEnum):
    """The outcome of a run."""

    SUCCESS = "success"
    """Every check passed, but for those that were skipped."""
    FAILURE = "failure"
    """A check of critical, high or unstated severity failed."""
    ERROR = "error"
    """A check could not run or was not evaluated, or all were skipped; and no check means failure."""
    WARNING = "warning"
    """Only checks of medium or low severity failed."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"a status is one of {', '.join(cls)}, not {value!r:.80}")

    @classmethod
    def of(cls, results: Iterable[ValidatorResult]) -> ResultStatus:
        """Return the status that follows from the results of the checks."""
        found = {"success" if result.success else status_of(result) for result in results}
        if "failure" in found:
            return cls.FAILURE
        if "error" in found or "not_evaluated" in found or found == {"skipped"}:
            return cls.ERROR
        return cls.WARNING if "warning" in found else cls.SUCCESS

    @classmethod
    def of_figures(cls, figures: ResultStatistics) -> ResultStatus:
        """Return the status that follows from figures, which need not be complete: whatever has not passed has failed."""
        without_outcome = figures.error_validators + figures.not_evaluated_validators
        left = figures.total_validators - figures.passed_validators - figures.skipped_validators - without_outcome
        by_severity = [getattr(figures, f"{severity}_issues") for severity in SEVERITIES]
        failed = max(figures.failed_validators, left, figures.total_issues, sum(by_severity))
        if failed > (figures.warning_validators or figures.medium_issues + figures.low_issues):
            return cls.FAILURE
        if without_outcome or 0 < figures.total_validators == figures.skipped_validators:
            return cls.ERROR
        return cls.WARNING if failed or figures.warning_validators else cls.SUCCESS


class ResultStatistics(Item, msgspec.Struct, omit_defaults=True, gc=False):
    """The figures of a run; they are indexed, so that lists and trends load no result.

    An issue is a check that failed, on one column: how many values failed is in `ValidatorResult.count`.

    Attributes:
        total_validators: checks in all; those that passed, failed, could not run, were skipped and were not evaluated
            add up to it.
        passed_validators: checks that passed.
        failed_validators: checks that failed, those with a warning among them.
        error_validators: checks that could not run.
        total_rows: rows of the table; 0 if not known.
        total_columns: columns of the table; 0 if not known.
        total_issues: issues in all, those without a severity too.
        critical_issues: issues of severity critical.
        high_issues: issues of severity high.
        medium_issues: issues of severity medium.
        low_issues: issues of severity low.
        execution_time_ms: how long the run took, in milliseconds; 0.0 if not known.
        warning_validators: checks that failed with a warning.
        skipped_validators: checks that were skipped.
        not_evaluated_validators: checks that have no outcome.
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
    warning_validators: int = 0
    skipped_validators: int = 0
    not_evaluated_validators: int = 0

    @property
    def issue_count(self) -> int:
        """`total_issues`, as results call it."""
        return self.total_issues

    @property
    def pass_rate(self) -> float | None:
        """Checks that passed, as a fraction (0.0 to 1.0) of all that were not skipped; None if there were none."""
        wanted = self.total_validators - self.skipped_validators
        return self.passed_validators / wanted if wanted else None

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
        others = dict.fromkeys(CheckStatus, 0)
        total = passed = failed = 0
        own_time = 0.0
        for result in results:
            total += 1
            own_time += result.execution_time_ms
            if result.success:
                passed += 1
                if result.status is not None:
                    status_of(result)  # which raises where they contradict each other
                continue
            status = status_of(result)
            others[status] += 1
            if status in {"failure", "warning"}:
                failed += 1
                if (severity := severity_of(result)) in issues:
                    issues[severity] += 1
        return cls(
            total_validators=total,
            passed_validators=passed,
            failed_validators=failed,
            error_validators=others[CheckStatus.ERROR],
            warning_validators=others[CheckStatus.WARNING],
            skipped_validators=others[CheckStatus.SKIPPED],
            not_evaluated_validators=others[CheckStatus.NOT_EVALUATED],
            total_rows=total_rows,
            total_columns=total_columns,
            total_issues=failed,
            **{f"{severity}_issues": count for severity, count in issues.items()},
            execution_time_ms=own_time if execution_time_ms is None else execution_time_ms,
        )


def severity_of(result: ValidatorResult) -> str:
    """Return the severity in lower case; empty if the check has none."""
    return (result.severity or "").lower()


def status_of(result: ValidatorResult) -> CheckStatus:
    """Return the outcome of a check: as it says, or what follows from the rest.

    Raises:
        ValueError: `status` is none, or contradicts `success`.
    """
    status = result.status
    if status is not None:
        if status not in _STATUSES:
            raise ValueError(
                f"check {result.validator_name!r:.80}: a status is one of {', '.join(CheckStatus)}, not {status!r:.80}"
            )
        if (status == "success") != bool(result.success):
            raise ValueError(
                f"check {result.validator_name!r:.80}: success={result.success!r} contradicts status={status!r:.80}"
            )
        return CheckStatus(status)
    if result.success:
        return CheckStatus.SUCCESS
    if result.issue_type == VALIDATOR_ERROR:
        return CheckStatus.ERROR
    return CheckStatus.WARNING if severity_of(result) in {"medium", "low"} else CheckStatus.FAILURE
