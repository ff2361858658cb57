"""Replicas that were written elsewhere, and primaries that change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.replication.doubles import Remote, content, folder, replicated
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConnectionError, StoreNotFoundError
from truthstore.replication import ReplicatedStore, ReplicationError
from truthstore.testing import SAMPLES, Sample


def written(count: int, at: int, id: str = "x") -> Any:
    """A record that was written at a time."""
    record = SAMPLES.encode(Sample(id, count=count))
    return type(record)(record.meta.replace(stored_at=at), record.body, record.revision)


def put(store: Any, record: Any) -> None:
    store.put_record(record, collection=SAMPLES)


@pytest.fixture
def primary() -> Remote:
    return Remote()


@pytest.fixture
def a() -> Remote:
    return Remote()


class TestWrittenElsewhere:
    @pytest.mark.parametrize(
        ("resolution", "replica_at", "kept"),
        [
            ("primary_wins", 300, 1),
            ("last_write_wins", 300, 2),
            ("last_write_wins", 100, 1),
            ("first_write_wins", 300, 1),
            ("first_write_wins", 100, 2),
            ("merge", 300, 3),
        ],
    )
    @pytest.mark.parametrize("way", ["delivery", "repair"])
    def test_is_settled_as_the_options_say(
        self, primary: Remote, a: Remote, resolution: str, replica_at: int, kept: int, way: str
    ):
        merge = (lambda ours, theirs: Sample("x", count=ours.count + theirs.count)) if resolution == "merge" else None
        with replicated(
            primary, a, MemoryStore(collection=SAMPLES), conflict_resolution=resolution, merge=merge
        ) as store:
            put(a, written(2, replica_at))
            put(store if way == "delivery" else primary, written(1, 200))
            store.catch_up() if way == "delivery" else store.repair()
            store.catch_up()
            assert store.get("x").count == kept
            assert content(a) == content(primary) == content(store._group.members["b"].store)
            assert store.repair() == {"a": 0, "b": 0}

    @pytest.mark.parametrize("keep", [None, "primary", "a", "item"])
    def test_waits_for_a_decision(self, primary: Remote, a: Remote, keep: str | None):
        with replicated(primary, a, MemoryStore(collection=SAMPLES), conflict_resolution="manual") as store:
            put(a, written(2, 300))
            store.save(Sample("x", count=1))
            with pytest.raises(ReplicationError, match="a got 'x' elsewhere"):
                store.catch_up()
            assert (store.get("x").count, a.get("x").count) == (1, 2)
            (conflict,) = store.rejected()
            assert (conflict.id, conflict.replica, conflict.is_conflict) == ("x", "a", True)
            if keep == "item":
                store.resolve("x", item=Sample("x", count=3))
            else:
                store.resolve("x", keep)
            assert store.get("x").count == {None: 1, "primary": 1, "a": 2, "item": 3}[keep]
            assert content(a) == content(primary) == content(store._group.members["b"].store)
            assert store.rejected() == []
            with pytest.raises(StoreNotFoundError):
                store.resolve("x")

    def test_what_only_a_replica_has_is_kept_unless_the_primary_wins(self, primary: Remote, a: Remote):
        with replicated(primary, a, conflict_resolution="last_write_wins") as store:
            a.save(Sample("elsewhere"))
            assert store.repair() == {"a": 1}
            assert primary.exists("elsewhere")
            assert content(a) == content(primary)

    def test_own_writes_are_no_conflict_whatever_the_clock_says(self, primary: Remote, a: Remote):
        with replicated(primary, a, conflict_resolution="last_write_wins") as store:
            for count, at in enumerate((500, 400, 300, 200)):
                put(store, written(count, at))
                if count % 2:
                    store.catch_up()
            assert store.get("x").count == a.get("x").count == 3
            store.delete("x")
            store.catch_up()
            assert content(a) == content(primary) == []
            assert store.metrics.conflicts == 0

    def test_a_merge_that_fails_is_a_conflict(self, primary: Remote, a: Remote):
        def merge(ours: Any, theirs: Any) -> Any:
            raise KeyError("no")

        with replicated(primary, a, conflict_resolution="merge", merge=merge) as store:
            a.save(Sample("x", count=2))
            store.save(Sample("x", count=1))
            with pytest.raises(ReplicationError, match="merge raised KeyError"):
                store.catch_up()
            assert [one.id for one in store.rejected()] == ["x"]


class TestFailover:
    def test_and_fail_back(self, primary: Remote, a: Remote):
        b = Remote()
        with replicated(primary, a, b, mode="semi_sync") as store:
            store.save(Sample("before"))
            store.catch_up()
            primary.down = True
            with pytest.raises(StoreConnectionError):
                store.save(Sample("lost"))
            with pytest.raises(ReplicationError, match="1 write"):
                store.failover("b")  # the failed save may have happened
            assert store.failover("b", force=True) == "b"
            store.save(Sample("meanwhile"))
            store.delete("before")
            assert store.list_ids() == ["meanwhile"]
            assert store.replicas()["b"].is_primary
            assert store.health_check().healthy
            primary.down = False
            store.catch_up()
            assert content(primary) == content(a) == content(b)
            assert store.failover("primary") == "primary"
            store.save(Sample("after"))
            store.catch_up()
            assert content(primary) == content(a) == content(b)
            assert sorted(primary.list_ids()) == ["after", "meanwhile"]

    def test_chooses_by_priority_and_lag_among_those_that_answer(self, primary: Remote, a: Remote):
        b, c = Remote(), Remote()
        with replicated(primary, a, b, c, mode="semi_sync") as store:
            store.save(Sample("x"))
            store.catch_up()
            a.down = primary.down = True
            assert store.failover() == "b"
            a.down = primary.down = False

    def test_refuses_to_forget_what_was_acknowledged(self, primary: Remote, a: Remote):
        with replicated(primary, a) as store:
            store.save(Sample("x", count=1))
            store.catch_up()
            store.save(Sample("x", count=2))
            store.save(Sample("y"))
            store.save(Sample("z"))
            primary.down = True
            with pytest.raises(ReplicationError, match="3 writes have not reached a"):
                store.failover("a")
            assert store.failover("a", force=True) == "a"
            assert store.get("x").count == 1
            store.save(Sample("z", count=7))
            primary.down = False
            store.catch_up()
            assert (store.get("x").count, store.get("z").count, store.exists("y")) == (2, 7, True)
            store.catch_up()
            assert content(primary) == content(a)

    def test_is_known_to_those_who_come_later_and_to_others_when_they_look(self):
        def make() -> ReplicatedStore[Any]:
            return replicated(folder("primary"), folder("a"), mode="sync")

        with make() as store, make() as other:
            other.save(Sample("x"))
            other.catch_up()  # with its thread it would soon have said that nothing waits
            store.failover("a")
            with make() as later:
                assert later.replicas()["a"].is_primary
            other.save(Sample("y"))
            other.check_replicas()
            assert other.replicas()["a"].is_primary
            other.save(Sample("z"))
            assert folder("primary").list_ids() == folder("a").list_ids()

    def test_to_a_store_that_cannot_be_reached(self, primary: Remote, a: Remote):
        with replicated(primary, a) as store:
            a.down = True
            with pytest.raises(StoreConnectionError, match="a: StoreConnectionError: no route"):
                store.failover()
            assert store.replicas()["primary"].is_primary
            a.down = False

    def test_writes_that_are_under_way_are_taken_over(self, primary: Remote, a: Remote):
        """The switch falls between the note and the write."""
        with replicated(primary, a) as store:

            def switch(name: str) -> None:
                if name == "put_record":
                    primary.before = None
                    store.failover("a", force=True)

            primary.before = switch
            store.save(Sample("x"))
            assert not a.exists("x")
            store.catch_up()
            store.catch_up()
            assert content(a) == content(primary)
            assert store.exists("x")
