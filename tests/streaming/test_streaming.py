"""Runs in parts: every fault, a process that is killed, copies in layers, and memory."""

from __future__ import annotations

import signal
import tracemalloc
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Child
from truthstore import (
    BaseStore,
    Collection,
    ResultStatus,
    StoreConflictError,
    StoreError,
    StoreKeyError,
    StoreQuery,
    StoreQueryError,
    StoreWriteError,
    ValidationResult,
    ValidatorResult,
    get_store,
)
from truthstore.backends.memory import MemoryStore
from truthstore.checks.notes import notes_of
from truthstore.checks.query import CheckQuery
from truthstore.items.check_rows import CHECKS as CHECK_ROWS
from truthstore.items.parts import parts_of
from truthstore.items.results import RESULTS
from truthstore.model.fields import HOLD_TAG, HOLD_VALUE
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ANY, NONE, Record
from truthstore.retention import RetentionAction, RetentionStore, StatusBasedPolicy, TimeBasedPolicy
from truthstore.store.wrapper import WrapperStore
from truthstore.streaming import sweep
from truthstore.testing import FaultPlan, FaultyStore
from truthstore.versioning import VersionedStore

PARTS = parts_of(RESULTS)
OLD = datetime.now(UTC) - timedelta(days=90)


class Regional(ValidationResult):
    region: str = "eu"


def check(number: int) -> ValidatorResult:
    return ValidatorResult("in_range", success=number % 3 > 0, column=f"c{number % 5}", count=0 if number % 3 else 4)


CHECKS = [check(number) for number in range(6)]


def write(store: BaseStore[Any], run_id: str = "run", **options: Any) -> None:
    with store.open_run(run_id, "orders", **options) as run:
        for one in CHECKS[run.resumed :]:
            run.add(one)
            run.flush()


def columns(store: BaseStore[Any], run_id: str = "run") -> list[str | None]:
    return [one.column for one in store.iter_checks(run_id)]


ALL = [one.column for one in CHECKS]


@pytest.mark.parametrize("kind", ["before", "after"])
def test_whatever_fails_what_is_opened_again_goes_on(kind: Any):
    place = 0
    while True:
        place += 1
        plan = FaultPlan(fail_at=place, kinds=[kind])
        store: BaseStore[Any] = FaultyStore(MemoryStore(), plan)
        try:
            write(store)
        except StoreError:
            try:
                write(store)
            except StoreConflictError as error:
                assert "is finished" in str(error)  # the answer to the last write was lost
        if not plan.failures:
            break
        assert columns(store) == ALL
        assert store.get("run").statistics.total_validators == len(CHECKS)
        assert len(store.checks.query()) == len(CHECKS)
    assert place > len(CHECKS) + 3


def test_a_part_that_was_not_stored_is_tried_again_with_what_came_after_it():
    plan = FaultPlan()
    store: BaseStore[Any] = FaultyStore(MemoryStore(), plan)
    with store.open_run("run", "orders") as run:
        run.add(CHECKS[0])
        plan.arm(1)
        with pytest.raises(StoreError):
            run.flush()
        for one in CHECKS[1:]:
            run.add(one)
        run.flush()
        assert columns(store) == [*ALL, None]
    assert columns(store) == ALL


def test_a_check_that_raises_was_not_added():
    plan = FaultPlan()
    store: BaseStore[Any] = FaultyStore(MemoryStore(), plan)
    with store.open_run("run", "orders") as run:
        for number in range(1_000):
            run.add(check(number))
        plan.arm(1)
        with pytest.raises(StoreError):
            run.add(check(1_000))
        assert run.count == 1_000
        run.add(check(1_000))
    assert store.get("run").statistics.total_validators == sum(1 for _ in store.iter_checks("run")) == 1_001


def test_a_run_is_entered_once():
    run = MemoryStore().open_run("run", "orders")
    with suppress(OSError), run:
        run.add(CHECKS[0])
        raise OSError("power")
    with pytest.raises(ValueError, match="opened already"), run:
        raise AssertionError


def test_a_finished_run_takes_nothing_from_a_writer_that_began_before():
    store = MemoryStore()
    first, second = ExitStack(), ExitStack()
    for stack, one in ((first, CHECKS[0]), (second, CHECKS[1])):
        stack.enter_context(store.open_run("run", "orders")).add(one)
    first.close()
    with pytest.raises(StoreConflictError):
        second.close()
    assert columns(store) == ALL[:1]
    assert len(store.checks.query()) == store.get("run").statistics.total_validators == 1


def test_a_run_that_is_changed_while_it_is_written_is_ended_when_it_is_opened_again():
    store = MemoryStore()
    writer = ExitStack()
    writer.enter_context(store.open_run("run", "orders")).add(CHECKS[0])
    store.protect("run")
    with pytest.raises(StoreConflictError, match="open it again"):
        writer.close()
    write(store)
    assert columns(store) == ALL
    assert store.get("run").tags[HOLD_TAG] == HOLD_VALUE


class Stalled(WrapperStore[Any]):
    """A store in which another writer opens a run just before the one who has written all of it says so."""

    def put_record(self, record: Record, *, collection: Any, expect: Any = ANY, options: Any = NONE) -> Record:
        if collection is RESULTS and isinstance(expect, str):
            with self.base.open_run(record.id, "orders") as run:
                run.add(CHECKS[1])
                with pytest.raises(StoreConflictError):
                    self.base.put_record(record, collection=collection, expect=expect, options=options)
        return self.base.put_record(record, collection=collection, expect=expect, options=options)


def test_a_writer_that_stalls_before_it_ends_its_run_fails_where_another_went_on():
    store = MemoryStore()
    with pytest.raises(StoreConflictError), Stalled(store).open_run("run", "orders") as first:
        first.add(CHECKS[0])
    assert columns(store) == ALL[:2]
    assert len(store.checks.query()) == store.get("run").statistics.total_validators == 2


@pytest.mark.parametrize("metadata", [{"parts": 3}, {"unfinished": False}])
def test_metadata_of_users_are_theirs(metadata: dict[str, Any]):
    store = MemoryStore()
    with suppress(OSError), store.open_run("run", "orders", metadata=metadata) as run:
        run.add(CHECKS[0])
        raise OSError("power")
    assert columns(store) == [ALL[0], None]
    write(store)
    assert columns(store) == ALL


def test_equal_checks_get_the_ordinals_that_a_run_as_a_whole_gives_them():
    store = MemoryStore()
    checks = [ValidatorResult("a", success=True, check_id=id) for id in ("a #2", None, None, "a #2", "a", "b", None)]
    store.save(ValidationResult("plain", OLD, "orders", ResultStatus.SUCCESS, checks))
    with store.open_run("run", "orders") as run:
        for one in checks:
            run.add(one)
            run.flush()

    def ids(run_id: str) -> list[str]:
        return [one.check_id for one in store.checks.query(CheckQuery(run_id=run_id, order_by="id", ascending=True))]

    assert ids("run") == ids("plain")


def test_parts_that_are_lost_or_damaged_are_found_by_verify(tmp_path: Path):
    store = get_store("filesystem", base_path=tmp_path)
    for id in ("lost", "damaged", "whole"):
        write(store, id)
    assert store.verify()
    (lost, *_) = store.scan_ids(StoreQuery(where={"run_id": "lost"}), collection=PARTS)
    store.delete_records([lost], collection=PARTS)
    (file,) = tmp_path.rglob("*damaged.*000003*")
    file.write_bytes(file.read_bytes()[:-9])
    assert store.verify().corrupt.keys() == {"lost", "damaged"}
    store.close()


def test_a_writer_that_does_not_know_that_its_run_is_gone_leaves_nothing_behind():
    store = MemoryStore()
    writer = ExitStack()
    run = writer.enter_context(store.open_run("run", "orders"))
    run.add(CHECKS[0])
    run.flush()
    store.delete("run")
    store.maintain()
    run.add(CHECKS[1])
    with pytest.raises(StoreConflictError):
        writer.close()
    store.maintain()
    assert list(store.scan(EVERYTHING, collection=PARTS)) == []
    store.maintain()
    assert list(store.scan(EVERYTHING, collection=notes_of(RESULTS))) == []


def test_a_sweep_begins_nothing_new_when_its_time_is_up():
    store = MemoryStore()
    for id in ("a", "b"):
        write(store, id)
        store.delete(id)
    assert store.maintain(budget=0) == {}
    assert store.maintain()["parts_removed"] == 2 * len(CHECKS) + 2


def test_without_room_for_identities_no_check_is_added():
    store, added = MemoryStore(), 0
    with pytest.raises(StoreWriteError, match="SQLITE_TMPDIR"), store.open_run("run", "orders") as run:  # noqa: PT012
        run._identities._database.execute("PRAGMA max_page_count = 4")
        for number in range(1_000):
            added = run.count
            run.add(ValidatorResult("x", success=True, column=str(number)))
    with store.open_run("run", "orders") as run:
        assert run.resumed == added
        run.add(ValidatorResult("x", success=True, column="0"))
    assert len({one.check_id for one in store.checks.query()}) == added + 1


def test_an_id_that_leaves_no_room_for_those_of_parts_is_refused():
    store = MemoryStore()
    with pytest.raises(StoreKeyError, match="run_id of 1001 characters: a run in parts has at most 1000"):
        store.open_run("r" * 1_001, "orders")
    write(store, "r" * 1_000)
    assert columns(store, "r" * 1_000) == ALL


def test_checks_with_fields_of_their_own_are_refused():
    rows = replace(CHECK_ROWS, inherits=(*CHECK_ROWS.inherits, "region"))
    index = {"data_asset": str, "suite_name": str, "region": str}
    regional = Collection.of(Regional, id="run_id", name="regional", time="run_time", index=index, rows=rows)
    with pytest.raises(StoreQueryError, match="a field 'region'"):
        MemoryStore(collection=regional).open_run("run", "orders")


def test_the_period_of_the_data_is_that_of_each_check():
    store = MemoryStore()
    day = OLD + timedelta(days=1)
    with store.open_run("run", "orders", interval_start=OLD, interval_end=day) as run:
        run.add(CHECKS[0])
    assert [(one.interval_start, one.interval_end) for one in store.checks.query()] == [(OLD, day)]
    assert (store.get("run").interval_start, store.get("run").interval_end) == (OLD, day)


@pytest.mark.parametrize("place", ["file://{}/results", "sqlite:///{}/results.db"])
def test_a_process_that_is_killed_loses_what_was_not_flushed(tmp_path: Path, place: str):
    url = place.format(tmp_path)

    def work(say: Any) -> None:
        with get_store(url) as store, store.open_run("run", "orders") as run:
            for number, one in enumerate(CHECKS[:5]):
                run.add(one)
                if number < 4:
                    run.flush()
            say("ready")
            signal.pause()

    child = Child(work)
    assert child.hear() == "ready"
    child.kill(signal.SIGKILL)
    child.wait()
    with get_store(url) as store:
        assert store.get("run").status is ResultStatus.ERROR
        assert columns(store) == [*ALL[:4], None]
        assert [one.check_id for one in store.checks.query() if one.name == "run"] == ["run"]
        write(store)
        assert columns(store) == ALL
        assert store.get("run").statistics.total_validators == len(CHECKS)


def test_what_cannot_be_stored_is_refused_before_anything_is_written():
    store = MemoryStore()
    with store.open_run("run", "orders") as run:
        wrong: Any = {"name": "x"}
        with pytest.raises(TypeError, match="ValidatorResult"):
            run.add(wrong)
        with pytest.raises(ValueError, match="contradicts"):
            run.add(ValidatorResult("x", success=True, status="failure"))
        with pytest.raises(StoreWriteError):
            run.add(ValidatorResult("x", success=True, details={"value": object()}))
        run.add(ValidatorResult("x", success=True))
    assert [one.validator_name for one in store.iter_checks("run")] == ["x"]
    with pytest.raises(StoreWriteError, match="tag 'x'"):
        store.open_run("other", "orders", tags={"x": 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="is not open"):
        store.open_run("other", "orders").add(CHECKS[0])
    assert store.list_ids() == ["run"]


def test_a_run_without_checks_is_an_error():
    store = MemoryStore()
    with store.open_run("run", "orders"):
        assert store.get("run").metadata["unfinished"]
    assert store.get("run").status is ResultStatus.ERROR
    assert store.get("run").metadata == {"truthstore.parts": 1}


def test_a_check_that_changes_after_it_was_added_does_not_change_in_the_run():
    store = MemoryStore()
    one = ValidatorResult("x", success=True, details={"rows": [1]})
    with store.open_run("run", "orders") as run:
        run.add(one)
        one.details["rows"].append(2)
    assert [found.details for found in store.iter_checks("run")] == [{"rows": [1]}]


def test_large_checks_make_smaller_parts():
    store = MemoryStore()
    with store.open_run("run", "orders") as run:
        for number in range(10):
            run.add(ValidatorResult("x", success=True, column=str(number), message="m" * 300_000))
    assert store.get("run").metadata["truthstore.parts"] == 4 + 1
    assert columns(store) == [str(number) for number in range(10)]


def test_versions_of_a_run_that_was_deleted_come_back_with_its_checks():
    store = VersionedStore(MemoryStore())
    write(store)
    store.delete("run")
    assert store.checks.query() == []
    assert "parts_removed" not in store.maintain()
    store.rollback("run", 2)
    assert columns(store) == ALL
    assert len(store.checks.query()) == len(CHECKS)
    store.delete("run", delete_all_versions=True)
    assert store.maintain()["parts_removed"] == len(CHECKS) + 1


def test_a_run_that_is_set_aside_comes_back_with_its_checks():
    store = RetentionStore(MemoryStore(), StatusBasedPolicy("failure", 30, action=RetentionAction.QUARANTINE))
    write(store, run_time=OLD)
    write(store, "newest")
    assert store.run_cleanup().items_quarantined == 1
    assert {one.run_id for one in store.checks.query()} == {"newest"}
    store.maintain()
    store.release("run")
    assert columns(store) == ALL
    assert len(store.checks.query()) == 2 * len(CHECKS)


class Releasing(RetentionStore[Any]):
    """A store in which a run is brought back while parts are swept."""

    def copied_ids(self, ids: Any, *, collection: Any) -> frozenset[str]:
        for id in self.quarantined():
            self.release(id)
        return super().copied_ids(ids, collection=collection)


def test_a_run_that_comes_back_while_parts_are_swept_keeps_its_checks():
    store: Any = Releasing(MemoryStore(), StatusBasedPolicy("failure", 30, action=RetentionAction.QUARANTINE))
    write(store, run_time=OLD)
    write(store, "newest")
    assert store.run_cleanup().items_quarantined == 1
    assert sweep(store, RESULTS) == 0
    assert columns(store) == ALL


def test_a_run_that_is_archived_takes_its_checks_along():
    archive, base = MemoryStore(), MemoryStore()
    policy = TimeBasedPolicy(max_age_days=30, action=RetentionAction.ARCHIVE)
    store = RetentionStore(base, policy, archive_store=archive)
    write(store, run_time=OLD)
    write(store, "newest")
    assert store.run_cleanup().items_archived == 1
    store.maintain()
    assert {head.meta.fields["run_id"] for head in base.scan(EVERYTHING, collection=PARTS)} == {"newest"}
    assert columns(archive) == ALL
    assert len(archive.checks.query()) == len(CHECKS)


def test_retention_leaves_nothing_of_a_run_that_it_deletes():
    store = RetentionStore(MemoryStore(), TimeBasedPolicy(max_age_days=30))
    write(store, run_time=OLD)
    write(store, "young")
    store.maintain()
    store.maintain()
    assert {one.run_id for one in store.checks.query()} == {"young"}
    assert len(list(store.scan(EVERYTHING, collection=PARTS))) == len(CHECKS) + 1


def test_a_value_is_forgotten_in_parts_too():
    store = MemoryStore()
    with store.open_run("run", "orders") as run:
        run.add(ValidatorResult("x", success=False, message="wrong: ada@example.org"))
    traces = store.forget("ada@example.org")
    assert [(trace.id, trace.removed) for trace in traces] == [("run", ("parts[0].results[0].message",))]
    assert [one.message for one in store.iter_checks("run")] == ["wrong: [forgotten]"]


def test_blame_finds_the_check_in_its_part():
    store = MemoryStore()
    for day, limit in enumerate((10, 10, 20)):
        with store.open_run(f"run_{day}", "orders", run_time=OLD + timedelta(days=day)) as run:
            run.add(CHECKS[1])
            run.flush()
            run.add(ValidatorResult("max", success=day < 2, check_id="max", expected=limit, count=int(day == 2)))
    blame = store.checks.blame("max")
    assert blame.since is not None
    assert blame.since.run_id == "run_2"
    assert [(one.name, one.before, one.after) for one in blame.differences] == [("check.expected", 10, 20)]


@pytest.mark.parametrize("field", ["check_id", "stored_at", "id"])
def test_a_page_at_a_time_over_runs_in_parts_and_others(field: str):
    store = MemoryStore()
    for day in range(3):
        write(store, f"run_{day}", run_time=OLD + timedelta(days=day))
    every = [(one.run_id, one.check_id) for one in store.checks.query(CheckQuery(order_by=field))]
    found: list[Any] = []
    query = CheckQuery(order_by=field, limit=4)
    while len(found) < len(every) and (page := store.checks.query(query)):
        found += [(one.run_id, one.check_id) for one in page]
        query = replace(query, after=store.checks.cursor(query, page[-1]))
    assert found == every
    assert len(every) == 3 * len(CHECKS)


def test_memory_does_not_grow_with_the_run(tmp_path: Path):
    store = get_store("filesystem", base_path=tmp_path)
    peaks = []
    for size in (4_000, 16_000):
        tracemalloc.start()
        with store.open_run(f"run_{size}", "orders") as run:
            for number in range(size):
                run.add(check(number))
        assert sum(1 for _ in store.iter_checks(f"run_{size}")) == size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    store.close()
