"""What was not checked for too long."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from truthstore.checks.check import SILENT, Check, time_of
from truthstore.model.aggregate import Aggregation
from truthstore.model.query import StoreQuery

if TYPE_CHECKING:
    from truthstore.checks.query import CheckQuery
    from truthstore.checks.reading import Reading

__all__ = ["Overdue", "OverdueAsset", "overdue"]


class OverdueAsset(msgspec.Struct, frozen=True, kw_only=True):
    """An asset without a run for too long.

    Attributes:
        data_asset: the asset.
        run_time: its newest run.
        age: how long ago that was.
    """

    data_asset: str
    run_time: datetime
    age: timedelta


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """What was not checked for too long.

    Attributes:
        checks: the newest outcome of each check that has had none since; of one that never had an outcome its newest row,
            with an `age` of None.
        assets: the assets that had no run since.
    """

    checks: tuple[Check, ...]
    assets: tuple[OverdueAsset, ...]


def overdue(reading: Reading, max_age: timedelta, query: CheckQuery) -> Overdue:
    """Return the checks and assets that were not seen for so long, those seen longest ago first."""
    if not isinstance(max_age, timedelta):
        raise TypeError(f"max_age is a timedelta, not {type(max_age).__name__}")
    start = reading.now - max_age
    seen = reading.latest(query, outcomes=True)
    silent = StoreQuery(where={"status": ("in", SILENT)})
    never = [row for series, row in reading.latest(query, keep=silent).items() if series not in seen]
    late = sorted((row for row in seen.values() if time_of(row) < start), key=time_of)
    checks = [reading.newest(row) for row in reading.judged([*never, *late], query)]
    never_seen = {row.id for row in never}
    return Overdue(
        checks=tuple(msgspec.structs.replace(one, age=None) if one.row in never_seen else one for one in checks),
        assets=_assets(reading, start, query),
    )


def _assets(reading: Reading, start: datetime, query: CheckQuery) -> tuple[OverdueAsset, ...]:
    runs = StoreQuery(
        data_asset=query.data_asset, tags=query.tags, start_time=query.start_time, end_time=query.end_time
    )
    newest = Aggregation.of(reading.collection, "data_asset", None, "max:run_time")
    rows = reading.store.aggregate_records(runs, newest, collection=reading.collection)
    late = [
        OverdueAsset(data_asset=row["data_asset"], run_time=time, age=reading.now - time)
        for row in rows
        if (time := row["max:run_time"]) < start
    ]
    return tuple(sorted(late, key=lambda one: one.run_time))
