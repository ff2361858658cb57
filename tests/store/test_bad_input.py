"""What users hand over by mistake: each gets the right error before anything is written, and nothing stored is lost."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from truthstore import Collection, get_store
from truthstore.errors import (
    StoreBulkError,
    StoreClosedError,
    StoreConfigError,
    StoreError,
    StoreKeyError,
    StoreNotFoundError,
    StoreQueryError,
    StoreWriteError,
)
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY
from truthstore.results import ResultStatus, ValidationResult, ValidatorResult
from truthstore.store.store import BaseStore
from truthstore.testing.sample import SAMPLES, Sample

Store = BaseStore[Sample]
KEPT = [Sample("kept 1", count=1, tags={"team": "data"}), Sample("kept 2", note="some words")]
NAIVE = datetime(2026, 7, 1, 12)  # noqa: DTZ001  # some of the tests are about it
AWARE = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "filesystem"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that holds `KEPT`, and holds nothing else when the test is over."""
    options: dict[str, Any] = {"base_path": tmp_path / "store"} if request.param == "filesystem" else {}
    with get_store(request.param, collection=SAMPLES, **options) as store:
        store.save_many(KEPT)
        files = sorted(path for path in tmp_path.rglob("*.json"))
        yield store
        if not store._lifecycle.closed:
            assert sorted(store.query(), key=lambda sample: sample.id) == KEPT
            assert sorted(store.list_ids()) == ["kept 1", "kept 2"]
            assert store.count() == 2
            assert store.verify().ok
        assert sorted(path for path in tmp_path.rglob("*.json")) == files
        assert not list(tmp_path.rglob("pending/*"))


class Unknown:
    """Of a type that nothing knows."""


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"inner": value}
    return value


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


BAD_IDS: dict[str, tuple[Any, type[Exception]]] = {
    "empty": ("", StoreKeyError),
    "too long": ("x" * 1_025, StoreKeyError),
    "far too long": ("x" * 50_000_000, StoreKeyError),
    "NUL": ("a\0b", StoreKeyError),
    "line break": ("a\nb", StoreKeyError),
    "escape": ("\x1b[31m", StoreKeyError),
    "C1 control": ("\x85", StoreKeyError),
    "lone surrogate": ("a\ud800", StoreKeyError),
    "None": (None, TypeError),
    "number": (7, TypeError),
    "bytes": (b"kept 1", TypeError),
    "list": (["kept 1"], TypeError),
}

BY_ID: dict[str, Callable[[Store, Any], object]] = {
    "save": lambda store, given: store.save(Sample(given)),
    "get": lambda store, given: store.get(given),
    "get_many": lambda store, given: store.get_many(["kept 1", given]),
    "head": lambda store, given: store.head(given),
    "exists": lambda store, given: store.exists(given),
    "delete": lambda store, given: store.delete(given),
    "delete_many": lambda store, given: store.delete_many(["kept 1", given]),
}


@pytest.mark.parametrize("operation", BY_ID)
@pytest.mark.parametrize("what", BAD_IDS)
def test_ids(what: str, operation: str, store: Store):
    id, error = BAD_IDS[what]
    with pytest.raises(error) as caught:
        BY_ID[operation](store, id)
    assert len(str(caught.value)) < 1_000


BAD_ITEMS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "None": (lambda: None, TypeError),
    "a dict": (lambda: {"id": "new"}, TypeError),
    "an item of another collection": (lambda: ValidationResult("new", AWARE, "orders", "success"), TypeError),  # type: ignore[arg-type]
    "the class": (lambda: Sample, TypeError),
    "101 tags": (lambda: Sample("new", tags={str(n): "" for n in range(101)}), StoreWriteError),
    "50 MB in a tag": (lambda: Sample("new", tags={"a": "x" * 50_000_000}), StoreWriteError),
    "50 MB in the key of a tag": (lambda: Sample("new", tags={"x" * 50_000_000: "a"}), StoreWriteError),
    "an empty key of a tag": (lambda: Sample("new", tags={"": "a"}), StoreWriteError),
    "a tag that is a number": (lambda: Sample("new", tags={"a": 1}), StoreWriteError),  # type: ignore[dict-item]
    "a tag that is None": (lambda: Sample("new", tags={"a": None}), StoreWriteError),  # type: ignore[dict-item]
    "tags in a list": (lambda: Sample("new", tags=["a"]), StoreWriteError),  # type: ignore[arg-type]
    "NUL in a tag": (lambda: Sample("new", tags={"a": "\0"}), StoreWriteError),
    "a lone surrogate in a tag": (lambda: Sample("new", tags={"a": "\udfff"}), StoreWriteError),
    "an integer beyond 64 bits": (lambda: Sample("new", count=2**63), StoreWriteError),
    "a negative integer beyond 64 bits": (lambda: Sample("new", count=-(2**63) - 1), StoreWriteError),
    "a huge integer": (lambda: Sample("new", count=10**5_000), StoreWriteError),
    "a field beyond 4 kB": (lambda: Sample("new", name="x" * 4_097), StoreWriteError),
    "a field beyond 4 kB in UTF-8": (lambda: Sample("new", name="é" * 2_049), StoreWriteError),
    "NUL in a field": (lambda: Sample("new", name="a\0b"), StoreWriteError),
    "a lone surrogate in a field": (lambda: Sample("new", name="\ud800"), StoreWriteError),
    "a lone surrogate in free-form data": (lambda: Sample("new", details={"a": "\ud800"}), StoreWriteError),
    "a number for a name": (lambda: Sample("new", name=7), StoreWriteError),  # type: ignore[arg-type]
    "a string for a count": (lambda: Sample("new", count="7"), StoreWriteError),  # type: ignore[arg-type]
    "a float for a count": (lambda: Sample("new", count=1.5), StoreWriteError),  # type: ignore[arg-type]
    "NaN for a count": (lambda: Sample("new", count=math.nan), StoreWriteError),  # type: ignore[arg-type]
    "a number for a flag": (lambda: Sample("new", passed=1), StoreWriteError),  # type: ignore[arg-type]
    "a string for a time": (lambda: Sample("new", moment="2026-07-01"), StoreWriteError),  # type: ignore[arg-type]
    "a date for a time": (lambda: Sample("new", moment=date(2026, 7, 1)), StoreWriteError),  # type: ignore[arg-type]
    "an unknown object": (lambda: Sample("new", details={"a": Unknown()}), StoreWriteError),
    "a function": (lambda: Sample("new", details={"a": print}), StoreWriteError),
    "a dict that holds itself": (lambda: Sample("new", details=cycle()), StoreWriteError),
    "a dict 100,000 deep": (lambda: Sample("new", details=nested(100_000)), StoreWriteError),
}


@pytest.mark.parametrize("what", BAD_ITEMS)
def test_items(what: str, store: Store):
    make, error = BAD_ITEMS[what]
    item = make()
    for expect in (ANY, ABSENT):
        with pytest.raises(error) as caught:
            store.save(item, expect=expect)
        assert len(str(caught.value)) < 1_000
    with pytest.raises(StoreBulkError) as bulk:
        store.save_many([item])
    assert [type(why) for why in bulk.value.failed.values()] == [error]


GOOD_ITEMS: dict[str, Callable[[], Sample]] = {
    "NaN and infinity": lambda: Sample("new", ratio=math.nan, details={"a": math.inf, "b": [math.nan]}),
    "integers at the end of 64 bits": lambda: Sample("new", count=2**63 - 1, details={"a": -(2**63), "b": 2**64 - 1}),
    "100 tags of the greatest size": lambda: Sample("new", tags={f"{n:0256d}": "x" * 1_024 for n in range(100)}),
    "a field of 4 kB": lambda: Sample("new", name="é" * 2_048),
    "5 MB of free-form data": lambda: Sample("new", details={"a": "x" * 5_000_000}),
    "control characters in free-form data": lambda: Sample("new", details={"a": "\0\x1b\x7f\u2028"}, note="\x01"),
    "names of the library's own": lambda: Sample("new", details={"_truthstore": {"format": 99}, '"_truthstore":': 1}),
    "names of SQL": lambda: Sample("'; DROP TABLE c_samples; --", name='"; --', tags={"' OR 1": "%_"}),
    "a time of year 1": lambda: Sample("new", moment=datetime(1, 1, 2, tzinfo=UTC)),
    "a time of year 9999": lambda: Sample("new", moment=datetime(9999, 12, 30, tzinfo=UTC)),
    "100 levels": lambda: Sample("new", details=nested(100)),
}


@pytest.mark.parametrize("what", GOOD_ITEMS)
def test_items_that_only_look_bad(what: str, store: Store):
    item = GOOD_ITEMS[what]()
    store.save(item, expect=ABSENT)
    assert SAMPLES.encode(store.get(item.id)).body == SAMPLES.encode(item).body
    (found,) = store.query(StoreQuery(ids=[item.id]))
    assert SAMPLES.encode(found).body == SAMPLES.encode(item).body
    assert store.verify().ok
    assert store.delete(item.id)


def test_a_naive_time_beside_an_aware_one(store: Store):
    store.save_many([Sample("naive", moment=NAIVE), Sample("aware", moment=AWARE)])
    local = NAIVE.astimezone(UTC)
    for bound in (NAIVE, local):
        assert "naive" in store.list_ids(StoreQuery(start_time=bound, end_time=bound))
        assert ("aware" in store.list_ids(StoreQuery(start_time=bound))) == (local <= AWARE)
    assert (store.get("naive").moment, store.get("aware").moment) == (NAIVE, AWARE)
    assert store.delete_many(["naive", "aware"]) == 2


BAD_QUERIES: dict[str, tuple[Callable[[], StoreQuery], type[Exception]]] = {
    "an unknown field": (lambda: StoreQuery(where={"cuont": 1}), StoreQueryError),
    "an injected field": (lambda: StoreQuery(where={'count" OR 1 --': 1}), StoreQueryError),
    "an order by an unknown field": (lambda: StoreQuery(order_by="1; DROP TABLE c_samples"), StoreQueryError),
    "an unknown operator": (lambda: StoreQuery(where={"count": ("like", "%")}), StoreQueryError),
    "a list without an operator": (lambda: StoreQuery(where={"count": [1, 2, 3]}), StoreQueryError),
    "a string for a number": (lambda: StoreQuery(where={"count": "1"}), StoreQueryError),
    "a number for a string": (lambda: StoreQuery(where={"name": 1}), StoreQueryError),
    "an integer beyond 64 bits": (lambda: StoreQuery(where={"count": (">", 2**64)}), StoreQueryError),
    "NaN": (lambda: StoreQuery(where={"ratio": math.nan}), StoreQueryError),
    "None with an order": (lambda: StoreQuery(where={"count": ("<", None)}), StoreQueryError),
    "a string after in": (lambda: StoreQuery(where={"name": ("in", "abc")}), StoreQueryError),
    "a lone surrogate": (lambda: StoreQuery(tags={"a": "\ud800"}), StoreQueryError),
    "a lone surrogate in a field": (lambda: StoreQuery(where={"name": "\ud800"}), StoreQueryError),
    "an id that is a number": (lambda: StoreQuery(ids=[1]), StoreQueryError),  # type: ignore[list-item]
    "a cursor of nothing": (lambda: StoreQuery(after="nonsense"), StoreQueryError),
    "a cursor of another query": (
        lambda: StoreQuery(after=StoreQuery(status="failure").bind(SAMPLES).cursor(SAMPLES.encode(KEPT[0]).meta)),
        StoreQueryError,
    ),
    "a negative limit": (lambda: StoreQuery(limit=-1), ValueError),
    "a negative offset": (lambda: StoreQuery(offset=-1), ValueError),
    "an offset with a cursor": (lambda: StoreQuery(offset=1, after="x"), ValueError),
    "a limit that is a string": (lambda: StoreQuery(limit="10"), TypeError),  # type: ignore[arg-type]
    "a limit that is a bool": (lambda: StoreQuery(limit=True), TypeError),
    "one id for a list": (lambda: StoreQuery(ids="kept 1"), TypeError),
    "a time that is a string": (lambda: StoreQuery(start_time="2026-07-01"), TypeError),  # type: ignore[arg-type]
    "tags in a list": (lambda: StoreQuery(tags=["team"]), TypeError),  # type: ignore[arg-type]
    "a tag that is a number": (lambda: StoreQuery(tags={"team": 1}), TypeError),  # type: ignore[dict-item]
    "a misspelt argument": (lambda: StoreQuery(data_aset="orders"), TypeError),  # type: ignore[call-arg]
    "a positional argument": (lambda: StoreQuery("orders"), TypeError),  # type: ignore[call-arg]
}

BY_QUERY: dict[str, Callable[[Store, StoreQuery], object]] = {
    "query": lambda store, query: store.query(query),
    "iter_query": lambda store, query: list(store.iter_query(query)),
    "list_ids": lambda store, query: store.list_ids(query),
    "count": lambda store, query: store.count(query),
    "entries": lambda store, query: list(store.entries(query)),
    "aggregate": lambda store, query: store.aggregate(query, by="status"),
    "clear": lambda store, query: store.clear(query),
}


@pytest.mark.parametrize("operation", BY_QUERY)
@pytest.mark.parametrize("what", BAD_QUERIES)
def test_queries(what: str, operation: str, store: Store):
    make, error = BAD_QUERIES[what]
    with pytest.raises(error):
        BY_QUERY[operation](store, make())


BAD_CALLS: dict[str, tuple[Callable[[Store], object], type[Exception]]] = {
    "an unknown option of save": (lambda s: s.save(Sample("new"), mesage="x"), TypeError),
    "an unknown option of save_many": (lambda s: s.save_many([Sample("new")], version=1), TypeError),
    "an unknown option of get": (lambda s: s.get("kept 1", version=1), TypeError),
    "an unknown option of delete": (lambda s: s.delete("kept 1", force=True), TypeError),
    "an unknown option of exists": (lambda s: s.exists("kept 1", version=1), TypeError),
    "None to expect": (lambda s: s.save(Sample("kept 1"), expect=None), TypeError),  # type: ignore[arg-type]
    "an empty revision": (lambda s: s.save(Sample("kept 1"), expect=""), TypeError),
    "True to expect": (lambda s: s.delete("kept 1", expect=True), TypeError),  # type: ignore[arg-type]
    "absence to delete": (lambda s: s.delete("kept 1", expect=ABSENT), ValueError),
    "a string for ids to delete": (lambda s: s.delete_many("kept 1"), TypeError),
    "a string for ids to get": (lambda s: s.get_many("kept 1"), TypeError),
    "an unknown way with the missing": (lambda s: s.get_many(["kept 1"], missing="ignore"), ValueError),
    "a batch of none": (lambda s: s.iter_query(batch_size=0), ValueError),
    "a negative budget": (lambda s: s.maintain(budget=-1), ValueError),
    "a metric of an unknown field": (lambda s: s.aggregate(metrics="sum:cuont"), StoreQueryError),
    "an unknown metric": (lambda s: s.aggregate(metrics="median:count"), StoreError),
    "an unknown bucket": (lambda s: s.aggregate(bucket="fortnight"), StoreError),
    "a group by an unknown field": (lambda s: s.aggregate(by="stauts"), StoreQueryError),
    "distinct values of an unknown field": (lambda s: s.distinct("stauts"), StoreQueryError),
    "a missing item": (lambda s: s.get("missing"), StoreNotFoundError),
    "missing items": (lambda s: s.get_many(["kept 1", "missing"]), StoreNotFoundError),
    "items of which one exists": (lambda s: s.save_many([KEPT[0]], expect=ABSENT), StoreBulkError),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_calls(what: str, store: Store):
    call, error = BAD_CALLS[what]
    with pytest.raises(error):
        call(store)


BAD_STORES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "an unknown backend": ({"backend": "filesytem"}, StoreConfigError),
    "no name": ({"backend": None}, TypeError),
    "an unknown option": ({"compresion": "gzip"}, TypeError),
    "an unknown compression": ({"compression": "rar"}, StoreConfigError),
    "pickle": ({"serialization_format": "pickle"}, StoreConfigError),
    "an unknown format": ({"serialization_format": "xml"}, StoreConfigError),
    "a namespace of nothing": ({"namespace": ""}, StoreConfigError),
    "a namespace that is None": ({"namespace": None}, TypeError),
    "a prefix with an empty part": ({"prefix": "a//b"}, StoreConfigError),
    "a path that is a number": ({"base_path": 7}, TypeError),
    "an extension without a dot": ({"file_extension": "json"}, StoreConfigError),
    "an extension with a slash": ({"file_extension": "./json"}, StoreConfigError),
    "an unknown durability": ({"durability": "maybe"}, StoreConfigError),
}


@pytest.mark.parametrize("what", BAD_STORES)
def test_stores(what: str, tmp_path: Path):
    options, error = BAD_STORES[what]
    with pytest.raises(error):
        get_store(**cast("dict[str, Any]", {"base_path": tmp_path / "store", **options}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside", "..", "."])
def test_namespaces_stay_in_their_folder(path: str, tmp_path: Path):
    with get_store(base_path=tmp_path / "store", namespace=path, prefix=path, collection=SAMPLES) as store:
        store.save(Sample("../../a"))
        assert store.list_ids() == ["../../a"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


AFTER_CLOSING: dict[str, Callable[[Store], object]] = {
    "save": lambda store: store.save(Sample("new")),
    "save_many": lambda store: store.save_many([Sample("new")]),
    "get": lambda store: store.get("kept 1"),
    "get_many": lambda store: store.get_many(["kept 1"]),
    "head": lambda store: store.head("kept 1"),
    "exists": lambda store: store.exists("kept 1"),
    "delete": lambda store: store.delete("kept 1"),
    "delete_many": lambda store: store.delete_many(["kept 1"]),
    "query": lambda store: store.query(),
    "iter_query": lambda store: list(store.iter_query()),
    "entries": lambda store: list(store.entries()),
    "list_ids": lambda store: store.list_ids(),
    "count": lambda store: store.count(),
    "aggregate": lambda store: store.aggregate(),
    "clear": lambda store: store.clear(everything=True),
    "verify": lambda store: store.verify(),
    "rebuild_index": lambda store: store.rebuild_index(),
    "maintain": lambda store: store.maintain(),
    "stats": lambda store: store.stats(),
    "initialize": lambda store: store.initialize(),
}


@pytest.mark.parametrize("operation", AFTER_CLOSING)
def test_a_closed_store(operation: str, store: Store):
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        AFTER_CLOSING[operation](store)
    assert not store.health_check().healthy


FALSE_QUERIES: dict[str, Any] = {"dict": {}, "list": [], "zero": 0, "string": "", "full dict": {"data_asset": "x"}}
QUESTIONS: dict[str, Callable[[Store, Any], object]] = {
    "clear": lambda store, query: store.clear(query),
    "query": lambda store, query: store.query(query),
    "iter_query": lambda store, query: list(store.iter_query(query)),
    "entries": lambda store, query: list(store.entries(query)),
    "list_ids": lambda store, query: store.list_ids(query),
    "count": lambda store, query: store.count(query),
    "aggregate": lambda store, query: store.aggregate(query),
    "distinct": lambda store, query: store.distinct("status", query),
}


@pytest.mark.parametrize("query", FALSE_QUERIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_only_none_means_everything(store: Store, question: str, query: str):
    """What is false is not "no condition": `clear({})` once removed every item."""
    with pytest.raises(TypeError, match="query is a StoreQuery or None"):
        QUESTIONS[question](store, FALSE_QUERIES[query])


@pytest.mark.parametrize("big", [2**64, -(2**63) - 1, 2**70])
def test_an_integer_that_messagepack_cannot_hold_beside_a_nan(store: Store, big: int):
    item = Sample("x", details={"big": big, "nan": math.nan, "tuple": (1,)})
    try:
        store.save_many([item])
    except StoreError as error:
        assert "x" in str(error)  # either is right, but nothing else
    else:
        assert store.get("x").details == {"big": big, "nan": "NaN", "tuple": [1]}
        store.delete("x")


def test_a_time_whose_offset_has_seconds_is_refused(store: Store):
    """JSON's times have no seconds in an offset: what comes back would be another moment."""
    amsterdam = datetime(1880, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32)))
    with pytest.raises(StoreWriteError, match="whole minutes"):
        store.save(Sample("x", moment=amsterdam))


@pytest.mark.parametrize("query", [{"offset": 2**63}, {"limit": 2**70}])
def test_pages_that_no_store_has(query: dict[str, Any]):
    with pytest.raises(ValueError, match="63 bits"):
        StoreQuery(**query)


@pytest.mark.parametrize("collection", [None, "results", ValidationResult])
def test_a_collection_that_is_none(collection: Any):
    with pytest.raises(TypeError, match="collection is a Collection"):
        get_store("memory", collection=collection)


def test_a_class_whose_name_would_be_the_library_s():
    class Results(msgspec.Struct):
        id: str

    with pytest.raises(StoreConfigError, match="give name="):
        Collection.of(Results)
    assert Collection.of(Results, name="my_results").name == "my_results"


@pytest.mark.parametrize("options", [{"metadata": "x"}, {"compression": ["gzip"]}])
def test_options_of_the_wrong_type(options: dict[str, Any]):
    with pytest.raises((TypeError, StoreConfigError), match=next(iter(options))):
        get_store("memory", **options)


WRONG_RESULTS: dict[str, dict[str, Any]] = {
    "checks are dicts": {"results": [{"validator_name": "not_null", "success": True}]},
    "checks are a string": {"results": "abc"},
    "statistics are a dict": {"statistics": {}},
    "statistics are None": {"statistics": None},
}


@pytest.mark.parametrize("wrong", WRONG_RESULTS)
def test_a_result_of_the_wrong_parts(wrong: str):
    with pytest.raises(TypeError, match=r"results hold|statistics are"):
        ValidationResult("x", AWARE, "asset", ResultStatus.SUCCESS, **WRONG_RESULTS[wrong])


def test_a_result_from_nothing():
    with pytest.raises(TypeError, match="data is a dict"):
        ValidationResult.from_dict(cast("Any", None))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("count", "many"), ("success", "yes"), ("details", [1]), ("column", 7), ("execution_time_ms", "long")],
)
def test_a_check_of_the_wrong_types_is_not_saved(attribute: str, value: Any):
    check = ValidatorResult("not_null", success=True)
    result = ValidationResult("x", AWARE, "asset", ResultStatus.SUCCESS, [check])
    setattr(check, attribute, value)
    with get_store("memory") as store:
        with pytest.raises(StoreWriteError, match="could not be read back"):
            store.save(result)
        assert store.list_ids() == []


def test_heads_travel_to_other_processes(store: Store):
    (head, *_) = store.entries(StoreQuery(order_by="id", ascending=True))
    again = pickle.loads(pickle.dumps(head))
    assert again == head
    assert again.meta.fields == head.meta.fields
    record = SAMPLES.encode(KEPT[1])
    assert pickle.loads(pickle.dumps(record)).meta.text == record.meta.text
