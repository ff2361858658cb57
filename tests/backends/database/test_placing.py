"""SQLite's indexes of rows: a save leaves them to the next question, which misses nothing for that."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.backends.database.test_rows import START, run, same_as_reference
from truthstore import RESULTS, StoreQuery
from truthstore.backends.database import DatabaseStore, placing, projected
from truthstore.checks import CheckQuery
from truthstore.results import ResultStatus, ValidationResult, ValidatorResult
from truthstore.storage.sql.compile import Statement
from truthstore.testing.suite.items import a_result


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def waiting(store: DatabaseStore[Any]) -> int:
    """How many rows are in no index of their series yet."""
    (row,) = store._all(Statement('SELECT count(*) FROM checks WHERE "placed$" IS NULL'))
    return int(row[0])


def test_a_save_leaves_the_indexes_to_the_next_question(url: str):
    checks = len(a_result().results)
    with DatabaseStore(connection_url=url) as store:
        store.save(a_result("one"))
        assert waiting(store) == checks > 0
        assert len(list(store.scan_rows(StoreQuery(), collection=RESULTS))) == checks
        assert waiting(store) == 0
        store.save(a_result("two"))
        assert store.checks.count() == 2 * checks
        assert waiting(store) == 0
        store.save(a_result("one"))
        assert waiting(store) == checks
        assert store.maintain()["rows_indexed"] == checks
        assert waiting(store) == 0


def test_no_save_writes_to_the_indexes_of_series_and_lookups(url: str):
    with DatabaseStore(connection_url=url) as store:
        store.save(a_result())
        indexes = store._all(
            Statement("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'checks' AND sql LIKE '%INDEX%'")
        )
        at_once = sorted(name for name, sql in indexes if "IS NOT NULL" not in sql)
    assert at_once == ["ix_checks_placed$", "ix_checks_run_time"]


def test_a_big_batch_fills_the_indexes_itself(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(projected, "MANY_ITEMS", 20)
    chance = random.Random(3)
    with DatabaseStore(connection_url=url) as store:
        store.save_many(run(number, chance) for number in range(20))
        assert waiting(store) == 0
        same_as_reference(store)
        store.save_many(run(number, chance) for number in range(19))
        assert waiting(store) > 0
        same_as_reference(store)


def test_many_rows_are_placed_a_part_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch):
    for module in (placing, projected):
        monkeypatch.setattr(module, "PLACED_AT_ONCE", 5)
    chance = random.Random(1)
    with DatabaseStore(connection_url=url) as store:
        for _ in range(3):
            store.save_many(run(number, chance) for number in range(20))
            same_as_reference(store)
            assert waiting(store) == 0
        store.save_many(run(number, chance) for number in range(20))
        everything = waiting(store)
        assert 5 <= store.maintain(budget=0)["rows_indexed"] < everything
        same_as_reference(store)


def test_a_run_that_is_being_overwritten_is_in_every_answer(url: str):
    checks = [ValidatorResult("fits", True, column="x"), ValidatorResult("unique", False, column="x")]
    result = ValidationResult("run", START, "orders", ResultStatus.FAILURE, checks)
    done = threading.Event()

    def overwrite() -> None:
        with DatabaseStore(connection_url=url) as store:
            while not done.is_set():
                store.save(result)

    with DatabaseStore(connection_url=url) as store:
        store.save(result)
        thread = threading.Thread(target=overwrite)
        thread.start()
        try:
            for _ in range(60):
                assert len(store.checks.history("x fits", "orders")) == 1
                assert len(store.checks.latest("orders")) == 2
                assert store.checks.count(CheckQuery(check_id="x unique")) == 1
        finally:
            done.set()
            thread.join()


def test_a_sum_beyond_64_bits_of_rows_that_waited(url: str):
    checks = [ValidatorResult(f"rule {n}", False, count=2**62) for n in range(4)]
    with DatabaseStore(connection_url=url) as store:
        store.save(ValidationResult("run", START, "orders", ResultStatus.FAILURE, checks))
        assert store.checks.aggregate(metrics="sum:failed") == [{"sum:failed": 2**64}]


def test_a_table_of_an_earlier_version_is_used_as_it_is(url: str):
    chance = random.Random(2)
    with DatabaseStore(connection_url=url) as store:
        store.save_many(run(number, chance) for number in range(20))
        store.execute_with_retry(as_before)
    with DatabaseStore(connection_url=url, create_tables=False) as store:
        same_as_reference(store)
    with DatabaseStore(connection_url=url) as store:
        store.save(run(3, chance))
        store.save_many(run(number, chance) for number in range(15, 30))
        store.delete("run 4")
        same_as_reference(store)
        assert "rows_indexed" not in store.maintain()
        assert store.rebuild_index() == store.count()
        same_as_reference(store)


def as_before(connection: Connection) -> None:
    """Give the table of rows the layout that it had when each save wrote to every index."""
    for name in ("placed$", "series", "check_id_run_time"):
        connection.exec_driver_sql(f'DROP INDEX "ix_checks_{name}"')
    connection.exec_driver_sql('ALTER TABLE checks DROP COLUMN "placed$"')
    connection.exec_driver_sql("CREATE INDEX ix_checks_series ON checks (namespace, series, run_time)")
    connection.exec_driver_sql("CREATE INDEX ix_checks_check_id_run_time ON checks (namespace, check_id, run_time)")
