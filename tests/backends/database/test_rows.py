"""The table `checks`: what it holds whatever happens to the runs, how old databases get it, and what dashboards see."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.services.databases import Place
from truthstore import RESULTS, StoreQuery
from truthstore.model.aggregate import Aggregation
from truthstore.results import ResultStatus, ValidationResult, ValidatorResult
from truthstore.store.records import RecordStore

ROWS = RESULTS.rows
assert ROWS is not None
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
        for by, bucket, metrics, zone in (
            ("status", None, ["count", "sum:failed", "max:observed"], "UTC"),
            (["data_asset", "tag:team"], "hour", ["min:checked"], "UTC"),
            ("tag:team", "day", ["count"], "Asia/Kolkata"),
        ):
            figures = Aggregation.of(ROWS, by, bucket, metrics, zone)
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
