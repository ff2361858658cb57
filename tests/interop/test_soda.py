from __future__ import annotations

import logging
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace

import pytest

from tests.interop.recordings import as_objects, recorded, recording
from truthstore.backends.memory import MemoryStore
from truthstore.interop import from_any, from_soda
from truthstore.items.checks import status_of
from truthstore.results import ResultStatus

CONTRACTS = ("orders", "missing column", "missing table", "twice", "healthy", "only one check")
SCANS = ("orders", "missing column", "warnings", "healthy")


def contract(name, *, objects=False):
    """What Soda 4 returned; as dicts, or as the objects that they were."""
    result = recorded("soda-4.28.0", f"{name}.json")["result"]
    if objects:
        result = as_objects(result)
        for found in result.results:
            found.log_records = [
                logging.makeLogRecord({"levelno": log.levelno, "msg": log.message}) for log in found.log_records
            ]
            for entry in found.check_results:
                entry.diagnostic_metric_values = entry.diagnostic_metric_values and vars(entry.diagnostic_metric_values)
                entry.check.attributes = vars(entry.check.attributes)
    return result


def one_contract(name):
    (result,) = from_soda(contract(name))
    return result


def scan_results(name):
    return recorded("soda-3.5.6", f"{name}.json")["scan_results"]


def scan_object(name):
    """A scan of Soda 3 as far as it is read."""

    def check(said):
        partition = SimpleNamespace(table=SimpleNamespace(table_name=said["table"]), partition_name=said["filter"])
        return SimpleNamespace(
            outcome=None,
            name=said["name"],
            create_identity=lambda **_: said["identity"],
            create_definition=lambda: said["definition"],
            partition=partition,
            column=said["column"] and SimpleNamespace(column_name=said["column"]),
            data_source_scan=SimpleNamespace(data_source=SimpleNamespace(data_source_name="shop")),
        )

    left_out = recorded("soda-3.5.6", f"{name}.json")["checks_without_outcome"]
    return SimpleNamespace(get_scan_results=lambda: scan_results(name), _checks=list(map(check, left_out)))


def check_of(result, name, column=None):
    (found,) = [r for r in result.results if r.validator_name == name and r.column == column]
    return found


@pytest.mark.parametrize("name", CONTRACTS)
def test_counts_of_a_contract_are_those_that_soda_printed(name):
    result, printed = one_contract(name), recorded("soda-4.28.0", f"{name}.json")["printed"]["summary"]
    figures = result.statistics
    if not printed:  # Soda gave up before the first check
        assert (figures.total_validators, figures.error_validators) == (1, 1)
        return
    without_value = sum(r.errored for r in result.results)
    assert figures.total_validators == printed["Checks"]
    assert figures.passed_validators == printed["Passed"]
    assert figures.failed_validators + without_value == printed["Failed"] + printed["Warned"]
    assert figures.warning_validators == printed["Warned"]
    assert figures.not_evaluated_validators == printed["Not Evaluated"]
    assert figures.skipped_validators == printed["Excluded"]


@pytest.mark.parametrize("name", CONTRACTS)
def test_objects_and_dicts_of_a_contract_are_the_same(name):
    (from_objects,) = from_soda(contract(name, objects=True))
    assert from_objects == one_contract(name)


def test_checks_of_a_contract():
    result = one_contract("orders")
    assert (result.data_asset, result.status) == ("orders", ResultStatus.FAILURE)
    assert result.metadata["tool"] == "soda"
    assert result.metadata["dataset"] == "duck/main/orders"
    assert result.statistics.total_rows == 5
    assert result.statistics.execution_time_ms > 0
    invalid = check_of(result, "looks like an address", "email")
    assert (invalid.success, invalid.count, invalid.checked, invalid.observed) == (False, 1, 5, 1)
    assert (invalid.expected, invalid.owner, invalid.issue_type) == ("= 0", "crm", "invalid")
    assert invalid.message == "1 of 5 values failed"
    assert invalid.details["parameters"] == {"valid_format": {"name": "address", "regex": ".+@.+"}}
    filtered = check_of(result, "No invalid values", "age")
    assert (filtered.success, filtered.checked) == (True, 4)


def test_the_threshold_value_is_what_was_observed_and_rows_are_counted_apart():
    missing = check_of(one_contract("orders"), "No missing values", "email")
    assert (missing.observed, missing.expected, missing.count) == (20.0, "< 5", 1)


def test_a_warning_of_a_contract():
    length = check_of(one_contract("orders"), "Metric function meets threshold", "email")
    assert (status_of(length), length.observed, length.expected, length.count) == (
        "warning",
        11.5,
        "warn if not < 3",
        0,
    )
    assert length.message == "observed 11.5, expected warn if not < 3"


def test_a_query_of_failed_rows_does_not_say_how_many_it_looked_at():
    result = one_contract("orders")
    late = check_of(result, "No rows violating the condition")
    assert (late.count, late.checked) == (1, None)
    old = check_of(result, "nobody is older than 100")
    assert (old.count, old.checked) == (2, 5)


def test_a_check_of_the_whole_table_fails_no_rows():
    schema = check_of(one_contract("orders"), "Schema matches expected structure")
    assert (schema.success, schema.count, schema.observed) == (False, 0, 2)
    assert schema.details["unexpected_columns"] == ["ordered", "shipped"]


def test_several_columns():
    duplicate = check_of(one_contract("orders"), "No duplicate values", "id, email")
    assert duplicate.columns == ("id", "email")


def test_checks_keep_the_identity_that_soda_gives_them_whatever_the_threshold():
    ids = {r.validator_name + str(r.column): r.check_id for r in one_contract("orders").results}
    again = {r.validator_name + str(r.column): r.check_id for r in one_contract("healthy").results}
    assert again.items() <= ids.items()
    assert len(set(ids.values())) == len(ids)


def test_one_missing_column_leaves_the_others_not_evaluated():
    result = one_contract("missing column")
    assert result.status is ResultStatus.ERROR
    assert result.statistics.passed_validators == 0
    assert [status_of(r) for r in result.results] == [*["not_evaluated"] * 4, "error"]
    assert 'Referenced column "gone" not found' in str(check_of(result, "No missing values", "id").message)


def test_failed_without_a_value_is_an_error():
    fresh = check_of(one_contract("missing column"), "Data is fresh")
    assert (fresh.errored, fresh.observed, fresh.count) == (True, None, 0)


def test_the_verdict_does_not_depend_on_the_log():
    name = "missing table, no logging"
    assert recorded("soda-4.28.0", f"{name}.json")["printed"]["is_ok"]
    result = one_contract(name)
    assert (result.status, result.statistics.not_evaluated_validators) == (ResultStatus.ERROR, 1)


def test_a_contract_that_soda_refuses_is_an_error():
    result = one_contract("twice")
    (error,) = result.results
    assert (error.validator_name, error.errored) == ("contract", True)
    assert "Duplicate identity" in str(error.message)
    assert result.status is ResultStatus.ERROR


def test_a_check_that_was_left_out_is_skipped():
    result = one_contract("only one check")
    assert [status_of(r) for r in result.results] == ["success", "skipped"]
    assert result.status is ResultStatus.SUCCESS


def test_an_error_that_no_check_shows_is_not_lost():
    found = contract("healthy")
    found["results"][0] |= {"status": "ERROR", "log_records": [{"levelno": 40, "message": "it broke"}]}
    (result,) = from_soda(found)
    assert result.status is ResultStatus.ERROR
    assert result.results[-1].message == "it broke"
    found["results"][0] |= {"log_records": None}
    (result,) = from_soda(found)
    assert result.status is ResultStatus.ERROR


def test_a_decimal_is_a_number():
    found = contract("orders")
    found["results"][0]["check_results"][4] |= {"threshold_value": Decimal("11.50")}
    assert type(from_soda(found)[0].results[4].observed) is float


def test_an_outcome_that_nobody_knows_is_no_pass():
    found = contract("healthy")
    found["results"][0]["check_results"][0] |= {"outcome": "BRAND_NEW"}
    (result,) = from_soda(found)
    assert (result.status, result.statistics.not_evaluated_validators) == (ResultStatus.ERROR, 1)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("make", [scan_object, scan_results])
def test_counts_of_a_scan_are_those_that_soda_printed(name, make):
    results = from_soda(make(name))
    found = Counter(str(status_of(check)) for result in results for check in result.results)
    texts = [log["message"] for log in scan_results(name)["logs"]]

    def printed(words):
        return sum(int(text.split("/")[0]) for text in texts if f" {words}: " in text and text[0] != " ")

    unmeasured = 2 if name == "missing column" else 0  # percentages, see below
    assert found["success"] == printed("PASSED") - unmeasured
    assert found["failure"] == printed("FAILED")
    assert found["warning"] == printed("WARNED")
    assert found["not_evaluated"] == printed("NOT EVALUATED") + unmeasured
    assert found["error"] == 0


def test_a_scan_is_one_result_for_each_table():
    orders, customers = from_soda(scan_results("orders"), tags={"team": "shop"})
    assert (orders.data_asset, customers.data_asset) == ("orders", "customers")
    assert (orders.status, customers.status) == (ResultStatus.FAILURE, ResultStatus.SUCCESS)
    assert orders.run_id != customers.run_id
    assert (orders.statistics.total_rows, customers.statistics.total_rows) == (4, 1)
    assert orders.metadata["tool_version"] == "3.5.6"
    assert (orders.suite_name, orders.tags) == ("nightly", {"team": "shop"})


def test_checks_of_a_scan():
    orders, customers = from_soda(scan_results("orders"))
    mostly = check_of(orders, "emails mostly there", "email")
    assert (status_of(mostly), mostly.count, mostly.observed, mostly.owner) == ("warning", 1, 25.0, "crm")
    assert mostly.expected == "<= 90; warn if not <= 10"
    tolerated = check_of(orders, "invalid_percent(age) < 60", "age")
    assert (tolerated.success, tolerated.count) == (True, 2)
    average = check_of(orders, "avg(age) between 10 and 20", "age")
    assert (average.success, average.count, average.observed, average.expected) == (False, 0, 42.75, "<= 20 and >= 10")
    assert (check_of(orders, "too old").count, check_of(orders, "by query").count) == (1, 1)
    assert check_of(orders, "values in (id) must exist in customers (id)", "id").count == 3
    assert check_of(orders, "duplicate_count(id, email) = 0", "id, email").columns == ("id", "email")
    schema = check_of(orders, "Schema Check")
    assert (status_of(schema), schema.observed) == ("failure", "1 schema event(s)")
    assert schema.details["figures"]["missing_column_names"] == ["shipped"]
    assert check_of(orders, "row_count > 0").details["parameters"] == {"filter": "young"}
    assert check_of(customers, "missing_count(name) = 0", "name").check_id == "customers-have-names"


def test_a_percentage_of_what_was_not_measured_is_no_pass():
    """Soda 3 takes a count that its query did not give for none, and passes."""
    (said,) = [check for check in scan_results("missing column")["checks"] if check["name"] == "emails mostly there"]
    assert (said["outcome"], said["diagnostics"]["value"]) == ("pass", 0.0)
    mostly = check_of(from_soda(scan_results("missing column"))[0], "emails mostly there", "email")
    assert (status_of(mostly), mostly.observed) == ("not_evaluated", None)


def test_checks_that_the_results_leave_out_are_found_in_the_scan_or_by_name_in_its_log():
    of_scan, of_file = (from_soda(make("missing column")) for make in (scan_object, scan_results))
    assert [sorted(r.validator_name for r in result.results) for result in of_scan] == [
        sorted(r.validator_name for r in result.results) for result in of_file
    ]
    gone = check_of(of_scan[0], "missing_count(gone) = 0", "gone")
    assert (status_of(gone), gone.check_id) == ("not_evaluated", "8ad30acf")
    assert status_of(check_of(of_file[0], "missing_count(gone) = 0")) == "not_evaluated"


def test_a_scan_and_the_file_of_its_results_are_one_run():
    of_scan, of_file = (from_soda(make("missing column")) for make in (scan_object, scan_results))
    assert [result.run_id for result in of_scan] == [result.run_id for result in of_file]


def test_a_scan_that_broke_off():
    orders, customers = from_soda(scan_object("broken off"))
    assert {status_of(r) for result in (orders, customers) for r in result.results} == {"not_evaluated"}
    assert len(orders.results) + len(customers.results) == 17
    (nothing,) = from_soda(scan_results("broken off"))
    assert (nothing.status, nothing.data_asset) == (ResultStatus.ERROR, "shop")
    assert "Error occurred while executing scan." in str(nothing.results[0].message)


def test_a_scan_without_checks_has_not_passed():
    (result,) = from_soda(scan_results("healthy") | {"checks": []})
    assert (result.status, result.statistics.pass_rate) == (ResultStatus.ERROR, 0.0)


@pytest.mark.parametrize("tool", ["soda-3.5.6", "soda-4.28.0"])
def test_the_same_run_is_stored_once_and_another_beside_it(tool):
    store = MemoryStore()
    make = scan_results if tool.startswith("soda-3") else contract
    for name in ("orders", "orders", "missing column"):
        for result in from_soda(make(name)):
            store.save(result)
    assert store.count() == (4 if make is scan_results else 2)


def test_two_scans_of_one_second_are_two_runs():
    first = scan_results("healthy")
    second = scan_results("healthy")
    second["checks"][0]["diagnostics"]["value"] = 2
    assert from_soda(first)[0].run_id != from_soda(second)[0].run_id


def test_samples_and_the_raw_artefact():
    (result,) = from_soda(contract("missing column"), samples=False)
    assert result.results[0].message == "not_evaluated"
    (result,) = from_soda(contract("healthy", objects=True), keep_raw=True)
    assert result.metadata["raw"]["check_results"][0]["threshold_value"] == 0


def test_recognised_and_refused(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(recording("soda-3.5.6", "healthy.json").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(TypeError, match="a dict with scan_results, checks_without_outcome"):
        from_any(file)
    assert from_any(scan_results("healthy"), "x")[0].data_asset == "x"
    assert from_any(contract("healthy", objects=True))[0].data_asset == "orders"
    with pytest.raises(TypeError, match="expected a verification or a scan of Soda, not dict"):
        from_soda({"checks": []})
