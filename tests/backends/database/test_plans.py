"""Queries of a big table are answered from an index: what the databases themselves say of 100,000 rows."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from tests.services.databases import new_place
from truthstore import RESULTS, StoreQuery
from truthstore.backends.database import DatabaseStore
from truthstore.backends.database.engine import execute
from truthstore.backends.database.projected import series_key
from truthstore.model.record import Meta
from truthstore.storage.sql.compile import Statement
from truthstore.storage.sql.paging import pages
from truthstore.testing.suite.items import a_result

ROWS = 100_000
NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) SELECT i FROM n) numbers",
    "postgresql": "generate_series(1, {rows}) numbers(i)",
    "mysql": "(SELECT seq AS i FROM seq_1_to_{rows}) numbers",
}
TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', '2026-01-01', i || ' seconds')",
    "postgresql": "TIMESTAMPTZ '2026-01-01 00:00:00Z' + i * INTERVAL '1 second'",
    "mysql": "TIMESTAMPADD(SECOND, i, '2026-01-01')",
}
JOINED = {
    "sqlite": ("'i' || i", "'asset ' || (i % 50)"),
    "postgresql": ("'i' || i", "'asset ' || (i % 50)"),
    "mysql": ("CONCAT('i', i)", "CONCAT('asset ', i % 50)"),
}
# No key is looked up here: any that are different will do.
FILL = """INSERT INTO validations (namespace, {key}, id, revision, stored_at, size, deleted, shape, body, run_time,
    data_asset, status) SELECT '{space}', {id}, {id}, {id}, {time}, 2, {false}, 3, body, {time}, {asset},
    CASE WHEN i % 7 = 0 THEN 'failure' ELSE 'success' END
    FROM {numbers}, (SELECT body FROM validations WHERE id = 'first' AND namespace = '{space}') first"""
FILL_CHECKS = """INSERT INTO plans_checks (item, number, namespace, series, run_id, run_time, data_asset, check_id, name, status)
    SELECT item, 0, namespace, CASE data_asset {series} END, id, run_time, data_asset, data_asset, 'fits', status
    FROM plans_validations WHERE namespace = '{space}' AND id <> 'first'"""
SERIES = " ".join(f"WHEN 'asset {i}' THEN '{series_key((f'asset {i}', f'asset {i}'))}'" for i in range(50))
NEWEST = StoreQuery(data_asset="asset 7", status="failure", limit=50)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of many results, made by the database itself."""
    kind = "mysql" if request.param == "mariadb" else str(request.param)
    if kind == "sqlite":
        place = new_place(f"sqlite:///{tmp_path_factory.mktemp('plans')}/store.db")
    else:
        place = new_place(request.getfixturevalue("postgresql_18" if kind == "postgresql" else "mariadb_server").url)
    # Tables of its own: they go when the test is over.
    with place.open(namespace="many", table_prefix="plans_") as store:
        store.save(a_result("first", run_time=a_result().run_time.replace(year=2020)))
        id, asset = JOINED[kind]
        statement = FILL.format(
            space=store._settings.space,
            key="`key`" if kind == "mysql" else '"key"',
            id=id,
            asset=asset,
            time=TIME[kind],
            false="false" if kind == "postgresql" else "0",
            numbers=NUMBERS[kind].format(rows=ROWS),
        ).replace("validations", "plans_validations")
        store.execute_with_retry(
            lambda c: c.exec_driver_sql(statement.replace("%", "%%") if kind != "sqlite" else statement)
        )
        analyze = {
            "sqlite": "ANALYZE",
            "postgresql": "ANALYZE plans_validations",
            "mysql": "ANALYZE TABLE plans_validations",
        }
        checks = FILL_CHECKS.format(series=SERIES, space=store._settings.space)
        store.execute_with_retry(lambda c: c.exec_driver_sql(checks))
        for of in (analyze[kind], analyze[kind].replace("validations", "checks")):
            store.execute_with_retry(partial(run, of))
        yield store
        for table in ("plans_validations_tags", "plans_checks", "plans_validations", "plans_truthstore_schema"):
            store.execute_with_retry(partial(drop, table))


def run(statement: str, connection: Any) -> None:
    connection.exec_driver_sql(statement)


def drop(table: str, connection: Any) -> None:
    connection.execute(text(f"DROP TABLE {table}"))


def explained(store: DatabaseStore[Any], query: StoreQuery) -> str:
    """What the database says about the statement that the store would run."""
    bound = query.bind(store._collection)
    rows = store._rows(store._collection)
    statements: list[Statement] = []

    def read(statement: Statement) -> list[Any]:
        statements.append(statement)
        return []

    list(pages(bound, rows, rows.whole, read))
    (statement,) = statements
    return plan_of(store, statement)


def plan_of(store: DatabaseStore[Any], statement: Statement) -> str:
    explain = "EXPLAIN QUERY PLAN " if store._database.kind == "sqlite" else "EXPLAIN "
    found = store.execute_with_retry(lambda c: execute(c, explain + statement.sql, statement.parameters).all())
    return "\n".join(" ".join(map(str, row)) for row in found)


def test_asset_status_and_newest_50_come_from_an_index(filled: DatabaseStore[Any]):
    wanted = [f"i{i}" for i in range(ROWS, 0, -1) if i % 50 == 7 and i % 7 == 0]
    assert filled.list_ids(NEWEST) == wanted[:50]
    assert filled.count(NEWEST) == len(wanted)
    plan = explained(filled, NEWEST)
    assert "ix_plans_validations_data_asset_status_run_time" in plan
    assert "Seq Scan" not in plan
    assert "SCAN" not in plan


@pytest.mark.parametrize("ascending", [True, False])
def test_the_order_of_ids_comes_from_an_index(ascending: bool, filled: DatabaseStore[Any]):
    if filled._database.kind == "sqlite":
        pytest.skip("SQLite sorts")
    ids = sorted(["first", *(f"i{i}" for i in range(1, ROWS + 1))], reverse=not ascending)
    query = StoreQuery(order_by="id", ascending=ascending, limit=100)
    assert filled.list_ids(query) == ids[:100]
    last = Meta(ids[99])
    after = query.replace(after=query.bind(filled._collection).cursor(last))
    assert filled.list_ids(after) == ids[100:200]
    for one in (query, after):
        plan = explained(filled, one)
        assert "ix_plans_validations_id" in plan
        assert "Seq Scan" not in plan


def test_the_newest_of_all_come_from_an_index(filled: DatabaseStore[Any]):
    newest = StoreQuery(limit=100)
    assert filled.list_ids(newest) == [f"i{i}" for i in range(ROWS, ROWS - 100, -1)]
    plan = explained(filled, newest)
    assert "ix_plans_validations_run_time" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("number", [3, 300])
def test_items_are_looked_up_by_their_ids(number: int, filled: DatabaseStore[Any]):
    plan = explained(filled, StoreQuery(ids=[f"i{i}" for i in range(number)], order_by="stored_at"))
    assert "ux_plans_validations_id" in plan
    assert "Seq Scan" not in plan


def test_the_history_of_a_check_and_its_newest_outcome_come_from_an_index(filled: DatabaseStore[Any]):
    source = filled._rows(RESULTS).projected
    assert source is not None
    rows = source.collection
    statements: list[Statement] = []

    def read(statement: Statement) -> list[Any]:
        statements.append(source.headed(statement))
        return []

    asset = StoreQuery(data_asset="asset 7", limit=30)
    for query in (asset.replace(where={"check_id": "asset 7"}), StoreQuery(where={"check_id": "asset 7"}, limit=30)):
        list(pages(query.bind(rows), source, source.heads, read))
    if filled._database.kind != "postgresql":  # it does not show the steps of the walk
        statements.append(source.newest(asset.bind(rows), StoreQuery().bind(rows)))
    indexes = ("ix_plans_checks_series", "ix_plans_checks_check_id_run_time", "ix_plans_checks_series")
    for statement, index in zip(statements, indexes, strict=False):
        # It looks for one row that SQLite's indexes lack in the index of those.
        plan = plan_of(filled, statement).replace("SCAN plans_checks USING INDEX ix_plans_checks_placed$", "")
        assert index in plan
        assert "Seq Scan" not in plan
        assert "SCAN plans_checks" not in plan


def test_the_newest_outcomes_are_found_in_a_table_that_was_never_analysed(filled: DatabaseStore[Any]):
    source = filled._rows(RESULTS).projected
    assert source is not None
    if filled._database.kind != "postgresql":
        pytest.skip("PostgreSQL alone plans by what it has counted")
    forget = "DELETE FROM pg_statistic WHERE starelid = 'plans_checks'::regclass"
    filled.execute_with_retry(partial(run, forget))
    rows, every, failing = source.collection, StoreQuery(), StoreQuery(status="failure")
    series = [(f"asset {i}", f"asset {i}") for i in range(50)]
    for given in (None, series):
        plan = plan_of(filled, source.newest(every.bind(rows), failing.bind(rows), given))
        assert "plans_checks_pkey" in plan
        assert "Hash" not in plan
        assert "Merge" not in plan
        assert "Bitmap" not in plan
    filled.execute_with_retry(partial(run, "ANALYZE plans_checks"))
