"""What each question answers, told by one small history each."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.checks.runs import HOUR, NOW, OPENERS, UNIQUE, check, run
from truthstore import SUITES, BaseStore, Collection, ResultStatus, ValidationResult
from truthstore.backends.memory import MemoryStore
from truthstore.base import StoreClosedError, StoreNotFoundError, StoreQueryError
from truthstore.checks import CheckQuery
from truthstore.items.check_rows import CHECKS
from truthstore.items.checks import CheckStatus
from truthstore.testing import SAMPLES

DAY = timedelta(days=1)


class Nightly(ValidationResult):
    """A result with a field more."""

    cluster: str | None = None


def ids(checks: Any) -> list[str]:
    return [one.check_id for one in checks]


class TestCheck:
    def test_a_check_has_named_fields(self, store: BaseStore[Any]):
        start = NOW - DAY
        wide = check(
            "same", "warning", None, columns=("a", "b"), severity="low", checked=10, observed=0.5, expected="1"
        )
        store.save(
            run("r", 1, wide, tags={"team": "crm"}, suite_name="daily", interval_start=start, metadata={"tool": "dbt"})
        )
        (one,) = store.checks.query()
        assert (one.run_id, one.run_time, one.data_asset, one.suite_name) == ("r", NOW - HOUR, "orders", "daily")
        assert (one.check_id, one.name, one.column, one.columns) == ("same", "same", None, ("a", "b"))
        assert (one.status, one.severity, one.tool, one.tags) == ("warning", "low", "dbt", {"team": "crm"})
        assert (one.failed, one.checked, one.observed, one.expected) == (3, 10, "0.5", "1")
        assert (one.interval_start, one.interval_end, one.age, one.acknowledged) == (start, None, None, None)
        assert one.failing
        assert not one.success

    def test_it_cannot_be_changed_and_can_be_sent_elsewhere(self, store: BaseStore[Any]):
        store.save(run("r", 1, "success"))
        (one,) = store.checks.query()
        with pytest.raises(AttributeError):
            one.status = CheckStatus.FAILURE  # type: ignore[misc]
        assert pickle.loads(pickle.dumps(one)) == one


class TestQuery:
    def test_pages_continue_after_a_check(self, store: BaseStore[Any]):
        store.save_many([run(f"r{n}", n, "success", check("b"), check("c")) for n in range(3)])
        query = CheckQuery(limit=2)
        seen: list[tuple[str, str]] = []
        while page := store.checks.query(query):
            seen.extend((one.run_id, one.name) for one in page)
            query = CheckQuery(limit=2, after=store.checks.cursor(query, page[-1]))
        assert len(seen) == len(set(seen)) == 9
        assert seen == [(one.run_id, one.name) for one in store.checks.query()]

    def test_a_page_continues_after_a_run_that_was_removed(self, store: BaseStore[Any]):
        store.save_many([run(f"r{n}", n, "success") for n in range(4)])
        query = CheckQuery(limit=2)
        page = store.checks.query(query)
        store.delete("r1")
        (third, _) = store.checks.query(CheckQuery(limit=2, after=store.checks.cursor(query, page[-1])))
        assert third.run_id == "r2"

    def test_any_order(self, store: BaseStore[Any]):
        store.save(
            run("r", 1, check("a", "failure", count=1), check("b", "failure", count=9), check("c", "failure", count=5))
        )
        assert [one.failed for one in store.checks.query(CheckQuery(order_by="failed", limit=2))] == [9, 5]

    def test_a_status_that_cannot_exist_is_refused_with_the_list(self):
        known = "only success, warning, failure, error, skipped, not_evaluated"
        for wrong in (
            lambda: CheckQuery(status="failed"),
            lambda: CheckQuery(status=("failure", "failed")),
            lambda: CheckQuery(where={"status": "failed"}),
            lambda: CheckQuery(where={"status": ("in", ["failed"])}),
        ):
            with pytest.raises(StoreQueryError, match=f"no check has the status 'failed', {known}"):
                wrong()

    def test_what_makes_no_sense_is_refused(self):
        with pytest.raises(StoreQueryError, match="column is given twice"):
            CheckQuery(column="a", where={"column": "b"})
        with pytest.raises(ValueError, match="cannot be negative"):
            CheckQuery(limit=-1)
        with pytest.raises(TypeError, match="owner is a string"):
            CheckQuery(owner=1)  # type: ignore[arg-type]
        store = MemoryStore()
        with pytest.raises(TypeError, match="a CheckQuery or None, not dict"):
            store.checks.query({})  # type: ignore[arg-type]
        with pytest.raises(StoreQueryError, match="did you mean 'column'"):
            store.checks.query(CheckQuery(where={"colum": "id"}))
        with pytest.raises(StoreQueryError, match="unknown metric 'pass_rat'"):
            store.checks.aggregate(metrics="pass_rat")

    @pytest.mark.parametrize("collection", [SAMPLES, SUITES], ids=["samples", "suites"])
    def test_other_collections_have_no_checks(self, collection: Any):
        with pytest.raises(StoreQueryError, match="holds no checks"):
            _ = MemoryStore(collection=collection).checks

    def test_a_collection_of_a_users_own_results_has_them(self):
        results = Collection.of(
            Nightly,
            id="run_id",
            time="run_time",
            tags="tags",
            index={"data_asset": str, "status": str, "suite_name": str},
            rows=CHECKS,
        )
        store = MemoryStore(collection=results)
        store.save(Nightly("a", NOW, "orders", ResultStatus.FAILURE, [check(status="failure")], cluster="c1"))
        assert ids(store.checks.newly_failing(DAY)) == [UNIQUE]
        store.acknowledge(UNIQUE, DAY, "ana", "known")
        assert store.forget("c1") == []

    def test_a_closed_store_answers_nothing(self, store: BaseStore[Any]):
        asked = store.checks
        store.close()
        with pytest.raises(StoreClosedError):
            asked.latest()
        with pytest.raises(StoreClosedError):
            _ = store.checks


class TestFigures:
    def test_what_did_not_run_has_not_passed_and_what_was_skipped_does_not_count(self, store: BaseStore[Any]):
        store.save(run("r", 1, check("a"), check("b", "not_evaluated"), check("c", "skipped"), check("d", "skipped")))
        (row,) = store.checks.aggregate(metrics=("count", "pass_rate"))
        assert row == {"count": 4, "pass_rate": 0.5}
        assert list(row) == ["count", "pass_rate"]
        rows = store.checks.aggregate(by="name", metrics="pass_rate")
        assert [row["pass_rate"] for row in rows] == [1.0, 0.0, None, None]

    def test_nothing_has_no_figures(self, store: BaseStore[Any]):
        assert store.checks.aggregate(metrics=("count", "pass_rate")) == []
        assert (store.checks.count(), store.checks.distinct("column"), store.checks.worst()) == (0, [], [])

    def test_by_status(self, store: BaseStore[Any]):
        store.save(run("r", 1, check("a"), check("b", "failure")))
        rows = store.checks.aggregate(by="status", metrics=("count", "pass_rate"))
        assert rows == [
            {"status": "failure", "count": 1, "pass_rate": 0.0},
            {"status": "success", "count": 1, "pass_rate": 1.0},
        ]

    def test_worst_first(self, store: BaseStore[Any]):
        store.save(run("r1", 2, check("a", "failure"), check("b", "failure"), check("c"), check("d", "skipped")))
        store.save(run("r2", 1, check("a", "failure"), check("b"), check("c"), check("d", "skipped")))
        assert [(one.value, one.pass_rate) for one in store.checks.worst()] == [("id a", 0.0), ("id b", 0.5)]
        (column,) = store.checks.worst(by="column", limit=1)
        assert (column.value, column.count, column.unsuccessful) == ("id", 6, 3)


class TestLatest:
    def test_a_check_that_newer_runs_leave_out_is_there_with_its_age(self, store: BaseStore[Any]):
        store.save_many([run("old", 50, "failure", check("other")), run("new", 2, "success")])
        first, second = store.checks.latest("orders")
        assert (first.check_id, first.run_id, second.check_id, second.run_id) == ("id other", "old", UNIQUE, "new")
        assert first.age is not None
        assert second.age is not None
        assert timedelta(0) <= first.age - 50 * HOUR < HOUR
        assert timedelta(0) <= second.age - 2 * HOUR < HOUR

    def test_conditions_are_about_the_newest_outcome(self, store: BaseStore[Any]):
        store.save_many([run("old", 50, "failure"), run("new", 2, "success")])
        assert store.checks.latest(query=CheckQuery(status="failure")) == []
        assert ids(store.checks.latest(query=CheckQuery(status="success", column="id"))) == [UNIQUE]
        assert ids(store.checks.latest(query=CheckQuery(status="failure", end_time=NOW - 10 * HOUR))) == [UNIQUE]

    def test_two_assets_are_not_asked_for_at_once(self, store: BaseStore[Any]):
        with pytest.raises(ValueError, match="not both"):
            store.checks.latest("orders", CheckQuery(data_asset="customers"))


class TestTurned:
    def test_failing_since_and_passing_before(self, store: BaseStore[Any]):
        store.save_many([run("old", 50, "success"), run("new", 2, "failure")])
        (one,) = store.checks.newly_failing(DAY)
        assert (one.check_id, one.run_id) == (UNIQUE, "new")
        assert store.checks.newly_failing(HOUR) == []
        assert store.checks.recovered(DAY) == []

    def test_a_check_that_never_ran_before(self, store: BaseStore[Any]):
        store.save(run("new", 2, "error"))
        assert ids(store.checks.newly_failing(DAY)) == [UNIQUE]

    def test_a_check_that_failed_before_is_not_new(self, store: BaseStore[Any]):
        store.save_many([run("old", 50, "warning"), run("middle", 30, "skipped"), run("new", 2, "failure")])
        assert store.checks.newly_failing(DAY) == []

    def test_silence_neither_fails_nor_recovers(self, store: BaseStore[Any]):
        store.save_many([run("old", 50, "failure"), run("new", 2, "skipped"), run("newer", 1, "not_evaluated")])
        assert store.checks.recovered(DAY) == []
        store.save_many([run("bad", 0.9, "failure"), run("good", 0.8, "success"), run("silent", 0.5, "skipped")])
        assert [one.run_id for one in store.checks.recovered(DAY)] == ["good"]

    def test_the_moment_itself_is_since_then(self, store: BaseStore[Any]):
        store.save_many([run("old", 50, "success"), run("new", 24, "failure")])
        assert len(store.checks.newly_failing(NOW - DAY)) == 1
        assert store.checks.newly_failing(NOW - DAY + timedelta(microseconds=1)) == []
        store.save(run("older", 24, "success", asset="customers"))
        store.save(run("newest", 1, "failure", asset="customers"))
        # Its outcome at that moment is no outcome before it.
        assert {one.data_asset for one in store.checks.newly_failing(NOW - DAY)} == {"orders", "customers"}

    def test_a_naive_time_is_local(self, store: BaseStore[Any], monkeypatch: pytest.MonkeyPatch):
        store.save_many([run("old", 50, "success"), run("new", 2, "failure")])
        local = (NOW - 2 * HOUR).astimezone().replace(tzinfo=None)
        assert len(store.checks.newly_failing(local)) == 1
        assert store.checks.newly_failing(local + timedelta(seconds=1)) == []

    def test_since_is_a_time_or_a_span(self, store: BaseStore[Any]):
        with pytest.raises(TypeError, match="a datetime or a timedelta, not int"):
            store.checks.newly_failing(1)  # type: ignore[arg-type]


class TestOverdue:
    def test_checks_and_assets(self, store: BaseStore[Any]):
        store.save_many(
            [run("a", 80, "success", check("b")), run("b", 60, "success", asset="quiet"), run("c", 1, check("b"))]
        )
        found = store.checks.overdue(2 * DAY)
        assert [(one.data_asset, one.check_id) for one in found.checks] == [("orders", UNIQUE), ("quiet", UNIQUE)]
        (asset,) = found.assets
        assert (asset.data_asset, asset.run_time, asset.age // HOUR) == ("quiet", NOW - 60 * HOUR, 60)

    def test_a_check_that_is_skipped_is_overdue(self, store: BaseStore[Any]):
        store.save_many([run("a", 60, "success"), run("b", 1, "skipped", check("never", "not_evaluated"))])
        never, skipped = store.checks.overdue(2 * DAY).checks
        assert (never.check_id, never.age) == ("id never", None)
        assert (skipped.run_id, skipped.check_id) == ("a", UNIQUE)


class TestFlaky:
    def test_back_and_forth(self, store: BaseStore[Any]):
        words = ["success", "failure", "skipped", "success", "success", "failure"]
        store.save_many([run(f"r{n}", 10 - n, word) for n, word in enumerate(words)])
        (one,) = store.checks.flaky()
        assert (one.check.run_id, one.outcomes, one.switches, one.share) == ("r5", 5, 3, 0.75)
        assert one.last_switch == NOW - 5 * HOUR
        assert [found.switches for found in store.checks.flaky(window=4)] == [2]
        assert store.checks.flaky(window=2) == []

    def test_a_check_that_broke_once_is_not_flaky(self, store: BaseStore[Any]):
        store.save_many([run("a", 3, "success"), run("b", 2, "failure"), run("c", 1, "failure")])
        assert store.checks.flaky() == []
        assert len(store.checks.flaky(min_switches=1)) == 1

    def test_a_check_that_runs_seldom_is_seen_whole(self, store: BaseStore[Any]):
        store.save_many([run(f"r{n}", 1 + n, "success") for n in range(40)])
        seldom = ["success", "failure", "success"]
        store.save_many([run(f"s{n}", 100 + n, word, asset="seldom") for n, word in enumerate(seldom)])
        assert [(one.check.data_asset, one.outcomes) for one in store.checks.flaky(window=4)] == [("seldom", 3)]

    def test_a_window_of_one_shows_nothing(self, store: BaseStore[Any]):
        with pytest.raises(ValueError, match="window is at least 2"):
            store.checks.flaky(window=1)


class TestCompare:
    def test_every_check_finds_its_place(self, store: BaseStore[Any]):
        store.save(
            run(
                "a",
                2,
                check("fixed", "failure"),
                check("broke"),
                check("worse", "failure", count=2, checked=100),
                check("better", "failure", count=5, checked=10),
                check("milder", "failure"),
                check("gone"),
                check("skipped", "failure"),
            )
        )
        store.save(
            run(
                "b",
                1,
                check("fixed"),
                check("broke", "error"),
                check("worse", "failure", count=2, checked=10),
                check("better", "failure", count=6, checked=100),
                check("milder", "warning"),
                check("skipped", "skipped"),
                check("added", "failure"),
            )
        )
        found = store.compare("a", "b")
        assert ids(found.new) == ["id broke", "id added"]
        assert ids(found.fixed) == ["id fixed"]
        assert ids(found.still) == ["id worse", "id better", "id milder"]
        assert (ids(found.worse), ids(found.better)) == (["id worse"], ["id better", "id milder"])
        assert ids(found.missing) == ["id skipped", "id gone"]
        assert ids(found.added) == ["id added"]
        (worse,) = found.worse
        assert worse.before is not None
        assert worse.after is not None
        assert (worse.before.checked, worse.after.checked) == (100, 10)

    def test_what_is_not_known_is_neither_worse_nor_better(self, store: BaseStore[Any]):
        store.save_many(
            [
                run("a", 2, check("a", "failure", count=None), check("b", "error")),
                run("b", 1, check("a", "failure"), check("b", "failure")),
            ]
        )
        found = store.compare("a", "b")
        assert (ids(found.still), found.worse, found.better) == (["id a", "id b"], (), ())

    def test_an_incomplete_run_fixes_nothing(self, store: BaseStore[Any]):
        store.save_many([run("a", 2, "failure", check("b")), run("b", 1, "success", metadata={"complete": False})])
        found = store.compare_latest("orders")
        assert (found.run_a, found.run_b, found.incomplete) == ("a", "b", True)
        assert (found.fixed, ids(found.missing)) == ((), ["id b"])

    def test_the_newest_two_runs(self, store: BaseStore[Any]):
        store.save_many([run("a", 3, "success"), run("b", 2, "failure"), run("c", 1, "success")])
        assert ids(store.compare_latest("orders").fixed) == [UNIQUE]

    def test_the_first_run_is_all_new(self, store: BaseStore[Any]):
        store.save(run("a", 3, "failure"))
        found = store.compare_latest("orders")
        assert (found.run_a, ids(found.new), ids(found.added)) == (None, [UNIQUE], [UNIQUE])

    def test_a_run_that_is_not_there(self, store: BaseStore[Any]):
        store.save(run("a", 3, "failure"))
        with pytest.raises(StoreNotFoundError, match="'b' not found"):
            store.compare("a", "b")
        with pytest.raises(StoreNotFoundError, match="'customers' not found"):
            store.compare_latest("customers")


class TestBlame:
    def test_what_differs_between_the_last_good_run_and_the_first_bad_one(self, store: BaseStore[Any]):
        def at(run_id: str, hours: float, status: str, sha: str, limit: int, version: str) -> None:
            one = check(status=status, details={"parameters": {"mostly": 1}}, expected=limit)
            made = run(run_id, hours, one, runtime_environment={"git_sha": sha, "host": "etl-1"})
            made.metadata = {"tool": "dbt", "tool_version": version, "tool_run_id": run_id}
            store.save(made)

        at("r1", 9, "success", "aaa", 10, "1.9")
        at("r2", 8, "success", "bbb", 10, "1.9")
        at("r3", 7, "failure", "ccc", 5, "1.10")
        at("r4", 6, "error", "ddd", 5, "1.10")
        found = store.checks.blame('id unique({"mostly":1})')
        assert found.last_good is not None
        assert found.since is not None
        assert (found.last_good.run_id, found.since.run_id, found.newest.run_id) == ("r2", "r3", "r4")
        assert found.failures == 2
        assert {one.name: (one.before, one.after) for one in found.differences} == {
            "runtime_environment.git_sha": ("bbb", "ccc"),
            "metadata.tool_version": ("1.9", "1.10"),
            "check.expected": (10, 5),
        }

    def test_a_check_that_passes(self, store: BaseStore[Any]):
        store.save_many([run("a", 3, "failure"), run("b", 2, "success"), run("c", 1, "skipped")])
        found = store.checks.blame(UNIQUE)
        assert (found.since, found.failures, found.differences) == (None, 0, ())
        assert found.last_good is not None
        assert found.last_good.run_id == "b"

    def test_a_check_that_never_passed(self, store: BaseStore[Any]):
        store.save_many([run("a", 3, "failure"), run("b", 2, "failure")])
        found = store.checks.blame(UNIQUE)
        assert found.since is not None
        assert (found.last_good, found.since.run_id, found.failures) == (None, "a", 2)

    def test_an_asset_must_be_named_where_several_have_the_check(self, store: BaseStore[Any]):
        store.save_many([run("a", 3, "failure"), run("b", 2, "success", asset="customers")])
        with pytest.raises(
            StoreQueryError, match=r"2 assets have the check .*: give data_asset, one of customers, orders"
        ):
            store.checks.blame(UNIQUE)
        assert store.checks.blame(UNIQUE, "customers").since is None
        with pytest.raises(StoreNotFoundError, match="checks 'id uniqe' not found"):
            store.checks.blame("id uniqe")


@pytest.mark.parametrize("kind", ["filesystem", "stack on files"])
def test_no_question_reads_a_result(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """But for those about one or two runs, and for a store in memory, which has no index."""
    store = OPENERS[kind](tmp_path)
    store.save_many([run("a", 30, "success"), run("b", 1, "failure")])
    asked = store.checks
    asked.query()

    def fail(*arguments: object) -> None:
        raise AssertionError("a body was read")

    monkeypatch.setattr(Collection, "decode", fail)
    monkeypatch.setattr(Collection, "derive_rows", fail)
    asked.acknowledge(UNIQUE, DAY, "ana", "known")
    for ask in (
        lambda: asked.history(UNIQUE),
        asked.latest,
        lambda: asked.newly_failing(DAY),
        lambda: asked.recovered(DAY),
        lambda: asked.overdue(DAY),
        asked.flaky,
        asked.worst,
        asked.count,
        asked.notes,
    ):
        ask()
    store.close()


def test_times_are_in_utc(store: BaseStore[Any]):
    store.save(run("a", 1, "success"))
    assert store.checks.latest()[0].run_time.tzinfo is UTC
    assert isinstance(store.checks.latest()[0].run_time, datetime)
