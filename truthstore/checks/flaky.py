"""Checks that go back and forth."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from truthstore.checks.check import OUTCOMES, Check, is_failing, time_of
from truthstore.checks.query import CheckQuery

if TYPE_CHECKING:
    from truthstore.checks.reading import Reading, Series
    from truthstore.model.record import Record

__all__ = ["Flaky", "flaky"]


class Flaky(msgspec.Struct, frozen=True, kw_only=True):
    """A check that goes back and forth.

    Attributes:
        check: its newest outcome.
        outcomes: how many outcomes were looked at.
        switches: how often it began to fail, or to pass.
        share: `switches`, as a fraction (0.0 to 1.0) of what is possible.
        last_switch: time of the last outcome that was not like the one before.
    """

    check: Check
    outcomes: int
    switches: int
    share: float
    last_switch: datetime


def flaky(reading: Reading, window: int, min_switches: int, query: CheckQuery) -> list[Flaky]:
    """Return the checks that switched so often among their last outcomes, the worst first."""
    if window < 2 or min_switches < 1:  # noqa: PLR2004  # one outcome is like itself
        raise ValueError("window is at least 2, and min_switches at least 1")
    newest = reading.judged(list(reading.latest(query, outcomes=True).values()), query)
    histories = _histories(reading, window, query, newest)
    found: list[Flaky] = []
    for row in newest:
        rows = histories[reading.series(row)]
        turns = [time_of(later) for later, earlier in pairwise(rows) if is_failing(later) is not is_failing(earlier)]
        if len(turns) >= min_switches:
            share = len(turns) / (len(rows) - 1)
            check = reading.newest(row)
            found.append(Flaky(check=check, outcomes=len(rows), switches=len(turns), share=share, last_switch=turns[0]))
    return sorted(found, key=lambda one: (-one.share, -one.switches))


def _histories(reading: Reading, window: int, query: CheckQuery, newest: list[Record]) -> dict[Series, list[Record]]:
    """Return the last outcomes of each check, newest first.

    One pass over the newest rows has most of them; checks that do not run as often as the others are asked one by one.
    """
    looked = CheckQuery(
        data_asset=query.data_asset,
        tags=query.tags,
        start_time=query.start_time,
        end_time=query.end_time,
        status=OUTCOMES,
        limit=2 * window * len(newest),
    )
    histories: dict[Series, list[Record]] = defaultdict(list)
    seen = 0
    for row in reading.records(looked):
        seen += 1
        rows = histories[reading.series(row)]
        if len(rows) < window:
            rows.append(row)
    if seen == looked.limit:
        for row in newest:
            data_asset, check_id = series = reading.series(row)
            if len(histories[series]) < window:
                own = CheckQuery(
                    data_asset=data_asset,
                    check_id=check_id,
                    tags=query.tags,
                    start_time=query.start_time,
                    end_time=query.end_time,
                    status=OUTCOMES,
                    limit=window,
                )
                histories[series] = list(reading.records(own))
    return histories
