"""Automatic clean-up, by the time that the store keeps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.retention.doubles import NOW, result
from truthstore import (
    StoreReadError,
)
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.retention import (
    CompositePolicy,
    CountBasedPolicy,
    CustomPolicy,
    ItemMetadata,
    RetentionSchedule,
    RetentionStore,
    TimeBasedPolicy,
)
from truthstore.store.schedule import is_due
from truthstore.testing import ManualClock


def test_it_cleans_up_by_itself_by_the_time_that_the_store_keeps():
    data = MemoryData()
    clock = ManualClock(NOW)

    def job() -> RetentionStore[Any]:
        """One run of a short pipeline."""
        store = RetentionStore(MemoryStore(data=data), TimeBasedPolicy(90), cleanup_interval_hours=24, clock=clock.now)
        store.save(result(f"run {clock.now()}"))
        return store

    with MemoryStore(data=data) as first:
        first.save(result("old", 100))
    with job() as store:
        assert not store.exists("old"), "it was never cleaned up before"
        store.save(result("old", 100))
        assert store.last_run() == clock.now()
    with job() as store:
        assert store.exists("old")
    clock.advance(hours=23)
    with job() as store:
        assert store.exists("old")
    clock.advance(hours=2)
    with job() as store:
        assert not store.exists("old")
        store.save_many([result("old", 100)])
        clock.advance(hours=25)
        store.save_many([result("new", 0)])
        assert not store.exists("old")


def test_a_failing_clean_up_fails_no_save(caplog):
    def fail(item: ItemMetadata) -> bool:
        raise StoreReadError(f"cannot judge {item.item_id}")

    store = RetentionStore(MemoryStore(), CustomPolicy(fail), cleanup_interval_hours=1)
    store.save(result("a"))
    assert store.exists("a")
    assert "clean-up of results failed" in caplog.text
    with pytest.raises(StoreReadError):
        store.run_cleanup()


def test_when_it_is_due():
    noon = datetime(2026, 3, 4, 12).astimezone()  # a Wednesday, local time
    daily = RetentionSchedule()
    assert is_due(daily, None, noon)
    assert is_due(daily, noon - timedelta(hours=24), noon)
    assert not is_due(daily, noon - timedelta(hours=23), noon)
    assert not is_due(RetentionSchedule(run_on_days=[0]), None, noon)
    assert is_due(RetentionSchedule(run_on_days=[2]), None, noon)
    at_two = RetentionSchedule(run_at_hour=2)
    assert is_due(at_two, noon - timedelta(hours=12), noon)
    assert not is_due(at_two, noon - timedelta(hours=9), noon)
    at_night = RetentionSchedule(run_at_hour=23, run_on_days=[0])
    monday = noon - timedelta(days=2)
    assert is_due(at_night, monday, noon)
    assert not is_due(at_night, monday + timedelta(hours=11.5), noon)


def test_the_guide_s_workflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from truthstore import get_store
    from truthstore.retention import RetentionStore, TimeBasedPolicy

    base = get_store("filesystem", base_path=".truthstore/store")
    policy = CompositePolicy(
        [
            TimeBasedPolicy(max_age=timedelta(days=90)),
            CountBasedPolicy(max_count=1000),
        ]
    )
    base.save_many([result("old", 91), result("new", 1)])
    store = RetentionStore(base, policy, cleanup_interval_hours=24)
    store.save(result("newer"))
    assert sorted(store.list_ids()) == ["new", "newer"]
    store.close()
