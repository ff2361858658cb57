"""datacontract-cli: what it wrote is recorded."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.interop.recordings import as_objects, recorded, recording
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConflictError
from truthstore.interop import from_any, from_datacontract
from truthstore.items.checks import status_of
from truthstore.model.record import ABSENT
from truthstore.results import ResultStatus

TOOL = "datacontract-1.2.8"


def run(name):
    return recorded(TOOL, f"{name}.json")


def one(name):
    (result,) = from_datacontract(run(name))
    return result


def check_of(result, check_id):
    (found,) = [r for r in result.results if r.check_id == check_id]
    return found


@pytest.mark.parametrize("name", ["orders", "healthy", "missing file"])
def test_every_check_counts_once(name):
    printed = Counter(check["result"] for check in run(name)["checks"])
    figures = one(name).statistics
    broken = figures.error_validators
    doubled = name == "orders"  # the column that is missing
    assert figures.total_validators == printed.total()
    assert figures.passed_validators == printed["passed"]
    assert figures.failed_validators + broken + doubled == printed["failed"] + printed["warning"]
    assert figures.warning_validators == printed["warning"]
    assert figures.not_evaluated_validators == printed[None] + doubled


def test_the_run():
    result = one("orders")
    assert (result.data_asset, result.suite_name) == ("orders", "urn:datacontract:orders")
    assert result.status is ResultStatus.FAILURE
    assert (result.metadata["tool"], result.metadata["tool_version"]) == ("datacontract-cli", "1.2.8")
    assert result.metadata["tool_run_id"] == run("orders")["runId"]
    assert (result.metadata["contract_version"], result.metadata["server"]) == ("1.2.0", "local")
    assert result.statistics.total_rows == 3
    assert result.statistics.execution_time_ms > 0
    assert one("healthy").status is ResultStatus.SUCCESS


def test_rows_are_counted_where_the_tool_counts_them():
    unique = check_of(one("orders"), "orders__id__field_unique")
    assert (unique.count, unique.checked, unique.observed, unique.expected) == (2, 3, 1, "= 0")
    assert unique.message == "2 of 3 values failed"
    # What a query of one's own gives may be anything.
    negative = check_of(one("orders"), "orders__amount__quality_sql_0")
    assert (negative.count, negative.observed, negative.column) == (0, 1, "amount")
    assert negative.message == "Actual custom_sql(amount) was 1, expected = 0"


def test_a_warning_is_one():
    forty = check_of(one("orders"), "orders__quality_sql_1")
    assert (status_of(forty), forty.observed, forty.expected) == ("warning", 3, "> 40")


def test_sql_that_broke_is_an_error_although_the_tool_says_that_it_failed():
    (said,) = [check for check in run("orders")["checks"] if check["name"] == "broken"]
    assert said["result"] == "failed"
    broken = check_of(one("orders"), "orders__quality_sql_2")
    assert (broken.errored, broken.count) == (True, 0)
    assert 'Referenced column "nonsense" not found' in str(broken.message)


def test_a_column_that_is_missing_fails_once():
    said = {check["key"]: check["result"] for check in run("orders")["checks"] if check["field"] == "shipped"}
    assert said == {"orders__shipped__field_is_present": "failed", "orders__shipped__field_required": "failed"}
    result = one("orders")
    assert status_of(check_of(result, "orders__shipped__field_is_present")) == "failure"
    required = check_of(result, "orders__shipped__field_required")
    assert (status_of(required), required.count, required.message) == ("not_evaluated", None, "the column is missing")


def test_a_file_that_is_missing_is_an_error_and_nothing_has_passed():
    result = one("missing file")
    assert (result.status, result.statistics.passed_validators) == (ResultStatus.ERROR, 0)
    assert Counter(status_of(r) for r in result.results) == {"not_evaluated": 8, "error": 1}
    assert "No files found" in str(result.results[-1].message)


def test_an_error_of_the_whole_run_belongs_to_every_model():
    found = run("missing file")
    found["checks"][0]["model"] = "people"
    orders, people = sorted(from_datacontract(found), key=lambda result: result.data_asset)
    assert (orders.status, people.status) == (ResultStatus.ERROR, ResultStatus.ERROR)
    assert orders.run_id != people.run_id
    found["checks"] = found["checks"][-1:]
    (alone,) = from_datacontract(found, "orders")
    assert alone.results[0].errored
    with pytest.raises(ValueError, match="give data_asset"):
        from_datacontract(found)


@pytest.mark.parametrize("verdict", ["unknown", "failed"])
@pytest.mark.parametrize("checks", [[], None], ids=["empty", "none"])
def test_a_run_without_checks_has_not_passed(verdict, checks):
    (result,) = from_datacontract(run("healthy") | {"checks": checks, "result": verdict}, "orders")
    assert result.status is ResultStatus.ERROR


def test_a_result_that_nobody_knows_is_no_pass():
    found = run("healthy")
    found["checks"][0] |= {"result": "brand new", "more": 1}
    assert status_of(from_datacontract(found)[0].results[0]) == "not_evaluated"


def test_a_run_is_stored_once():
    store = MemoryStore()
    store.save(one("orders"), expect=ABSENT)
    with pytest.raises(StoreConflictError):
        store.save(from_any(recording(TOOL, "orders.json"))[0], expect=ABSENT)
    store.save(one("healthy"), expect=ABSENT)


def test_samples_can_be_left_out():
    found = run("orders")
    found["checks"][2]["failedSamples"] = [{"id": 2, "amount": -1.0}]
    kept, bare = (from_datacontract(found, samples=samples)[0].results[2] for samples in (True, False))
    assert kept.details["sample_values"] == [{"id": 2, "amount": -1.0}]
    assert "sample_values" not in bare.details


def test_recognised_and_refused():
    assert from_any(run("healthy"))[0].metadata["tool"] == "datacontract-cli"
    assert from_any(as_objects(run("healthy") | {"checks": []}), "orders")[0].data_asset == "orders"
    with pytest.raises(TypeError, match="expected a Run of datacontract-cli, not dict"):
        from_datacontract(json.loads('{"checks": []}'))
