"""The function written for a collection gives the same fields as looking them up one by one."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from truthstore import Collection, StoreWriteError
from truthstore.model.attribute_paths import follow
from truthstore.model.fields import FIRST_MOMENT, LAST_MOMENT, Field, index_value


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Inner:
    """What several fields lie in."""

    number: Any = 1
    words: Any = "x"


@dataclass
class Thing:
    """Has a field of each type; any of them may hold anything."""

    id: str = "a"
    words: Any = None
    number: Any = None
    ratio: Any = None
    flag: Any = None
    moment: Any = None
    inner: Any = field(default_factory=Inner)


THINGS = Collection.of(
    Thing,
    index={
        "words": str,
        "number": int,
        "ratio": float,
        "flag": bool,
        "moment": datetime,
        "inner_number": Field(int, "inner.number"),
        "inner_words": Field(str, "inner.words"),
    },
)
HERE = timezone(timedelta(hours=9))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["x" * 1_024, "x" * 1_025, "é" * 2_048, "é" * 2_049, "\0", "a\nb", "\ud800", b"x", [], object()]),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), sys.float_info.max, np.float64(1.5), np.int64(7), np.bool_(1)]),
    st.sampled_from([Colour.RED, Level.LOW, Decimal("1.5"), date(2026, 7, 1), timedelta(1)]),
    st.datetimes(timezones=st.sampled_from([None, UTC, HERE, timezone(timedelta(seconds=1))])),
    st.sampled_from([FIRST_MOMENT, LAST_MOMENT, FIRST_MOMENT.replace(tzinfo=None), LAST_MOMENT.replace(tzinfo=None)]),
)


def one_by_one(thing: Thing) -> dict[str, Any]:
    return {name: index_value(field, follow(thing, field.path)) for name, field in THINGS.fields.items()}


@given(st.data())
def test_any_value_is_indexed_or_refused_as_it_is_by_itself(data: st.DataObject):
    thing = Thing()
    for name in data.draw(
        st.lists(st.sampled_from(["words", "number", "ratio", "flag", "moment", "inner"]), max_size=3)
    ):
        setattr(thing, name, data.draw(VALUES))
    if isinstance(thing.inner, Inner):
        thing.inner.number = data.draw(VALUES)
    try:
        wanted = one_by_one(thing)
    except (TypeError, ValueError, OverflowError, AttributeError, StoreWriteError):
        with pytest.raises(StoreWriteError):
            THINGS.fields_of(thing)
        return
    found = THINGS.fields_of(thing)
    assert found == wanted
    assert list(map(type, found.values())) == list(map(type, wanted.values()))


def test_the_way_may_lead_through_nothing_or_through_dicts():
    assert THINGS.fields_of(Thing(inner=None))["inner_number"] is None
    assert THINGS.fields_of(Thing(inner={"number": 7}))["inner_number"] == 7
    assert THINGS.fields_of(Thing(inner=Inner(number=8)))["inner_number"] == 8


@pytest.mark.parametrize("step", ["two words", "class", "x-y", "0", "x;import os"])
def test_steps_that_are_no_names_are_keys_of_dicts(step: str):
    things = Collection.of(Thing, index={"found": Field(int, f"inner.{step}")})
    assert things.fields_of(Thing(inner={step: 7})) == {"found": 7}


@pytest.mark.parametrize("step", ["items", "values", "copy", "count"])
def test_steps_that_are_methods_too_are_keys_of_dicts(step: str):
    things = Collection.of(Thing, index={"found": Field(int, f"inner.{step}")})
    for _ in range(2):
        assert things.fields_of(Thing(inner={step: 7})) == {"found": 7}
        assert things.fields_of(Thing(inner={})) == {"found": None}


def test_a_wrong_value_is_told_with_its_field():
    with pytest.raises(StoreWriteError, match=r"thing\.inner_number: expected an integer, got str"):
        THINGS.fields_of(Thing(inner=Inner(number="seven")))
