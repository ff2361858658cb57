"""Times at the ends of the calendar: one of them must not spoil the figures and pages of all the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from truthstore import StoreQuery, get_store
from truthstore.errors import StoreQueryError
from truthstore.model.query import from_microseconds
from truthstore.store.store import BaseStore
from truthstore.testing.sample import SAMPLES, Sample

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
BEFORE_THE_FIRST = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))
BEHIND_THE_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-5)))
FOR_EVER = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001  # naive, as people write it
SAMPLES_IN_ORDER = [
    Sample("before", moment=BEFORE_THE_FIRST),
    Sample("first", moment=FIRST),
    Sample("now", moment=datetime(2026, 7, 1, tzinfo=UTC)),
    Sample("behind", moment=BEHIND_THE_LAST),
    Sample("far behind", moment=BEHIND_THE_LAST + timedelta(milliseconds=1)),
]
IDS = [sample.id for sample in SAMPLES_IN_ORDER]


@pytest.fixture(params=["memory", "filesystem", "database"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore[Sample]]:
    options: dict[str, dict[str, Any]] = {
        "memory": {},
        "filesystem": {"base_path": tmp_path},
        "database": {"connection_url": f"sqlite:///{tmp_path}/store.db"},
    }
    with get_store(request.param, collection=SAMPLES, **options[request.param]) as store:
        yield store


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The local time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_pages_cross_them(store: BaseStore[Sample]):
    store.save_many(SAMPLES_IN_ORDER)
    for ascending in (True, False):
        query = StoreQuery(ascending=ascending)
        at_once = store.list_ids(query)
        assert [sample.id for sample in store.iter_query(query, batch_size=1)] == at_once
        assert sorted(at_once) == sorted(IDS)
        assert at_once[2] == "now"
    for sample in SAMPLES_IN_ORDER:
        assert store.get(sample.id) == sample
    assert store.verify().ok


def test_they_are_in_order_where_times_are_numbers():
    with get_store("memory", collection=SAMPLES) as store:
        store.save_many(SAMPLES_IN_ORDER)
        assert store.list_ids(StoreQuery(ascending=True)) == IDS
        assert store.list_ids() == IDS[::-1]


def test_figures_show_the_first_and_the_last_moment_for_them(store: BaseStore[Sample]):
    store.save_many(SAMPLES_IN_ORDER)
    assert store.distinct("moment") == [FIRST, SAMPLES_IN_ORDER[2].moment, LAST]
    (row,) = store.aggregate(metrics=("min:moment", "max:moment"))
    assert (row["min:moment"], row["max:moment"]) == (FIRST, LAST)
    last = {"hour": (12, 31, 23), "day": (12, 31, 0), "week": (12, 27, 0), "month": (12, 1, 0), "year": (1, 1, 0)}
    for bucket, (month, day, hour) in last.items():
        rows = store.aggregate(bucket=bucket)
        assert [row["count"] for row in rows] == [2, 1, 2]
        assert rows[0]["bucket"] == FIRST
        assert rows[-1]["bucket"] == datetime(9999, month, day, hour, tzinfo=UTC)


def test_for_ever_can_be_said_without_a_zone(store: BaseStore[Sample], zone: str):
    store.save_many([Sample("open", moment=FOR_EVER), Sample("old", moment=datetime.min)])  # noqa: DTZ901
    store.save(Sample("now", moment=datetime(2026, 7, 1, tzinfo=UTC)))
    assert store.list_ids() == ["open", "now", "old"]
    assert [sample.id for sample in store.iter_query(batch_size=1)] == ["open", "now", "old"]
    assert store.get("open").moment == FOR_EVER
    assert len(store.aggregate(bucket="month")) == 3
    assert store.list_ids(StoreQuery(start_time=FOR_EVER)) == ["open"]
    assert store.list_ids(StoreQuery(where={"moment": (">=", date(9999, 12, 31))})) == ["open"]


@pytest.mark.parametrize("bounds", [(datetime.min, datetime.max), (date.min, date.max)])  # noqa: DTZ901
def test_all_times_lie_between_the_first_and_the_last(store: BaseStore[Sample], zone: str, bounds: tuple[Any, Any]):
    store.save(Sample("now", moment=datetime(2026, 7, 1, tzinfo=UTC)))
    assert store.list_ids(StoreQuery(start_time=bounds[0], end_time=bounds[1])) == ["now"]
    assert store.list_ids(StoreQuery(end_time=bounds[0])) == []


def test_a_cursor_with_a_number_beyond_64_bits_is_refused():
    meta = SAMPLES.encode(Sample("a", moment=FIRST)).meta
    bound = StoreQuery().bind(SAMPLES)
    for wrong in (2**63, 1.5, "2026", [1]):
        token = bound.cursor(meta.replace(fields={**meta.fields, "moment": wrong}))
        with pytest.raises(StoreQueryError, match="not a cursor"):
            StoreQuery(after=token).bind(SAMPLES)


def test_microseconds_beyond_the_calendar_are_shown_as_its_ends():
    assert from_microseconds(2**63 - 1) == LAST
    assert from_microseconds(-(2**63)) == FIRST
