"""Truthound, by what it hands out: recorded from version 3.2, and the real thing where it is installed."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from truthstore import get_store
from truthstore.interop import from_any, from_truthound
from truthstore.items.check_rows import check_ids
from truthstore.results import RESULTS, VALIDATOR_ERROR, ResultStatus, ValidationResult

ISSUES = [
    {
        "column": "age",
        "issue_type": "null",
        "count": 1,
        "severity": "high",
        "success": False,
        "details": "25.0% of values are null",
        "actual": 1,
        "sample_values": [None],
        "validator_name": "null",
        "result": {"element_count": 4, "observed_value": 1, "unexpected_count": 1, "unexpected_percent": 25.0},
    },
    {
        "column": "name",
        "issue_type": "null",
        "count": 1,
        "severity": "medium",
        "success": False,
        "details": "25.0% of values are null",
        "validator_name": "null",
        "result": {"element_count": 4, "unexpected_list": [None], "unexpected_index_list": [3]},
    },
    {
        "column": "age",
        "issue_type": "out_of_range",
        "count": 2,
        "severity": "critical",
        "success": False,
        "details": "Expected [0, 150]",
        "expected": "[0, 150]",
        "actual": 2,
        "sample_values": [-5, 200],
        "validator_name": "range",
    },
]
BROKEN = {
    "column": "*",
    "issue_type": "validator_error",
    "count": 0,
    "severity": "low",
    "details": "kaboom",
    "validator_name": "boom",
    "exception_info": {"raised_exception": True, "exception_type": "RuntimeError", "exception_message": "kaboom"},
}
RUN: dict[str, Any] = {
    "run_id": "run_20240501_120000_f9c713b3",
    "run_time": "2024-05-01T12:00:00.547171",
    "suite_name": "truthound-default-suite",
    "source": "people.csv",
    "row_count": 4,
    "column_count": 3,
    "result_format": "summary",
    "execution_mode": "sequential",
    "checks": [
        {
            "name": "null",
            "category": "completeness",
            "success": False,
            "issues": ISSUES[:2],
            "metadata": {"config": {}},
        },
        {"name": "range", "category": "distribution", "success": False, "issues": ISSUES[2:], "metadata": {}},
        {"name": "unique", "category": "uniqueness", "success": True, "issue_count": 0, "issues": [], "metadata": {}},
        {"name": "boom", "category": "x", "success": False, "issue_count": 1, "issues": [BROKEN], "metadata": {}},
    ],
    "issues": [*ISSUES, BROKEN],
    "execution_issues": [{"check_name": "boom", "message": "kaboom", "exception_type": "RuntimeError"}],
    "metadata": {"planner": "truthound.core.ScanPlanner"},
}
REPORT = {"source": "people.csv", "row_count": 4, "column_count": 3, "success": False, "issues": ISSUES}


class Severity(str, Enum):  # noqa: UP042  # as Truthound's
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def as_objects(value, name=""):
    """The same report as objects with attributes, tuples and enums instead of dicts, lists and strings."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_objects(inner, key) for key, inner in value.items()})
    if isinstance(value, list):
        return tuple(as_objects(inner) for inner in value)
    if name == "severity":
        return Severity(value)
    return datetime.fromisoformat(value) if name == "run_time" else value


@pytest.fixture(params=[False, True], ids=["dict", "objects"])
def shaped(request):
    return as_objects if request.param else copy.deepcopy


def test_a_run_result(shaped):
    result = ValidationResult.from_report(shaped(RUN), "people", tags={"team": "a"}, metadata={"commit": "b"})
    assert (result.data_asset, result.suite_name, result.tags) == ("people", "truthound-default-suite", {"team": "a"})
    assert result.run_time == datetime.fromisoformat(str(RUN["run_time"]))
    assert result.status is ResultStatus.FAILURE
    assert result.metadata["tool"] == "truthound"
    assert result.metadata["tool_run_id"] == RUN["run_id"]
    assert (result.metadata["source"], result.metadata["commit"]) == ("people.csv", "b")
    figures = result.statistics
    assert (figures.total_validators, figures.passed_validators) == (4, 1)
    assert (figures.failed_validators, figures.error_validators) == (2, 1)
    assert (figures.total_issues, figures.critical_issues, figures.high_issues, figures.medium_issues) == (3, 1, 1, 1)
    assert (figures.total_rows, figures.total_columns) == (4, 3)
    assert result.get_failed_columns() == {"age", "name"}
    assert RESULTS.decode(RESULTS.encode(result)) == result


def test_its_issues(shaped):
    null, outside, unique, boom = ValidationResult.from_report(shaped(RUN)).results
    assert (null.validator_name, null.column, null.columns) == ("null", "age, name", ("age", "name"))
    assert (null.issue_type, null.count, null.severity) == ("null", 2, "high")
    assert null.message == "age: 25.0% of values are null; name: 25.0% of values are null"
    assert null.details["category"] == "completeness"
    assert null.details["issues"][0] == {
        "column": "age",
        "issue_type": "null",
        "count": 1,
        "severity": "high",
        "actual": 1,
        "element_count": 4,
        "observed_value": 1,
        "unexpected_percent": 25.0,
    }
    assert null.details["sample_values"] == {"age": [None], "name": [None]}
    assert null.details["sample_indexes"] == {"name": [3]}
    assert (outside.count, outside.severity, outside.details["expected"]) == (2, "critical", "[0, 150]")
    assert outside.details["sample_values"] == [-5, 200]
    assert unique.success
    assert (boom.issue_type, boom.column, boom.message) == (VALIDATOR_ERROR, None, "kaboom")
    assert boom.details["exception_type"] == "RuntimeError"


def test_a_check_that_recovers_is_the_one_that_failed():
    """Truthound says the columns of a check only where it fails."""
    passed = {**RUN, "checks": [{**check, "success": True, "issues": []} for check in RUN["checks"]], "issues": []}
    before, after = (from_truthound(run, "people") for run in (RUN, passed))
    assert check_ids(before) == check_ids(after) == ['null({"config":{}})', "range", "unique", "boom"]
    store = get_store("memory")
    for day, run in enumerate((before, after), 1):
        run.run_id, run.run_time = f"run {day}", datetime(2024, 5, day, tzinfo=UTC)
        store.save(run)
    found = store.compare("run 1", "run 2")
    assert [change.check_id for change in found.fixed] == check_ids(before)[:2]
    assert (found.new, found.added, found.missing) == ((), (), ())


def test_samples_of_a_column_are_hidden_in_a_check_of_several():
    checked = {
        **RUN["checks"][0],
        "issues": [{**ISSUES[0], "sample_values": [1]}, {**ISSUES[1], "sample_values": ["Anna"]}],
    }
    run = {**RUN, "checks": [checked], "issues": checked["issues"]}
    (hidden,) = from_truthound(run, redact=["name"]).results
    assert "Anna" not in repr(hidden)
    (left_out,) = from_truthound(run, samples=False).results
    assert "Anna" not in repr(left_out)
    assert [issue["column"] for issue in left_out.details["issues"]] == ["age", "name"]


def test_a_check_that_could_not_run_on_one_column_has_failed_on_the_other():
    broken = {**BROKEN, "column": "name", "validator_name": "null"}
    run = {**RUN, "checks": [{**RUN["checks"][0], "issues": [ISSUES[0], broken]}]}
    result = from_truthound(run)
    (null,) = result.results
    assert (null.status, null.errored, null.column, null.severity) == (None, False, "age", "high")
    assert [issue["issue_type"] for issue in null.details["issues"]] == ["null", VALIDATOR_ERROR]
    assert (result.statistics.failed_validators, result.statistics.total_issues) == (1, 1)


def test_a_report_without_checks(shaped):
    result = ValidationResult.from_report(shaped(REPORT))
    assert result.data_asset == "people.csv"
    assert (result.statistics.total_validators, result.statistics.total_issues) == (3, 3)
    assert "tool_run_id" not in result.metadata
    again = ValidationResult.from_report(shaped(REPORT)).run_id
    assert (again == result.run_id) == isinstance(shaped(REPORT), dict)  # a document is known by its content
    counted = from_truthound(shaped(REPORT | {"statistics": {"total_validations": 5, "successful_validations": 2}}))
    assert (counted.statistics.total_validators, counted.statistics.pass_rate) == (5, 0.4)


def test_a_report_without_issues(shaped):
    assert ValidationResult.from_report(shaped(REPORT | {"issues": [], "success": True})).success
    # The tool's verdict stands, whatever it does not list.
    assert ValidationResult.from_report(shaped(REPORT | {"issues": []})).status is ResultStatus.FAILURE


def test_a_check_that_failed_without_issues(shaped):
    checks = [
        {"name": "quiet", "success": False, "issue_count": 2, "issues": []},
        {"name": "boom", "success": False, "issues": []},
    ]
    quiet, boom = from_truthound(shaped(RUN | {"checks": checks})).results
    assert (quiet.success, quiet.count, quiet.errored) == (False, 2, False)
    assert (boom.errored, boom.message) == (True, "kaboom")


def test_the_same_run_has_the_same_id(shaped):
    first = ValidationResult.from_report(shaped(RUN), "people")
    assert ValidationResult.from_report(as_objects(RUN), "people").run_id == first.run_id
    assert ValidationResult.from_report(shaped(RUN), "others").run_id != first.run_id
    assert ValidationResult.from_report(shaped(RUN), "people", "mine").run_id == "mine"


def test_a_subclass_makes_its_own_kind():
    class TeamResult(ValidationResult):
        team: str = "data"

    result = TeamResult.from_report(RUN)
    assert isinstance(result, TeamResult)
    assert (result.team, result.issue_count) == ("data", 3)


def test_a_check_without_an_outcome_has_not_passed():
    result = from_truthound(RUN | {"checks": [{"name": "unique", "issues": []}], "issues": []})
    assert result.results[0].status == "not_evaluated"
    assert (result.statistics.not_evaluated_validators, result.statistics.failed_validators) == (1, 0)
    assert result.status is ResultStatus.ERROR


def test_what_was_looked_at_and_asked_for():
    checks = {check.validator_name: check for check in from_truthound(RUN).results}
    assert checks["null"].checked == 8  # four in each of two columns
    assert checks["range"].expected == "[0, 150]"


def test_why_a_check_was_chosen_is_no_part_of_its_identity():
    def ids(reason: str):
        notes = {"auto_suite": True, "auto_reason": reason, "config": {"columns": ["id"]}}
        check = {"name": "unique", "success": True, "issues": [], "metadata": notes}
        run = {"run_id": "1", "source": "orders", "checks": [check], "issues": []}
        result = ValidationResult.from_report(run)
        assert result.results[0].details["chosen"] == {"auto_suite": True, "auto_reason": reason}
        return check_ids(result)

    assert ids("Key-like columns are checked.") == ids("So are these.") == ['unique({"config":{"columns":["id"]}})']


def test_a_stored_run_is_read_from_its_file(tmp_path):
    (path := tmp_path / "run.json").write_text(json.dumps(RUN))
    (result,) = from_any(str(path))
    assert result.run_id == from_truthound(RUN).run_id


@pytest.mark.parametrize(
    "other",
    [
        None,
        {},
        3,
        {"issues": []},
        {"source": "a", "issues": [None]},
        {"source": "a", "issues": "abc"},
        {"source": "a", "issues": ISSUES[0]},
        {"source": "a", "issues": [{"column": "age", "count": 1}]},
        {"source": "a", "issues": [], "checks": "abc"},
        {"source": "a", "issues": [], "checks": [None]},
        {"source": "a", "issues": [], "checks": [{"name": "null", "issues": [None]}]},
        {"source": "a", "issues": [], "checks": [{"name": "null", "issues": "abc"}]},
    ],
)
def test_anything_else_is_refused(other):
    with pytest.raises(TypeError, match="expected a Truthound Report or run result"):
        ValidationResult.from_report(other, "x")


# Truthound's own docstrings have invalid escapes, of which Python warns when it compiles them.
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_the_real_thing(tmp_path, monkeypatch):
    truthound = pytest.importorskip("truthound")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("id,age\n1,34\n2,\n2,-5\n")
    report = truthound.check("people.csv", validators=["null", "unique", "range"])
    result = ValidationResult.from_report(report, "people.csv")
    assert result.status is ResultStatus.FAILURE
    assert result.statistics.total_rows == 3
    assert result.issue_count == len(report.issues)
    assert result.metadata["tool_run_id"] == report.run_id
    assert RESULTS.decode(RESULTS.encode(result)) == result
