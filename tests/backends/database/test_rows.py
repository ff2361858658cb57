"""The table `checks`: what it holds whatever happens to the runs, how old databases get it, and what dashboards see."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from tests.crash.processes import at_once
from tests.services.databases import Place
from truthstore import RESULTS, StoreCorruptError, StoreQuery
from truthstore.backends.database import DatabaseStore, fill
from truthstore.backends.database.engine import execute
from truthstore.model.aggregate import Aggregation
from truthstore.model.collection import Collection
from truthstore.model.projection import Projection
from truthstore.model.record import Record
from truthstore.results import ResultStatus, ValidationResult, ValidatorResult
from truthstore.storage.sql.compile import Statement
from truthstore.store.records import RecordStore, rows_collection
from truthstore.testing.suite.items import a_result
from truthstore.versioning import VersionedStore

START = datetime(2026, 3, 1, tzinfo=UTC)


def run(number: int, chance: random.Random, *, asset: str | None = None, checks: int = 6) -> ValidationResult:
    """A run whose checks pass or fail by chance, some of them with values that are hard to keep."""
    results = [
        ValidatorResult(
            ("not_null", "unique", "in_range", 'say "é"\\\n', "x" * 300)[n % 5] if n < 5 else "twice",
            (ok := chance.random() > 0.3),
            column=None if n == 1 else f"column {n % 3}",
            count=None if ok else chance.choice([0, 1, 7]),
            checked=chance.choice([None, 0, 2**53 + 1]),
            severity=None if ok else chance.choice(["low", "critical"]),
            owner=chance.choice([None, "it's"]),
            observed=chance.choice([None, 0.5, float("inf"), "twelve", ""]),
            execution_time_ms=chance.choice([0.0, 1.5, 1e300]),
        )
        for n in range(chance.randrange(checks + 1))
    ]
    return ValidationResult(
        f"run {number}",
        START + timedelta(minutes=chance.randrange(40)),
        asset or chance.choice(["orders", "Orders", "é" * 200 + "1", "é" * 200 + "2"]),
        ResultStatus.of(results),
        results,
        tags={"team": chance.choice(["data", "Data", ""])} if chance.random() < 0.7 else {},
    )


QUERIES = [
    StoreQuery(),
    StoreQuery(limit=7, offset=2),
    StoreQuery(ascending=True, limit=5),
    StoreQuery(data_asset="orders"),
    StoreQuery(data_asset="é" * 200 + "1", where={"check_id": "column 0 not_null"}),
    StoreQuery(where={"check_id": "column 0 not_null"}, limit=3),
    StoreQuery(where={"check_id": "column 0 " + 'say "é"\\\n'}),
    StoreQuery(where={"run_id": "run 3"}, order_by="id"),
    StoreQuery(where={"run_id": ("in", ["run 3", "run 7", "none"])}, order_by="failed"),
    StoreQuery(where={"column": None}, tags={"team": "data"}),
    StoreQuery(where={"failed": (">", 0)}, order_by="check_id", ascending=True),
    StoreQuery(start_time=START + timedelta(minutes=9), end_time=START + timedelta(minutes=20), status="failure"),
    StoreQuery(order_by="stored_at", where={"severity": "critical"}),
    StoreQuery(order_by="execution_time_ms"),
    StoreQuery(ids=["run 3\x1f00000000", "run 4\x1f00000001", "run 4", "run 5\x1f1"], order_by="id"),
]

SERIES = [
    ("orders", "column 0 not_null"),
    ("orders", "column 0 not_null"),
    ("Orders", "column 2 twice"),
    ("nobody", "x"),
    ("orders", None),
]


def shown(rows: Any) -> list[Any]:
    return [(row.id, dict(row.meta.fields), dict(row.meta.tags), row.meta.stored_at) for row in rows]


def same_as_reference(store: RecordStore, queries: Sequence[StoreQuery] = QUERIES) -> None:
    """Compare every kind of question with the answers made of the bodies."""
    for query in queries:
        assert shown(store.scan_rows(query, collection=RESULTS)) == shown(
            RecordStore.scan_rows(store, query, collection=RESULTS)
        ), query
        assert shown(store.latest_rows(query, collection=RESULTS)) == shown(
            RecordStore.latest_rows(store, query, collection=RESULTS)
        ), query
        for series in (None, SERIES):
            keep = StoreQuery(status="failure")
            assert shown(store.newest_rows(query, keep, collection=RESULTS, series=series)) == shown(
                RecordStore.newest_rows(store, query, keep, collection=RESULTS, series=series)
            ), query
        for by, bucket, metrics, zone in (
            ("status", None, ["count", "sum:failed", "max:observed"], "UTC"),
            (["data_asset", "tag:team"], "hour", ["min:checked"], "UTC"),
            ("tag:team", "day", ["count"], "Asia/Kolkata"),
        ):
            figures = Aggregation.of(rows_collection(RESULTS), by, bucket, metrics, zone)
            assert store.aggregate_rows(query, figures, collection=RESULTS) == RecordStore.aggregate_rows(
                store, query, figures, collection=RESULTS
            ), query


def test_every_question_is_answered_as_the_bodies_answer_it(place: Place):
    chance = random.Random(1)
    with place.open() as store, place.open(namespace="apart") as apart:
        apart.save(run(3, chance))
        for number in range(12):
            store.save(run(number, chance))
        store.save_many(run(number, chance) for number in range(6, 60))
        same_as_reference(store)
        store.delete_many(["run 3", "run 8"])
        store.delete("run 9")
        store.save_many(run(number, chance) for number in range(20, 30))
        store.save(run(4, chance))
        same_as_reference(store)
        store.clear(StoreQuery(data_asset="orders"))
        same_as_reference(store)
        store.clear(everything=True)
        assert list(store.scan_rows(StoreQuery(), collection=RESULTS)) == []
        assert len(list(apart.scan_rows(StoreQuery(), collection=RESULTS))) == len(apart.get("run 3").results)


# Old databases, and processes of an earlier version beside this one.


def earlier(prefix: str, place: Place) -> DatabaseStore[Any]:
    """A store of a version that knows nothing of rows; its tables are apart."""
    collection: Collection[Any] = object.__new__(Collection)
    collection.__dict__ |= {**RESULTS.__dict__, "projection": None, "rows": None}
    return place.open(collection, table_prefix=prefix)


def test_an_old_database_gets_its_rows_at_the_first_question(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fill, "BATCH", 7)
    chance = random.Random(2)
    with earlier("old_", place) as before:
        before.save_many(run(number, chance) for number in range(30))
        revisions = [head.revision for head in before.entries()]
        with place.open(table_prefix="old_") as store:
            same_as_reference(store)
            assert [head.revision for head in store.entries()] == revisions
            assert lacking(store) == []
            # It goes on writing meanwhile.
            before.save_many(run(number, chance) for number in (3, 30))
            before.delete("run 5")
            assert lacking(store) == ["run 3", "run 30"]
            assert table(store, "run 5") == []
            same_as_reference(store)
            store.save(run(4, chance))
            assert lacking(store) == []
        assert before.count() == 30


def test_a_declaration_of_more_rows_makes_them_again(place: Place):
    old = projected({"name": str})
    new = projected({"name": str, "length": int})
    with place.open(old) as before:
        before.save_many([Words("1", ["one", "three"]), Words("2", [])])
        with place.open(new) as after:
            longest = StoreQuery(where={"length": (">", 3)})
            assert [row.id for row in after.scan_rows(longest, collection=new)] == ["1\x1f00000001"]
            before.save_many([Words("2", ["seventeen"]), Words("1", ["six"])])
            assert [row.id for row in after.scan_rows(longest, collection=new)] == ["2\x1f00000000"]
            assert len(list(before.scan_rows(StoreQuery(), collection=old))) == 2


@dataclass
class Words:
    id: str
    words: list[str]


def words_of(item: Words) -> list[dict[str, Any]]:
    return [{"name": word, "length": len(word)} for word in item.words]


def names_of(item: Words) -> list[dict[str, Any]]:
    return [{"name": word} for word in item.words]


def projected(fields: dict[str, Any]) -> Collection[Words]:
    of = words_of if "length" in fields else names_of
    rows = Projection(name="words", of=of, fields=fields, item="number", series=("name",))
    return Collection.of(Words, name="worded", index={}, rows=rows)


def lacking(store: DatabaseStore[Any]) -> list[str]:
    """The ids of the items whose rows are not there."""
    rows = store._rows(store._collection)
    sql = f"SELECT id FROM {rows.name} WHERE namespace = ? AND {rows.definition.rows_lacking} ORDER BY item"
    return [row[0] for row in store._all(Statement(sql, [rows.space]))]


def table(store: DatabaseStore[Any], id: str | None = None) -> list[Any]:
    """The rows in the table, of a run or of all."""
    rows = store._rows(store._collection)
    assert rows.projected is not None
    sql = f"SELECT run_id, number, item FROM {rows.projected.name} WHERE namespace = ?"
    found = store._all(Statement(sql, [rows.space]))
    return [row for row in found if id in {None, row[0]}]


def test_the_checks_of_results_leave_a_table_of_that_name_to_its_collection(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/store.db"
    words: Collection[Any] = Collection.of(Words, name="checks", index={})
    with DatabaseStore[Any](connection_url=url, collection=words) as store:
        store.save(Words("1", ["one"]))
        # An earlier version gave it the name that it has.
        store.execute_with_retry(lambda c: c.exec_driver_sql('ALTER TABLE "checks$" RENAME TO checks'))
        store.execute_with_retry(lambda c: c.exec_driver_sql('ALTER TABLE "checks$_tags" RENAME TO checks_tags'))
    with (
        DatabaseStore(connection_url=url) as results,
        DatabaseStore[Any](connection_url=url, collection=words) as store,
    ):
        results.save(a_result())
        assert len(table(results)) == len(a_result().results)
        assert store.list_ids() == ["1"]
        store.save(Words("2", []))
        assert store.count() == 2


# Rows and their run.


def test_rows_go_with_a_run_that_other_software_deletes(place: Place):
    with place.open() as store:
        store.save_many([a_result("one"), a_result("two")])
        main = store._rows(RESULTS)
        statement = f"DELETE FROM {main.name} WHERE namespace = ? AND id = 'one'"
        store.execute_with_retry(lambda c: execute(c, statement, [main.space]))
        assert {row[0] for row in table(store)} == {"two"}


def test_verify_names_the_runs_whose_rows_are_not_those_of_the_body(place: Place):
    with place.open() as store:
        store.save_many([a_result(name) for name in ("altered", "fewer", "whole")])
        assert store.verify().ok
        rows = store._rows(RESULTS).projected
        assert rows is not None
        for change, run_id in (("UPDATE {} SET status = 'success'", "altered"), ("DELETE FROM {}", "fewer")):
            statement = f"{change.format(rows.name)} WHERE run_id = ?"
            store.execute_with_retry(partial(execute, sql=statement, parameters=[run_id]))
        found = store.verify()
        assert (set(found.changed), found.ok, found.checked) == ({"altered", "fewer"}, False, 3)
        store.rebuild_index()
        assert store.verify().ok


def test_a_run_that_is_saved_while_it_is_verified_is_not_named(place: Place, monkeypatch: pytest.MonkeyPatch):
    with place.open() as store, place.open() as other:
        store.save(a_result("a"))
        scan_rows = store.scan_rows

        def late(*arguments: Any, **options: Any):
            other.save(run(1, random.Random(3), checks=9))
            monkeypatch.setattr(store, "scan_rows", scan_rows)
            other.save(msgspec.structs.replace(a_result("a"), results=[ValidatorResult("new", success=True)]))
            return scan_rows(*arguments, **options)

        monkeypatch.setattr(store, "scan_rows", late)
        assert store.verify().ok
        assert [check.name for check in store.checks.query() if check.run_id == "a"] == ["new"]


def test_rollback_retention_and_tombstones(place: Place):
    with VersionedStore(place.open()) as store:
        base = store.layer(DatabaseStore)
        chance = random.Random(4)
        first = run(1, chance, checks=3)
        store.save(first)
        store.save(run(1, chance))
        same_as_reference(store)
        store.rollback("run 1", 1)
        same_as_reference(store)
        assert len(table(base, "run 1")) == len(first.results)
        store.delete("run 1")
        assert table(base) == []
        same_as_reference(store)


def test_rows_of_a_body_that_only_a_layer_can_read_come_with_it(place: Place):
    record = RESULTS.encode(a_result("zipped"))
    meta = record.meta.replace(rows=record.meta.rows, encodings=("xor",))
    hidden = Record(meta, bytes(byte ^ 255 for byte in record.body or b""), record.revision)
    by_id = StoreQuery(order_by="id", ascending=True)
    with place.open() as store:
        store.put_record(hidden, collection=RESULTS)
        rows = shown(store.scan_rows(by_id, collection=RESULTS))
        assert rows == shown(RESULTS.rows_of(hidden))
        assert store.get_record("zipped", collection=RESULTS).meta.rows == meta.rows
        assert store.rebuild_index() == 1
        assert shown(store.scan_rows(by_id, collection=RESULTS)) == rows


def test_a_damaged_run_keeps_no_rows_of_others_from_the_table(place: Place):
    with place.open() as store:
        store.save_many([a_result("good"), a_result("bad")])
        main = store._rows(RESULTS)
        spoil = f"UPDATE {main.name} SET body = ?, shape = 1 WHERE namespace = ? AND id = 'bad'"
        mark = f"UPDATE {main.name} SET shape = 1 WHERE namespace = ? AND id = 'good'"
        store.execute_with_retry(lambda c: execute(c, spoil, [b"{", main.space]))
        store.execute_with_retry(lambda c: execute(c, mark, [main.space]))
        for _ in range(2):
            with pytest.raises(StoreCorruptError, match="'bad'"):
                list(store.scan_rows(StoreQuery(), collection=RESULTS))
        assert lacking(store) == ["bad"]
        store.save(a_result("bad"))
        same_as_reference(store)


def test_numbers_beyond_64_bits_are_cut(place: Place):
    checks = [ValidatorResult("many", False, count=2**70, checked=2**64)]
    with place.open() as store:
        store.save(ValidationResult("run", START, "orders", ResultStatus.FAILURE, checks))
        (row,) = store.scan_rows(StoreQuery(), collection=RESULTS)
        assert (row.meta.fields["failed"], row.meta.fields["checked"]) == (2**63 - 1, 2**63 - 1)


def test_four_writers_leave_no_rows_without_their_run(place: Place):
    def work(writer: int) -> int:
        chance = random.Random(writer)
        with place.open() as store:
            for _ in range(25):
                number = chance.randrange(6)
                if chance.random() < 0.3:
                    store.delete(f"run {number}")
                elif chance.random() < 0.3:
                    store.save_many(run(n, chance) for n in range(number, number + 3))
                else:
                    store.save(run(number, chance))
                list(store.scan_rows(StoreQuery(limit=3), collection=RESULTS))
        return writer

    assert sorted(at_once(work, 4)) == [0, 1, 2, 3]
    with place.open() as store:
        same_as_reference(store)
        assert {row[0] for row in table(store)} <= set(store.list_ids())


def test_the_number_of_statements_does_not_grow_with_the_checks(place: Place):
    chance = random.Random(5)
    counts: list[int] = []
    with place.open() as store:
        store.save(run(0, chance))
        engine = store._database._engine
        event.listen(engine, "before_cursor_execute", lambda *_: counts.append(1))

        def counted(operation: Callable[[], Any]) -> int:
            counts.clear()
            operation()
            return len(counts)

        few, many = (
            ValidationResult(
                str(number), START, "orders", ResultStatus.SUCCESS, [ValidatorResult("fits", True)] * number
            )
            for number in (1, 40)
        )
        # BEGIN, the item, its checks, COMMIT.
        saved = 1 if store._database.kind == "postgresql" else 4
        assert (counted(lambda: store.save(few)), counted(lambda: store.save(many))) == (saved, saved)
        ask = StoreQuery(data_asset="orders", where={"check_id": "fits"}, limit=30)
        store.maintain()  # on SQLite, a question after a save does so itself
        assert counted(lambda: list(store.scan_rows(ask, collection=RESULTS))) == 1
        assert counted(lambda: store.latest_rows(StoreQuery(), collection=RESULTS)) == 1
        batch = [run(n, chance) for n in range(3, 90)]
        assert counted(lambda: store.save_many(batch)) == counted(
            lambda: store.save_many(run(n, chance) for n in (101, 102))
        )


# Dashboards.

PAGE = Path(__file__).parents[3] / "docs" / "backends" / "database.md"


def test_the_queries_that_the_documentation_shows(place: Place):
    charts = PAGE.read_text().partition("## Charts")[2].partition("\n## ")[0].partition("The checks of the results")[2]
    passed, failing = re.findall(r"```sql\n(.*?)```", charts, re.DOTALL)
    with place.open() as store:
        every: list[list[bool | None]] = [[True, True], [True, False], [False, None]]
        for number, outcomes in enumerate(every):
            checks = [
                ValidatorResult(f"rule {n}", ok is True, status="skipped" if ok is None else None, count=n + 1)
                for n, ok in enumerate(outcomes)
            ]
            store.save(
                ValidationResult(
                    f"run {number}",
                    START + timedelta(hours=14 * number),
                    "orders",
                    ResultStatus.of(checks),
                    checks,
                    tags={"team": "data"},
                )
            )
        space = store._rows(RESULTS).space

        def rows(sql: str) -> list[list[Any]]:
            sql = sql.replace("'default'", "?")
            return [list(map(str, row)) for row in store._all(Statement(sql, [space]))]

        assert [(day, team, int(number), round(float(share), 2)) for day, team, number, share in rows(passed)] == [
            ("2026-03-01", "data", 4, 0.75),
            ("2026-03-02", "data", 1, 0.0),
        ]
        assert [row[:5] for row in rows(failing)] == [["orders", "rule 0", "None", "1", "None"]]
