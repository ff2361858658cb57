"""What a store of several tiers does for its user."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.crash.processes import Child
from tests.tiering.doubles import NAMES, holders, info, scattered, three_tiers, tier_by_id
from truthstore import StoreQuery, stack
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.base import ABSENT, StoreConfigError, StoreConflictError, StoreNotFoundError
from truthstore.caching import CachedStore
from truthstore.testing import SAMPLES, Sample
from truthstore.tiering import (
    AccessBasedTierPolicy,
    AgeBasedTierPolicy,
    CompositeTierPolicy,
    CustomTierPolicy,
    InMemoryTierMetadataStore,
    ScheduledTierPolicy,
    SizeBasedTierPolicy,
    StorageTier,
    TieredStore,
    TierMigrationError,
    TierNotFoundError,
)
from truthstore.versioning import VersionedStore

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=40)


class TestPlacement:
    def test_items_are_saved_in_the_default_tier(self):
        store = three_tiers(default_tier="warm")
        store.save(Sample("a"))
        assert holders(store, "a") == ["warm"]

    def test_an_item_that_moves_keeps_its_revision_and_its_answer(self):
        store = three_tiers()
        store.save(Sample("a", count=1))
        revision = store.head("a").revision
        for name in ("cold", "warm", "hot", "cold"):
            assert store.migrate_item("a", name)
            assert holders(store, "a") == [name]
            assert store.head("a").revision == revision
            assert store.get("a").count == 1
        assert not store.migrate_item("a", "cold"), "it lies there already"

    def test_a_save_of_an_item_in_a_colder_tier_goes_to_the_default_tier(self):
        store = three_tiers()
        store.save(Sample("a", count=1))
        store.migrate_item("a", "cold")
        store.save(Sample("a", count=2), expect=store.head("a").revision)
        assert holders(store, "a") == ["hot"]
        with pytest.raises(StoreConflictError):
            store.save(Sample("a", count=3), expect=ABSENT)

    def test_what_others_put_into_a_tier_is_found_and_replaced(self):
        store = three_tiers()
        cold: Any = store.tiers[2].store
        cold.save(Sample("a", count=1))
        assert store.get("a").count == 1
        store.save(Sample("a", count=2))
        assert (holders(store, "a"), store.count()) == (["hot"], 1)
        cold.save(Sample("b"))
        assert store.delete("b")
        assert holders(store, "b") == []

    def test_a_cache_above_is_right_after_moves(self):
        store = stack(three_tiers(), CachedStore)
        store.save(Sample("a", count=1))
        assert store.get("a").count == 1
        changes: list[Any] = []
        store.subscribe(listener := lambda some: changes.extend(one for one in some if one.collection == "samples"))
        tiered: Any = store.layer(TieredStore)
        tiered.migrate_item("a", "cold")
        assert changes == [], "a move changes no item"
        assert store.get("a").count == 1
        store.save(Sample("a", count=2))
        assert store.get("a").count == 2
        store.delete("a")
        assert not store.exists("a")
        assert [change.revision is None for change in changes] == [False, True]
        del listener

    def test_versions_lie_above(self):
        store = VersionedStore(three_tiers())
        store.save(Sample("a", count=1))
        store.layer(TieredStore).migrate_item("a", "cold")
        store.save(Sample("a", count=2))
        assert [store.get("a", version=number).count for number in (1, 2)] == [1, 2]
        with pytest.raises(StoreConfigError, match="put VersionedStore above"):
            TieredStore(MemoryStore(), colder=[StorageTier("cold", VersionedStore(MemoryStore()))])

    def test_a_copy_that_is_not_the_item_is_not_trusted(self, monkeypatch):
        store = three_tiers()
        store.save(Sample("a", count=1))
        cold: Any = store.tiers[2].store
        read = type(cold).get_records

        def flipped(self: Any, ids: Any, **call: Any) -> Any:
            found = read(self, ids, **call)
            if self._records is cold._records:
                found = {
                    id: type(one)(one.meta, (one.body or b"")[:-1] + b"?", one.revision) for id, one in found.items()
                }
            return found

        monkeypatch.setattr(type(cold), "get_records", flipped)
        with pytest.raises(TierMigrationError, match="'a' stays in hot, not in cold: the copy of 'a' is not the item"):
            store.migrate_item("a", "cold")
        monkeypatch.undo()
        assert holders(store, "a") == ["hot"]


class TestQueries:
    def test_pages_and_offsets_run_over_all_tiers(self):
        store = scattered(*(MemoryStore[Any](collection=SAMPLES) for _ in NAMES))
        store.save_many([Sample(f"s{number:03d}", count=number % 7) for number in range(90)])
        assert {store.tier_of(f"s{number:03d}") for number in range(90)} == set(NAMES)
        query = StoreQuery(order_by="count", ascending=True, limit=20)
        everything = store.list_ids(query.replace(limit=None))
        assert sorted(everything) == [f"s{number:03d}" for number in range(90)]
        assert store.list_ids(query.replace(offset=30)) == everything[30:50]
        first = list(store.entries(query))
        cursor = query.bind(SAMPLES).cursor(first[-1].meta)
        assert store.list_ids(query.replace(after=cursor)) == everything[20:40]
        assert store.count(StoreQuery(where={"count": 3})) == 13
        assert store.aggregate(by="status", metrics=["count", "avg:count"])[0]["count"] == 90


class TestPolicies:
    def test_by_age(self):
        policy = AgeBasedTierPolicy("hot", "warm", after_days=30)
        assert policy.should_migrate(info(created_at=OLD))
        assert not policy.should_migrate(info(created_at=NOW))
        assert not policy.should_migrate(info(tier="warm", created_at=OLD))
        assert not policy.should_migrate(info(created_at=OLD, promoted_at=NOW)), "its age began again"
        assert policy.get_priority(info(created_at=OLD)) == 40
        assert policy.to_dict()["after_days"] == 30

    def test_by_access(self):
        idle = AccessBasedTierPolicy("hot", "cold", inactive_days=30)
        assert idle.should_migrate(info(created_at=OLD))
        assert not idle.should_migrate(info(created_at=OLD, last_accessed=NOW))
        busy = AccessBasedTierPolicy("cold", "hot", min_access_count=5, access_window_days=1)
        assert busy.direction == "promote"
        assert busy.should_migrate(info(tier="cold", access_count=5, last_accessed=NOW))
        assert not busy.should_migrate(info(tier="cold", access_count=5, last_accessed=OLD))

    def test_by_size(self):
        assert SizeBasedTierPolicy("hot", "cold", min_size_kb=1).should_migrate(info(size_bytes=1_024))
        full = SizeBasedTierPolicy("hot", "cold", tier_max_size_gb=2 / 1_024**3)
        items = [
            info("new", created_at=NOW, size_bytes=1),
            info("mid", created_at=OLD, size_bytes=1),
            info("old", created_at=OLD - timedelta(1), size_bytes=1),
        ]
        full.prepare_batch(items)
        assert [full.should_migrate(item) for item in items] == [False, False, True]

    def test_by_schedule_function_and_together(self):
        always = ScheduledTierPolicy("hot", "warm", min_age_days=30)
        never = CustomTierPolicy("hot", "warm", lambda _: False, "never")
        assert always.should_migrate(info(created_at=OLD))
        assert not ScheduledTierPolicy(
            "hot", "warm", on_days=[(datetime.now().astimezone().weekday() + 1) % 7]
        ).should_migrate(info(created_at=OLD))
        assert not CompositeTierPolicy([always, never]).should_migrate(info(created_at=OLD))
        assert CompositeTierPolicy([always, never], require_all=False).should_migrate(info(created_at=OLD))
        assert never.description == "never"

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda: AgeBasedTierPolicy("hot", "hot", 1),
            lambda: AgeBasedTierPolicy("hot", "warm"),
            lambda: AccessBasedTierPolicy("hot", "warm"),
            lambda: SizeBasedTierPolicy("hot", "warm"),
            lambda: ScheduledTierPolicy("hot", "warm", at_hour=24),
            lambda: CompositeTierPolicy([]),
            lambda: three_tiers(policies=[AgeBasedTierPolicy("hot", "wram", 1)]),
            lambda: three_tiers(default_tier="wram"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong):
        with pytest.raises(StoreConfigError):
            wrong()


class TestRuns:
    def test_a_plan_is_shown_and_carried_out(self):
        store = three_tiers(policies=[CustomTierPolicy("hot", "cold", lambda item: item.item_id != "c", "not c")])
        store.save_many([Sample(id) for id in "abc"])
        with store.plan() as plan:
            assert sorted((move.item_id, move.to_tier, move.reason) for move in plan) == [
                ("a", "cold", "not c"),
                ("b", "cold", "not c"),
            ]
            store.save(Sample("b", count=9))
            result = store.apply(plan)
        assert (result.items_scanned, result.items_migrated, result.items_changed) == (3, 1, 1)
        assert [holders(store, id) for id in "abc"] == [["cold"], ["hot"], ["hot"]]
        assert store.run_tiering(dry_run=True).items_migrated == 1
        assert store.maintain()["items_migrated"] == 1
        assert [(row["tier"], row["items"]) for row in store.cost_report()] == [("hot", 1), ("warm", 0), ("cold", 2)]

    def test_what_is_read_often_comes_back_and_stays(self):
        store = three_tiers(promotion_threshold=3, policies=[AgeBasedTierPolicy("hot", "cold", after_hours=1)])
        store.save(Sample("a", moment=OLD))
        store.run_tiering()
        assert store.tier_of("a") == "cold"
        for _ in range(3):
            store.get("a")
        assert store.tier_info("a").access_count == 3
        assert store.run_tiering().migrations == {"cold → hot": 1}
        assert store.run_tiering().items_migrated == 0
        assert store.tier_info("a").access_count == 0

    def test_counts_of_reads_and_places_outlive_the_process(self):
        data = [MemoryData() for _ in NAMES]

        def open_store() -> TieredStore[Any]:
            return scattered(*(MemoryStore[Any](collection=SAMPLES, data=one) for one in data), policies=())

        with open_store() as store:
            store.save(Sample("a"))
            store.migrate_item("a", "warm")
            store.get("a")
        with open_store() as store:
            assert (store.tier_of("a"), store.tier_info("a").access_count) == ("warm", 1)

    def test_a_metadata_store_of_ones_own(self):
        kept = InMemoryTierMetadataStore()
        store = three_tiers(metadata_store=kept)
        store.save(Sample("a"))
        store.get("a")
        store.migrate_item("a", "cold")
        assert [item.item_id for item in kept.list_by_tier("cold")] == ["a"]
        kept.update_access("a")
        assert store.tier_info("a").access_count == 1
        assert kept.delete_info("a")
        assert not kept.delete_info("a")

    def test_an_unknown_tier_or_item(self):
        store = three_tiers()
        with pytest.raises(TierNotFoundError, match="'lukewarm': there are hot, warm, cold"):
            store.migrate_item("a", "lukewarm")
        with pytest.raises(StoreNotFoundError):
            store.migrate_item("a", "cold")


def test_a_killed_process_loses_and_doubles_nothing(tmp_path):
    def open_store() -> TieredStore[Any]:
        stores = [
            FileSystemStore[Any](base_path=tmp_path / name, collection=SAMPLES, durability="os") for name in NAMES
        ]
        return scattered(*stores, batch_size=5)

    ids = [f"s{number:02d}" for number in range(30)]
    stores = [FileSystemStore[Any](base_path=tmp_path / name, collection=SAMPLES, durability="os") for name in NAMES]
    stores[0].save_many([Sample(id, count=1) for id in ids])
    for store in stores:
        store.close()
    for delay in range(6):

        def work(say: Any) -> None:
            with open_store() as store:
                say("ready")
                for id in ids:
                    store.migrate_item(id, NAMES[(NAMES.index(store.tier_of(id)) + 1) % 3])

        child = Child(work)
        assert child.hear() == "ready"
        child.hear_within(0.02 * delay + 0.01)
        child.kill(9)
        child.wait()
        with open_store() as again:
            assert again.list_ids(StoreQuery(order_by="id", ascending=True)) == ids
            assert again.count() == 30
            assert {item.count for item in again.get_many(ids).values()} == {1}
            again.run_tiering()
            assert again._placement.intents.read(SAMPLES).ids == frozenset()
            assert [again.tier_of(id) for id in ids] == [tier_by_id(id) for id in ids]
