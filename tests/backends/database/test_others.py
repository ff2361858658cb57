"""Databases of any other kind: DuckDB, and PostgreSQL and SQLite under names by which the store does not know them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CursorResult, text

from tests.services.databases import new_place
from tests.services.dialects import strange
from truthstore import RESULTS, StoreConfigError, StoreQuery, StoreWriteError, get_store
from truthstore.backends.database import DatabaseStore, PoolingConfig
from truthstore.testing import SAMPLES, Sample, StoreSuite, store_machine
from truthstore.testing.suite.concurrency import increment
from truthstore.testing.suite.items import a_result


class TestDuckDB(StoreSuite):
    shared_between_processes = False  # one process at a time may write to a file

    def make_store(self, location, *, collection=RESULTS, **options):
        return DatabaseStore(connection_url=f"duckdb:///{location}.duckdb", collection=collection, **options)


class TestBlindSQLite(StoreSuite):
    def make_store(self, location, *, collection=RESULTS, **options):
        return DatabaseStore(connection_url=f"blind:///{location}.db", collection=collection, **options)


class TestStrangePostgreSQL(StoreSuite):
    @pytest.fixture
    def location(self, postgresql_16):
        return new_place(strange(postgresql_16.url), "strange_")

    def make_store(self, location, *, collection=RESULTS, **options):
        return location.open(collection, **options)


TestBlindSQLiteMachine = store_machine(
    lambda location: DatabaseStore(connection_url=f"blind:///{location}.db", collection=SAMPLES),
    writers=2,
    steps=20,
    effort=0.1,
)


@pytest.fixture
def blind(tmp_path: Path) -> str:
    return f"blind:///{tmp_path}/store.db"


def test_a_database_that_nothing_is_installed_for_is_refused():
    with pytest.raises(StoreConfigError, match="install the package"):
        DatabaseStore(connection_url="nonsense+driver://host/database")


def test_a_store_in_duckdb_by_its_url(tmp_path: Path):
    with get_store(f"duckdb:///{tmp_path}/store.duckdb?namespace=a&pool_size=2") as store:
        store.save(a_result())
    with get_store("database", connection_url=f"duckdb:///{tmp_path}/store.duckdb", namespace="a") as store:
        assert store.get("run_1") == a_result()
    with get_store("duckdb:///:memory:") as store:
        store.save(a_result())
        assert store.list_ids() == ["run_1"]


def test_people_and_charts_read_strings_and_times(blind: str):
    asked = "SELECT id, data_asset, status, run_time, length(suite_name) FROM validations WHERE status = 'failure'"
    at = datetime(2026, 5, 4, 12, tzinfo=UTC)
    with DatabaseStore(connection_url=blind) as store:
        store.save(a_result("é", run_time=at, data_asset="Orders", suite_name="s" * 1_000))
        (row,) = store.execute_with_retry(lambda c: c.execute(text(asked)).all())
        assert store.list_ids(StoreQuery(where={"suite_name": "s" * 1_000})) == ["é"]
        assert store.list_ids(StoreQuery(data_asset="orders")) == []
    assert tuple(row) == ("é", "Orders", "failure", "2026-05-04 12:00:00.000000", 400)


def test_a_driver_that_does_not_count_rows(blind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CursorResult, "rowcount", -1)
    with DatabaseStore(connection_url=blind, collection=SAMPLES) as store, store.collection(SAMPLES) as other:
        store.save(Sample("a", count=0))
        for _ in range(3):
            increment(store, "a")
            increment(other, "a")
        assert store.get("a").count == 6
        assert store.delete("a")
        assert not store.delete("a")


@pytest.mark.parametrize("counts", [True, False])
def test_whoever_loses_every_race_is_told_so(counts: bool, blind: str, monkeypatch: pytest.MonkeyPatch):
    """Somebody else changes the row whenever it has just been looked at."""
    if not counts:
        monkeypatch.setattr(CursorResult, "rowcount", -1)
    pooling = PoolingConfig(max_retries=1, retry_base_delay=0.001)
    with DatabaseStore(connection_url=blind, collection=SAMPLES, pooling=pooling) as store:
        store.save(Sample("a", count=1))
        rows = store._rows(SAMPLES)
        look = rows._known
        looks: list[int] = []

        def meddled(connection: Any, keys: Any) -> Any:
            found = look(connection, keys)
            looks.append(1)
            connection.execute(text("UPDATE samples SET revision = :new"), {"new": f"another {len(looks)}"})
            return found

        monkeypatch.setattr(rows, "_known", meddled)
        with pytest.raises(StoreWriteError, match="others wrote the same") as caught:
            store.save(Sample("a", count=2))
        assert caught.value.retryable
        assert len(looks) == 11
        monkeypatch.setattr(rows, "_known", look)
        assert store.get("a").count == 1  # and nothing of it was kept
