"""Plans, and the clean-ups that carry them out."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tests.retention.doubles import NOW, result
from truthstore import (
    RESULTS,
    SUITES,
    Record,
    StoreConfigError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
    StoreReadError,
)
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.expectations import ExpectationSuite
from truthstore.retention import (
    CompositePolicy,
    CountBasedPolicy,
    CustomPolicy,
    ItemMetadata,
    PolicyMode,
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
    RetentionResult,
    RetentionSchedule,
    RetentionStore,
    StatusBasedPolicy,
    TimeBasedPolicy,
)
from truthstore.testing import SAMPLES, FaultyStore, Sample, SimulatedCrashError
from truthstore.testing.suite.case import at_once
from truthstore.versioning import VersionedStore
from truthstore.versioning.meta import history_of


class Middle(RetentionPolicy):
    """Keeps what is newer than the average: it has to see all items first."""

    def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
        times = [one.created_at.timestamp() for one in items]
        self.middle = sum(times) / len(times) if times else 0

    def should_retain(self, item: ItemMetadata) -> bool:
        return item.created_at.timestamp() >= self.middle - 1


def filled(base: Any, *policies: RetentionPolicy, **options: Any) -> RetentionStore[Any]:
    base.save_many([result(f"{asset}{n}", n, asset) for n in range(1, 6) for asset in ("a", "b")])
    return RetentionStore(base, policies, **options)


def test_a_plan_shows_what_would_go_and_why(base):
    store = filled(base, TimeBasedPolicy(3.5), CountBasedPolicy(2, per_asset=True))
    with store.plan() as plan:
        assert [(p.item_id, len(p.reasons)) for p in plan] == [
            ("b3", 1),
            ("a3", 1),
            ("b4", 2),
            ("a4", 2),
            ("b5", 2),
            ("a5", 2),
        ]
        first = next(iter(plan))
        assert first.reasons == ("CountBasedPolicy(2 per asset)",)
        assert first.action is RetentionAction.DELETE
        assert first.created_at == NOW - timedelta(days=3)
        assert (len(plan), plan.items_scanned) == (6, 10)
        assert "6" in repr(plan)
        assert store.count() == 10
        dry = store.run_cleanup(dry_run=True)
        assert (dry.dry_run, dry.items_deleted, dry.items_preserved, dry.items_scanned) == (True, 6, 4, 10)
        assert store.count() == 10
        base.save(result("a4", 4, "a", touched="yes"))
        done = store.apply(plan)
    assert (done.items_deleted, done.items_changed, done.items_preserved, done.errors) == (5, 1, 5, ())
    assert done.bytes_freed > 0
    assert done.to_dict()["items_deleted"] == 5
    assert sorted(store.list_ids()) == ["a1", "a2", "a4", "b1", "b2"]
    assert store.last_run() is None
    assert store.run_cleanup().items_deleted == 1
    assert store.last_run() is not None


def test_the_newest_and_what_is_excluded_stay(base):
    base.save_many(
        [
            result("a-held", 50, "a", hold="yes"),
            result("a-new", 40, "a"),
            result("a-old", 60, "a"),
            result("a-not-held", 70, "a", hold="no"),
            result("b", 90, "b"),
            result("c1", 90, "c"),
            result("c2", 91, "c"),
        ]
    )
    everything = CustomPolicy(lambda _: False, "nothing is kept")
    store = RetentionStore(base, everything, excluded_tags={"hold": "yes"}, excluded_assets=["c"])
    done = store.run_cleanup()
    assert (done.items_deleted, done.items_excluded, done.items_preserved) == (2, 3, 5)
    assert sorted(store.list_ids()) == ["a-held", "a-new", "b", "c1", "c2"]
    strict = RetentionStore(
        base,
        CompositePolicy([everything], action=RetentionAction.DELETE),
        preserve_latest=False,
        excluded_tags=["hold"],
    )
    strict.run_cleanup()
    assert strict.list_ids() == ["a-held"]


def test_any_policy_may_keep_and_a_policy_may_look_at_all_first(base):
    store = filled(base, Middle(), CountBasedPolicy(1), mode="any", preserve_latest=False)
    store.run_cleanup()
    assert sorted(store.list_ids()) == ["a1", "a2", "a3", "b1", "b2", "b3"]


def test_what_goes_goes_with_its_history():
    base = VersionedStore(MemoryStore())
    for turn in range(3):
        base.save_many([result("old", 50, turn=str(turn)), result("new", 1, turn=str(turn))])
    store = RetentionStore(base, TimeBasedPolicy(30))
    store.save(result("new", 1), message="through the whole stack")
    assert store.run_cleanup().items_deleted == 1
    assert base.list_versions("old") == []
    assert base.list_versions("new") == [4, 3, 2, 1]
    assert {record.meta.fields["item"] for record in base.scan(StoreQuery(), collection=history_of(RESULTS))} == {"new"}
    assert base.list_ids(StoreQuery(include_deleted=True)) == ["new"]
    with pytest.raises(StoreConfigError, match="history"):
        VersionedStore(store)


@pytest.mark.parametrize("versioned", [False, True])
def test_archived_is_copied_verified_and_then_removed(versioned):
    base: Any = MemoryStore()
    if versioned:
        base = VersionedStore(base)
    archive = MemoryStore()
    old = result("old", 400, env="prod")
    base.save_many([result("old", 400), old, result("new", 1)])
    policies = [TimeBasedPolicy(300, action=RetentionAction.ARCHIVE), TimeBasedPolicy(200)]
    store = RetentionStore(base, policies, archive_store=archive)
    done = store.run_cleanup()
    assert (done.items_archived, done.items_deleted) == (1, 0)
    assert store.list_ids() == ["new"]
    assert archive.get("old") == old
    assert archive.list_ids(StoreQuery(tags={"env": "prod"})) == ["old"]
    if versioned:
        assert VersionedStore(archive).list_versions("old") == [2, 1]


def test_what_cannot_be_archived_stays():
    class Forgetful(MemoryStore[Any]):
        def get_record(self, id: str, **options: Any) -> Record:
            record = super().get_record(id, **options)
            return Record(record.meta, b"{}", record.revision)

    class Full(MemoryStore[Any]):
        def put_record(self, record: Record, **options: Any) -> Record:
            raise StoreReadError("full")

    for archive in (Forgetful(collection=RESULTS), Full(collection=RESULTS)):
        base = MemoryStore()
        base.save_many([result("old", 400), result("new", 1)])
        store = RetentionStore(base, TimeBasedPolicy(3), default_action="archive", archive_store=archive)
        done = store.run_cleanup()
        assert done.items_archived == 0
        assert "old" in done.errors[0]
        assert base.exists("old")


@pytest.mark.parametrize("kind", ["crash-before", "crash-after", "before", "after"])
def test_a_fault_while_archiving_leaves_every_item_somewhere(kind):
    for fail_at in range(1, 60):
        data, archived_data = MemoryData(), MemoryData()
        with MemoryStore(data=data) as first:
            first.save_many([result("old", 400), result("older", 500), result("new", 1)])
        faulty = FaultyStore(MemoryStore(data=data))
        base, archive = faulty, MemoryStore(data=archived_data)
        store = RetentionStore(base, TimeBasedPolicy(3), default_action="archive", archive_store=archive)
        store.initialize()
        faulty.plan.arm(fail_at, kind)
        with suppress(SimulatedCrashError, StoreError):
            store.run_cleanup()
        fired = not faulty.plan.disarm()
        survivors = set(MemoryStore(data=data).list_ids())
        archive.close()
        archived = set(MemoryStore(data=archived_data).list_ids())
        assert survivors | archived == {"old", "older", "new"}
        again = RetentionStore(
            MemoryStore(data=data),
            TimeBasedPolicy(3),
            default_action="archive",
            archive_store=MemoryStore(data=archived_data),
        )
        again.run_cleanup()
        assert again.list_ids() == ["new"]
        assert again.archive_store is not None
        assert sorted(again.archive_store.list_ids()) == ["old", "older"]
        if fired:
            break


def test_quarantined_is_out_of_sight_and_comes_back(base):
    base.save_many([result("bad", 5, status="error"), result("good", 1)])
    policy = StatusBasedPolicy("error", retain=False, action=RetentionAction.QUARANTINE)
    store = RetentionStore(base, policy)
    assert store.run_cleanup().items_quarantined == 1
    assert store.list_ids() == ["good"]
    assert store.quarantined() == ["bad"]
    store.release("bad")
    assert store.get("bad") == result("bad", 5, status="error")
    assert store.list_ids(StoreQuery(status="error")) == ["bad"]
    assert store.quarantined() == []
    with pytest.raises(StoreNotFoundError):
        store.release("bad")
    store.run_cleanup()
    base.save(result("bad", 0))
    with pytest.raises(StoreConflictError):
        store.release("bad")


def test_what_cannot_be_done_is_refused_at_once():
    base = MemoryStore()
    wrong: Any
    misused: Any = RetentionStore
    config: Any = RetentionConfig
    for wrong in (
        {"default_action": RetentionAction.ARCHIVE},
        {"default_action": "compress"},
        {"default_action": "shred"},
        {"mode": "some"},
        {"policies": [TimeBasedPolicy(1, action=RetentionAction.TIER_DOWN)]},
        {"policies": [CompositePolicy([TimeBasedPolicy(1, action=RetentionAction.ARCHIVE)])]},
        {"archive_store": base},
        {"archive_store": MemoryStore(), "archive_store_name": "memory"},
        {"archive_store_name": "no_such_store"},
    ):
        with pytest.raises(StoreConfigError):
            misused(base, **{"policies": [TimeBasedPolicy(1)], **wrong})
    for misuse in (
        lambda: misused(base, 90),
        lambda: RetentionStore(base, TimeBasedPolicy(1), max_age_days=3),
        lambda: RetentionStore(base, RetentionConfig(), dry_run=True),
        lambda: RetentionStore(base, policies=TimeBasedPolicy(1)),
        lambda: RetentionStore(base, TimeBasedPolicy(1), policies=[]),
        lambda: RetentionStore(base, excluded_tags="hold"),
        lambda: config(policies=["delete"]),
    ):
        with pytest.raises(TypeError):
            misuse()
    for value in (
        lambda: RetentionSchedule(interval_hours=0),
        lambda: RetentionSchedule(run_at_hour=24),
        lambda: RetentionSchedule(run_on_days=[7]),
    ):
        with pytest.raises(ValueError):
            value()
    with pytest.raises(StoreConfigError):
        RetentionStore(RetentionStore(base))
    by_name = RetentionStore(base, TimeBasedPolicy(1), default_action="archive", archive_store_name="memory://")
    assert isinstance(by_name.archive_store, MemoryStore)
    assert RetentionConfig().mode is PolicyMode.ALL
    assert RetentionResult(start_time=NOW, end_time=NOW + timedelta(minutes=1)).duration_seconds == 60


def test_time_that_is_up_leaves_the_rest_for_the_next_time(base):
    store = filled(base, TimeBasedPolicy(0.5), schedule=RetentionSchedule(enabled=False))
    with store.plan() as plan:
        done = store.apply(plan, max_seconds=0)
    assert (done.items_deleted, done.items_left) == (0, 8)
    assert store.maintain()["items_deleted"] == 8
    assert store.maintain(budget=10)["items_deleted"] == 0
    assert RetentionStore(base, CustomPolicy(lambda _: False), dry_run=True).maintain().get("items_deleted") is None
    assert (
        RetentionStore(base, CustomPolicy(lambda _: False), dry_run=True, preserve_latest=False).run_cleanup().dry_run
    )


def test_two_cleaners_at_once(base):
    base.save_many(result(f"r{n}", n, "a") for n in range(60))
    stores = [RetentionStore(base, CountBasedPolicy(10)) for _ in range(4)]
    done: Any = at_once(lambda n: stores[n].run_cleanup(), 4)
    assert sum(one.items_deleted for one in done) == 50
    assert not any(one.errors for one in done)
    assert len(base.list_ids()) == 10


def test_items_without_time_or_asset():
    base = MemoryStore(collection=SUITES)
    base.save_many(ExpectationSuite.create(f"s{n}", "orders") for n in range(3))
    store = RetentionStore(base, CountBasedPolicy(1))
    assert store.run_cleanup().items_deleted == 2
    samples = MemoryStore(collection=SAMPLES)
    samples.save_many([Sample("timeless"), Sample("new", moment=NOW), Sample("old", moment=NOW - timedelta(days=9))])
    assert RetentionStore(samples, TimeBasedPolicy(3)).run_cleanup().items_deleted == 1
    assert sorted(samples.list_ids()) == ["new", "timeless"]


def test_a_long_plan_is_kept_in_a_file():
    base = MemoryStore()
    base.save_many(result(f"r{n:05d}", n / 100, "a") for n in range(6_000))
    store = RetentionStore(base, CountBasedPolicy(10))
    store.count()
    tracemalloc.start()
    try:
        with store.plan() as plan:
            assert len(plan) == 5_990
            assert len(list(iter(plan))) == sum(1 for _ in plan) == 5_990
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000


def test_views_have_the_same_policies():
    store = RetentionStore(MemoryStore(), CountBasedPolicy(1))
    suites = store.collection(SUITES)
    assert isinstance(suites, RetentionStore)
    suites.save_many(ExpectationSuite.create(f"s{n}", "orders") for n in range(3))
    store.save_many([result("a", 1), result("b", 2)])
    assert suites.run_cleanup().items_deleted == 2
    assert store.count() == 2
    assert store.run_cleanup().items_deleted == 1
