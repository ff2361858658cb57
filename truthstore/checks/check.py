"""A check in one run, as the questions return it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.items.checks import CheckStatus
from truthstore.model.query import from_microseconds

if TYPE_CHECKING:
    from truthstore.model.record import Record

__all__ = ["FAILING", "OUTCOMES", "SILENT", "Acknowledgement", "Check", "check_of", "is_failing", "time_of"]

FAILING: Final = (CheckStatus.FAILURE, CheckStatus.WARNING, CheckStatus.ERROR)
"""The statuses of a check that fails: it found something, or broke."""

OUTCOMES: Final = (CheckStatus.SUCCESS, *FAILING)
"""The statuses of a check that ran. Skipped and not evaluated checks have no outcome: they neither fail nor pass."""

SILENT: Final = (CheckStatus.SKIPPED, CheckStatus.NOT_EVALUATED)
"""The statuses of a check without an outcome."""

_failing: Final = frozenset(status.value for status in FAILING)


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody knows that a check fails.

    Attributes:
        by: who.
        reason: why it may fail.
        until: until then.
        at: when it was said.
    """

    by: str
    reason: str
    until: datetime
    at: datetime


class Check(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A check in one run. Times are in UTC.

    Attributes:
        run_id: the run.
        run_time: when it ran.
        data_asset: the data checked.
        suite_name: the suite, schema or contract that it belongs to.
        check_id: identity of the check over runs and tools, after aliases.
        recorded_as: the identity that the run recorded.
        name: the rule as people call it.
        column: the column; None for the whole table. Several are joined: ``"latitude, longitude"``.
        columns: the columns of a rule over several.
        tool: the tool that ran it.
        status: its outcome.
        severity: the tool's severity.
        owner: the one that it was assigned to, or else the one that the run recorded.
        failed: number of rows (or values) that failed; None if not known.
        checked: number of rows (or values) that were looked at; None if not known.
        observed: what was seen.
        expected: what was asked for.
        execution_time_ms: how long it took.
        interval_start: start of the period of which the data are.
        interval_end: its end.
        tags: those of the run.
        age: how long ago it ran, where the newest outcome was asked for.
        acknowledged: the acknowledgement that holds now, where the newest outcome was asked for and fails.
        row: its place in the index.
    """

    run_id: str
    run_time: datetime
    data_asset: str
    suite_name: str | None
    check_id: str
    recorded_as: str
    name: str
    column: str | None
    columns: tuple[str, ...] | None
    tool: str | None
    status: CheckStatus
    severity: str | None
    owner: str | None
    failed: int | None
    checked: int | None
    observed: str | None
    expected: str | None
    execution_time_ms: float | None
    interval_start: datetime | None
    interval_end: datetime | None
    tags: dict[str, str]
    row: str
    age: timedelta | None = None
    acknowledged: Acknowledgement | None = None

    @property
    def success(self) -> bool:
        """True if it ran and passed."""
        return self.status is CheckStatus.SUCCESS

    @property
    def failing(self) -> bool:
        """True if it ran and found something, or broke."""
        return self.status in _failing


def check_of(row: Record, check_id: str, owner: str | None, now: datetime | None = None) -> Check:
    """Return a row as people read it, under the identity and the owner that it has by now."""
    fields: Any = row.meta.fields
    start, end, columns = fields["interval_start"], fields["interval_end"], fields["columns"]
    run_time = time_of(row)
    return Check(
        run_id=fields["run_id"],
        run_time=run_time,
        data_asset=fields["data_asset"],
        suite_name=fields["suite_name"],
        check_id=check_id,
        recorded_as=fields["check_id"],
        name=fields["name"],
        column=fields["column"],
        columns=None if columns is None else tuple(columns.split(", ")),
        tool=fields["tool"],
        status=CheckStatus(fields["status"]),
        severity=fields["severity"],
        owner=owner,
        failed=fields["failed"],
        checked=fields["checked"],
        observed=fields["observed"],
        expected=fields["expected"],
        execution_time_ms=fields["execution_time_ms"],
        interval_start=None if start is None else from_microseconds(start),
        interval_end=None if end is None else from_microseconds(end),
        tags=dict(row.meta.tags),
        row=row.meta.id,
        age=None if now is None else now - run_time,
    )


def is_failing(row: Record) -> bool:
    """Return whether the check of a row fails."""
    return row.meta.fields["status"] in _failing


def time_of(row: Record) -> datetime:
    """Return when the check of a row ran."""
    time: Any = row.meta.fields["run_time"]
    return from_microseconds(time)
