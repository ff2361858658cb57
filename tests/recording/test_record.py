"""A run that is recorded while it goes on: stored once, whatever happens, and never the job's trouble."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

import truthstore
from tests.batching.doubles import DOWN, in_child, too_large
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.errors import StoreConfigError, StoreKeyError, StoreWriteError
from truthstore.interop import from_dbt
from truthstore.items.checks import status_of
from truthstore.recording import keep, record
from truthstore.results import VALIDATOR_ERROR, ValidationResult, ValidatorResult
from truthstore.storage.queue import DurableQueue
from truthstore.testing import SAMPLES
from truthstore.testing.suite.concurrency import start_child, wait_for_child
from truthstore.versioning import VersionedStore


def files() -> FileSystemStore[ValidationResult]:
    return FileSystemStore(base_path="store", durability="os")


def stored() -> dict[str, ValidationResult]:
    with files() as store:
        return {run.run_id: run for run in store.query()}


def killed(work: Any) -> None:
    """Do some work in a process that is killed at its end."""

    def die() -> None:
        work()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL


def test_a_run_is_stored_when_its_block_ends(store):
    with record(store, "orders", tags={"team": "sales"}, metadata={"batch": 7}, suite_name="daily", run_id="o1") as run:
        run.check("no nulls", passed=False, column="id", failed=3, checked=100, severity="high", message="3 nulls")
        run.check("unique", passed=True, checked=100, details={"parameters": {"strict": True}}, owner="sales")
        run.add(ValidatorResult("fresh", success=True))
        run.tags["rows"] = 100
        run.total_rows = 100
        assert store.list_ids() == []
    found = store.get("o1")
    assert (found.data_asset, found.status, found.suite_name, found.metadata) == (
        "orders",
        "failure",
        "daily",
        {"batch": 7},
    )
    assert found.tags == {"team": "sales", "rows": "100"}
    nulls, unique, _ = found.results
    assert (nulls.validator_name, nulls.column, nulls.count, nulls.checked) == ("no nulls", "id", 3, 100)
    assert (nulls.severity, nulls.message) == ("high", "3 nulls")
    assert (unique.success, unique.owner, unique.details) == (True, "sales", {"parameters": {"strict": True}})
    assert (found.statistics.total_rows, found.statistics.total_validators) == (100, 3)
    assert found.statistics.execution_time_ms > 0
    assert store.calls == [["o1"]]


def test_where_nothing_was_checked_nothing_passed(store):
    with record(store, "orders", run_id="empty"):
        pass
    with record(store, "orders", run_id="open") as run:
        run.check("unique", passed=None)
    assert [store.get(id).status for id in ("empty", "open")] == ["error", "error"]
    assert status_of(store.get("open").results[0]) == "not_evaluated"


@pytest.mark.parametrize("error", [ValueError("no such table"), KeyboardInterrupt(), SystemExit(0)], ids=repr)
def test_a_block_that_raises_is_stored_as_an_error_and_the_exception_goes_on(store, error):
    with pytest.raises(type(error)) as raised, record(store, "orders", run_id="o1") as run:  # noqa: PT012
        run.check("unique", passed=True)
        raise error
    assert raised.value is error
    found = store.get("o1")
    assert (found.status, [check.validator_name for check in found.results]) == ("error", ["unique", "run"])
    assert found.results[1].issue_type == VALIDATOR_ERROR
    assert found.results[1].message == f"{type(error).__name__}: {error}"
    assert "test_a_block_that_raises" in found.results[1].details["exception_traceback"]


def test_an_exception_shows_no_secret(store):
    with pytest.raises(OSError), record(store, "orders", run_id="o1"):
        raise OSError("cannot connect to postgresql://user:hunter2@host/db")
    assert "hunter2" not in json.dumps(store.get("o1").to_dict())


def test_what_pandera_raised_becomes_its_checks(store):
    pandas, pandera = pytest.importorskip("pandas"), pytest.importorskip("pandera.pandas")
    schema = pandera.DataFrameSchema({"id": pandera.Column(int, pandera.Check.gt(1))})
    with pytest.raises(pandera.errors.SchemaErrors), record(store, "orders", run_id="o1"):
        schema.validate(pandas.DataFrame({"id": [1, 2]}), lazy=True)
    *passed, failed = store.get("o1").results
    assert [check.success for check in passed] == [True, True, True]
    assert (failed.validator_name, failed.success, failed.count) == ("greater_than", False, 1)
    assert store.get("o1").status == "failure"


def test_a_check_that_cannot_be_recorded_is_an_error_unless_asked_to_raise(store):
    with record(store, "orders", run_id="o1") as run:
        run.check("fresh", passed=True, status="failure")
        run.check("unique", passed=True, no_such_field=1)
    assert [(check.success, check.issue_type) for check in store.get("o1").results] == [(False, VALIDATOR_ERROR)] * 2
    with record(store, "orders", on_error="raise") as run, pytest.raises(TypeError):
        run.check("unique", passed=True, no_such_field=1)


def test_a_process_that_is_killed_leaves_an_unfinished_run_to_the_next_recorder(store):
    def work():
        with record(files(), "orders", run_id="o1", tags={"team": "sales"}) as run:
            run.check("unique", passed=True)
            run.check("no nulls", passed=False, failed=3, checked=100)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert stored() == {}
    keep(store)
    found = store.get("o1")
    assert (found.status, found.data_asset, found.tags) == ("error", "orders", {"team": "sales"})
    assert found.metadata["unfinished"] is True
    assert [(check.validator_name, check.count) for check in found.results] == [
        ("unique", 0),
        ("no nulls", 3),
        ("run", 0),
    ]
    keep(store)
    with record(store, "orders"):
        pass
    assert sum(ids.count("o1") for ids in store.calls) == 1


class KilledAtStep(sqlite3.Connection):
    """A connection to the journal, whose transactions begin and end in steps; at one of them the process is killed."""

    left = 0

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql in {"BEGIN IMMEDIATE", "COMMIT"}:
            if KilledAtStep.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            KilledAtStep.left -= 1
        return super().execute(sql, *arguments)


def test_a_kill_between_any_two_steps_stores_the_run_exactly_once(monkeypatch, tmp_path):
    connect: Any = sqlite3.connect

    def connected(path: str, **options: Any) -> Any:
        return connect(path, **{**options, "factory": KilledAtStep if "recording" in path else sqlite3.Connection})

    def work():
        sqlite3.connect = connected  # type: ignore[assignment]
        with record(VersionedStore(files()), "orders", run_id="o1") as run:
            run.check("unique", passed=True)

    for step in range(20):
        (tmp_path / f"step{step}").mkdir()
        monkeypatch.chdir(tmp_path / f"step{step}")
        monkeypatch.setattr(KilledAtStep, "left", step)
        status = in_child(work)
        with VersionedStore(files()) as store:
            keep(store)
            keep(store)
            noted = step >= 2  # since the run was begun
            assert store.exists("o1") is noted
            assert len(store.list_versions("o1") if noted else "1") == 1
        if status == 0:
            return
    pytest.fail("it never came to its end")


def test_of_many_recorders_one_ends_what_a_dead_process_left():
    killed(lambda: record(VersionedStore(files()), "orders", run_id="o1").__enter__().check("unique", passed=True))
    children = [start_child(lambda: keep(VersionedStore(files()))) for _ in range(4)]
    for child in children:
        wait_for_child(child)
    with VersionedStore(files()) as store:
        assert len(store.list_versions("o1")) == 1


def test_notes_that_cannot_be_read_hold_up_no_other_run(store, caplog):
    killed(lambda: record(files(), "orders", run_id="o1").__enter__())
    (path,) = Path(".truthstore/recording").glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE entries SET payload = X'00'")
    killed(lambda: record(files(), "orders", run_id="o2").__enter__())
    with record(store, "orders", run_id="o3", on_error="raise") as run:
        run.check("unique", passed=True)
    assert "what an earlier process left stays" in caplog.text
    assert sorted(store.list_ids()) == ["o2", "o3"]


def test_the_run_of_a_living_process_is_left_alone(store):
    with record(store, "orders", run_id="o1") as run:
        run.check("unique", passed=True)
        assert in_child(lambda: keep(files())) == 0
        keep(store)
        assert store.list_ids() == []
    assert store.get("o1").status == "success"


def test_a_forked_child_adds_its_checks_and_leaves_the_run_to_its_parent(store):
    with record(store, "orders", run_id="o1") as run:
        run.check("parent", passed=True)

        def work():
            with run:
                run.check("child", passed=False)

        def only_leave():
            run.__exit__(None, None, None)

        run.check("parent again", passed=True)
        assert in_child(lambda: run.check("child", passed=False)) == 0
        assert in_child(only_leave) == 0
        assert store.list_ids() == []
    assert [check.validator_name for check in store.get("o1").results] == ["parent", "parent again", "child"]


def test_threads_record_into_one_run(store):
    with record(store, "orders", run_id="o1") as run:

        def work(number: int) -> None:
            for count in range(20):
                run.check(f"{number}-{count}", passed=True)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({check.validator_name for check in store.get("o1").results}) == 80


def test_a_store_that_is_down_fails_no_job_and_the_next_recorder_stores_the_run(store, caplog):
    store.down = DOWN
    with record(store, "orders", run_id="o1") as run:
        run.check("unique", passed=True)
    assert "no route to host" in caplog.text
    store.down = None
    with record(store, "orders", run_id="o2"):
        pass
    assert store.get("o1").status == "success"


def test_asked_to_raise_it_raises_and_the_run_waits_all_the_same(store):
    store.down = DOWN
    with (
        pytest.raises(StoreWriteError, match="no route to host"),
        record(store, "orders", run_id="o1", on_error="raise"),
    ):
        pass
    store.down = None
    keep(store)
    assert store.exists("o1")


def test_the_exception_of_the_block_is_not_hidden_by_one_of_the_store(store):
    store.down = DOWN
    with pytest.raises(ZeroDivisionError), record(store, "orders", on_error="raise"):
        raise ZeroDivisionError


def test_a_run_that_the_store_rejects_is_told(store, caplog):
    store.never["o1"] = too_large()
    with record(store, "orders", run_id="o1"):
        pass
    assert "the item is too large" in caplog.text
    store.never["o2"] = too_large()
    with pytest.raises(StoreWriteError, match="too large"), record(store, "orders", run_id="o2", on_error="raise"):
        pass


def test_without_a_place_for_the_journal_the_run_goes_on_in_memory(store, caplog):
    Path(".truthstore").write_text("a file", encoding="utf-8")
    with record(store, "orders", run_id="o1") as run:
        run.check("unique", passed=True)
    assert "goes on in memory" in caplog.text
    assert store.get("o1").status == "success"


def test_a_journal_that_breaks_on_the_way_loses_nothing(store, monkeypatch, caplog):
    def full(*_: Any, **__: Any) -> Any:
        raise StoreWriteError("the disk is full")

    with record(store, "orders", run_id="o1") as run:
        run.check("first", passed=True)
        monkeypatch.setattr(DurableQueue, "append", full)
        run.check("second", passed=True)
        monkeypatch.setattr(DurableQueue, "replace", full)
    assert [check.validator_name for check in store.get("o1").results] == ["first", "second"]
    assert "the disk is full" in caplog.text


def test_a_journal_that_was_removed_under_a_run_loses_nothing(store):
    with record(store, "orders", run_id="o1") as run:
        run.check("first", passed=True)
        for path in Path(".truthstore/recording").iterdir():
            path.unlink()
        run.check("second", passed=True)
        assert in_child(lambda: keep(files())) == 0
    assert [check.validator_name for check in store.get("o1").results] == ["first", "second"]
    assert store.get("o1").status == "success"


def test_layers_of_batching_outside_are_passed_by(store):
    batched = BatchedStore(store, flush_interval_seconds=None)
    killed(lambda: record(batched, "orders", run_id="o1").__enter__().check("unique", passed=True))
    with record(batched, "orders", run_id="o2"):
        pass
    assert sorted(store.list_ids()) == ["o1", "o2"]
    assert batched.pending == 0


def test_a_store_in_memory_needs_no_file():
    with MemoryStore() as store:
        with record(store, "orders", run_id="o1") as run:
            run.check("unique", passed=True)
        assert store.get("o1").success
    assert not Path(".truthstore").exists()


def test_a_store_without_a_name_takes_the_path_of_the_journal(caplog):
    class Nameless(MemoryStore[ValidationResult]):
        name = "nameless"

    with Nameless() as store:
        with record(store, "orders", run_id="o1", path="journal.db"):
            pass
        assert Path("journal.db").exists()
        with record(store, "orders", run_id="o2"):
            pass
        assert "give path=" in caplog.text
        with pytest.raises(StoreConfigError, match="give path="), record(store, "orders", on_error="raise"):
            pass
        assert sorted(store.list_ids()) == ["o1", "o2"]


def test_a_wrong_call_is_refused_at_once(store):
    with pytest.raises(ValueError, match="on_error"):
        record(store, "orders", on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="data_asset"):
        record(store, "")
    with pytest.raises(StoreKeyError):
        record(store, "orders", run_id="")
    with pytest.raises(TypeError, match="store of validation results"):
        record(MemoryStore(collection=SAMPLES), "orders")


def test_results_that_are_there_already_are_kept_whatever_the_store_does(store, caplog):
    results = [
        ValidationResult.from_dict(
            {"run_id": f"r{n}", "run_time": "2026-05-04T12:00:00Z", "data_asset": "orders", "status": "success"}
        )
        for n in range(3)
    ]
    results[1].metadata["itself"] = results[1].metadata
    store.down = DOWN
    keep(store, *results)
    assert "recording r1 of orders" in caplog.text
    store.down = None
    keep(store)
    assert sorted(store.list_ids()) == ["r0", "r2"]
    with pytest.raises(StoreWriteError):
        keep(store, results[1], on_error="raise")


def test_where_it_ran_is_kept(store, monkeypatch):
    monkeypatch.setenv("GITHUB_SHA", "bd01117")
    monkeypatch.setenv("DATABASE_HOST", "db.internal")
    with record(store, "orders", run_id="o1"):
        pass
    found = store.get("o1").runtime_environment
    assert (found["git_sha"], set(found) >= {"host", "python"}) == ("bd01117", True)
    assert "db.internal" not in found.values()


def test_it_is_at_hand_at_the_root():
    assert (truthstore.record, truthstore.records.__module__) == (record, "truthstore.recording.decorator")
    with pytest.raises(AttributeError, match="no_such_name"):
        truthstore.no_such_name  # noqa: B018


def test_the_recipe_for_dbt_keeps_an_invocation_once(store):
    folder = Path(__file__).parents[1] / "interop" / "recorded" / "dbt-1.12.6"
    results = from_dbt(folder / "build-run_results.json", manifest=folder / "build-manifest.json")
    keep(store, *results)
    ids = sorted(store.list_ids())
    keep(store, *from_dbt(folder / "build-run_results.json", manifest=folder / "build-manifest.json"))
    assert len(ids) == len(results)
    assert sorted(store.list_ids()) == ids
