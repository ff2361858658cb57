"""Find out when periodic work of a layer is due: the time of its last run is kept in the store, for all processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConflictError, StoreNotFoundError, echoed
from truthstore.model.collection import Collection
from truthstore.model.fields import to_microseconds
from truthstore.model.record import ABSENT, Expect, Meta, Record

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["Schedule", "ScheduledRuns", "is_due", "runs_of"]

DAY: Final = timedelta(days=1)
LOOK_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times of automatic work, after a save.

    Attributes:
        enabled: do it automatically.
        interval_hours: at least so long after the last one, in any process.
        run_at_hour: not before this hour of the day, local time.
        run_on_days: only on these days, Monday is 0.
        max_duration_seconds: stop after about so long, and go on the next time.
    """

    enabled: bool = True
    interval_hours: float = 24
    run_at_hour: int | None = None
    run_on_days: Sequence[int] | None = None
    max_duration_seconds: float = 3_600

    def __post_init__(self) -> None:
        if self.run_at_hour is not None and not isinstance(self.run_at_hour, int):
            raise TypeError(f"run_at_hour is a whole number, not {echoed(self.run_at_hour)}")
        if not (self.interval_hours > 0 and self.max_duration_seconds > 0):  # nan is not
            raise ValueError("interval_hours and max_duration_seconds are greater than 0")
        try:
            timedelta(hours=self.interval_hours)
        except OverflowError:
            raise ValueError("interval_hours is at most 999,999,999 days") from None
        if self.run_at_hour is not None and not 0 <= self.run_at_hour <= 23:  # noqa: PLR2004  # hours of a day
            raise ValueError("run_at_hour is an hour from 0 to 23")
        days = self.run_on_days
        if days is not None and (not days or not all(0 <= day <= 6 for day in days)):  # noqa: PLR2004  # of a week
            raise ValueError("run_on_days are days from 0, Monday, to 6, Sunday")


class _Run(msgspec.Struct, frozen=True, omit_defaults=True):
    ran_at: datetime | None = None
    result: Mapping[str, Any] = {}
    claimed_until: datetime | None = None


def runs_of(layer: str) -> Collection[Any]:
    """Return the collection of a layer with one record for each collection: its last run, and the next one if that is going on."""
    return Collection.of_records(f"store.{layer}", index={"ran_at": datetime}, lookups=())


def is_due(schedule: Schedule, last: datetime | None, now: datetime) -> bool:
    """Return whether the work is to be done now, after the last time."""
    days = schedule.run_on_days
    local = now.astimezone()
    if schedule.run_at_hour is None:
        if days is not None and local.weekday() not in days:
            return False
        return last is None or now - last >= timedelta(hours=schedule.interval_hours)
    # The latest moment at which it was to begin.
    moment = local.replace(hour=schedule.run_at_hour, minute=0, second=0, microsecond=0)
    if moment > local:
        moment -= DAY
    while days is not None and moment.weekday() not in days:
        moment -= DAY
    if last is None:
        return True
    # Yesterday's began a little after its hour: today's is due at the hour all the same.
    return last < moment and moment - last > timedelta(hours=schedule.interval_hours) - DAY


class ScheduledRuns:
    """Lets one process at a time do the work, when that is due.

    Args:
        base: the store that keeps the times.
        schedule: when the work is due.
        clock: the time.
        runs: the collection for the times, from `runs_of`.
    """

    def __init__(
        self, base: BaseStore[Any], schedule: Schedule, clock: Callable[[], datetime], runs: Collection[Any]
    ) -> None:
        self._base = base
        self._schedule = schedule
        self._clock = clock
        self._runs = runs
        self._look_again: dict[str, datetime] = {}

    def last(self, name: str) -> datetime | None:
        """Return the time of a collection's last run."""
        return self._read(name)[0].ran_at

    def claim(self, name: str) -> bool:
        """Return whether the work on a collection is due and the caller is to do it.

        The claim is stored first, and holds for as long as the work may take: if the process is killed, another one
        does it after that.
        """
        now, schedule = self._clock(), self._schedule
        if now < self._look_again.get(name, now):
            return False
        self._look_again[name] = now + min(LOOK_AGAIN, timedelta(hours=schedule.interval_hours))
        run, expect = self._read(name)
        if (run.claimed_until is not None and now < run.claimed_until) or not is_due(schedule, run.ran_at, now):
            return False
        until = now + timedelta(seconds=min(schedule.max_duration_seconds, schedule.interval_hours * 3_600))
        try:
            self._write(name, _Run(run.ran_at, run.result, until.astimezone(UTC)), expect)
        except StoreConflictError:
            return False  # another process was faster
        return True

    def done(self, name: str, result: Mapping[str, Any]) -> None:
        """Store the result of a run."""
        _, expect = self._read(name)
        with suppress(StoreConflictError):  # another process did the same at the same time, and has stored that
            self._write(name, _Run(self._clock().astimezone(UTC), result), expect)

    def _read(self, name: str) -> tuple[_Run, Expect]:
        try:
            record = self._base.get_record(name, collection=self._runs)
        except StoreNotFoundError:
            return _Run(), ABSENT
        return msgspec.json.decode(record.body or b"{}", type=_Run), record.revision

    def _write(self, name: str, run: _Run, expect: Expect) -> None:
        body = msgspec.json.encode(run)
        fields = {"ran_at": None if run.ran_at is None else to_microseconds(run.ran_at)}
        meta = Meta(name, fields=fields, tags={}, text="", size=len(body), stored_at=time.time_ns() // 1_000)
        self._base.put_record(Record(meta, body), collection=self._runs, expect=expect)
