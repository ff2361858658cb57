"""Validoopsie: what it wrote is recorded."""

from __future__ import annotations

import pytest

from tests.interop.recordings import recorded, recording
from truthstore.interop import from_any, from_validoopsie
from truthstore.items.check_rows import check_ids
from truthstore.items.checks import status_of
from truthstore.results import ResultStatus

TOOL = "validoopsie-1.8.1"


@pytest.fixture
def written():
    return recorded(TOOL, "orders.json")


@pytest.fixture
def result(written):
    return from_validoopsie(written, "orders")


def test_counts_are_those_of_the_summary(result, written):
    figures, summary = result.statistics, written["Summary"]
    assert figures.total_validators == len(summary["validations"]) == 6
    assert figures.failed_validators + figures.error_validators == len(summary["failed_validation"]) == 4
    assert (figures.warning_validators, figures.error_validators, figures.total_rows) == (0, 1, 4)
    assert (result.status, result.data_asset) == (ResultStatus.FAILURE, "orders")
    assert (result.metadata["tool"], result.run_time.tzinfo is None) == ("validoopsie", False)


def test_an_entry_that_was_overwritten_is_named_with_the_verdict_of_the_summary(result):
    lost = {check.check_id or id: check for id, check in zip(check_ids(result), result.results, strict=True)}
    failed, passed = lost["id ColumnValuesToBeBetween"], lost["shop ColumnNotBeNull"]
    assert (failed.success, failed.count, failed.checked) == (False, 0, None)
    assert "a later validation of the same class and column took their place" in str(failed.message)
    assert (passed.success, passed.count, passed.details["lost"]) == (True, None, failed.message)
    kept = lost["id ColumnValuesToBeBetween #2"], lost["shop ColumnNotBeNull #2"]
    assert [(check.success, check.count, check.checked) for check in kept] == [(True, 0, 4), (False, 1, 4)]


def test_an_overwritten_failure_is_told_from_a_kept_one(written):
    name = "ColumnValuesToBeBetween_id"
    written["Summary"]["failed_validation"].append(name)
    written[name]["result"]["status"] = "Fail"
    both = [check for check in from_validoopsie(written, "orders").results if check.column == "id"][1:]
    assert [(check.success, "lost" in check.details) for check in both] == [(False, True), (False, False)]


def test_failures_of_low_impact_are_failures_and_a_missing_column_is_an_error(result):
    first, last = result.results[0], result.results[-1]
    assert (status_of(first), first.severity, first.count, first.message) == (
        "failure",
        "low",
        1,
        "1 of 4 values failed, such as 'NaN'",
    )
    assert (status_of(last), last.column) == ("error", "gone")
    assert "were not found: ['gone']" in str(last.message)


def test_what_has_no_known_status_has_not_passed(written):
    written["ColumnNotBeNull_gone"]["result"] = {"status": "Maybe", "more": 1}
    assert status_of(from_validoopsie(written, "orders").results[-1]) == "not_evaluated"


def test_recognised_refused_and_imported_once(written):
    path = recording(TOOL, "orders.json")
    assert len({from_any(path, "orders")[0].run_id for _ in range(2)}) == 1
    hidden = from_any(path, "orders", samples=False)[0].results
    assert not any(key.startswith("sample") for check in hidden for key in check.details)
    with pytest.raises(ValueError, match="these results have no validations, so that nothing is known"):
        from_any(recording(TOOL, "nothing.json"), "orders")
    with pytest.raises(TypeError, match="expected the results of Validoopsie, not int"):
        from_validoopsie(7, "orders")
