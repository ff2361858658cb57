"""When clean-up is due: the time of the last one is kept in the store, so that all processes go by the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConflictError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.fields import to_microseconds
from truthstore.model.query import from_microseconds
from truthstore.model.record import ABSENT, Meta, Record

if TYPE_CHECKING:
    from truthstore.model.record import Expect
    from truthstore.retention.base import RetentionResult, RetentionSchedule
    from truthstore.store.store import BaseStore

__all__ = ["RUNS", "Timetable", "is_due"]

RUNS: Final = Collection.of_records("store.retention", index={"ran_at": datetime}, lookups=())
"""For each collection one record: when it was cleaned up last, and what that did."""

DAY: Final = timedelta(days=1)
LOOK_AGAIN: Final = timedelta(minutes=1)


def is_due(schedule: RetentionSchedule, last: datetime | None, now: datetime) -> bool:
    """Whether clean-up is to happen now.

    Args:
        schedule: when it is to happen.
        last: when it happened last, or None.
        now: the time.
    """
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


class Timetable:
    """Finds out whether clean-up is due, and sees to it that one process does it.

    Args:
        base: the store below the policies.
        schedule: when clean-up is to happen.
        clock: the time.
    """

    __slots__ = ("_base", "_clock", "_look_again", "_schedule")

    def __init__(self, base: BaseStore[Any], schedule: RetentionSchedule, clock: Callable[[], datetime]) -> None:
        self._base = base
        self._schedule = schedule
        self._clock = clock
        self._look_again: dict[str, datetime] = {}

    def last(self, collection_name: str) -> tuple[datetime, dict[str, Any]] | None:
        """When a collection was cleaned up last, and what that did."""
        record = self._record(collection_name)
        ran_at = _ran_at(record)
        return None if record is None or ran_at is None else (ran_at, _told(record))

    def _record(self, name: str) -> Record | None:
        try:
            return self._base.get_record(name, collection=RUNS)
        except StoreNotFoundError:
            return None

    def claim(self, collection_name: str) -> bool:
        """Whether clean-up is due and this caller is the one to do it.

        That is written down before it begins, and counts for as long as it may take: should the process be killed,
        another one does it after that.
        """
        now = self._clock()
        if now < self._look_again.get(collection_name, now):
            return False
        self._look_again[collection_name] = now + min(LOOK_AGAIN, timedelta(hours=self._schedule.interval_hours))
        record = self._record(collection_name)
        last = _ran_at(record)
        told = _told(record)
        claimed_until = told.get("claimed_until", 0)
        if to_microseconds(now) < claimed_until or not is_due(self._schedule, last, now):
            return False
        schedule = self._schedule
        until = now + timedelta(seconds=min(schedule.max_duration_seconds, schedule.interval_hours * 3_600))
        result = told.get("result", {})
        expect = ABSENT if record is None else record.revision
        try:
            self._write(collection_name, last, result, expect, claimed_until=to_microseconds(until))
        except StoreConflictError:
            return False  # another one was faster
        return True

    def done(self, collection_name: str, result: RetentionResult) -> None:
        """Writes down what a clean-up did."""
        record = self._record(collection_name)
        try:
            self._write(collection_name, self._clock(), result.to_dict(), ABSENT if record is None else record.revision)
        except StoreConflictError:
            return  # another one did the same at the same time, and has said so

    def _write(self, name: str, ran_at: datetime | None, result: dict[str, Any], expect: Expect, **more: int) -> None:
        told = {"ran_at": None if ran_at is None else ran_at.astimezone(UTC), "result": result, **more}
        body = msgspec.json.encode(told)
        meta = Meta(
            name,
            fields={"ran_at": None if ran_at is None else to_microseconds(ran_at)},
            tags={},
            text="",
            size=len(body),
            stored_at=time.time_ns() // 1_000,
        )
        self._base.put_record(Record(meta, body), collection=RUNS, expect=expect)


def _ran_at(record: Record | None) -> datetime | None:
    ran_at = None if record is None else record.meta.fields.get("ran_at")
    return from_microseconds(ran_at) if isinstance(ran_at, int) else None


def _told(record: Record | None) -> dict[str, Any]:
    return {} if record is None else msgspec.json.decode(record.body or b"{}")
