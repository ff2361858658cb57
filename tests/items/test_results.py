from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree.ElementTree import fromstring

import msgspec
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from truthstore import StoreQuery, get_store
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreWriteError
from truthstore.expectations import SUITES, Expectation, ExpectationSuite
from truthstore.items.checks import status_of
from truthstore.items.results import _is_canonical
from truthstore.model.collection import Collection
from truthstore.results import (
    RESULTS,
    VALIDATOR_ERROR,
    ResultStatistics,
    ResultStatus,
    ValidationResult,
    ValidatorResult,
    new_run_id,
)

NOON = datetime(2024, 5, 1, 12, 0, 0, 250, tzinfo=UTC)
TOKYO = timezone(timedelta(hours=9))
YEARS = (datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2100-01-01"))


def check(
    severity: str | None = "high",
    *,
    success: bool = False,
    column: str | None = "a",
    issue_type: str | None = "null",
    **values: Any,
):
    return ValidatorResult("not null", success, column, issue_type, severity=severity, **values)


def run(*results: ValidatorResult, status: Any = "failure", **values: Any):
    return ValidationResult("run-1", NOON, "customers.csv", status, list(results), **values)


def test_no_optional_dependency_is_imported():
    script = (
        "import sys, truthstore.interop, truthstore.expectations;"
        "print({'numpy', 'pandas', 'polars', 'pandera', 'great_expectations', 'truthound'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_fields_come_in_their_documented_order():
    statistics = ResultStatistics(total_validators=1)
    result = ValidationResult(
        "r", NOON, "a", ResultStatus.ERROR, [check()], statistics, {"k": "v"}, {"m": 1}, "suite", {"python": "3.11"}
    )
    assert (result.id, result.run_id, result.run_time, result.data_asset) == ("r", "r", NOON, "a")
    assert (result.status, result.statistics, result.tags, result.metadata) == (
        "error",
        statistics,
        {"k": "v"},
        {"m": 1},
    )
    assert (result.suite_name, result.runtime_environment) == ("suite", {"python": "3.11"})


def test_figures_are_counted_if_they_are_left_out():
    passed, broken = check(None, success=True, issue_type=None), check(None, issue_type=VALIDATOR_ERROR)
    result = run(check("critical"), check("low", execution_time_ms=2.0), check(None), passed, broken)
    assert result.statistics == ResultStatistics(
        total_validators=5,
        passed_validators=1,
        failed_validators=3,
        error_validators=1,
        total_issues=3,
        critical_issues=1,
        low_issues=1,
        execution_time_ms=2.0,
        warning_validators=1,
    )
    assert result.issue_count == 3
    assert result.statistics.pass_rate == 0.2
    sized = run(check(), statistics=ResultStatistics(total_rows=4, execution_time_ms=9.0))
    assert (sized.statistics.total_rows, sized.statistics.execution_time_ms) == (4, 9.0)
    assert sized.statistics.issue_rate == 0.25
    told = run(check(), statistics=ResultStatistics(total_validators=7, total_issues=5))
    assert told.issue_count == 5


def test_figures_given_without_the_number_of_warnings_follow_the_checks_all_the_same():
    given = ResultStatistics.from_results([check("low")])
    given.warning_validators = 0
    result = run(check("low"), statistics=given)
    assert result.counted
    assert result.statistics.warning_validators == 1


def test_what_did_not_run_has_not_passed():
    states = ["success", "warning", "failure", "error", "skipped", "not_evaluated"]
    result = run(*(ValidatorResult(name, name == "success", status=name) for name in states))
    figures = result.statistics
    assert (figures.passed_validators, figures.failed_validators, figures.warning_validators) == (1, 2, 1)
    assert (figures.error_validators, figures.skipped_validators, figures.not_evaluated_validators) == (1, 1, 1)
    assert figures.total_validators == 6
    assert figures.pass_rate == 0.2
    assert result.status == "failure"
    assert "1 not evaluated, 1 skipped" in result.summary()
    assert [status_of(one) for one in result.results] == states


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["success", "skipped"], "success"),
        (["skipped"], "error"),
        (["success", "not_evaluated"], "error"),
        (["warning", "not_evaluated"], "error"),
        (["success", "warning", "skipped"], "warning"),
        (["not_evaluated", "failure"], "failure"),
    ],
)
def test_silence_is_no_success(states: list[str], status: str):
    checks = [ValidatorResult(name, name == "success", status=name) for name in states]
    assert ResultStatus.of(checks) == status
    assert run(*checks, status="success").status == status


@pytest.mark.parametrize(
    ("success", "status"), [(True, "failure"), (True, "skipped"), (False, "success"), (False, "fail")]
)
def test_a_check_that_contradicts_itself_is_refused(success: bool, status: str):
    with pytest.raises(ValueError, match="check 'unique'"):
        run(ValidatorResult("unique", success, status=status))
    edited = run(ValidatorResult("unique", success=success))
    edited.results[0].status = status
    with pytest.raises(StoreWriteError, match="check 'unique'"):
        RESULTS.encode(edited)


def test_a_check_says_what_it_looked_at():
    before = ValidatorResult(
        "latitude, longitude unique",
        success=False,
        column="latitude, longitude",
        count=3,
        check_id="dbt:test.shop.unique",
        checked=100,
        observed=0.97,
        expected="1.0",
        owner="data",
        columns=("latitude", "longitude"),
    )
    result = run(before, interval_start=datetime(2026, 1, 1, tzinfo=UTC), interval_end="2026-02-01T00:00:00+00:00")
    again = RESULTS.decode(RESULTS.encode(result))
    assert again == result
    assert ValidationResult.from_dict(result.to_dict()) == result


def test_rates_of_nothing():
    assert ResultStatistics().pass_rate is None
    assert ResultStatistics(total_issues=3).issue_rate == 0.0


@pytest.mark.parametrize(
    ("severities", "status"),
    [
        ([], "success"),
        (["low"], "warning"),
        (["Medium", "low"], "warning"),
        (["low", "high"], "failure"),
        (["critical"], "failure"),
        ([None], "failure"),
        (["something else"], "failure"),
    ],
)
def test_status_follows_from_severity(severities, status):
    assert ResultStatus.of([check(None, success=True), *map(check, severities)]) == status


def test_a_check_that_could_not_run_is_neither_passed_nor_failed():
    broken = check("critical", issue_type=VALIDATOR_ERROR)
    assert ResultStatus.of([broken]) is ResultStatus.ERROR
    assert ResultStatus.of([broken, check("low")]) is ResultStatus.ERROR
    assert ResultStatus.of([broken, check("high")]) is ResultStatus.FAILURE
    assert run(broken).get_issues_by_severity("critical") == []


def test_status_and_time_may_be_strings():
    result = ValidationResult("r", "2024-05-01T12:00:00.000250+00:00", "a", "warning")  # type: ignore[arg-type]
    assert result.status is ResultStatus.WARNING
    assert result.run_time == NOON
    timestamp = pd.Timestamp(NOON)
    assert isinstance(timestamp, datetime)
    assert ValidationResult("r", timestamp, "a", ResultStatus.SUCCESS).run_time == NOON
    with pytest.raises(ValueError, match="not 'bad'"):
        ValidationResult("r", NOON, "a", "bad")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="run_time must be a datetime"):
        ValidationResult("r", 12, "a", "success")  # type: ignore[arg-type]


def test_questions():
    result = run(check("HIGH", column="b"), check("low"), check("high", column=None), check(success=True, column="c"))
    assert result.get_failed_columns() == {"a", "b"}
    assert [r.column for r in result.get_issues_by_severity("High")] == ["b", None]
    assert not result.success
    assert run(status="success").success


def test_summary():
    result = run(
        *(check("critical", column=str(n)) for n in range(1_200)),
        check(None, issue_type=VALIDATOR_ERROR),
        statistics=ResultStatistics(total_rows=5_000),
    )
    assert result.summary() == (
        "customers.csv: failure, 1,200 issues (1,200 critical), 0 of 1,201 checks passed, 1 could not run, "
        "5,000 rows, at 2024-05-01 12:00:00+00:00 [run-1]"
    )
    assert run(check("low")).summary().startswith("customers.csv: failure, 1 issue (1 low), ")
    assert "\n" not in result.summary()


def test_to_dict_is_complete_and_of_builtins():
    document = run(check(details={"when": NOON, "nan": float("nan")}), tags={"a": "b"}).to_dict()
    assert list(document) == list(ValidationResult.__struct_fields__)
    assert document["run_time"] == "2024-05-01T12:00:00.000250+00:00"
    assert type(document["status"]) is str
    assert document["results"][0]["details"] == {"when": "2024-05-01T12:00:00.000250+00:00", "nan": "NaN"}
    assert document["results"][0]["message"] is None
    assert document["statistics"]["pass_rate"] == 0.0
    assert msgspec.json.decode(msgspec.json.encode(document)) == document


def test_from_dict_takes_what_people_have():
    assert ValidationResult.from_dict(
        {
            "run_id": "run-1",
            "run_time": "2024-05-01T12:00:00.000250Z",
            "data_asset": "customers.csv",
            "status": "failure",
            "results": [{"validator_name": "not null", "success": False, "column": "a", "details": None, "new": 1}],
            "statistics": None,
            "tags": None,
            "unknown": {"anything": 1},
        }
    ) == run(ValidatorResult("not null", success=False, column="a"))
    as_objects = ValidationResult.from_dict(
        {"run_id": "run-1", "run_time": NOON, "data_asset": "customers.csv", "status": ResultStatus.SUCCESS}
    )
    assert as_objects == run(status="success")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": None}, "run_id"),
        ({"status": "bad"}, "bad"),
        ({"run_time": "yesterday"}, "RFC3339"),
        ({"results": [{"success": True}]}, "validator_name"),
        ({"results": 3}, "results"),
        ({"statistics": {"total_rows": "many"}}, "total_rows"),
        ({"tags": {"a": 1}}, "tags"),
    ],
)
def test_from_dict_says_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        ValidationResult.from_dict(run().to_dict() | change)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
checks = st.builds(
    ValidatorResult,
    validator_name=texts,
    success=st.booleans(),
    column=st.none() | texts,
    issue_type=st.none() | st.just(VALIDATOR_ERROR) | texts,
    count=st.integers(0, 2**40),
    severity=st.sampled_from([None, "critical", "HIGH", "medium", "low"]),
    message=st.none() | texts,
    details=st.dictionaries(texts, json_values, max_size=3),
    execution_time_ms=st.floats(0, 1e9),
)
results = st.builds(
    ValidationResult,
    run_id=st.text("abc0", min_size=1),
    run_time=st.datetimes(*YEARS) | st.datetimes(*YEARS, timezones=st.sampled_from([UTC, TOKYO])),
    data_asset=st.text("abc/.", min_size=1),
    status=st.sampled_from(ResultStatus),
    results=st.lists(checks, max_size=4),
    tags=st.dictionaries(st.text("ab", min_size=1), st.text("ab"), max_size=2),
    metadata=st.dictionaries(texts, json_values, max_size=3),
    suite_name=st.none() | st.text("abc"),
)


@given(results)
def test_a_result_comes_back_equal(result):
    assert ValidationResult.from_dict(result.to_dict()) == result
    for encoding in ("json", "msgpack", "yaml"):
        assert RESULTS.decode(RESULTS.encode(result, encoding)) == result


@given(st.lists(checks))
def test_checks_add_up(found):
    figures = ResultStatistics.from_results(found)
    assert figures.total_validators == len(found)
    assert figures.passed_validators + figures.failed_validators + figures.error_validators == len(found)
    assert (
        figures.critical_issues + figures.high_issues + figures.medium_issues + figures.low_issues
        <= figures.total_issues
    )
    assert figures.issue_count == figures.total_issues
    if found:
        assert 0.0 <= (figures.pass_rate or 0.0) <= 1.0
        assert (ResultStatus.of(found) is ResultStatus.SUCCESS) == (figures.pass_rate == 1.0)


def saved(result: ValidationResult) -> ValidationResult:
    store = MemoryStore()
    store.save(result)
    (head,) = store.entries()
    again = store.get(result.run_id)
    assert again == result
    figures = {name: getattr(again.statistics, name) for name in ("total_issues", "critical_issues", "pass_rate")}
    assert {name: head.meta.fields[name] for name in figures} == figures
    assert head.meta.fields["status"] == again.status.value
    return again


def edited(result: ValidationResult) -> None:
    result.results[0].success, result.results[0].severity = False, "critical"


EDITS: dict[str, tuple[Callable[[ValidationResult], object], tuple[int, int, int]]] = {
    "a check fails after all": (edited, (2, 0, 1)),
    "a check is added": (lambda result: result.results.append(check("low")), (3, 1, 0)),
    "a check is removed": (lambda result: result.results.pop(), (1, 1, 0)),
    "all checks are removed": (lambda result: result.results.clear(), (0, 0, 0)),
    "checks are others": (lambda result: setattr(result, "results", [check("critical")]), (1, 0, 1)),
}


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_result_is_saved_with_its_new_figures(edit, stored):
    passing = ValidatorResult("unique", success=True)
    result = run(passing, check("high"), statistics=ResultStatistics(total_rows=9, execution_time_ms=3.0))
    if stored:
        result = saved(result)
    change, expected = EDITS[edit]
    change(result)
    figures = saved(result).statistics
    assert (figures.total_validators, figures.passed_validators, figures.critical_issues) == expected
    assert (figures.total_rows, figures.execution_time_ms) == (9, 3.0)


@pytest.mark.parametrize("stored", [False, True])
def test_a_run_with_a_failed_check_is_no_success(stored):
    result = run(ValidatorResult("unique", success=True), status="success")
    if stored:
        result = saved(result)
    result.results[0].success = False
    assert saved(result).status is ResultStatus.FAILURE
    assert run(check("low"), status="success").status is ResultStatus.WARNING
    assert run(check(issue_type=VALIDATOR_ERROR), status="success").status is ResultStatus.ERROR
    told = ResultStatistics(total_validators=7, passed_validators=6, total_issues=5)
    assert saved(run(check("high"), status="success", statistics=told)).status is ResultStatus.FAILURE
    assert saved(run(check("high"), status="warning")).status is ResultStatus.WARNING


TOLD: dict[str, tuple[ResultStatistics, ResultStatus]] = {
    "a check failed": (ResultStatistics(3, 2, failed_validators=1), ResultStatus.FAILURE),
    "a check failed, and no other is counted": (ResultStatistics(failed_validators=1), ResultStatus.FAILURE),
    "a check could not run": (ResultStatistics(3, 2, error_validators=1), ResultStatus.ERROR),
    "a check was not evaluated": (ResultStatistics(3, 2, not_evaluated_validators=1), ResultStatus.ERROR),
    "all were skipped": (ResultStatistics(3, skipped_validators=3), ResultStatus.ERROR),
    "fewer passed than there are": (ResultStatistics(10, 9), ResultStatus.FAILURE),
    "issues": (ResultStatistics(3, 3, total_issues=2), ResultStatus.FAILURE),
    "issues by severity alone": (ResultStatistics(critical_issues=1), ResultStatus.FAILURE),
    "warnings": (ResultStatistics(3, 2, failed_validators=1, warning_validators=1), ResultStatus.WARNING),
    "mild issues": (ResultStatistics(3, 2, 1, total_issues=2, medium_issues=1, low_issues=1), ResultStatus.WARNING),
    "a failure beside warnings": (
        ResultStatistics(3, 1, failed_validators=2, warning_validators=1),
        ResultStatus.FAILURE,
    ),
    "all passed": (ResultStatistics(3, 3), ResultStatus.SUCCESS),
    "some were skipped": (ResultStatistics(3, 2, skipped_validators=1), ResultStatus.SUCCESS),
    "rows alone": (ResultStatistics(total_rows=9), ResultStatus.SUCCESS),
}


@pytest.mark.parametrize("case", TOLD)
@pytest.mark.parametrize("checks", [0, 1])
def test_figures_that_tell_of_a_failure_go_with_no_success(case, checks):
    told, status = TOLD[case]
    passed = [ValidatorResult("unique", success=True)] * checks
    result = run(*passed, status="success", statistics=told)
    assert (result.status, result.counted) == (status, case == "rows alone")
    assert result.counted or result.statistics == told
    result.status = ResultStatus.SUCCESS
    assert saved(result).status is status
    assert run(*passed, status="error", statistics=told).status is ResultStatus.ERROR


def test_figures_that_contradict_their_status_are_read_from_earlier_versions():
    stored = b"""{"run_id": "run-1", "run_time": "2026-03-01T12:00:00Z", "data_asset": "orders", "status": "success",
        "statistics": {"total_validators": 3, "passed_validators": 1, "failed_validators": 2}}"""
    result = msgspec.json.decode(stored, type=ValidationResult)
    assert (result.status, result.statistics.failed_validators) == (ResultStatus.FAILURE, 2)


def test_figures_that_were_given_stay():
    told = ResultStatistics(total_validators=7, passed_validators=6, failed_validators=1, total_issues=5)
    result = saved(run(check(), statistics=told))
    result.tags["seen"] = "yes"
    assert saved(result).statistics == told
    counted = run(check())
    counted.counted, counted.statistics = False, told
    assert saved(counted).statistics == told


def test_a_run_without_checks_has_no_part_in_the_average_pass_rate():
    store = MemoryStore()
    store.save(run(check(), ValidatorResult("unique", success=True)))
    store.save(ValidationResult("crashed", NOON, "customers.csv", ResultStatus.ERROR))
    assert store.aggregate(metrics="avg:pass_rate") == [{"avg:pass_rate": 0.5}]


@pytest.mark.parametrize("name", ["issue_count", "total_issues"])
def test_the_number_of_issues_has_two_names(tmp_path, name):
    for store in (
        MemoryStore(),
        get_store(f"sqlite:///{tmp_path / 'x.db'}"),
        get_store("filesystem", base_path=tmp_path),
    ):
        with store:
            store.save_many([run(check()), msgspec.structs.replace(run(check(), check()), run_id="run-2")])
            assert store.list_ids(StoreQuery(where={name: (">", 1)})) == ["run-2"]
            assert store.list_ids(StoreQuery(order_by=name, ascending=True)) == ["run-1", "run-2"]
            assert store.aggregate(metrics=f"sum:{name}") == [{f"sum:{name}": 3}]
            assert store.distinct(name) == [1, 2]
            assert store.aggregate(by=name, metrics=["count"]) == [{name: 1, "count": 1}, {name: 2, "count": 1}]


class Scored(ValidationResult):
    """A result with fields of its own."""

    score: float = 0.0
    limits: dict[int, float] = {}
    raw: bytes = b""


ITEMS: list[Any] = [
    check(details={"when": NOON}),
    check(execution_time_ms=math.inf),
    ResultStatistics(total_validators=4, passed_validators=1),
    ResultStatistics(execution_time_ms=math.nan),
    run(check()),
    Scored("run-1", NOON, "customers.csv", ResultStatus.SUCCESS, score=math.nan, limits={1: math.inf}, raw=b"x"),
    Expectation("unique", "id"),
    ExpectationSuite.create("orders", "orders.csv", [Expectation("unique", "id")]),
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_every_item_becomes_a_dict_and_comes_back(item):
    document = item.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert type(item).from_dict(document).to_dict() == document
    empty = {name: None for name, value in document.items() if value in (None, {}, [])}
    assert type(item).from_dict(document | empty | {"unknown": 1}).to_dict() == document
    with pytest.raises(TypeError, match="a dict"):
        type(item).from_dict([item])


def test_what_is_none_is_not_written():
    record = RESULTS.encode(run(ValidatorResult("a", success=True)))
    assert b"null" not in (record.body or b"")


def test_a_subclass_is_a_result_of_its_own():
    class TeamResult(ValidationResult):
        team: str = "data"

    result = TeamResult.from_dict(run(check()).to_dict() | {"team": "maps"})
    assert (result.team, result.issue_count) == ("maps", 1)
    assert TeamResult.from_dict(result.to_dict()) == result
    collection = Collection.of(TeamResult, id="run_id", time="run_time", index={"team": str})
    assert collection.decode(collection.encode(result)) == result


def test_run_ids_show_the_time_in_utc():
    tokyo = datetime(2024, 5, 1, 3, tzinfo=TOKYO)
    assert re.fullmatch(r"run_20240430_180000_[0-9a-f]{8}", new_run_id(tokyo))
    assert re.fullmatch(r"run_\d{8}_\d{6}_[0-9a-f]{8}", new_run_id())


def test_run_ids_are_unique_across_threads():
    found: list[str] = []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        found.extend([new_run_id(NOON) for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4_000


def test_run_ids_are_unique_across_a_fork():
    new_run_id(NOON)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(writer, "\n".join(new_run_id(NOON) for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        theirs = stream.read().split()
    assert len(theirs) == 100
    assert not set(theirs) & {new_run_id(NOON) for _ in range(100)}


def test_a_suite_is_built_and_changed():
    suite = ExpectationSuite.create("orders", "orders.csv", tags={"team": "sales"})
    first = suite.updated_at
    not_null, unique = Expectation("not_null", "id"), Expectation("unique", "id", mostly=0.99)
    assert suite.add_expectation(not_null).add_expectation(unique) is suite
    assert suite.updated_at > first == suite.created_at
    assert suite.id == "orders"
    assert suite.expectations == [not_null, unique]


def test_a_suite_comes_back_equal():
    suite = ExpectationSuite.create(
        "orders", "orders.csv", [Expectation("between", "n", {"min": 1}, {"why": "law"}, enabled=False, mostly=0.5)]
    )
    assert ExpectationSuite.from_dict(suite.to_dict()) == suite
    assert Expectation.from_dict(suite.expectations[0].to_dict()) == suite.expectations[0]
    for encoding in ("json", "msgpack", "yaml"):
        assert SUITES.decode(SUITES.encode(suite, encoding)) == suite
    short = ExpectationSuite.from_dict({"name": "a", "data_asset": "b", "expectations": [{"expectation_type": "c"}]})
    assert short.expectations == [Expectation("c")]
    with pytest.raises(ValueError, match="expectation_type"):
        ExpectationSuite.from_dict({"name": "a", "data_asset": "b", "expectations": [{"column": "c"}]})


@pytest.mark.parametrize("mostly", [-0.1, 1.1, float("nan")])
def test_mostly_is_a_fraction(mostly):
    with pytest.raises(ValueError, match="fraction"):
        Expectation("not_null", "a", mostly=mostly)


MIXED = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(
        [b"x", ("a",), {"a"}, NOON, ResultStatus.ERROR, "failure", {}, [], {"a": 1}, {1: 2}, ["a"], object()]
    ),
    st.builds(
        datetime, st.sampled_from([1, 2, 9999]), st.just(1), st.just(1), tzinfo=st.sampled_from([None, UTC, TOKYO])
    ),
    st.builds(ResultStatistics, total_issues=st.one_of(st.integers(), st.none())),
    st.just([ValidatorResult("v", False)]),
    st.just([{"validator_name": "v", "success": True}]),
)


@given(st.data())
def test_what_is_is_canonical_can_be_read_back(data: st.DataObject):
    """The shortcut never says yes where decoding would say no, or would find something else."""
    result = run(check(), check("low", details={"a": 1}), metadata={"a": 1})
    for part in data.draw(st.lists(st.sampled_from([result, result.statistics, result.results[0]]), max_size=2)):
        setattr(part, data.draw(st.sampled_from(part.__struct_fields__)), data.draw(MIXED))
    if not _is_canonical(result):
        return
    try:
        body = msgspec.json.encode(result)
    except (OverflowError, TypeError, ValueError):
        return  # refused before it matters
    again = msgspec.json.decode(body, type=ValidationResult)
    if b"null" not in body:
        assert msgspec.json.encode(again) == body


def test_ordinary_results_are_is_canonical():
    assert _is_canonical(run(check(), check(None, success=True, column=None, message="m", count=3)))
    assert _is_canonical(run(suite_name="s", tags={"a": "b"}, metadata={"a": [None, 1.5, {"b": "c"}]}))
    assert _is_canonical(run(check(execution_time_ms=5)))
    assert not _is_canonical(run(check(execution_time_ms=float("nan"))))


SOUND = run(check(), suite_name="s")
PARTS = [SOUND, SOUND.statistics, SOUND.results[0]]


@pytest.mark.parametrize(
    ("place", "field"),
    [(place, field) for place, part in enumerate(PARTS) for field in part.__struct_fields__ if field != "counted"],
)
def test_a_value_of_the_wrong_type_is_refused_wherever_it_is(place: int, field: str):
    result = run(check(), suite_name="s")
    result.counted = False
    part: Any = [result, result.statistics, result.results[0]][place]
    setattr(part, field, ["of", "no", 1])
    assert not _is_canonical(result)
    with pytest.raises((StoreWriteError, TypeError)):
        RESULTS.encode(result)


@pytest.mark.parametrize("success", [None, pytest.param("NA", id="pandas.NA")])
def test_a_check_without_a_verdict_is_refused_by_name(success):
    if success == "NA":
        success = pytest.importorskip("pandas").NA
    with pytest.raises(ValueError, match="'not null': success is True or False"):
        run(ValidatorResult("not null", success))


def test_a_status_that_does_not_exist_lists_what_does():
    with pytest.raises(ValueError, match="success, failure, error, warning, not 'failed'"):
        ValidationResult("a", NOON, "orders", "failed")  # type: ignore[arg-type]


def test_notebooks_show_a_result_as_a_table_with_failed_checks_first():
    checks = [check(success=True, column=f"c{number}") for number in range(200)]
    page = run(*checks, check("high", column="<b>", message="3 < 4 & more"))._repr_html_()
    root = fromstring(page)  # well-formed
    rows = [[cell.text or "" for cell in row] for row in root.iter("tr")]
    assert rows[0] == ["check", "column", "outcome", "failed", "severity", "message"]
    assert rows[1][1:3] == ["<b>", "failed"]
    assert rows[1][-1] == "3 < 4 & more"
    assert len(rows) == 101
    assert "and 101 more" in page
    assert run()._repr_html_().count("<tr") == 0
