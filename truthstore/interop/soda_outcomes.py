"""What Soda's outcomes mean, whichever its version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from truthstore.items.checks import VALIDATOR_ERROR, ResultStatus, ValidatorResult
from truthstore.items.conversion import read, shares_failing, shortened
from truthstore.model.values import text_of

__all__ = ["PASSED", "add_errors", "duration_ms", "judged", "said", "word_of"]

PASSED: Final = ("passed", "pass")
STATUSES: Final = {"warn": "warning", "failed": None, "fail": None, "excluded": "skipped"}
"""What other outcomes become; any that is not here is none."""


def judged(
    result: ValidatorResult, outcome: str, kind: str, errors: Sequence[str], *, columns: Iterable[Any] = ()
) -> ValidatorResult:
    """Fill in what follows from the outcome, in place.

    Args:
        result: a check; `count` is None where Soda does not count rows.
        outcome: Soda's word for it.
        kind: what kind of check it is.
        errors: what Soda logged.
        columns: the columns of a check over several.
    """
    if names := tuple(text_of(column).strip() for column in columns):
        result.columns, result.column = names, ", ".join(names)
    if result.success:
        result.count = result.count or 0
        return result
    result.status = STATUSES.get(outcome, "not_evaluated")
    if outcome in {"failed", "fail", "warn"} and result.observed is None:
        # It was compared with nothing, because the query failed or the table is empty.
        result.issue_type, result.status = VALIDATOR_ERROR, None
    if result.status in {"skipped", "not_evaluated"} or result.errored:
        result.count = 0 if result.errored else None
        result.checked = result.observed = None
        result.message = "failed without a value" if result.errored else result.status
        if errors and result.status != "skipped":
            result.details["sample_message"] = shortened("; ".join(errors), 1_000)
        return result
    expected = f", expected {result.expected}" if result.expected else ""
    result.message = (
        shares_failing(result.count, result.checked or 0, ())
        if result.count
        else f"observed {result.observed}{expected}"
    )
    result.issue_type, result.count = kind, result.count or 0
    return result


def add_errors(name: str, results: list[ValidatorResult], errors: list[str]) -> None:
    """Add an entry for errors that no check shows, and one where no check ran."""
    if errors and ResultStatus.of(results) in {ResultStatus.SUCCESS, ResultStatus.WARNING}:
        result = ValidatorResult(name, success=False, issue_type=VALIDATOR_ERROR, message="could not run")
        result.details = {"sample_message": shortened("; ".join(errors), 1_000)}
        results.append(result)
    elif not results:
        results.append(ValidatorResult(name, success=False, count=None, status="not_evaluated", message="no check ran"))


def said(log: Any) -> str:
    """Return the text of an entry of Soda's log."""
    return text_of(log.getMessage() if hasattr(log, "getMessage") else read(log, "message", ""))


def word_of(value: Any) -> str:
    """Return an outcome or status in lower case."""
    return text_of(getattr(value, "value", value) or "").lower()


def duration_ms(started: datetime | None, ended: datetime | None) -> float:
    """Return the time between two moments in milliseconds, 0.0 if one is not known."""
    return 0.0 if started is None or ended is None else (ended - started).total_seconds() * 1_000
