"""Find out when clean-up is due: the time of the last one is kept in the store, for all processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConflictError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.fields import to_microseconds
from truthstore.model.record import ABSENT, Expect, Meta, Record

if TYPE_CHECKING:
    from truthstore.retention.base import RetentionResult, RetentionSchedule
    from truthstore.store.store import BaseStore

__all__ = ["RUNS", "Schedule", "is_due"]

RUNS: Final = Collection.of_records("store.retention", index={"ran_at": datetime}, lookups=())
"""One record for each collection: its last clean-up, and the next one if that is going on."""

DAY: Final = timedelta(days=1)
LOOK_AGAIN: Final = timedelta(minutes=1)


class _Run(msgspec.Struct, frozen=True, omit_defaults=True):
    ran_at: datetime | None = None
    result: Mapping[str, Any] = {}
    claimed_until: datetime | None = None


def is_due(schedule: RetentionSchedule, last: datetime | None, now: datetime) -> bool:
    """Return whether clean-up is to happen now, after the last one."""
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


class Schedule:
    """Lets one process at a time clean up, when that is due."""

    def __init__(self, base: BaseStore[Any], schedule: RetentionSchedule, clock: Callable[[], datetime]) -> None:
        self._base = base
        self._schedule = schedule
        self._clock = clock
        self._look_again: dict[str, datetime] = {}

    def last(self, name: str) -> datetime | None:
        """Return the time of a collection's last clean-up."""
        return self._read(name)[0].ran_at

    def claim(self, name: str) -> bool:
        """Return whether clean-up of a collection is due and the caller is to do it.

        The claim is stored first, and holds for as long as the clean-up may take: if the process is killed, another one
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

    def done(self, name: str, result: RetentionResult) -> None:
        """Store the result of a clean-up."""
        _, expect = self._read(name)
        with suppress(StoreConflictError):  # another process did the same at the same time, and has stored that
            self._write(name, _Run(self._clock().astimezone(UTC), result.to_dict()), expect)

    def _read(self, name: str) -> tuple[_Run, Expect]:
        try:
            record = self._base.get_record(name, collection=RUNS)
        except StoreNotFoundError:
            return _Run(), ABSENT
        return msgspec.json.decode(record.body or b"{}", type=_Run), record.revision

    def _write(self, name: str, run: _Run, expect: Expect) -> None:
        body = msgspec.json.encode(run)
        fields = {"ran_at": None if run.ran_at is None else to_microseconds(run.ran_at)}
        meta = Meta(name, fields=fields, tags={}, text="", size=len(body), stored_at=time.time_ns() // 1_000)
        self._base.put_record(Record(meta, body), collection=RUNS, expect=expect)
