"""What people say about checks: acknowledgements, owners and aliases, each with its history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.checks.runs import HOUR, NOW, OPENERS, UNIQUE, check, run
from truthstore import BaseStore, StoreConfig, get_store, open_store
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.base import StoreConfigError, StoreNotFoundError
from truthstore.checks import CheckQuery
from truthstore.testing import SAMPLES

DAY = timedelta(days=1)


class TestAcknowledge:
    def test_a_failure_that_is_known_is_marked_and_not_hidden(self, store: BaseStore[Any]):
        store.save_many([run("a", 30, "success", check("b")), run("b", 1, "failure", check("b", "failure"))])
        until = datetime.now(UTC) + DAY
        store.acknowledge(UNIQUE, until, by="ana", reason="the vendor knows")
        for found in (store.checks.newly_failing(DAY), store.checks.latest()):
            other, known = found
            assert (other.check_id, other.acknowledged) == ("id b", None)
            assert known.acknowledged is not None
            assert (known.acknowledged.by, known.acknowledged.reason) == ("ana", "the vendor knows")
            assert known.acknowledged.until == until

    def test_it_ends(self, store: BaseStore[Any]):
        store.save(run("b", 1, "failure"))
        store.acknowledge(UNIQUE, DAY, "ana", "known")
        store.acknowledge(UNIQUE, -DAY, "bo", "no longer")
        assert store.checks.latest()[0].acknowledged is None
        assert [note.by for note in store.checks.notes(UNIQUE)] == ["bo", "ana"]

    def test_what_passes_is_not_marked(self, store: BaseStore[Any]):
        store.save(run("b", 1, "failure"))
        store.acknowledge(UNIQUE, DAY, "ana", "known")
        store.save(run("c", 0.5, "success"))
        assert store.checks.latest()[0].acknowledged is None

    def test_of_one_asset(self, store: BaseStore[Any]):
        store.save_many([run("a", 1, "failure"), run("b", 1, "failure", asset="customers")])
        store.acknowledge(UNIQUE, DAY, "ana", "known", data_asset="customers")
        marked = {one.data_asset: one.acknowledged is not None for one in store.checks.latest()}
        assert marked == {"customers": True, "orders": False}
        # What is said later of all assets is about this one too.
        store.acknowledge(UNIQUE, DAY, "bo", "known")
        assert [one.acknowledged.by for one in store.checks.latest() if one.acknowledged] == ["bo", "bo"]

    def test_a_check_that_is_not_there(self, store: BaseStore[Any]):
        store.save(run("a", 1, "failure"))
        with pytest.raises(StoreNotFoundError, match="checks 'id uniqe' not found"):
            store.acknowledge("id uniqe", DAY, "ana", "known")
        with pytest.raises(StoreNotFoundError):
            store.checks.assign(UNIQUE, "ana", data_asset="customers")
        assert store.checks.notes() == []
        with pytest.raises(TypeError, match="by is a string"):
            store.acknowledge(UNIQUE, DAY, by=7, reason="known")  # type: ignore[arg-type]


class TestAssign:
    def test_the_owner_is_the_one_that_it_was_assigned_to(self, store: BaseStore[Any]):
        store.save(run("a", 1, check(owner="crm"), check("b", owner="crm"), check("c")))
        store.checks.assign(UNIQUE, "sales", by="ana", reason="moved")
        assert [one.owner for one in store.checks.latest()] == ["crm", None, "sales"]
        assert [one.name for one in store.checks.query(CheckQuery(owner="sales"))] == ["unique"]
        assert [one.name for one in store.checks.latest(query=CheckQuery(owner="crm"))] == ["b"]
        assert store.checks.count(CheckQuery(owner="crm")) == 1
        rows = store.checks.aggregate(by="owner", metrics="count")
        assert rows == [{"owner": None, "count": 1}, {"owner": "crm", "count": 1}, {"owner": "sales", "count": 1}]
        assert store.checks.distinct("owner") == ["crm", "sales"]

    def test_the_latest_wins_and_none_takes_it_back(self, store: BaseStore[Any]):
        store.save(run("a", 1, check(owner="crm")))
        for owner in ("sales", "ops", None):
            store.checks.assign(UNIQUE, owner)
            assert store.checks.latest()[0].owner == (owner or "crm")
        assert [note.value for note in store.checks.notes(UNIQUE)] == [None, "ops", "sales"]

    def test_pages_by_owner(self, store: BaseStore[Any]):
        store.save_many([run(f"r{n}", n, "success", check("b")) for n in range(4)])
        store.checks.assign(UNIQUE, "sales")
        query = CheckQuery(owner="sales", limit=3)
        page = store.checks.query(query)
        rest = store.checks.query(CheckQuery(owner="sales", after=store.checks.cursor(query, page[-1])))
        assert [one.run_id for one in [*page, *rest]] == ["r0", "r1", "r2", "r3"]


class TestAliases:
    def test_an_alias_joins_history_and_streak(self, store: BaseStore[Any]):
        store.save_many([run("a", 50, check("old", "failure")), run("b", 1, check("new", "failure"))])
        assert len(store.checks.newly_failing(DAY)) == 1
        store.checks.alias("id old", "id new")
        assert store.checks.newly_failing(DAY) == []
        for id in ("id old", "id new"):
            history = store.checks.history(id)
            assert [(one.run_id, one.check_id, one.recorded_as) for one in history] == [
                ("b", "id new", "id new"),
                ("a", "id new", "id old"),
            ]
        assert [one.run_id for one in store.checks.latest()] == ["b"]
        assert store.checks.blame("id new").failures == 2
        assert [one.check_id for one in store.compare("a", "b").still] == ["id new"]
        assert store.checks.aggregate(by="check_id", metrics=("count", "avg:failed")) == [
            {"check_id": "id new", "count": 2, "avg:failed": 3.0}
        ]
        assert store.checks.distinct("check_id") == ["id new"]

    def test_what_was_said_of_the_old_holds_for_the_new(self, store: BaseStore[Any]):
        store.save_many([run("a", 50, check("old", "failure")), run("b", 1, check("new", "failure"))])
        store.acknowledge("id old", DAY, "ana", "known")
        store.checks.assign("id old", "crm")
        store.checks.alias("id old", "id new")
        (one,) = store.checks.latest()
        assert one.acknowledged is not None
        assert one.owner == "crm"
        assert [note.kind for note in store.checks.notes("id new")] == ["alias", "assigned", "acknowledged"]

    def test_over_several_steps_and_back(self, store: BaseStore[Any]):
        store.save_many([run(name, 5, check(name)) for name in "abc"])
        store.checks.alias("id a", "id b")
        store.checks.alias("id b", "id c")
        assert store.checks.aliases == {"id a": "id c", "id b": "id c"}
        assert len(store.checks.history("id a")) == 3
        with pytest.raises(ValueError, match="aliases lead in a circle: id a → id c → id a"):
            store.checks.alias("id c", "id a")
        store.checks.alias("id b", None)
        assert store.checks.aliases == {"id a": "id b"}

    def test_the_second_of_two_equal_checks_is_a_check_of_its_own(self, store: BaseStore[Any]):
        store.save(run("a", 1, check("old"), check("old", "failure")))
        store.checks.alias("id old #2", "id new")
        assert [one.check_id for one in store.checks.latest()] == ["id new", "id old"]

    def test_of_the_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "truthstore.yaml"
        path.write_text(
            "backend: filesystem\nbase_path: ./s\naliases: {id old: id new}\nlayers: [truthstore.caching:CachedStore]\n"
        )
        with open_store(path) as store:
            store.save_many([run("a", 50, check("old", "failure")), run("b", 1, check("new", "failure"))])
            assert store.checks.newly_failing(DAY) == []
            assert store.checks.aliases == {"id old": "id new"}
            store.checks.alias("id old", None)
            assert store.checks.aliases == {}

    def test_a_configuration_that_makes_no_sense(self):
        with pytest.raises(StoreConfigError, match="aliases lead in a circle: a → b → a"):
            StoreConfig(aliases={"a": "b", "b": "a"})
        with pytest.raises(TypeError, match="aliases are strings"):
            get_store("memory", aliases={"a": 1})
        with pytest.raises(TypeError, match="aliases is a Mapping"):
            get_store("memory", aliases=["a"])

    def test_a_circle_of_configuration_and_notes_can_be_broken(self):
        data = MemoryData()
        store = MemoryStore(data=data)
        store.save_many([run(name, 5, check(name)) for name in "ab"])
        store.checks.alias("id a", "id b")
        later = MemoryStore(data=data, aliases={"id b": "id a"})
        with pytest.raises(StoreConfigError, match=r"in a circle: .*: take one back with store.checks.alias"):
            later.checks.latest()
        later.checks.alias("id a", None)
        assert [one.check_id for one in later.checks.latest()] == ["id a"]


def test_notes_are_kept_apart_from_results_and_seen_by_other_stores(tmp_path: Path):
    for kind in ("filesystem", "stack on files"):
        with OPENERS[kind](tmp_path / kind) as store, OPENERS["filesystem"](tmp_path / kind) as other:
            store.save(run("a", 1, "failure"))
            note = store.acknowledge(UNIQUE, DAY, "ana", "known")
            assert store.list_ids() == ["a"]
            assert other.checks.notes() == [note]
            assert other.collection(SAMPLES).count() == 0


class TestProtect:
    def test_retention_keeps_a_protected_run(self, store: BaseStore[Any]):
        from truthstore.retention import CustomPolicy, RetentionStore

        if "RetentionStore" not in repr(store):
            store = RetentionStore(store, CustomPolicy(lambda _: False, "nothing"), preserve_latest=False)
        store.save_many([run("a", 50, "success", tags={"team": "crm"}), run("b", 1, "success"), run("c", 1, "success")])
        store.protect("a")
        store.protect("b")
        store.protect("a")
        store.protect("b", protected=False)
        result = store.layer(RetentionStore).run_cleanup()
        assert (result.items_excluded, store.list_ids()) == (1, ["a"])
        assert store.get("a").tags == {"team": "crm", "truthstore.protected": "yes"}
        assert store.clear(everything=True) == 0
        store.protect("a", protected=False)
        assert store.clear(everything=True) == 1

    def test_a_run_that_is_not_there(self, store: BaseStore[Any]):
        with pytest.raises(StoreNotFoundError):
            store.protect("a")


def test_the_time_of_an_acknowledgement_may_be_naive(store: BaseStore[Any]):
    store.save(run("a", 1, "failure"))
    until = (NOW + 3 * HOUR).astimezone()
    note = store.acknowledge(UNIQUE, until.replace(tzinfo=None), "ana", "known")
    assert note.until == until
