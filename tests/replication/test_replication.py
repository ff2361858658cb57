"""What replicas get, when, and what is said if they do not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.replication.doubles import Remote, content, folder, replicated
from truthstore import BaseStore, Record, StoreQuery, get_store, stack
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore
from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreNotFoundError,
    StoreWriteError,
)
from truthstore.replication import ReplicaTarget, ReplicatedStore, ReplicationConfig, ReplicationError
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore


@pytest.fixture
def primary() -> Remote:
    return Remote()


@pytest.fixture
def a() -> Remote:
    return Remote()


@pytest.fixture
def b() -> Remote:
    return Remote()


class TestModes:
    def test_sync_waits_for_all(self, primary: Remote, a: Remote, b: Remote):
        with replicated(primary, a, b, mode="sync") as store:
            store.save(Sample("x"))
            store.save_many([Sample("y"), Sample("z")])
            assert content(a) == content(b) == content(primary)
            store.delete("x")
            store.delete_many(["y", "no"])
            assert content(a) == content(b) == content(primary)
            assert a.list_ids() == ["z"]
            assert store.metrics.pending == 0

    def test_semi_sync_waits_for_some_and_the_others_follow(self, primary: Remote, a: Remote, b: Remote):
        with replicated(primary, a, b, mode="semi_sync") as store:
            store.save(Sample("x"))
            assert a.count() + b.count() == 1
            assert store.metrics.pending == 1
            store.catch_up()
            assert content(a) == content(b) == content(primary)

    def test_semi_sync_takes_the_next_one_where_one_is_down(self, primary: Remote, a: Remote, b: Remote):
        a.down = True
        with replicated(primary, a, b, mode="semi_sync") as store:
            store.save(Sample("x"))
            assert b.exists("x")
            a.down = False
            store.catch_up()
            assert a.exists("x")

    def test_async_waits_for_none(self, primary: Remote, a: Remote):
        a.down = True
        with replicated(primary, a) as store:
            store.save(Sample("x"))
            assert a.calls["put_record"] == 0
            assert store.replicas()["a"].lag == 1
            a.down = False
            store.catch_up()
            assert content(a) == content(primary)

    def test_a_thread_delivers(self, primary: Remote, a: Remote):
        with replicated(primary, a, delivery_interval_seconds=0.01) as store:
            store.save(Sample("x"))
            for _ in range(500):
                if a.exists("x"):
                    break
                time.sleep(0.01)
            assert content(a) == content(primary)


class TestSyncErrors:
    def test_says_which_replica_did_not_take_it_and_the_primary_has_it(self, primary: Remote, a: Remote, b: Remote):
        b.down = True
        with replicated(primary, a, b, mode="sync") as store:
            with pytest.raises(ReplicationError, match=r"the primary has 'x'.*b: no route to host") as error:
                store.save(Sample("x"))
            assert list(error.value.replicas) == ["b"]
            assert error.value.taken == ("a",)
            assert error.value.identifier == "x"
            assert error.value.retryable
            assert primary.exists("x")
            assert a.exists("x")
            b.down = False
            store.catch_up()
            assert content(b) == content(primary)

    def test_a_removal_too(self, primary: Remote, a: Remote):
        with replicated(primary, a, mode="sync") as store:
            store.save(Sample("x"))
            a.down = True
            with pytest.raises(ReplicationError, match="a: "):
                store.delete("x")
            assert not primary.exists("x")
            a.down = False
            assert store.delete("x") is False, "the primary has removed it already"
            assert not a.exists("x")

    def test_of_many_each_says_it(self, primary: Remote, a: Remote):
        a.down = True
        with replicated(primary, a, mode="sync") as store, pytest.raises(StoreBulkError) as error:
            store.save_many([Sample("x"), Sample("y")])
        assert error.value.stored == ()
        assert all(isinstance(one, ReplicationError) for one in error.value.failed.values())

    def test_what_the_primary_refuses_reaches_no_replica(self, primary: Remote, a: Remote):
        with replicated(primary, a, mode="sync") as store:
            store.save(Sample("x"))
            before = content(a)
            with pytest.raises(StoreConflictError):
                store.save(Sample("x", count=2), expect="no such revision")
            assert content(a) == before
            assert store.metrics.pending == 0
            primary.down = True
            with pytest.raises(StoreConnectionError):
                store.save(Sample("y"))
            primary.down = False
            store.catch_up()
            assert content(a) == before

    def test_a_queue_that_cannot_be_written_fails_the_save_before_anything_is_written(
        self, primary: Remote, a: Remote, monkeypatch: pytest.MonkeyPatch
    ):
        with replicated(primary, a, path="folder/queue.db") as store:
            from truthstore.storage.queue import DurableQueue

            def fail(*_: Any) -> None:
                raise StoreWriteError("the disk is full", store_unavailable=True)

            with monkeypatch.context() as patch:
                patch.setattr(DurableQueue, "exchange", fail)
                with pytest.raises(StoreWriteError, match="disk is full"):
                    store.save(Sample("x"))
            assert not primary.exists("x")


class TestDown:
    def test_a_replica_cut_off_for_a_thousand_writes_ends_equal_clocks_set_back_included(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        import truthstore.model.collection as clock

        primary, a = folder("primary"), Remote(folder("a"))
        now = 1_900_000_000_000_000_000
        monkeypatch.setattr(clock, "time_ns", lambda: now)
        with replicated(primary, a, conflict_resolution="last_write_wins") as store:
            store.save_many(Sample(f"{n:03}") for n in range(100))
            store.catch_up()
            a.down = True
            for n in range(1_000):
                now -= 60_000_000_000 * (n % 7)
                if n % 5 == 4:
                    store.delete(f"{n % 130:03}")
                else:
                    store.save(Sample(f"{n % 130:03}", count=n))
            a.down = False
            expected = content(primary)
            store.catch_up()
            assert content(a) == expected == content(primary)
            assert store.metrics.conflicts == 0

    def test_a_removed_item_does_not_come_back(self, primary: Remote, a: Remote):
        with replicated(primary, a) as store:
            store.save(Sample("x"))
            store.catch_up()
            a.down = True
            store.save(Sample("x", count=2))
            store.delete("x")
            a.down = False
            store.catch_up()
            assert content(a) == []
            assert store.repair() == {"a": 0}

    def test_a_dead_replica_is_asked_once_and_not_for_each_item(self, primary: Remote, a: Remote):
        a.down = True
        with replicated(primary, a, recovery_seconds=60.0, failure_threshold=1) as store:
            store.save_many(Sample(f"{n}") for n in range(500))
            for _ in range(3):
                with pytest.raises(ReplicationError, match="a lacks"):
                    store.catch_up()
            assert sum(a.calls.values()) <= 2
            assert store.replicas()["a"].health == "unhealthy"

    def test_an_item_that_a_replica_refuses_holds_up_nothing_else(self, primary: Remote, a: Remote):
        def refuse(name: str) -> None:
            if name in {"put_record", "put_records"} and "bad" in str(current):
                raise StoreWriteError("too large for this store")

        current: list[str] = []
        with replicated(primary, a) as store:
            a.before = refuse
            current.append("bad")
            store.save(Sample("bad"))
            with pytest.raises(ReplicationError, match="too large"):
                store.catch_up()
            a.before = None
            store.save(Sample("good"))
            store.catch_up()
            assert a.list_ids() == ["good"]
            (rejected,) = store.rejected()
            assert (rejected.id, rejected.replica, rejected.is_conflict) == ("bad", "a", False)
            store.resolve("bad")
            assert content(a) == content(primary)
            assert store.rejected() == []

    def test_a_replica_that_keeps_nothing_is_an_error_and_not_an_endless_loop(self, primary: Remote):
        with replicated(primary, _Forgetful(collection=SAMPLES)) as store:
            store.save_many([Sample("x"), Sample("y")])
            with pytest.raises(ReplicationError, match="a lacks 2 items, a does not keep it"):
                store.repair()
            assert len(store.rejected()) == 2

    def test_lag_and_its_age_are_told(self, primary: Remote, a: Remote):
        with replicated(primary, a) as store:
            store.save(Sample("x"))
            state = store.check_replicas()["a"]
            assert (state.lag, state.health, state.is_primary) == (1, "healthy", False)
            assert state.lag_seconds >= 0
            assert state.latency_ms is not None
            a.down = True
            state = store.check_replicas()["a"]
            assert (state.health, state.error) == ("unhealthy", "StoreConnectionError: no route to host")
            a.down = False
            store.catch_up()
            assert store.replicas()["a"].lag == 0


class TestReads:
    @pytest.mark.parametrize("preference", ["secondary", "nearest", "any"])
    def test_another_store_answers_if_one_is_down(self, primary: Remote, a: Remote, b: Remote, preference: str):
        with replicated(primary, a, b, mode="sync", read_preference=preference) as store:
            store.save(Sample("x", count=3))
            for down in ({a}, {b}, {a, b}, {primary}, {primary, a}):
                for one in (primary, a, b):
                    one.down = one in down
                for _ in range(4):
                    assert store.get("x").count == 3
                    assert store.list_ids() == ["x"]
                    assert store.count() == 1
                    assert [s.id for s in store.query(StoreQuery(where={"count": 3}))] == ["x"]
            primary.down = a.down = b.down = True
            with pytest.raises(StoreConnectionError):
                store.get("x")
            primary.down = a.down = b.down = False

    def test_the_primary_answers_by_default_and_nobody_else(self, primary: Remote, a: Remote):
        with replicated(primary, a, mode="sync") as store:
            store.save(Sample("x"))
            before = a.calls.total()
            assert store.get("x").id == "x"
            assert store.count() == 1
            assert a.calls.total() == before
            primary.down = True
            with pytest.raises(StoreConnectionError):
                store.get("x")
            primary.down = False

    def test_a_secondary_answers_if_there_is_one(self, primary: Remote, a: Remote):
        with replicated(primary, a, mode="sync", read_preference="secondary") as store:
            store.save(Sample("x"))
            before = primary.calls.total()
            store.get("x")
            store.list_ids()
            assert primary.calls.total() == before

    def test_the_nearest_is_the_one_that_was_measured_to_be_so(self):
        primary, a, b = Remote(seconds=0.02), Remote(seconds=0.04), Remote(seconds=0.001)
        with replicated(primary, a, b, mode="sync", read_preference="nearest") as store:
            store.save(Sample("x"))
            store.check_replicas()
            before = b.calls["get_record"]
            for _ in range(5):
                store.get("x")
            assert b.calls["get_record"] == before + 5
            b.seconds = 0.1
            for _ in range(8):
                store.get("x")
            before = b.calls["get_record"]
            store.get("x")
            assert b.calls["get_record"] == before

    def test_a_replica_that_lacks_too_much_is_not_read(self, primary: Remote, a: Remote):
        with replicated(primary, a, read_preference="secondary", max_lag=0) as store:
            store.save(Sample("x"))
            assert store.get("x").id == "x"
            assert store.replicas()["a"].health != "healthy"
            store.catch_up()
            before = primary.calls.total()
            assert store.get("x").id == "x"
            assert primary.calls.total() == before

    def test_a_cache_above_forgets_when_the_replica_gets_it(self, primary: Remote, a: Remote):
        replicas = replicated(primary, a, read_preference="secondary")
        with CachedStore(replicas, mode="read_through") as store:
            store.save(Sample("x", count=1))
            replicas.catch_up()
            assert store.get("x").count == 1
            store.save(Sample("x", count=2))
            store.get("x")
            replicas.catch_up()
            assert store.get("x").count == 2


class TestRepair:
    def test_finds_and_mends_every_difference(self, primary: Remote, a: Remote, b: Remote):
        with replicated(primary, a, b, mode="sync") as store:
            store.save_many(Sample(f"{n:04}", count=n) for n in range(3_000))
            a.save(Sample("0001", count=-1))
            a.save(Sample("elsewhere"))
            a.delete("0002")
            b.delete_many([f"{n:04}" for n in range(0, 3_000, 7)])
            assert store.repair() == {"a": 3, "b": 429}
            assert content(a) == content(b) == content(primary)
            assert store.repair() == {"a": 0, "b": 0}
            assert store.metrics.repaired == 432

    def test_other_collections_come_along(self, primary: Remote, a: Remote):
        replicas = replicated(primary, a)
        with VersionedStore(replicas) as store:
            for count in range(3):
                store.save(Sample("x", count=count))
            store.delete("x")
            replicas.catch_up()
            history = VersionedStore.history_of(SAMPLES)
            assert content(a, history) == content(primary, history) != []
            assert content(a) == content(primary)
            a.delete_records([record[0] for record in content(a, history)][:1], collection=history)
            assert replicas.repair(history) == {"a": 1}
            assert content(a, history) == content(primary, history)
        assert VersionedStore(MemoryStore(collection=SAMPLES)).list_versions("x") == []

    def test_a_replica_that_is_down_is_named_and_the_others_are_mended(self, primary: Remote, a: Remote, b: Remote):
        with replicated(primary, a, b, mode="sync") as store:
            store.save(Sample("x"))
            b.delete("x")
            a.down = True
            with pytest.raises(ReplicationError, match="a") as error:
                store.repair()
            assert list(error.value.replicas) == ["a"]
            assert content(b) == content(primary)
            a.down = False

    def test_equal_stores_cost_little(self, primary: Remote, a: Remote):
        with replicated(primary, a, mode="sync") as store:
            store.save_many(Sample(f"{n}") for n in range(1_000))
            a.calls.clear()
            store.repair()
            assert a.calls == {"digest_records": 1, "get_record": 1}, "and who leads"


class TestConfiguration:
    def test_a_store_by_url_and_in_a_file(self, tmp_path: Any):
        from truthstore import open_store
        from truthstore.results import ValidationResult

        (tmp_path / "truthstore.yaml").write_text(
            "backend: filesystem\nbase_path: primary\nlayers:\n  - layer: replication\n    mode: sync\n    targets:\n"
            "      - {type: 'truthstore.replication:ReplicaTarget', name: copy, store: 'file://"
            + str(tmp_path / "copy")
            + "'}\n"
        )
        with open_store("truthstore.yaml") as store:
            result = {"run_id": "r", "run_time": "2026-01-01T00:00:00Z", "data_asset": "x", "status": "success"}
            store.save(ValidationResult.from_dict(result))
        with get_store(f"file://{tmp_path}/copy") as copy:
            assert copy.list_ids() == ["r"]

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"targets": []}, StoreConfigError, "at least one"),
            ({"min_sync_replicas": 2}, StoreConfigError, "there are 1 targets"),
            ({"min_sync_replicas": 0}, ValueError, "at least 1"),
            ({"mode": "both"}, StoreConfigError, "mode is one of"),
            ({"conflict_resolution": "merge"}, StoreConfigError, "belong together"),
            ({"merge": max}, StoreConfigError, "belong together"),
            ({"targets": ["a"]}, TypeError, "ReplicaTarget"),
        ],
    )
    def test_options_that_make_no_sense(self, options: dict[str, Any], error: type[Exception], message: str):
        given: dict[str, Any] = {"targets": [ReplicaTarget("a", MemoryStore())], **options}
        with pytest.raises(error, match=message):
            ReplicationConfig(**given)

    def test_a_replica_is_another_store(self):
        for name in ("", "a/b", "primary"):
            with pytest.raises(StoreConfigError, match="name of a replica"):
                ReplicaTarget(name, MemoryStore())
        with pytest.raises(StoreConfigError, match="same place"):
            replicated(folder("x"), folder("x"))
        with pytest.raises(StoreConfigError, match="twice"):
            ReplicationConfig(targets=[ReplicaTarget("a", MemoryStore()), ReplicaTarget("a", MemoryStore())])

    @pytest.mark.parametrize("layer", [VersionedStore, CachedStore, BatchedStore])
    def test_layers_that_cannot_stand_below(self, layer: Any):
        with pytest.raises(StoreConfigError, match="put it above"):
            replicated(layer(MemoryStore(collection=SAMPLES)), MemoryStore(collection=SAMPLES))

    def test_a_store_that_nothing_names_needs_a_path(self):
        with pytest.raises(StoreConfigError, match="path="):
            replicated(_Nameless(), MemoryStore(collection=SAMPLES))

    def test_it_stands_below_all_others(self):
        store: BaseStore[Any] = stack(
            MemoryStore(collection=SAMPLES),
            lambda base: replicated(base, MemoryStore(collection=SAMPLES)),
            VersionedStore,
            CachedStore,
        )
        store.save(Sample("x"))
        store.layer(ReplicatedStore).catch_up()
        assert store.get("x").id == "x"
        store.close()

    def test_closing_closes_the_replicas(self, primary: Remote, a: Remote):
        store = replicated(primary, a)
        store.save(Sample("x"))
        store.close()
        store.close()
        assert a._lifecycle.closed
        with pytest.raises(StoreNotFoundError):
            replicated(Remote(), Remote()).get("x")


class _Forgetful(MemoryStore[Sample]):
    def put_record(self, record: Record, **_: Any) -> Record:
        return record.head()


class _Nameless(MemoryStore[Sample]):
    name = "nameless"

    def __init__(self) -> None:
        super().__init__(collection=SAMPLES)
