"""Random histories: every question, on every store, is answered as plain Python over the results answers it."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.checks.runs import HOUR, NOW, OPENERS
from truthstore import (
    RESULTS,
    BaseStore,
    Record,
    RecordStore,
    ResultStatus,
    StoreQuery,
    ValidationResult,
    ValidatorResult,
)
from truthstore.checks import Check, CheckQuery
from truthstore.items.checks import CheckStatus
from truthstore.model.projection import SEPARATOR
from truthstore.testing.questions import Answers, Place, Seen

ZONES = (UTC, timezone(timedelta(hours=5, minutes=30)))


@st.composite
def checks(draw: st.DrawFn) -> ValidatorResult:
    status = draw(st.sampled_from(list(CheckStatus)) | st.sampled_from(["success", "failure"]))
    return ValidatorResult(
        draw(st.sampled_from(["unique", "not_null", "in_range"])),
        status == "success",
        column=draw(st.sampled_from(["id", "amount", None])),
        status=str(status),
        count=draw(st.sampled_from([None, 0, 1, 5])),
        severity=draw(st.sampled_from([None, "high", "low"])),
        owner=draw(st.sampled_from([None, "ana", "bo"])),
    )


@st.composite
def runs(draw: st.DrawFn) -> list[ValidationResult]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        results = draw(st.lists(checks(), max_size=4))
        # Few moments, so that many are equal; in several zones, so that none is compared as text.
        time = (NOW - draw(st.integers(0, 5)) * HOUR).astimezone(draw(st.sampled_from(ZONES)))
        found.append(
            ValidationResult(
                f"run_{number}",
                time,
                draw(st.sampled_from(["orders", "customers"])),
                ResultStatus.of(results),
                results,
                tags=draw(st.sampled_from([{}, {"team": "crm"}])),
            )
        )
    return found


IDS = ["id unique", "amount unique", "not_null", "id in_range"]
aliases = st.dictionaries(st.sampled_from(IDS[:2]), st.sampled_from([*IDS[2:], "id renamed"]), max_size=2)
owners = st.dictionaries(
    st.tuples(st.sampled_from(["orders", "customers"]), st.sampled_from(IDS)), st.sampled_from(["bo", "cy"]), max_size=2
)


def places(checks: list[Check]) -> list[Place]:
    return [(check.run_id, _number(check.row)) for check in checks]


def _number(row: str) -> int:
    item, _, number = row.rpartition(SEPARATOR)
    return int(item.rpartition(".")[2]) if "." in item else int(number)  # a part holds one check here


def save(store: BaseStore[Any], results: list[ValidationResult], in_parts: set[int]) -> None:
    """Save results, some of them in parts of one check."""
    for number, result in enumerate(results):
        if number not in in_parts:
            store.save(result)
            continue
        with store.open_run(result.run_id, result.data_asset, run_time=result.run_time, tags=result.tags) as run:
            for one in result.results:
                run.add(one)
                run.flush()


@pytest.mark.parametrize("kind", sorted(OPENERS))
def test_every_question_is_answered_as_python_over_the_results_does(kind: str):
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(runs(), st.sets(st.integers(0, 7)), aliases, owners, st.integers(0, 6), st.integers(2, 5))
    def compare(
        results: list[ValidationResult],
        in_parts: set[int],
        renamed: dict[str, str],
        assigned: dict[tuple[str, str], str],
        hours: int,
        window: int,
    ) -> None:
        with tempfile.TemporaryDirectory() as folder, OPENERS[kind](Path(folder)) as store:
            save(store, results, in_parts)
            said = _say(store, renamed, assigned)
            _compare(store, Answers(results, *said), NOW - hours * HOUR, window)

    compare()


def _say(
    store: BaseStore[Any], renamed: dict[str, str], assigned: dict[tuple[str, str], str]
) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Say what can be said, of checks that are there; what was said, under the identities that hold in the end."""
    there = {(check.data_asset, check.check_id) for check in store.checks.query()}
    names = {old: new for old, new in renamed.items() if old in {id for _, id in there}}
    owned: dict[tuple[str, str], str] = {}
    for (asset, id), owner in assigned.items():
        if (asset, id) in there:
            store.checks.assign(id, owner, data_asset=asset)
            owned.pop((asset, names.get(id, id)), None)
            owned[asset, names.get(id, id)] = owner
    for old, new in names.items():
        store.checks.alias(old, new)
    return names, owned


def _compare(store: BaseStore[Any], wanted: Answers, since: datetime, window: int) -> None:
    asked = store.checks
    assert places(asked.query()) == wanted.query()
    assert places(asked.query(CheckQuery(limit=3))) == wanted.query()[:3]
    assert asked.count() == len(wanted.seen)
    for query, holds in conditions(since):
        part = wanted.where(holds)
        assert places(asked.query(query)) == part.query()
        assert asked.count(query) == len(part.seen)
    for field, key in KEYS.items():
        groups = wanted.groups(key)
        rows = asked.aggregate(by=field, metrics=("count", "pass_rate", "sum:failed"))
        assert {row[field]: (row["count"], row["pass_rate"], row["sum:failed"]) for row in rows} == groups
        assert asked.distinct(field) == sorted(value for value in groups if value is not None)
        assert [(one.value, one.count, one.unsuccessful) for one in asked.worst(field, 100)] == wanted.worst(key)
    days = asked.aggregate(bucket="hour", metrics=("pass_rate",))
    assert {row["bucket"]: row["pass_rate"] for row in days} == {
        hour: rate
        for hour, (_, rate, _) in wanted.groups(
            lambda one: one.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        ).items()
    }
    assert places(asked.latest()) == wanted.latest()
    assert places(asked.newly_failing(since)) == wanted.turned(since, failing=True)
    assert places(asked.recovered(since)) == wanted.turned(since, failing=False)
    some = [one.series for one in wanted.seen[:3]] + [("nobody", "id unique")]
    for of, keep, series in (
        (StoreQuery(end_time=since), StoreQuery(where={"status": "failure"}), None),
        (StoreQuery(), StoreQuery(tags={"team": "crm"}), some),
        (StoreQuery(tags={"team": "crm"}), StoreQuery(), []),
    ):
        found = store.newest_rows(of, keep, collection=RESULTS, series=series)
        assert _heads(found) == _heads(RecordStore.newest_rows(store, of, keep, collection=RESULTS, series=series))
    crm = wanted.where(lambda one: one.tags.get("team") == "crm")
    assert places(asked.newly_failing(since, query=CheckQuery(tags={"team": "crm"}))) == crm.turned(since, failing=True)
    max_age = datetime.now(UTC) - since + HOUR / 2
    overdue = asked.overdue(max_age)
    late = set(places(list(overdue.checks))), {one.data_asset for one in overdue.assets}
    assert late == wanted.overdue(since - HOUR / 2)
    flaky = {places([one.check])[0]: (one.outcomes, one.switches, one.last_switch) for one in asked.flaky(window)}
    assert flaky == wanted.flaky(window)
    for asset, id in {one.series for one in wanted.seen if one.status not in {"skipped", "not_evaluated"}}:
        blame = asked.blame(id, asset)
        shown = [None if one is None else places([one])[0] for one in (blame.last_good, blame.since)]
        assert (*shown, blame.failures) == wanted.blame(asset, id)
    for asset in store.list_assets():
        newer, *older = store.list_runs(asset)[:2]
        for before in older:
            comparison = asked.compare(before, newer)
            names = ("new", "fixed", "still", "missing", "added")
            assert {name: {one.check_id for one in getattr(comparison, name)} for name in names} == wanted.compare(
                before, newer
            )
            assert asked.compare_latest(asset) == comparison


def _heads(rows: list[Record]) -> list[tuple[str, Any]]:
    return [(row.id, dict(row.meta.fields)) for row in rows]


KEYS: dict[str, Any] = {
    "check_id": lambda one: one.id,
    "owner": lambda one: one.owner,
    "data_asset": lambda one: one.asset,
    "status": lambda one: one.status,
    "column": lambda one: one.check.column,
}


def conditions(since: datetime) -> list[tuple[CheckQuery, Any]]:
    def has(name: str, value: object) -> Any:
        return lambda one: getattr(one.check, name) == value

    def is_late(one: Seen) -> bool:
        return one.time >= since

    return [
        (CheckQuery(data_asset="orders"), lambda one: one.asset == "orders"),
        (CheckQuery(check_id="not_null"), lambda one: one.id == "not_null"),
        (CheckQuery(name="unique"), has("validator_name", "unique")),
        (CheckQuery(column="id"), has("column", "id")),
        (CheckQuery(severity="high"), has("severity", "high")),
        (CheckQuery(owner="bo"), lambda one: one.owner == "bo"),
        (CheckQuery(status="failure"), lambda one: one.status == "failure"),
        (CheckQuery(status=("error", "warning")), lambda one: one.status in {"error", "warning"}),
        (CheckQuery(run_id="run_1"), lambda one: one.place[0] == "run_1"),
        (CheckQuery(tags={"team": "crm"}), lambda one: one.tags.get("team") == "crm"),
        (CheckQuery(start_time=since), is_late),
        (CheckQuery(end_time=since), lambda one: one.time <= since),
        (CheckQuery(where={"failed": (">", 1)}, owner="ana"), _fails_for_ana),
    ]


def _fails_for_ana(one: Seen) -> bool:
    known = one.broken or one.status == "success"
    return one.owner == "ana" and known and (one.check.count or 0) > 1
