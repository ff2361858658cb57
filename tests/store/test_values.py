"""The table of docs/data-types.md holds in every format, on every backend and in every place."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from truthstore import BaseStore, Collection, StoreQuery, StoreWriteError, ValidationResult, ValidatorResult, get_store
from truthstore.model.encoding import ENCODINGS, Codec
from truthstore.testing.sample import SAMPLES, Sample

BACKENDS = ("memory", "filesystem", "database")


class Colour(enum.Enum):
    RED = "red"


class Odd(enum.Enum):
    COMPLEX = 1 + 2j
    TUPLE = (1, math.nan)
    PATH = Path("a")


class Shade(str, enum.Enum):  # noqa: UP042  # as programs for older Pythons have it
    DARK = "dark"


class Text(str):
    __slots__ = ()


VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (2**100, 2**100),
    (1.5, 1.5),
    (math.nan, "NaN"),
    (-math.inf, "-Infinity"),
    ("a\0b\u2028é", "a\0b\u2028é"),
    (Text("a"), "a"),
    (np.str_("a"), "a"),
    (Colour.RED, "red"),
    (Shade.DARK, "dark"),
    (Odd.COMPLEX, "(1+2j)"),
    (Odd.TUPLE, [1, "NaN"]),
    (Odd.PATH, "a"),
    (Path("a/b"), "a/b"),
    (b"\xff\0", "/wA="),
    (Decimal("1.10"), "1.10"),
    (Decimal("sNaN"), "sNaN"),
    (1 + 2j, "(1+2j)"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (datetime(2026, 5, 4, 6, 30), "2026-05-04T06:30:00"),  # noqa: DTZ001
    (date(2026, 5, 4), "2026-05-04"),
    (time(6, 30), "06:30:00"),
    (timedelta(days=1, seconds=2.5), "P1DT2.5S"),
    (np.int64(7), 7),
    (np.float32(0.5), 0.5),
    (np.float64("nan"), "NaN"),
    (np.longdouble(1.5), 1.5),
    (np.bool_(1), True),
    (np.datetime64("2026-05-04T06:30:00.000000001"), "2026-05-04T06:30:00.000000001"),
    (np.datetime64("2026-05-04T06:30", "m"), "2026-05-04T06:30:00"),
    (np.datetime64("2026-05-04"), "2026-05-04"),
    (np.datetime64("NaT", "us"), None),
    (np.timedelta64(90, "s").astype("timedelta64[ns]"), "PT90S"),
    (pd.Timestamp("2026-05-04T06:30:00.000000001"), "2026-05-04T06:30:00.000000001"),
    (pd.Timedelta(1, "ns"), "PT0.000000001S"),
    (pd.NaT, None),
    (pd.NA, None),
    (np.array([1.0, math.nan]), [1.0, "NaN"]),
    ((1, math.nan), [1, "NaN"]),
    ({3, 1, 2}, [1, 2, 3]),
    ({}.keys(), []),
    (pd.DataFrame([[1, 2]], columns=["a", "a"]), [{"a": 1, "a (2)": 2}]),
]
KEYS: list[tuple[Any, str]] = [
    (True, "true"),
    (None, "null"),
    (1, "1"),
    (1.5, "1.5"),
    (math.nan, "NaN"),
    ((1, 2), "[1, 2]"),
    (b"x", "eA=="),
    (Colour.RED, "red"),
    (date(2026, 5, 4), "2026-05-04"),
    (np.int64(3), "3"),
    (np.bool_(0), "false"),
    (np.datetime64("2026-05-04"), "2026-05-04"),
    (pd.NaT, "null"),
    (Path("a"), "a"),
]


@pytest.fixture(scope="module", params=BACKENDS)
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BaseStore[Any]]]:
    folder = tmp_path_factory.mktemp("values")
    opened: list[BaseStore[Any]] = []
    for encoding in ENCODINGS:
        options: dict[str, Any] = {"serialization_format": encoding, "collection": SAMPLES}
        if request.param == "filesystem":
            options["base_path"] = folder / encoding
        if request.param == "database":
            options["connection_url"] = f"sqlite:///{folder}/{encoding}.db"
        opened.append(get_store(request.param, **options))
    yield opened
    for store in opened:
        store.close()


def as_stored(details: dict[Any, Any], stores: list[BaseStore[Any]]) -> Any:
    found = []
    for store in stores:
        store.save(Sample("a", details=details))
        found.append(store.get("a").details)
    assert all(json.dumps(one, sort_keys=True) == json.dumps(found[0], sort_keys=True) for one in found)
    return found[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_value_becomes_what_the_table_says_in_every_format_and_place(
    stores: list[BaseStore[Any]], data: st.DataObject
):
    picked = data.draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=6))
    key, name = data.draw(st.sampled_from(KEYS))
    nested = {"list": [value for value, _ in picked], "dict": {key: picked[0][0]}}
    wanted = {"list": [stored for _, stored in picked], "dict": {name: picked[0][1]}}
    assert as_stored(nested, stores) == wanted


@pytest.mark.parametrize(("keys", "names"), [((1, "1"), ("1", "1 (str)")), ((Colour.RED, "red"), ("red", "red (str)"))])
def test_no_entry_is_lost_to_a_key_that_looks_alike(
    stores: list[BaseStore[Any]], keys: tuple[Any, Any], names: tuple[str, str]
):
    assert as_stored({"a": [dict.fromkeys(keys, 1)]}, stores) == {"a": [dict.fromkeys(names, 1)]}
    with get_store("memory") as store:
        checks = [ValidatorResult("a", True, details={"counts": dict.fromkeys(keys, 1), "n": Decimal("sNaN")})]
        store.save(ValidationResult("r", datetime.now(UTC), "a", "success", checks))  # type: ignore[arg-type]
        assert store.get("r").results[0].details == {"counts": dict.fromkeys(names, 1), "n": "sNaN"}


@pytest.mark.parametrize(
    "value", [object(), len, Sample, "\ud800", pd.Interval(0, 1)], ids=lambda value: type(value).__name__
)
def test_what_the_table_does_not_have_is_refused(stores: list[BaseStore[Any]], value: Any):
    for store in stores:
        with pytest.raises(StoreWriteError):
            store.save(Sample("refused", details={"a": value}))
        assert not store.exists("refused")


TEXTS = [
    ("plain", "plain"),
    (Text("sub"), "sub"),
    (np.str_("numpy"), "numpy"),
    (Colour.RED, "red"),
    (Shade.DARK, "dark"),
    (Path("a/b"), "a/b"),
]


@pytest.mark.parametrize(("given", "plain"), TEXTS, ids=repr)
def test_strings_of_any_class_are_taken_in_ids_fields_and_tags(stores: list[BaseStore[Any]], given: Any, plain: str):
    for store in stores:
        sample = Sample(given, data_asset=given, name=given, tags={given: given, "é": given})
        assert store.save(sample) == plain
        assert store.get(given) == store.get(plain) == Sample(plain, plain, name=plain, tags={plain: plain, "é": plain})
        head = store.head(given)
        assert {
            type(text) for text in (head.id, head.meta.fields["name"], *head.meta.tags, *head.meta.tags.values())
        } == {str}
        for query in (
            StoreQuery(data_asset=given),
            StoreQuery(where={"name": given}),
            StoreQuery(where={"name": ("in", [given])}),
            StoreQuery(tags={given: given}),
            StoreQuery(ids=[given]),
        ):
            assert store.list_ids(query) == [plain]
        assert store.get_many([given]).keys() == {plain}
        assert store.delete(given)


@pytest.mark.parametrize(
    "moment",
    [
        pd.Timestamp("2026-05-04T06:30", tz="UTC"),
        pd.Timestamp("2026-05-04T06:30:00.000001"),
        np.datetime64("2026-05-04T06:30:00.000001", "ns"),
    ],
    ids=repr,
)
def test_times_of_any_class_are_taken_in_fields_and_queries(stores: list[BaseStore[Any]], moment: Any):
    numbers: dict[str, Any] = {"count": np.int64(3), "ratio": np.float32(0.5), "passed": np.bool_(1)}
    for store in stores:
        store.save(Sample("t", moment=moment, seen=moment, **numbers))
        assert store.list_ids(StoreQuery(start_time=moment, end_time=moment, where={"seen": moment})) == ["t"]
        assert type(store.get("t").moment) is datetime
        assert store.list_ids(
            StoreQuery(where={"count": np.int64(3), "ratio": np.float32(0.5), "passed": np.bool_(1)})
        ) == ["t"]
        store.delete("t")


@pytest.mark.parametrize("nothing", [pd.NaT, pd.NA, np.datetime64("NaT", "us")], ids=repr)
def test_no_value_is_none_in_a_field_and_no_bound_of_a_query(stores: list[BaseStore[Any]], nothing: Any):
    for store in stores:
        store.save(Sample("n", seen=nothing))
        assert store.get("n").seen is None
        assert store.delete("n")
    with pytest.raises(TypeError, match="start_time is a datetime"):
        StoreQuery(start_time=nothing)


def test_times_with_seconds_in_their_offset_are_not_moved():
    paris = datetime(1880, 1, 1, tzinfo=pd.Timestamp("1880-01-01", tz="Europe/Paris").tzinfo)
    details = Codec(Sample).decode(Codec(Sample).encode(Sample("a", details={"when": paris}))).details
    assert datetime.fromisoformat(details["when"]) == paris


def test_a_frozen_item_is_stored_without_being_changed():
    item = SAMPLES.decode(SAMPLES.encode(given := Sample("a", details={1: {math.nan}})))  # type: ignore[dict-item]
    assert item.details == {"1": ["NaN"]}
    assert given.details.keys() == {1}
    assert Collection.of(Sample).name == "sample"
