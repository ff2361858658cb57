"""Part of the store suite: queries, counts and figures, all of them held against the reference."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from truthstore.errors import StoreQueryError
from truthstore.items.results import RESULTS
from truthstore.model.aggregate import Aggregation
from truthstore.model.collection import Collection
from truthstore.model.query import StoreQuery
from truthstore.model.record import Listed
from truthstore.testing.sample import BASE_TIME, SAMPLES, Sample, make_samples
from truthstore.testing.strategies import queries
from truthstore.testing.suite.case import StoreCase, oracle_of, same_items
from truthstore.testing.suite.items import Measurement, a_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from truthstore.model.aggregate import Row
    from truthstore.store.store import BaseStore
    from truthstore.testing.suite.case import OpenStore

    Oracle = Callable[[StoreQuery], list[str]]

__all__ = ["FigureTests", "QueryTests"]

ORDERS = [*sorted(SAMPLES.fields), "run_time", "id", "size", "stored_at"]

# Inherited tests run on several classes, and all examples of one test read the same store.
READ_ONLY = settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture])

SHAPES: dict[str, StoreQuery] = {
    "everything": StoreQuery(),
    "asset": StoreQuery(data_asset="orders"),
    "asset in another case": StoreQuery(data_asset="Orders"),
    "status": StoreQuery(status="failure"),
    "from": StoreQuery(start_time=BASE_TIME + timedelta(hours=7)),
    "to": StoreQuery(end_time=BASE_TIME + timedelta(hours=7)),
    "one moment": StoreQuery(start_time=BASE_TIME, end_time=BASE_TIME),
    "another zone": StoreQuery(start_time=(BASE_TIME + timedelta(hours=7)).astimezone(timezone(timedelta(hours=-9)))),
    "tag": StoreQuery(tags={"team": "data"}),
    "tags": StoreQuery(tags={"team": "data", "stage": "prod"}),
    "tags with odd names": StoreQuery(tags={"a.b": "1", "$.x": "2", "[0]": "3", 'quo"te': "4", "it's": "5", " ": " "}),
    "tag with an empty value": StoreQuery(tags={"team ": ""}),
    "tags in another alphabet": StoreQuery(tags={"ключ": "значение"}),
    "no tags": StoreQuery(tags={}),
    "word": StoreQuery(text="orders"),
    "words in any order and case": StoreQuery(text="TABLE the Orders"),
    "sharp s": StoreQuery(text="STRASSE"),
    "part of a word": StoreQuery(text="order"),
    "accents": StoreQuery(text="ÉTÉ"),
    "no accents": StoreQuery(text="ete"),
    "underscore parts words": StoreQuery(text="b a"),
    "number": StoreQuery(text="42"),
    "signs only": StoreQuery(text="- * \" ' ( ) : ^ NEAR"),
    "no words": StoreQuery(text=""),
    "ids": StoreQuery(ids=["s-000", "S-037", "nothing", "s-074", "S-000"]),
    "no ids": StoreQuery(ids=[]),
    "many ids": StoreQuery(ids=[f"s-{i:03d}" for i in range(5_000)]),
    "is": StoreQuery(where={"count": 7}),
    "is None": StoreQuery(where={"count": None}),
    "equals None": StoreQuery(where={"count": ("==", None)}),
    "is not None": StoreQuery(where={"count": ("!=", None)}),
    "is not, which None is not either": StoreQuery(where={"count": ("!=", 7)}),
    "less": StoreQuery(where={"count": ("<", 1)}),
    "at most": StoreQuery(where={"count": ("<=", 1)}),
    "more than 53 bits": StoreQuery(where={"count": (">", 2**53)}),
    "exactly 53 bits and one": StoreQuery(where={"count": 2**53 + 1}),
    "the greatest": StoreQuery(where={"count": (">=", 2**63 - 1)}),
    "a float that is whole": StoreQuery(where={"count": 7.0}),
    "in": StoreQuery(where={"count": ("in", [0, 7, 99])}),
    "in with None": StoreQuery(where={"count": ("in", [None, 7])}),
    "in nothing": StoreQuery(where={"count": ("in", [])}),
    "in many": StoreQuery(where={"count": ("in", range(5_000))}),
    "in many floats": StoreQuery(where={"ratio": ("in", [*(i / 2 for i in range(200)), math.inf])}),
    "in many strings": StoreQuery(where={"name": ("in", [*map(str, range(99)), "\uffff", "it's", 'say "x"'])}),
    "in many booleans": StoreQuery(where={"passed": ("in", [True] * 100)}),
    "in many times": StoreQuery(where={"seen": ("in", [BASE_TIME - timedelta(days=i) for i in range(2, 99)])}),
    "infinities among many": StoreQuery(where={"ratio": ("in", [math.inf, -math.inf, *range(100)])}),
    "ids that cannot be": StoreQuery(ids=["", "line\nbreak", "x" * 2_000, "s-000"]),
    "tags that cannot be": StoreQuery(tags={"": "x" * 2_000}),
    "string": StoreQuery(where={"name": "it's"}),
    "string with wildcards": StoreQuery(where={"name": "100%_\\"}),
    "empty string": StoreQuery(where={"name": ""}),
    "composed": StoreQuery(where={"name": "é"}),
    "decomposed": StoreQuery(where={"name": "e\u0301"}),
    "string by code point": StoreQuery(where={"name": (">", "\uffff")}),
    "string below": StoreQuery(where={"name": ("<=", "a")}),
    "strings": StoreQuery(where={"name": ("in", ("Z", "a", None))}),
    "float": StoreQuery(where={"ratio": 0.1}),
    "zero of either sign": StoreQuery(where={"ratio": 0.0}),
    "infinite": StoreQuery(where={"ratio": math.inf}),
    "below infinity": StoreQuery(where={"ratio": ("<", math.inf)}),
    "smallest float": StoreQuery(where={"ratio": (">", 0)}),
    "NaN counts as None": StoreQuery(where={"ratio": None}),
    "true": StoreQuery(where={"passed": True}),
    "false": StoreQuery(where={"passed": False}),
    "not true": StoreQuery(where={"passed": ("!=", True)}),
    "true or None": StoreQuery(where={"passed": ("in", [True, None])}),
    "time": StoreQuery(where={"seen": BASE_TIME - timedelta(days=1)}),
    "time after": StoreQuery(where={"seen": (">", BASE_TIME - timedelta(days=2))}),
    "time field by its alias": StoreQuery(where={"run_time": ("<", BASE_TIME + timedelta(hours=3))}),
    "id": StoreQuery(where={"id": (">=", "a")}),
    "size": StoreQuery(where={"size": (">", 100)}),
    "written": StoreQuery(where={"stored_at": (">", BASE_TIME)}),
    "several": StoreQuery(where={"passed": True, "count": (">=", 0)}, data_asset="orders", tags={"team": "data"}),
    "limit": StoreQuery(limit=5),
    "limit 0": StoreQuery(limit=0),
    "limit past the end": StoreQuery(limit=10_000),
    "offset": StoreQuery(offset=3),
    "offset past the end": StoreQuery(offset=10_000),
    "limit and offset": StoreQuery(limit=4, offset=4, order_by="count"),
    "limit 0 and offset": StoreQuery(limit=0, offset=2),
}


class QueryTests(StoreCase):
    """Queries find what the reference finds, in its order."""

    @pytest.mark.parametrize("query", SHAPES.values(), ids=SHAPES)
    def test_it_finds_what_the_reference_finds(self, query: StoreQuery, filled: BaseStore[Sample], oracle: Oracle):
        assert filled.list_ids(query) == oracle(query)
        heads = list(filled.entries(query))
        assert [head.id for head in heads] == oracle(query)
        listed = [Listed(head.id, head.revision, head.meta.size) for head in heads]
        assert list(filled.scan_revisions(query, collection=SAMPLES)) == listed
        assert [sample.id for sample in filled.query(query)] == oracle(query)
        assert filled.count(query) == len(oracle(query.replace(limit=None, offset=0)))

    @pytest.mark.parametrize("ascending", [True, False])
    @pytest.mark.parametrize("order_by", ORDERS)
    def test_order_ties_and_none(self, order_by: str, ascending: bool, filled: BaseStore[Sample], oracle: Oracle):  # noqa: FBT001
        query = StoreQuery(order_by=order_by, ascending=ascending)
        assert filled.list_ids(query) == oracle(query)

    @pytest.mark.parametrize("ascending", [True, False])
    @pytest.mark.parametrize("order_by", ORDERS)
    def test_pages_put_together_are_the_whole(
        self,
        order_by: str,
        ascending: bool,  # noqa: FBT001
        filled: BaseStore[Sample],
        oracle: Oracle,
    ):
        query = StoreQuery(order_by=order_by, ascending=ascending, where={"data_asset": ("!=", "Orders")})
        found: list[str] = []
        page = query.replace(limit=7)
        while heads := list(filled.entries(page)):
            found += [head.id for head in heads]
            page = page.replace(after=page.bind(SAMPLES).cursor(heads[-1].meta))
        assert found == oracle(query)
        assert [sample.id for sample in filled.iter_query(query, batch_size=3)] == oracle(query)

    @READ_ONLY
    @given(data=st.data())
    def test_any_query(self, data: st.DataObject, filled: BaseStore[Sample], oracle: Oracle):
        query = data.draw(queries(SAMPLES, known=[sample.id for sample in make_samples()]))
        expected = oracle(query)
        assert filled.list_ids(query) == expected
        assert filled.count(query) == len(oracle(query.replace(limit=None, offset=0)))
        if len(expected) > 1 and not query.offset:
            start = expected[data.draw(st.integers(0, len(expected) - 1))]
            after = query.bind(SAMPLES).cursor(filled.head(start).meta)
            rest = query.replace(after=after, limit=None)
            assert filled.list_ids(rest) == oracle(rest)

    def test_items_and_heads_are_whole(self, filled: BaseStore[Sample]):
        samples = {sample.id: sample for sample in make_samples()}
        query = StoreQuery(order_by="id", ascending=True)
        in_order = [samples[id] for id in sorted(samples)]
        assert same_items(SAMPLES, filled.query(query), in_order)
        assert same_items(SAMPLES, filled.iter_query(query), in_order)
        for head in filled.entries(query):
            assert head.body is None
            assert dict(head.meta.fields) == SAMPLES.fields_of(samples[head.id])
            assert dict(head.meta.tags) == samples[head.id].tags
            assert head == filled.head(head.id)

    def test_an_overwritten_item_is_found_by_what_it_says_now(self, filled: BaseStore[Sample]):
        samples = make_samples()
        for i, sample in enumerate(samples):
            changed = replace(sample, name=f"name {i}", count=-i, tags={"turn": "2"}, note="overwritten words")
            filled.save(changed)
            samples[i] = changed
        records = oracle_of(filled, SAMPLES, samples)
        for query in (
            StoreQuery(order_by="name"),
            StoreQuery(order_by="count", limit=5),
            StoreQuery(tags={"turn": "2"}),
            StoreQuery(tags={"team": "data"}),
            StoreQuery(text="overwritten"),
            StoreQuery(text="orders"),
            StoreQuery(where={"name": "name 7"}),
        ):
            assert filled.list_ids(query) == [record.id for record in query.bind(SAMPLES).select(records)]

    def test_iterating_while_writing_neither_repeats_nor_skips_what_stays(self, filled: BaseStore[Sample]):
        query = StoreQuery(order_by="id", ascending=True)
        before = filled.list_ids(query)
        seen: list[str] = []
        for sample in filled.iter_query(query, batch_size=5):
            seen.append(sample.id)
            filled.save(Sample(f"{sample.id}-{len(seen)}"))
            if len(seen) > 1_000:
                break
            filled.delete(f"{sample.id}-{len(seen)}")
        assert [id for id in seen if id in before] == before

    def test_times_are_compared_in_utc(self, store: BaseStore[Sample]):
        east = datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        store.save(Sample("east", moment=east))
        store.save(Sample("later", moment=datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)))
        assert store.list_ids(StoreQuery(end_time=BASE_TIME)) == ["east"]
        assert store.list_ids(StoreQuery(start_time=BASE_TIME)) == ["later", "east"]
        assert store.get("east").moment == east

    @pytest.mark.parametrize(
        "query",
        [
            StoreQuery(order_by="nmae"),
            StoreQuery(where={"nope": 1}),
            StoreQuery(where={"count": "seven"}),
            StoreQuery(where={"count": 1.5}),
            StoreQuery(where={"count": ("<", None)}),
            StoreQuery(where={"count": [1, 2, 3]}),
            StoreQuery(where={"count": ("in", "abc")}),
            StoreQuery(where={"ratio": math.nan}),
            StoreQuery(where={"name": "nul \0"}),
            StoreQuery(where={"passed": 1}),
            StoreQuery(ids=["\ud800"]),
            StoreQuery(tags={"nul\0": ""}),
            StoreQuery(tags={"a": "\udfff"}),
        ],
        ids=lambda query: ascii(query.where or query.tags or query.ids or query.order_by),
    )
    def test_a_query_that_makes_no_sense_raises(self, query: StoreQuery, filled: BaseStore[Sample]):
        for ask in (filled.list_ids, filled.query, filled.iter_query, filled.entries, filled.count, filled.clear):
            with pytest.raises(StoreQueryError):
                ask(query)
        assert filled.count() == len(make_samples())

    def test_a_field_that_only_another_collection_has_raises(self, open_store: OpenStore):
        bare = open_store(Collection.of(Measurement, id="key", index={"value": float}))
        bare.save(Measurement("m", 1.0, BASE_TIME))
        assert bare.list_ids() == ["m"]  # without a time field: by time of writing
        for query in (StoreQuery(data_asset="orders"), StoreQuery(status="failure"), StoreQuery(text="word")):
            with pytest.raises(StoreQueryError):
                bare.list_ids(query)
        for ask in (bare.list_assets, bare.get_failures, lambda: bare.get_latest("orders")):
            with pytest.raises(StoreQueryError):
                ask()

    def test_a_cursor_of_another_query_raises(self, filled: BaseStore[Sample]):
        query = StoreQuery(order_by="count", limit=3)
        last = list(filled.entries(query))[-1]
        cursor = query.bind(SAMPLES).cursor(last.meta)
        for other in (
            query.replace(after="nonsense"),
            query.replace(after=cursor + "AAAA"),
            query.replace(after=cursor, order_by="name"),
            query.replace(after=cursor, ascending=True),
            query.replace(after=cursor, tags={"team": "data"}),
        ):
            with pytest.raises(StoreQueryError):
                filled.list_ids(other)

    @pytest.mark.parametrize(
        "query",
        [
            StoreQuery(data_asset="orders"),
            StoreQuery(limit=5),
            StoreQuery(order_by="count", ascending=True, limit=4, offset=2),
            StoreQuery(limit=0),
            StoreQuery(tags={"team": "data"}, where={"passed": True}),
            StoreQuery(ids=["s-000", "nothing"]),
            StoreQuery(),
        ],
        ids=str,
    )
    def test_clear_removes_exactly_what_the_query_finds(
        self, query: StoreQuery, filled: BaseStore[Sample], oracle: Oracle
    ):
        found, everything = oracle(query), oracle(StoreQuery())
        assert filled.clear(query) == len(found)
        assert filled.list_ids() == [id for id in everything if id not in found]
        assert not any(filled.exists(id) for id in found)

    def test_history_of_an_asset(self, open_store: OpenStore):
        store = open_store(RESULTS)
        for i in range(15):
            moment = BASE_TIME + timedelta(hours=(i * 4) % 15)
            store.save(
                a_result(
                    f"run_{i:02d}",
                    run_time=moment,
                    data_asset=("orders", "customers")[i % 2],
                    status="failure" if i % 3 else "success",
                    results=[],
                )
            )
        newest_first = sorted(
            (store.get(f"run_{i:02d}") for i in range(0, 15, 2)), key=lambda result: result.run_time, reverse=True
        )
        assert store.get_latest("orders") == newest_first[0]
        assert store.get_latest("nobody") is None
        assert store.list_runs("orders") == [result.run_id for result in newest_first]
        assert store.asset_history("orders", limit=3) == newest_first[:3]
        failures = [result for result in newest_first if result.status == "failure"]
        assert store.get_failures("orders") == failures
        assert store.get_failures("orders", limit=2) == failures[:2]
        assert len(store.get_failures()) == 10
        assert store.list_assets() == ["customers", "orders"]


class FigureTests(StoreCase):
    """Counts, sums and extremes are those of the reference."""

    @pytest.fixture
    def figures(self, filled: BaseStore[Sample]) -> Callable[..., list[Row]]:
        """Return the reference's answer over `filled`."""
        records = oracle_of(filled, SAMPLES, make_samples())

        def answer(
            query: StoreQuery, by: Any = (), bucket: str | None = None, metrics: Any = "count", time_zone: str = "UTC"
        ) -> list[Row]:
            everything = query.replace(limit=None, offset=0).bind(SAMPLES).select(records)
            return Aggregation.of(SAMPLES, by, bucket, metrics, time_zone).over(everything)

        return answer

    @pytest.mark.parametrize(
        "by", [(), "data_asset", "passed", "ratio", "seen", ("data_asset", "status"), "name"], ids=str
    )
    def test_groups(self, by: Any, filled: BaseStore[Sample], figures: Callable[..., list[Row]]):
        for query in (StoreQuery(), StoreQuery(tags={"team": "data"}), StoreQuery(limit=3, offset=2)):
            assert filled.aggregate(query, by=by) == figures(query, by)

    @pytest.mark.parametrize("by", ["tag:team", ('tag:quo"te', "data_asset", "tag:$.x"), "tag:", "tag:nobody"], ids=str)
    def test_groups_by_tag(self, by: Any, filled: BaseStore[Sample], figures: Callable[..., list[Row]]):
        for query in (StoreQuery(), StoreQuery(tags={"stage": "prod"}, data_asset="orders")):
            assert filled.aggregate(query, by=by, bucket="month") == figures(query, by, "month")

    def test_distinct_tags(self, filled: BaseStore[Sample]):
        assert filled.distinct("tag:team") == sorted({s.tags["team"] for s in make_samples() if "team" in s.tags})
        assert filled.distinct("tag:nobody") == []

    @pytest.mark.parametrize("bucket", ["hour", "day", "week", "month", "year"])
    @pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"])
    def test_buckets_in_a_time_zone(
        self, zone: str, bucket: str, filled: BaseStore[Sample], figures: Callable[..., list[Row]]
    ):
        for by in ((), "tag:team"):
            assert filled.aggregate(by=by, bucket=bucket, time_zone=zone) == figures(
                StoreQuery(), by, bucket, time_zone=zone
            )

    def test_days_follow_the_clock_and_the_hour_that_it_shows_twice_is_two(self, store: BaseStore[Sample]):
        before = datetime(2026, 10, 24, 21, 59, tzinfo=UTC)  # 23:59 in Berlin, where the 25th has 25 hours
        for n, minutes in enumerate((0, 1, 160, 220, 1500, 1501)):
            store.save(Sample(str(n), moment=before + timedelta(minutes=minutes)))
        assert [
            (row["bucket"].isoformat(), row["count"])
            for row in store.aggregate(bucket="day", time_zone="Europe/Berlin")
        ] == [
            ("2026-10-24T00:00:00+02:00", 1),
            ("2026-10-25T00:00:00+02:00", 4),
            ("2026-10-26T00:00:00+01:00", 1),
        ]
        assert [
            (row["bucket"].isoformat(), row["count"])
            for row in store.aggregate(bucket="hour", time_zone="Europe/Berlin")
        ] == [
            ("2026-10-24T23:00:00+02:00", 1),
            ("2026-10-25T00:00:00+02:00", 1),
            ("2026-10-25T02:00:00+02:00", 1),
            ("2026-10-25T02:00:00+01:00", 1),
            ("2026-10-25T23:00:00+01:00", 1),
            ("2026-10-26T00:00:00+01:00", 1),
        ]

    @pytest.mark.parametrize("bucket", ["hour", "day", "week", "month", "year"])
    def test_buckets(self, bucket: str, filled: BaseStore[Sample], figures: Callable[..., list[Row]]):
        for by in ((), "data_asset"):
            assert filled.aggregate(by=by, bucket=bucket) == figures(StoreQuery(), by, bucket)

    def test_buckets_before_1970(self, store: BaseStore[Sample]):
        for year in (1899, 1969, 1970):
            store.save(Sample(str(year), moment=datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)))
        assert [row["bucket"].isoformat() for row in store.aggregate(bucket="month")] == [
            "1899-12-01T00:00:00+00:00",
            "1969-12-01T00:00:00+00:00",
            "1970-12-01T00:00:00+00:00",
        ]

    def test_metrics(self, filled: BaseStore[Sample], figures: Callable[..., list[Row]]):
        metrics = ["count", "min:count", "max:count", "min:name", "max:name", "min:seen", "max:moment", "sum:size"]
        metrics += ["min:ratio", "max:ratio", "sum:passed", "avg:size"]
        for by in ((), "data_asset", "passed"):
            assert filled.aggregate(by=by, metrics=metrics) == figures(StoreQuery(), by, None, metrics)
        small = StoreQuery(where={"ratio": ("in", [0.0, 0.1, 1.5, -2.5])})
        for row, expected in zip(
            filled.aggregate(small, by="data_asset", metrics=["sum:ratio", "avg:ratio"]),
            figures(small, "data_asset", None, ["sum:ratio", "avg:ratio"]),
            strict=True,
        ):
            assert row == pytest.approx(expected)

    def test_sums_of_large_integers_are_exact(self, filled: BaseStore[Sample], figures: Callable[..., list[Row]]):
        assert filled.aggregate(metrics="sum:count") == figures(StoreQuery(), metrics="sum:count")
        above = StoreQuery(where={"count": (">", 2**53)})
        assert filled.aggregate(above, metrics="sum:count") == figures(above, metrics="sum:count")

    def test_a_group_in_which_nothing_is_known(self, store: BaseStore[Sample]):
        store.save(Sample("a", data_asset="orders"))
        assert store.aggregate(by="data_asset", metrics=["avg:count", "min:name"]) == [
            {"data_asset": "orders", "avg:count": None, "min:name": None}
        ]

    def test_nothing_to_count(self, store: BaseStore[Sample]):
        assert store.aggregate(by="data_asset") == []
        assert store.distinct("data_asset") == []
        assert store.list_assets() == []

    def test_distinct_values(self, filled: BaseStore[Sample]):
        samples = make_samples()
        assert filled.distinct("name") == sorted({s.name for s in samples if s.name is not None})
        assert filled.distinct("count") == sorted({s.count for s in samples if s.count is not None})
        assert filled.distinct("seen") == sorted({s.seen for s in samples if s.seen is not None})
        assert filled.list_assets() == ["Orders", "orders", "päyments"]
        tagged = StoreQuery(tags={"stage": "prod"})
        assert filled.distinct("data_asset", tagged) == sorted(
            {s.data_asset for s in samples if s.data_asset and s.tags.get("stage") == "prod"}
        )

    def test_figures_that_make_no_sense_raise(self, filled: BaseStore[Sample]):
        for ask in (
            lambda: filled.aggregate(by="nope"),
            lambda: filled.aggregate(bucket="decade"),
            lambda: filled.aggregate(bucket="day", time_zone="Europe/Atlantis"),
            lambda: filled.aggregate(bucket="day", time_zone="../zones"),
            lambda: filled.aggregate(by="tag:\ud800"),
            lambda: filled.distinct("tag:nul\0"),
            lambda: filled.aggregate(metrics="median:count"),
            lambda: filled.aggregate(metrics="sum:name"),
            lambda: filled.aggregate(StoreQuery(where={"nope": 1})),
            lambda: filled.distinct("nope"),
        ):
            with pytest.raises(StoreQueryError):
                ask()
