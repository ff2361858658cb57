"""Checks that turned: newly failing, and recovered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from truthstore.checks.check import Check, is_failing, time_of
from truthstore.checks.notes import moment

if TYPE_CHECKING:
    from truthstore.checks.query import CheckQuery
    from truthstore.checks.reading import Reading

__all__ = ["turned"]


def turned(reading: Reading, since: datetime | timedelta, query: CheckQuery, *, failing: bool) -> list[Check]:
    """Return the checks whose newest outcome since a time differs from the last one before it.

    Args:
        reading: the store.
        since: the time, or how long ago it is.
        query: which checks.
        failing: those that fail now and did not before, or were not there; else those that pass now and failed before.
    """
    start = moment(since, reading.now, ago=True)
    newest = {
        series: row
        for series, row in reading.latest(query, outcomes=True).items()
        if is_failing(row) is failing and time_of(row) >= start
    }
    before = reading.latest(query, outcomes=True, before=start) if newest else {}
    found = [row for series, row in newest.items() if (series in before and is_failing(before[series])) is not failing]
    return [reading.newest(row) for row in reading.judged(found, query)]
