"""Checks that turned: newly failing, and recovered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from truthstore.checks.check import FAILING, Check
from truthstore.checks.notes import moment
from truthstore.model.query import StoreQuery

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
    wanted = StoreQuery(start_time=start, where={"status": ("in", FAILING if failing else ("success",))})
    newest = reading.latest(query, outcomes=True, keep=wanted)
    failed = StoreQuery(where={"status": ("in", FAILING)})
    before = reading.latest(query, outcomes=True, before=start, keep=failed, of=newest) if newest else {}
    found = [row for series, row in newest.items() if (series in before) is not failing]
    return [reading.newest(row) for row in reading.judged(found, query)]
