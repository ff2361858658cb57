"""Part of the store suite: the rows of items, held against rows made of the items by the reference."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from truthstore.errors import StoreQueryError
from truthstore.items.checks import ValidatorResult
from truthstore.items.results import RESULTS
from truthstore.model.aggregate import Aggregation
from truthstore.model.query import StoreQuery
from truthstore.testing.sample import BASE_TIME, SAMPLES, Sample, make_samples
from truthstore.testing.strategies import queries
from truthstore.testing.suite.case import StoreCase, oracle_of
from truthstore.testing.suite.items import a_result
from truthstore.testing.suite.queries import READ_ONLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore
    from truthstore.testing.suite.case import OpenStore

    Select = Callable[[StoreQuery], list[Record]]

__all__ = ["RowTests"]

assert SAMPLES.rows is not None
WORDS = SAMPLES.rows
ORDERS = [*sorted(WORDS.fields), "run_time", "id", "size", "stored_at"]

SHAPES: dict[str, StoreQuery] = {
    "everything": StoreQuery(),
    "asset": StoreQuery(data_asset="orders"),
    "since": StoreQuery(start_time=BASE_TIME + timedelta(hours=7)),
    "until": StoreQuery(end_time=BASE_TIME + timedelta(hours=7)),
    "tags": StoreQuery(tags={"team": "data", "stage": "prod"}),
    "tags with odd names": StoreQuery(tags={"a.b": "1", "$.x": "2", "[0]": "3", 'quo"te': "4", "it's": "5", " ": " "}),
    "of one item": StoreQuery(where={"sample": "s-074"}),
    "of one item that is not there": StoreQuery(where={"sample": "nothing"}),
    "of items": StoreQuery(where={"sample": ("in", ["s-074", "S-037"])}),
    "string": StoreQuery(where={"word": "orders"}),
    "string below": StoreQuery(where={"word": ("<", "b")}),
    "strings": StoreQuery(where={"word": ("in", ["orders", "see", None])}),
    "number": StoreQuery(where={"position": (">=", 2)}),
    "float or None": StoreQuery(where={"weight": ("in", [None, 0.1, 1.5])}),
    "bool": StoreQuery(where={"first": False}),
    "time": StoreQuery(where={"seen": ("<=", BASE_TIME - timedelta(days=2))}),
    "inherited": StoreQuery(where={"passed": True}),
    "several": StoreQuery(data_asset="orders", where={"first": True, "passed": ("!=", None)}, tags={"team": "data"}),
    "limit": StoreQuery(limit=5),
    "limit and offset": StoreQuery(limit=4, offset=4, order_by="word"),
    "id": StoreQuery(where={"id": (">", "a")}),
    "ids": StoreQuery(ids=["nothing", f"s-074{chr(31)}00000001"]),
}


def parts(rows: Iterable[Record]) -> list[tuple[Any, ...]]:
    """Return what a row says."""
    return [(row.id, dict(row.meta.fields), dict(row.meta.tags), row.meta.stored_at, row.body) for row in rows]


class RowTests(StoreCase):
    """The rows of items are found as the reference finds them, and live as long as their items."""

    @pytest.fixture
    def select(self, filled: BaseStore[Sample]) -> Select:
        """Return the reference's answer over `filled`."""
        records = oracle_of(filled, SAMPLES, make_samples())
        rows = [row for record in records for row in SAMPLES.rows_of(record)]
        return lambda query: query.bind(WORDS).select(rows)

    def test_rows_are_those_of_the_reference(self, filled: BaseStore[Sample], select: Select):
        for name, query in SHAPES.items():
            assert (name, parts(filled.scan_rows(query, collection=SAMPLES))) == (name, parts(select(query)))

    def test_rows_in_order_a_page_at_a_time(self, filled: BaseStore[Sample], select: Select):
        for order_by, ascending in itertools.product(ORDERS, [True, False]):
            query = StoreQuery(order_by=order_by, ascending=ascending, where={"data_asset": ("!=", "Orders")})
            found: list[Record] = []
            page = query.replace(limit=13)
            while rows := list(filled.scan_rows(page, collection=SAMPLES)):
                found += rows
                page = page.replace(after=page.bind(WORDS).cursor(rows[-1].meta))
            assert (order_by, ascending, parts(found)) == (order_by, ascending, parts(select(query)))

    @READ_ONLY
    @given(data=st.data())
    def test_any_query_of_rows(self, data: st.DataObject, filled: BaseStore[Sample], select: Select):
        query = data.draw(queries(WORDS))
        assert parts(filled.scan_rows(query, collection=SAMPLES)) == parts(select(query))

    def test_figures_of_rows(self, filled: BaseStore[Sample], select: Select):
        for by in ((), "word", ("data_asset", "first"), "seen", "sample", "tag:team"):
            for query in (StoreQuery(), StoreQuery(tags={"team": "data"}), StoreQuery(where={"first": True}, limit=1)):
                for bucket, metrics in ((None, ("count", "max:position", "sum:first")), ("day", "count")):
                    aggregation = Aggregation.of(WORDS, by, bucket, metrics)
                    found = aggregation.over(select(query.replace(limit=None)))
                    assert (by, filled.aggregate_rows(query, aggregation, collection=SAMPLES)) == (by, found)

    def test_the_newest_row_of_each_series(self, filled: BaseStore[Sample], select: Select):
        for query in (
            StoreQuery(),
            StoreQuery(data_asset="orders"),
            StoreQuery(end_time=BASE_TIME + timedelta(hours=9)),
            StoreQuery(where={"first": False}),
            StoreQuery(tags={"team": "data"}),
            StoreQuery(data_asset="nobody"),
        ):
            newest: dict[Any, Record] = {}
            for row in select(query.replace(ascending=True)):
                series = row.meta.fields["data_asset"], row.meta.fields["word"]
                if None not in series:
                    newest[series] = row
            expected = [row for _, row in sorted(newest.items())]
            assert (query, parts(filled.latest_rows(query, collection=SAMPLES))) == (query, parts(expected))

    def test_a_row_lives_as_long_as_its_item(self, filled: BaseStore[Sample]):
        samples = make_samples()
        assert list(filled.scan_rows(StoreQuery(), collection=SAMPLES))
        for i, sample in enumerate(samples[:30]):
            samples[i] = replace(sample, note=f"turn {i} turn")
            filled.save(samples[i])
        filled.save_many(samples[i] for i in range(10))
        filled.delete(samples[0].id)
        filled.delete_many([sample.id for sample in samples[1:5]])
        filled.rebuild_index()
        records = oracle_of(filled, SAMPLES, samples[5:])
        query = StoreQuery(order_by="id", ascending=True)
        rows = [row for record in records for row in SAMPLES.rows_of(record)]
        assert parts(filled.scan_rows(query, collection=SAMPLES)) == parts(query.bind(WORDS).select(rows))
        filled.clear(everything=True)
        assert list(filled.scan_rows(query, collection=SAMPLES)) == []
        assert filled.latest_rows(query, collection=SAMPLES) == []

    def test_the_checks_of_results(self, open_store: OpenStore):
        store = open_store(RESULTS)
        for day in range(3):
            checks = [
                ValidatorResult("not_null", day != 1, column="amount", count=0 if day != 1 else 3, checked=10),
                ValidatorResult("not_null", success=True, column="amount"),
                ValidatorResult("in_range", success=False, status="skipped", details={"parameters": {"max": 3}}),
            ]
            store.save(a_result(f"run_{day}", run_time=BASE_TIME + timedelta(days=day), results=checks))
        history = store.scan_rows(StoreQuery(where={"check_id": "amount not_null"}), collection=RESULTS)
        assert [(row.meta.fields["run_id"], row.meta.fields["status"]) for row in history] == [
            ("run_2", "success"),
            ("run_1", "failure"),
            ("run_0", "success"),
        ]
        assert [row.meta.fields["check_id"] for row in store.latest_rows(StoreQuery(), collection=RESULTS)] == [
            "amount not_null",
            "amount not_null #2",
            'in_range({"max":3})',
        ]

    def test_a_collection_without_rows_has_none_to_ask_for(self, open_store: OpenStore):
        store: Any = open_store(SAMPLES)
        with pytest.raises(StoreQueryError, match="declare a Projection"):
            store.scan_rows(StoreQuery(), collection=WORDS)
        with pytest.raises(StoreQueryError):
            list(store.scan_rows(StoreQuery(where={"nope": 1}), collection=SAMPLES))
