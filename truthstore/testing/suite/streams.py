"""Part of the store suite: runs that are written check by check, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from truthstore.errors import StoreConflictError, StoreCorruptError, StoreNotFoundError, StoreQueryError
from truthstore.items.checks import ResultStatus, ValidatorResult
from truthstore.items.parts import STREAM_TAG, part_id, parts_of
from truthstore.items.results import RESULTS, ValidationResult
from truthstore.model.query import StoreQuery
from truthstore.testing.sample import BASE_TIME, SAMPLES
from truthstore.testing.suite.case import OpenStore, StoreCase

if TYPE_CHECKING:
    from truthstore.checks.view import Checks
    from truthstore.store.store import BaseStore

__all__ = ["StreamTests"]

PARTS = parts_of(RESULTS)
OUTCOMES = ("success", "failure", "error", "skipped")


def checks_of(day: int, *columns: str) -> list[ValidatorResult]:
    """Return the checks of a day, two equal ones among them, with outcomes that differ from day to day."""
    found = []
    for number, column in enumerate(columns):
        status = OUTCOMES[(day * number) % 4]
        passed = status == "success"
        found.append(ValidatorResult("not_null", passed, column=column, status=status, count=0 if passed else 3))
    return found


def write(store: BaseStore[Any], run_id: str, checks: Iterable[ValidatorResult], day: int = 0, **options: Any) -> None:
    """Write a run in parts of two checks."""
    with store.open_run(run_id, "orders", run_time=BASE_TIME + timedelta(days=day), **options) as run:
        for number, check in enumerate(checks):
            run.add(check)
            if number % 2:
                run.flush()


QUESTIONS: dict[str, Callable[[Checks], Any]] = {
    "query": lambda checks: checks.query(),
    "history": lambda checks: checks.history("a not_null"),
    "latest": lambda checks: checks.latest("orders"),
    "newly failing": lambda checks: checks.newly_failing(BASE_TIME + timedelta(days=3)),
    "recovered": lambda checks: checks.recovered(BASE_TIME + timedelta(days=3)),
    "flaky": lambda checks: [one.check for one in checks.flaky(4)],
    "overdue": lambda checks: checks.overdue(timedelta(days=1)).checks,
}


class StreamTests(StoreCase):
    """A run in parts is one run: durable part by part, an error until it is finished, and its checks are checks."""

    def test_a_run_in_parts_is_one_run(self, open_store: OpenStore):
        store = open_store()
        checks = checks_of(1, "a", "b", "c", "d", "e")
        write(store, "run", checks, tags={"team": "sales"}, suite_name="daily")
        assert list(store.iter_checks("run")) == checks
        assert store.list_ids() == ["run"]
        result = store.get("run")
        assert (result.status, result.results, result.suite_name) == (ResultStatus.FAILURE, [], "daily")
        figures = result.statistics
        assert (figures.total_validators, figures.passed_validators, figures.failed_validators) == (5, 2, 1)
        assert (figures.error_validators, figures.skipped_validators) == (1, 1)
        assert store.count(StoreQuery(status="failure", tags={"team": "sales"})) == 1

    def test_a_run_that_is_not_finished_is_an_error_and_goes_on_where_it_stopped(self, open_store: OpenStore):
        store = open_store()
        checks = checks_of(0, "a", "b", "a", "a", "b")
        with suppress(OSError), store.open_run("run", "orders") as run:
            for check in checks[:3]:
                run.add(check)
            raise OSError("power")
        result = store.get("run")
        assert (result.status, result.success, result.metadata["complete"]) == (ResultStatus.ERROR, False, False)
        assert "not finished" in (list(store.iter_checks("run"))[-1].message or "")
        assert [check.status.value for check in store.checks.history("run")] == ["error"]
        with store.open_run("run", "orders") as run:
            assert run.resumed == 3
            for check in checks[run.resumed :]:
                run.add(check)
        ids = [check.check_id for check in store.checks.latest("orders")]
        assert ids == ["a not_null", "a not_null #2", "a not_null #3", "b not_null", "b not_null #2"]
        assert store.get("run").status is ResultStatus.SUCCESS
        assert [check.column for check in store.iter_checks("run")] == ["a", "b", "a", "a", "b"]

    def test_the_questions_see_its_checks(self, open_store: OpenStore):
        store, plain = open_store(), open_store(RESULTS, namespace="plain") if self.namespaces else None
        streamed: dict[str, Any] = {}
        for day in range(5):
            run_time = BASE_TIME + timedelta(days=day)
            result = ValidationResult(f"run_{day}", run_time, "orders", ResultStatus.SUCCESS, checks_of(day, *"abcd"))
            if day % 2:
                store.save(result)
            else:
                write(store, result.run_id, result.results, day)
            if plain is not None:
                plain.save(result)
        for name, ask in QUESTIONS.items():
            streamed[name] = [(one.run_id, one.check_id, one.status, one.failed) for one in ask(store.checks)]
            if plain is not None:
                expected = [(one.run_id, one.check_id, one.status, one.failed) for one in ask(plain.checks)]
                assert (name, streamed[name]) == (name, expected)
        assert [run for run, *_ in streamed["history"]] == [f"run_{day}" for day in (4, 3, 2, 1, 0)]
        assert store.checks.aggregate(by="column", metrics=("count", "pass_rate", "avg:failed", "max:failed")) == [
            {"column": "a", "count": 5, "pass_rate": 1.0, "avg:failed": 0.0, "max:failed": 0},
            {"column": "b", "count": 5, "pass_rate": 0.5, "avg:failed": 1.5, "max:failed": 3},
            {"column": "c", "count": 5, "pass_rate": 0.6, "avg:failed": 1.2, "max:failed": 3},
            {"column": "d", "count": 5, "pass_rate": 0.5, "avg:failed": 1.5, "max:failed": 3},
        ]
        assert [change.check_id for change in store.compare("run_0", "run_1").new] == ["b not_null", "c not_null"]
        assert [change.check_id for change in store.compare("run_3", "run_4").fixed] == ["c not_null", "d not_null"]

    def test_a_run_that_is_deleted_takes_its_checks_along(self, open_store: OpenStore):
        store = open_store()
        write(store, "gone", checks_of(1, "a", "b", "c"))
        write(store, "kept", checks_of(1, "d", "e"))
        assert store.delete("gone")
        assert {check.run_id for check in store.checks.query()} == {"kept"}
        with pytest.raises(StoreNotFoundError):
            store.iter_checks("gone")
        store.maintain()
        left = store.scan_ids(StoreQuery(where={"run_id": "gone"}), collection=PARTS)
        assert bool(left) == bool(store.copied_ids(["gone"], collection=RESULTS))  # older versions of it may come back
        write(store, "gone", checks_of(1, "f"))
        assert sorted(check.column or "" for check in store.checks.query()) == ["d", "e", "f"]
        assert [check.column for check in store.iter_checks("gone")] == ["f"]

    def test_a_part_that_is_lost_is_missed(self, open_store: OpenStore):
        store = open_store()
        write(store, "run", checks_of(0, "a", "b", "c", "d"))
        lost = part_id("run", store.get("run").tags[STREAM_TAG], 1)
        assert store.delete_records([lost], collection=PARTS) == [lost]
        with pytest.raises(StoreCorruptError, match="lost part 2 of 3"):
            list(store.iter_checks("run"))

    def test_of_two_writers_of_a_run_the_second_fails(self, open_store: OpenStore):
        store = open_store()
        with suppress(StoreConflictError), store.open_run("run", "orders") as first:
            first.add(checks_of(0, "a")[0])
            write(store, "run", checks_of(0, "b"))
            with pytest.raises(StoreConflictError):
                first.flush()
            raise StoreConflictError("the run is the other's")
        assert [check.column for check in store.iter_checks("run")] == ["b"]
        with pytest.raises(StoreConflictError, match="finished"), store.open_run("run", "orders"):
            raise AssertionError
        store.save(ValidationResult("plain", BASE_TIME, "orders", ResultStatus.SUCCESS))
        with pytest.raises(StoreConflictError, match="exists already"), store.open_run("plain", "orders"):
            raise AssertionError
        with pytest.raises(StoreQueryError, match="no checks"):
            open_store(SAMPLES).open_run("run", "orders")

    def test_the_checks_of_any_run_one_by_one(self, open_store: OpenStore):
        store = open_store()
        result = ValidationResult("plain", BASE_TIME, "orders", ResultStatus.SUCCESS, checks_of(1, "a", "b"))
        store.save(result)
        assert list(store.iter_checks("plain")) == result.results
        with pytest.raises(StoreNotFoundError):
            store.iter_checks("nothing")
