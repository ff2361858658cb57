"""Hypothesis strategies: ids, tags, items and queries, all of them valid and many of them nasty."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from truthstore.items.checks import ResultStatus, ValidatorResult
from truthstore.items.results import ValidationResult
from truthstore.model.fields import MAX_ID
from truthstore.model.query import StoreQuery
from truthstore.testing.sample import BASE_TIME, COUNTS, NAMES, NOTES, RATIOS, STATUSES, TAGS, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from truthstore.model.collection import Collection

__all__ = ["NASTY_IDS", "ids", "json_values", "queries", "samples", "tags", "times", "validation_results"]

NASTY_IDS: Final = (
    "plain",
    "../../x",
    "..",
    ".",
    "...",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "a//b",
    "a/",
    "/",
    "~",
    "x" * 180,
    "x" * 181,
    "x" * 500,
    "x" * 1_023 + "y",
    "x" * 1_024,
    "é" * 1_024,
    "🦉" * 1_024,
    "🦉",
    "CON",
    "con",
    "nul.txt",
    "NUL",
    "com1",
    "aux.json",
    "name",
    "Name",
    "NAME",
    "caf\u00e9",
    "cafe\u0301",
    "ﬁ",
    "fi",
    "ß",
    "ẞ",
    ".dot",
    "dot.",
    " space",
    "space ",
    " ",
    "_index",
    "_truthstore",
    "_results",
    ".truthstore",
    ".pending",
    ".hidden",
    "%41",
    "A",
    "a",
    "%",
    "%2",
    "%2f",
    "%252f",
    "a%2fb",
    "a b",
    "a+b",
    "a\u00a0b",
    "a\u200bb",
    "a\u2028b",
    "\ufeffa",
    "\uffff",
    "file.json",
    "file.json.gz",
    "file.json.json",
    "tmp.123",
    "a:b",
    "C:\\x",
    "a*b?",
    "'; DROP TABLE results; --",
    '"quoted"',
    "`back`",
    "$(id)",
    "{brace}",
    "[0]",
    "#",
    "?query=1",
    "a&b=c",
    "-rf",
    "--",
    "0",
    "null",
    "None",
)
"""Ids that have broken stores."""

_CHARACTERS: Final = st.characters(exclude_categories=("Cc", "Cs"))
_STORABLE: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def ids(max_size: int = MAX_ID) -> st.SearchStrategy[str]:
    """Return ids that every store must take."""
    short = st.text(_CHARACTERS, min_size=1, max_size=min(max_size, 40))
    return st.sampled_from([id for id in NASTY_IDS if len(id) <= max_size]) | short


def times() -> st.SearchStrategy[datetime]:
    """Draw aware times with microseconds, in several zones, many of them equal."""
    zones = st.sampled_from([UTC, timezone(timedelta(hours=-8)), timezone(timedelta(hours=5, minutes=30))])
    near = st.builds(
        lambda hours, micro, zone: (BASE_TIME + timedelta(hours=hours, microseconds=micro)).astimezone(zone),
        st.integers(-3, 3),
        st.integers(0, 1),
        zones,
    )
    return near | st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=zones)  # noqa: DTZ001  # zones follow


def _text(max_size: int) -> st.SearchStrategy[str]:
    return st.text(_STORABLE, max_size=max_size)


def tags() -> st.SearchStrategy[dict[str, str]]:
    """Draw tags within the limits."""
    return st.sampled_from(TAGS).map(dict) | st.dictionaries(_text(5).filter(bool), _text(5), max_size=4)


def json_values() -> st.SearchStrategy[Any]:
    """Draw values that free-form dicts give back unchanged: JSON with 64-bit integers and any Unicode."""
    leaves: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _text(10)
    leaves |= st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text(5), inner, max_size=3), max_leaves=8
    )


def samples(id: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Sample]:
    """Draw samples whose fields are often equal, often None, and at times extreme."""
    return st.builds(
        Sample,
        id=ids() if id is None else id,
        data_asset=st.sampled_from(["orders", "Orders", "päyments", None]),
        status=st.sampled_from(STATUSES),
        name=st.sampled_from(NAMES) | _text(8),
        count=st.sampled_from(COUNTS) | st.integers(-(2**63), 2**63 - 1),
        # Databases without infinity keep it as the greatest float, and that one as the one before it.
        ratio=st.sampled_from(RATIOS) | st.floats().filter(lambda ratio: abs(ratio) != sys.float_info.max),
        passed=st.none() | st.booleans(),
        moment=st.none() | times(),
        seen=st.none() | times(),
        note=st.sampled_from(NOTES) | _text(20),
        tags=tags(),
        details=st.dictionaries(_text(5), json_values(), max_size=2),
    )


def _checks() -> st.SearchStrategy[ValidatorResult]:
    return st.builds(
        ValidatorResult,
        validator_name=_text(10),
        success=st.booleans(),
        column=st.none() | _text(10),
        issue_type=st.none() | st.sampled_from(["null", "range", "validator_error"]),
        count=st.integers(0, 2**53),
        severity=st.none() | st.sampled_from(["critical", "high", "medium", "low"]),
        message=st.none() | _text(20),
        details=st.dictionaries(_text(5), json_values(), max_size=2),
        execution_time_ms=st.floats(0, 1e9),
    )


@st.composite
def validation_results(draw: st.DrawFn, id: st.SearchStrategy[str] | None = None) -> ValidationResult:
    """Draw validation results with statuses and statistics that follow from their checks."""
    checks = draw(st.lists(_checks(), max_size=3))
    return ValidationResult(
        run_id=draw(ids() if id is None else id),
        run_time=draw(times()),
        data_asset=draw(st.sampled_from(["orders", "customers", "päyments"])),
        status=ResultStatus.of(checks),
        results=checks,
        tags=draw(tags()),
        metadata=draw(st.dictionaries(_text(5), json_values(), max_size=2)),
        suite_name=draw(st.none() | st.sampled_from(["daily", "weekly"])),
    )


_VALUES: Final[dict[type, st.SearchStrategy[Any]]] = {
    str: st.sampled_from([name for name in (*NAMES, "orders", "success") if name is not None]) | _text(4),
    int: st.sampled_from([count for count in COUNTS if count is not None]) | st.integers(-(2**63), 2**63 - 1),
    float: st.sampled_from([ratio for ratio in RATIOS if ratio is not None and ratio == ratio]),  # noqa: PLR0124  # NaN
    bool: st.booleans(),
    datetime: times(),
}


@st.composite
def _conditions(draw: st.DrawFn, collection: Collection[Any]) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(sorted(collection.fields)), max_size=2, unique=True)):
        values = _VALUES[collection.fields[name].type]
        operator = draw(st.sampled_from(["", "==", "!=", "<", "<=", ">", ">=", "in"]))
        if operator == "in":
            where[name] = (operator, draw(st.lists(st.none() | values, max_size=3)))
        elif operator in {"", "==", "!="}:
            value = draw(st.none() | values)
            where[name] = (operator, value) if operator else value
        else:
            where[name] = (operator, draw(values))
    return where


@st.composite
def queries(draw: st.DrawFn, collection: Collection[Any], *, known: Sequence[str] = ()) -> StoreQuery:
    """Query of every shape that are valid for a collection.

    Args:
        draw: given by Hypothesis.
        collection: what they are for.
        known: ids that may be there, for conditions on ids.
    """

    def rarely(strategy: st.SearchStrategy[Any]) -> Any:
        return draw(strategy) if draw(st.integers(0, 3)) == 0 else None

    assets = st.sampled_from(["orders", "Orders", "nobody"])
    some_ids = st.lists((st.sampled_from(list(known)) if known else ids(20)) | ids(20), max_size=5)
    return StoreQuery(
        data_asset=rarely(assets) if "data_asset" in collection.fields else None,
        status=rarely(st.sampled_from(["success", "failure"])) if "status" in collection.fields else None,
        start_time=rarely(times()) if collection.time else None,
        end_time=rarely(times()) if collection.time else None,
        tags=rarely(st.sampled_from([{"team": "data"}, {"a.b": "1"}, {"team": "data", "stage": "prod"}]) | tags()),
        where=draw(_conditions(collection)),
        text=rarely(st.sampled_from(["orders", "TABLE orders", "strasse", "straße", "a b", "", "étÉ"]))
        if collection.text
        else None,
        ids=rarely(some_ids),
        order_by=draw(st.sampled_from([*sorted(collection.fields), "run_time", "id", "size", "stored_at"])),
        ascending=draw(st.booleans()),
        limit=draw(st.none() | st.integers(0, 10)),
        offset=draw(st.sampled_from([0, 0, 0, 1, 3])),
    )
