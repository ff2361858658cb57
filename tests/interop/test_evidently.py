"""Evidently: what it wrote is recorded."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.interop.recordings import recorded, recording
from truthstore.interop import from_any, from_evidently
from truthstore.items.check_rows import check_ids
from truthstore.items.checks import status_of
from truthstore.results import ResultStatus

TOOL = "evidently-0.7.23"


@pytest.fixture
def report():
    return recorded(TOOL, "orders.json")


@pytest.fixture
def result(report):
    return from_evidently(report, "orders")


def check_of(result, name, column=None, **parameters):
    (found,) = [
        r
        for r in result.results
        if (r.validator_name, r.column) == (name, column)
        and all(r.details.get("parameters", {}).get(key) == value for key, value in parameters.items())
    ]
    return found


def test_counts_are_those_of_the_tests(result, report):
    said = Counter(test["status"] for test in report["tests"])
    figures = result.statistics
    assert figures.total_validators == said.total() == 13
    assert figures.passed_validators == said["SUCCESS"]
    assert figures.failed_validators == said["FAIL"] + said["WARNING"]
    assert figures.warning_validators == said["WARNING"] == 1
    assert (result.status, figures.total_rows) == (ResultStatus.FAILURE, 4)
    assert (result.data_asset, result.metadata["tool"]) == ("orders", "evidently")


def test_what_was_observed_is_found_by_the_fingerprint(result):
    minimum = check_of(result, "MinValue ge", "amount")
    assert (minimum.observed, minimum.expected, minimum.count) == (-3.0, "Greater or Equal 0.000", 0)
    assert minimum.message == "Minimal value of 'amount': observed -3.0, expected Greater or Equal 0.000"
    assert check_of(result, "RowCount eq").observed == 4.0


def test_rows_are_counted_only_where_the_metric_counts_bad_ones(result):
    missing = check_of(result, "MissingValueCount eq", "amount")
    assert (missing.success, missing.count, missing.observed) == (False, 1, 1.0)
    outside = check_of(result, "OutRangeValueCount le", "amount")
    assert (outside.count, outside.observed) == (1, pytest.approx(1 / 3))
    listed = check_of(result, "InListValueCount eq", "shop")
    assert (listed.success, listed.count, listed.observed) == (False, 0, 2.0)  # two values are in the list


def test_a_test_that_is_not_critical_warns(result):
    assert status_of(check_of(result, "MissingValueCount le", "shop")) == "warning"


def test_counts_and_shares_of_one_metric_are_two_checks(result):
    share = check_of(result, "MissingValueCount le", "id", share=True)
    count = check_of(result, "MissingValueCount le", "id", share=None)
    assert (share.expected, count.expected) == ("Less or Equal 0.100", "Less or Equal 0.500")


def test_a_check_is_the_same_whatever_its_limit(result):
    """Evidently's id is only the operator, and its fingerprint has the limit in it."""
    (now,) = from_evidently(recorded(TOOL, "other limits.json"), "orders").results
    before = check_of(result, "MissingValueCount eq", "amount")
    assert now.success
    assert now.details["fingerprint"] != before.details["fingerprint"]
    assert now.details.get("parameters") == before.details.get("parameters")
    assert (now.check_id, before.check_id) == (None, None)


def test_each_label_is_a_check_of_its_own_and_drift_has_no_limit_in_its_identity():
    result = from_evidently(recorded(TOOL, "labels.json"), "orders")
    assert check_ids(result) == [
        'shop UniqueValueCount eq({"label":"x"})',
        'shop UniqueValueCount eq({"label":"y"})',
        'shop UniqueValueCount eq({"label":"x","share":true})',
        "amount ValueDrift drift",
        'DriftedColumnsCount lt({"share":true})',
    ]
    assert [check.observed for check in result.results] == [2.0, 1.0, 0.5, 1.0, 0.0]
    assert [check.success for check in result.results] == [True, False, True, True, True]
    drift = result.results[3]
    assert (drift.details["title"], drift.expected, drift.details["limits"], drift.details["method"]) == (
        "Value Drift for column amount",
        None,
        0.2,
        "chi-square p_value",
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [("ERROR", "error"), ("SKIPPED", "skipped"), ("BRAND NEW", "not_evaluated"), (None, "not_evaluated")],
)
def test_what_did_not_run_has_not_passed(report, word, status):
    report["tests"][0] |= {"status": word, "more": 1}
    check = from_evidently(report, "orders").results[0]
    assert (status_of(check), check.observed if status != "error" else None) == (status, None)


def test_a_report_without_tests_is_refused():
    with pytest.raises(ValueError, match="this report has no tests, so that nothing was checked"):
        from_evidently(recorded(TOOL, "no tests.json"), "orders")
    with pytest.raises(TypeError, match="expected the result of a Report of Evidently, not int"):
        from_evidently(7, "orders")


def test_recognised_and_imported_once():
    path = recording(TOOL, "orders.json")
    assert len({from_any(path, "orders")[0].run_id for _ in range(2)}) == 1
    assert from_any(recorded(TOOL, "other limits.json"), "orders")[0].metadata["tool"] == "evidently"
