"""Results of data checks: the items of the default collection.

A `ValidationResult` is one run of checks over one data asset. It holds a `ValidatorResult` for every check and
`ResultStatistics` that sum them up; lists, trends and plots are drawn from the statistics alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import MAXYEAR, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from truthstore.items.check_rows import CHECKS
from truthstore.items.checks import (
    SEVERITIES,
    CheckStatus,
    ResultStatistics,
    ResultStatus,
    ValidatorResult,
    severity_of,
    status_of,
)
from truthstore.items.item import Item, time_of
from truthstore.model.collection import Collection
from truthstore.model.fields import Field
from truthstore.model.values import is_json

if TYPE_CHECKING:
    from typing import Unpack

    from truthstore.items.conversion import ImportOptions

__all__ = ["RESULTS", "ValidationResult"]


HTML_ROWS: Final = 100
"""So many checks at most does a notebook show of a result."""

VERDICTS: Final = {
    CheckStatus.SUCCESS: "passed",
    CheckStatus.WARNING: "warned",
    CheckStatus.FAILURE: "failed",
    CheckStatus.ERROR: "could not run",
    CheckStatus.SKIPPED: "skipped",
    CheckStatus.NOT_EVALUATED: "not evaluated",
}


class ValidationResult(Item, msgspec.Struct, omit_defaults=True):
    """One run of checks over one data asset.

    Subclasses may add fields that have defaults; to store them, make a collection of the subclass.

    Attributes:
        run_id: the id under which it is stored; see `new_run_id`.
        run_time: when the checks ran. A naive time means local time.
        data_asset: the data checked: a table, a file, a topic.
        status: how the run ended. A plain string such as ``"failure"`` is taken too. Where a check failed, or
            the figures tell of one, ``success`` becomes what follows from them.
        results: one entry per check, or per check and column.
        statistics: the figures. Left out, or counting no check and no issue, they are counted from `results`.
        tags: for queries: ``{"environment": "production"}``.
        metadata: whatever else belongs to the run.
        suite_name: name of the suite, schema or contract that was checked.
        runtime_environment: where it ran: versions, host, commit.
        counted: the figures are those of `results`, and every save counts them again. Set it to False to change figures.
        interval_start: start of the period of which the data are, such as a partition's day; None if that is not known.
        interval_end: its end.

    Raises:
        TypeError: `results` or `statistics` hold something else.
        ValueError: `status` is not a status, a time not a time, or a check contradicts itself.
    """

    run_id: str
    run_time: datetime
    data_asset: str
    status: ResultStatus
    results: list[ValidatorResult] = []
    statistics: ResultStatistics = msgspec.field(default_factory=ResultStatistics)
    tags: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    suite_name: str | None = None
    runtime_environment: dict[str, Any] = {}
    counted: bool = False
    interval_start: datetime | None = None
    interval_end: datetime | None = None

    def __post_init__(self) -> None:
        # Also runs after decoding, where these conditions are false: keep it short.
        if type(self.status) is not ResultStatus:
            self.status = ResultStatus(self.status)
        if type(self.run_time) is not datetime:
            if (time := time_of(self.run_time, "run_time")) is None:
                raise ValueError(f"run_time must be a datetime or an ISO string, not {self.run_time!r:.80}")
            self.run_time = time
        if self.interval_start is not None or self.interval_end is not None:
            self.interval_start = time_of(self.interval_start, "interval_start")
            self.interval_end = time_of(self.interval_end, "interval_end")
        if not isinstance(self.statistics, ResultStatistics):
            raise TypeError(f"statistics are a ResultStatistics, not {type(self.statistics).__name__}")
        if not self.counted:
            for result in self.results:
                if not isinstance(result, ValidatorResult):
                    raise TypeError(f"results hold ValidatorResult items, not {type(result).__name__}: see from_dict")
                if not _is_verdict(result.success):
                    raise ValueError(
                        f"check {result.validator_name!r:.80}: success is True or False, not {result.success!r:.80}"
                    )
            self._count()

    def _count(self) -> None:
        given = self.statistics
        rows, columns, time = given.total_rows, given.total_columns, given.execution_time_ms
        figures = ResultStatistics.from_results(
            self.results, total_rows=rows, total_columns=columns, execution_time_ms=time or None
        )
        counts_none = given == ResultStatistics(total_rows=rows, total_columns=columns, execution_time_ms=time)
        if self.counted or counts_none or figures == _with_warned(given, figures.warning_validators):
            self.statistics, self.counted = figures, True
        if self.status is ResultStatus.SUCCESS and figures.passed_validators < figures.total_validators:
            self.status = ResultStatus.of(self.results)
        if self.status is ResultStatus.SUCCESS and not self.counted:
            self.status = ResultStatus.of_figures(given)

    def _before_save(self) -> None:
        """Bring figures and status up to date: checks may have been edited, added or removed."""
        with suppress(AttributeError, TypeError):  # of what is in a wrong place, encoding says more
            self._count()

    @property
    def id(self) -> str:
        """The id under which it is stored: `run_id`."""
        return self.run_id

    @property
    def success(self) -> bool:
        """True if every check ran and passed."""
        return self.status is ResultStatus.SUCCESS

    @property
    def issue_count(self) -> int:
        """Number of issues found: `statistics.total_issues`."""
        return self.statistics.total_issues

    def get_failed_columns(self) -> set[str]:
        """The columns in which a check failed or could not run, each of a check over several."""
        named = (result.columns or (result.column,) for result in self.results if not result.success)
        return {column for columns in named for column in columns if column is not None}

    def get_issues_by_severity(self, severity: str) -> list[ValidatorResult]:
        """Return the checks that failed with this severity (in any case), in the order of `results`."""
        wanted = str(getattr(severity, "value", severity)).lower()
        return [r for r in self.results if r.failed and severity_of(r) == wanted]

    def summary(self) -> str:
        """Return one line for people: asset, status, issues by severity, checks, rows, time and id."""
        figures = self.statistics
        counts = {name: getattr(figures, f"{name}_issues") for name in SEVERITIES}
        severities = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        parts = [
            f"{figures.total_issues:,} issue{'' if figures.total_issues == 1 else 's'}"
            + (f" ({severities})" if severities else ""),
            f"{figures.passed_validators:,} of {figures.total_validators:,} checks passed",
        ]
        for left, words in (
            (figures.error_validators, "could not run"),
            (figures.not_evaluated_validators, "not evaluated"),
            (figures.skipped_validators, "skipped"),
        ):
            if left:
                parts.append(f"{left:,} {words}")
        if figures.total_rows:
            parts.append(f"{figures.total_rows:,} rows")
        when = self.run_time.isoformat(sep=" ", timespec="seconds")
        return f"{self.data_asset}: {self.status.value}, {', '.join(parts)}, at {when} [{self.run_id}]"

    def _repr_html_(self) -> str:
        """Return the summary and a table of the checks, failed ones first, as notebooks show it."""
        from html import escape  # which most programs never need

        def row(check: ValidatorResult) -> str:
            verdict = VERDICTS[status_of(check)]
            failed = f"{check.count:,}" if check.count else ""
            cells = (check.validator_name, check.column, verdict, failed, check.severity, check.message)
            return "".join(f"<td>{escape(str(cell or ''))}</td>" for cell in cells)

        shown = sorted(self.results, key=lambda check: check.success)[:HTML_ROWS]
        rows = "".join(f"<tr>{row(check)}</tr>" for check in shown)
        left = len(self.results) - len(shown)
        rest = f"<p>and {left:,} more</p>" if left else ""
        names = "".join(f"<th>{name}</th>" for name in ("check", "column", "outcome", "failed", "severity", "message"))
        table = f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
        return f"<div><p>{escape(self.summary())}</p>{table}{rest}</div>"

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON-ready builtins: times as ISO strings, and the two rates among the statistics.

        Raises:
            ValueError: a free-form dict holds a cycle.
        """
        return {**super().to_dict(), "statistics": self.statistics.to_dict()}

    @classmethod
    def from_report(
        cls,
        report: object,
        data_asset: str | None = None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        execution_time_ms: float | None = None,
        **options: Unpack[ImportOptions],
    ) -> Self:
        """Convert a `Report` of Truthound, or the run result of `truthound.check()`.

        A run result lists its checks: they are counted as validators, and those that found nothing are kept as passed.
        A `Report` lists issues only. Every issue becomes an entry with its column, severity, count and samples.

        Args:
            report: either of them, or its `to_dict()`, or the path of a file with that as JSON.
            data_asset: name of the data checked; the report's own source if None.
            run_id: the id to store it under. If None, it is derived from Truthound's run id and the asset, so that
                the same run gets the same id again; a `Report`, which has no run id, gets `new_run_id()`.
            tags: for queries.
            metadata: added to the values kept of the report itself under ``tool``, ``tool_run_id`` and ``source``.
            execution_time_ms: how long the run took, in milliseconds; Truthound does not say.
            **options: see `truthstore.interop.ImportOptions`.

        Raises:
            TypeError: `report` is neither.
            ValueError: it does not name its source, and `data_asset` is not given.
        """
        from truthstore.items.report import report_fields  # which most programs never need

        return cls(
            **report_fields(report, data_asset, run_id, tags, metadata, execution_time_ms=execution_time_ms, **options)
        )


def _with_warned(figures: ResultStatistics, warned: int) -> ResultStatistics:
    """Return figures with the number of warnings, which results of earlier versions do not have."""
    return figures if figures.warning_validators else msgspec.structs.replace(figures, warning_validators=warned)


def _is_verdict(success: object) -> bool:
    try:
        return success is not None and success in {True, False}
    except TypeError:  # pandas.NA
        return False


def _is_canonical(result: ValidationResult) -> bool:
    """Return whether a result has exactly the declared types, so that its JSON can be read back.

    A null in it may have been a NaN. A `msgspec.Raw` is taken for the JSON that it should be.
    """
    figures, when = result.statistics, result.run_time
    if not (
        type(result) is ValidationResult
        and type(result.run_id) is str
        and type(result.data_asset) is str
        and type(result.status) is ResultStatus
        and type(result.results) is list
        and type(result.tags) is dict
        and type(result.counted) is bool
        and (result.suite_name is None or type(result.suite_name) is str)
        and type(when) is datetime
        and 1 < when.year < MAXYEAR
        and type(figures) is ResultStatistics
        and type(figures.total_validators) is int
        and type(figures.passed_validators) is int
        and type(figures.failed_validators) is int
        and type(figures.error_validators) is int
        and type(figures.total_rows) is int
        and type(figures.total_columns) is int
        and type(figures.total_issues) is int
        and type(figures.critical_issues) is int
        and type(figures.high_issues) is int
        and type(figures.medium_issues) is int
        and type(figures.low_issues) is int
        and (type(total := figures.execution_time_ms) is float or type(total) is int)
        and type(figures.warning_validators) is int
        and type(figures.skipped_validators) is int
        and type(figures.not_evaluated_validators) is int
        and result.interval_start is None
        and result.interval_end is None
    ):
        return False
    # There are many of these, and a local name is found faster.
    kind, text, flag, whole, real = type, str, bool, int, float
    free = [result.metadata, result.runtime_environment]
    for check in result.results:
        if not (
            kind(check) is ValidatorResult
            and kind(check.validator_name) is text
            and kind(check.success) is flag
            and (check.column is None or kind(check.column) is text)
            and (check.issue_type is None or kind(check.issue_type) is text)
            and (kind(check.count) is whole or check.count is None)
            and (check.severity is None or kind(check.severity) is text)
            and (check.message is None or kind(check.message) is text)
            and (kind(taken := check.execution_time_ms) is real or kind(taken) is whole)
            and (check.check_id is None or kind(check.check_id) is text)
            and (check.status is None or kind(check.status) is text)
            and (check.checked is None or kind(check.checked) is whole)
            and (check.observed is None or kind(check.observed) is text)
            and (check.expected is None or kind(check.expected) is text)
            and (check.owner is None or kind(check.owner) is text)
            and check.columns is None
        ):
            return False
        total += taken
        free.append(check.details)
    return _LEAST <= total <= _MOST and is_json(free)  # the sum is not finite if one of them is not


_MOST: Final = sys.float_info.max
_LEAST: Final = -_MOST


def _figure(kind: type, name: str) -> Field:
    return Field(kind, f"statistics.{name}", indexed=False)


RESULTS: Collection[ValidationResult] = Collection(
    ValidationResult,
    name="results",
    id="run_id",
    time="run_time",
    tags="tags",
    index={
        "data_asset": str,
        "status": str,
        "suite_name": str,
        "total_issues": _figure(int, "total_issues"),
        "critical_issues": _figure(int, "critical_issues"),
        "high_issues": _figure(int, "high_issues"),
        "medium_issues": _figure(int, "medium_issues"),
        "low_issues": _figure(int, "low_issues"),
        "total_rows": _figure(int, "total_rows"),
        "pass_rate": _figure(float, "pass_rate"),
        "execution_time_ms": _figure(float, "execution_time_ms"),
    },
    lookups=(("data_asset", "status"), ("data_asset",), ("status",)),
    text=(
        "data_asset",
        "suite_name",
        "results.validator_name",
        "results.column",
        "results.issue_type",
        "results.message",
    ),
    enc_hook=None,
    dec_hook=None,
    is_canonical=_is_canonical,
    rows=CHECKS,
)
"""The default collection: validation results."""
