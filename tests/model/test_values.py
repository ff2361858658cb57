from __future__ import annotations

import dataclasses
import enum
import json
import math
import uuid
import warnings
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from truthstore.model.values import capped, name_of, sample, storable, storable_mapping, text_of

HALF_PAST = timezone(timedelta(hours=5, minutes=30))


class Colour(enum.Enum):
    RED = "red"
    WARM = ("red", "yellow")


class Level(enum.IntEnum):
    LOW = 1


def without_unit(value: int | str) -> np.timedelta64:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy is giving it up
        return np.timedelta64(value)


@dataclasses.dataclass
class Limits:
    low: float
    high: float


class Point(msgspec.Struct):
    x: int
    y: int | None = None


class WithJson:
    def to_json_dict(self):
        return {"a": np.int64(1)}


class Plain:
    def __str__(self):
        return "plain"


class Pair(NamedTuple):
    left: int
    right: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool(1), True),
        (3, 3),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (2**100, 2**100),
        (Level.LOW, 1),
        (1.5, 1.5),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.float16("nan"), "NaN"),
        (float("nan"), "NaN"),
        (np.float64("inf"), "Infinity"),
        (-math.inf, "-Infinity"),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        (Fraction(1, 3), "1/3"),
        (1 + 2j, "(1+2j)"),
        (np.complex128(1 + 2j), "(1+2j)"),
        ("text", "text"),
        (np.str_("text"), "text"),
        ("a\0b", "a\\x00b"),
        ("a\ud800b", "a\\ud800b"),
        ("zwei\nZeilen\u2028", "zwei\nZeilen\u2028"),
        (b"\xff\0", "/wA="),
        (bytearray(b"a"), "YQ=="),
        (np.bytes_(b"a"), "YQ=="),
        (Colour.RED, "red"),
        (Colour.WARM, ["red", "yellow"]),
        (datetime.fromisoformat("2024-01-02T03:04:05.000600"), "2024-01-02T03:04:05.000600"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (datetime(2024, 1, 2, tzinfo=HALF_PAST), "2024-01-02T00:00:00+05:30"),
        (date(2024, 1, 2), "2024-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(days=1, seconds=2.5), "P1DT2.5S"),
        (pd.Timestamp("2024-01-02 03:04", tz="Europe/Paris"), "2024-01-02T03:04:00+01:00"),
        (pd.Timestamp("2024-01-02 03:04"), "2024-01-02T03:04:00"),
        (pd.Timestamp("2024-01-02 03:04:05.123456789"), "2024-01-02T03:04:05.123456789"),
        (np.datetime64("2024-01-02T03:04:05.000000001"), "2024-01-02T03:04:05.000000001"),
        (np.datetime64("2024-01-02T03:04", "ns"), "2024-01-02T03:04:00"),
        (np.datetime64("2024-01-02T03", "h"), "2024-01-02T03:00:00"),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.datetime64("2024", "Y"), "2024-01-01"),
        (np.datetime64("20000-01-02"), "20000-01-02"),
        (np.datetime64(1, "as"), "1970-01-01T00:00:00.000000000000000001"),
        (np.datetime64("NaT", "us"), None),
        (np.timedelta64(90, "s"), "PT90S"),
        (np.timedelta64(90, "s").astype("timedelta64[ns]"), "PT90S"),
        (np.timedelta64(-86_400_000_000_001, "ns"), "-P1DT0.000000001S"),
        (np.array(3, "m8[25fs]"), "PT0.000000000000075S"),
        (np.timedelta64(5, "Y"), "P5Y"),
        (np.timedelta64(-5, "M"), "-P5M"),
        (np.timedelta64(2**60, "W"), f"P{7 * 2**60}D"),
        (without_unit(7), 7),
        (pd.Timedelta(-5, "ns"), "-PT0.000000005S"),
        (np.longdouble(1.5), 1.5),
        (np.array([np.longdouble("inf")]), ["Infinity"]),
        (np.clongdouble(1.5), "(1.5+0j)"),
        (without_unit("NaT"), None),
        (pd.Timedelta(days=1), "P1D"),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Period("2024-01"), "2024-01"),
        (pd.Interval(0, 1), "(0, 1]"),
        (Path("a/b"), "a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ((1, np.int64(2)), [1, 2]),
        ({3, 1, 2.5}, [1, 2.5, 3]),
        (frozenset({"b", "a", None, 1, (0,)}), [None, [0], 1, "a", "b"]),
        (Pair(1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), [[1.0, "NaN"], [2.0, 3.0]]),
        (np.array(7), 7),
        (np.array(["2024-01-02", "NaT"], dtype="datetime64[ns]"), ["2024-01-02T00:00:00", None]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series(pd.to_datetime(["2024-01-02", None])), ["2024-01-02T00:00:00", None]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        (pd.Categorical(["a", None]), ["a", "NaN"]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": "NaN"}]),
        (
            pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a", "a (2)", "a"]),
            [{"a": 1, "a (2)": 2, "a (2) (2)": 3, "a (3)": 4}],
        ),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}),
        ({None: 1, True: 2, (1, 2): 3, 1.5: 4}, {"null": 1, "true": 2, "[1, 2]": 3, "1.5": 4}),
        ({date(2024, 1, 2): 1}, {"2024-01-02": 1}),
        (Limits(0, math.inf), {"low": 0, "high": "Infinity"}),
        (Point(1), {"x": 1, "y": None}),
        (WithJson(), {"a": 1}),
        (Plain(), "plain"),
        (len, "builtins.len"),
        (Limits, f"{__name__}.Limits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_becomes(value, expected):
    found = storable(value)
    assert found == expected
    assert type(found) is type(expected)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_polars_values():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"day": [date(2024, 1, 2), None], "x": [1.5, math.nan]})
    assert storable(table) == [{"day": "2024-01-02", "x": 1.5}, {"day": None, "x": "NaN"}]
    assert storable(table["x"]) == [1.5, "NaN"]


def test_what_holds_itself_is_refused():
    cycle: list[object] = []
    cycle.append({"inside": cycle})
    with pytest.raises(ValueError, match="holds itself"):
        storable(cycle)
    mapping: dict[str, object] = {}
    mapping["self"] = mapping
    with pytest.raises(ValueError, match="holds itself"):
        storable_mapping(mapping)


def test_what_is_used_twice_is_not_a_cycle():
    shared = [1]
    assert storable({"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


def test_too_deep():
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match="deeper than 100"):
        storable(deep)


def test_three_keys_that_look_alike_are_all_kept():
    keys = [1, np.int64(1), "1", Plain()]
    # Equal numbers are one key of a dict; a Plain is not a string that looks like another.
    assert storable({keys[0]: "a", keys[2]: "b", keys[3]: "c"}) == {"1": "a", "1 (str)": "b", "plain": "c"}
    assert storable({Plain(): 1, "plain": 2, "plain (str)": 3}) == {
        "plain": 1,
        "plain (str)": 2,
        "plain (str) (str)": 3,
    }


def test_samples_are_capped():
    assert sample(range(1_000)) == list(range(20))
    assert sample(["x" * 5_000], 1) == ["x" * 1_000 + "…"]
    assert sample(iter([])) == []


def test_long_lists_are_capped_wherever_they_are():
    value = {"a": [list(range(3)), 1, 2, 3], "b": "text" * 100}
    assert capped(value, 2) == {"a": [[0, 1, "… 1 more"], 1, "… 2 more"], "b": "text" * 100}
    assert capped(list(range(100))) == list(range(100))


@pytest.mark.parametrize(
    ("name", "expected"), [(None, None), ("a", "a"), (3, "3"), (("a", 1), "a.1"), (np.int64(2), "2"), ("\0", "\\x00")]
)
def test_names(name, expected):
    assert name_of(name) == expected


def test_text_of_any_object():
    assert text_of(ValueError("bad \ud800")) == "bad \\ud800"


keys = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(), st.dates(), st.tuples(st.integers()))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None)),
    st.binary(),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.datetimes(timezones=st.sampled_from([None, UTC, HALF_PAST])),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([pd.NaT, pd.NA, Colour.RED, Level.LOW]),
    st.floats().map(np.float64),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(-(2**40), 2**40).map(lambda second: np.datetime64(second, "s")),
)


def hashable(value):
    # pd.NA and signalling NaN cannot be members of a set that Hypothesis builds.
    return value is not pd.NA and not (isinstance(value, Decimal) and value.is_snan())


things = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(scalars.filter(hashable), max_size=4),
    ),
    max_leaves=12,
)


@given(things)
def test_whatever_goes_in_comes_back_equal(value):
    found = storable(value)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert storable(found) == found


@given(st.dictionaries(keys, st.booleans(), max_size=8))
def test_no_entry_of_a_mapping_is_lost(mapping):
    assert list(storable_mapping(mapping).values()) == list(mapping.values())


@given(st.sets(st.one_of(st.text(), st.integers(), st.none(), st.floats(allow_nan=False)), max_size=8))
def test_sets_have_one_order(members):
    assert storable(members) == storable(frozenset(reversed(list(members))))
