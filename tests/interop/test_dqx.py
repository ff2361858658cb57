"""DQX: what it wrote is recorded."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.interop.recordings import imported, recorded, recording
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConflictError
from truthstore.interop import from_any, from_dqx
from truthstore.items.checks import status_of
from truthstore.model.record import ABSENT
from truthstore.results import ResultStatus

TOOL = "dqx-0.17.0"


@pytest.fixture
def summary():
    return recorded(TOOL, "summary.json")


@pytest.fixture
def rows():
    return recorded(TOOL, "rows.json")


def found(result):
    return {check.validator_name: check for check in result.results}


def statuses(result):
    return {check.validator_name: str(status_of(check)) for check in result.results}


EXPECTED = {
    "id is there": "failure",
    "amount in range": "failure",
    "email is there": "warning",
    "unique": "failure",
    "gone is there": "not_evaluated",
    "two rows at most": "warning",
}


def test_the_summary_of_a_run(summary):
    (result,) = from_dqx(summary)
    assert statuses(result) == EXPECTED | {"shop is there": "success"}
    assert (result.data_asset, result.status) == ("main.shop.orders", ResultStatus.FAILURE)
    assert (result.statistics.total_rows, result.statistics.passed_validators) == (4, 1)
    assert result.metadata["tool_run_id"] == summary[0]["run_id"]
    assert (result.metadata["error_row_count"], result.metadata["valid_row_count"]) == (4, 0)
    checks = found(result)
    assert (checks["unique"].count, checks["unique"].checked) == (2, 4)
    amount = checks["amount in range"]
    assert (amount.count, amount.checked, amount.owner) == (1, 2, "crm")  # only two rows pass its filter
    assert amount.message == "1 of 2 values failed"
    assert len({check.check_id for check in result.results}) == 1  # its fingerprints change with the limits


def test_a_check_that_looked_at_no_row_is_not_evaluated(summary):
    """Its column is missing, and DQX counts an error for every row."""
    (said,) = [c for c in json.loads(summary[-1]["metric_value"]) if c["check_name"] == "gone is there"]
    assert (said["error_count"], said["checked_count"]) == (4, 0)
    gone = found(from_dqx(summary)[0])["gone is there"]
    assert (gone.count, gone.checked, gone.success) == (None, None, False)
    summary[-1]["metric_value"] = json.dumps([said | {"error_count": 0}])  # with suppress_skipped
    assert statuses(from_dqx(summary)[0]) == {"gone is there": "not_evaluated"}


def test_a_check_of_the_table_counts_once_and_no_rows(summary, rows):
    for result in (*from_dqx(summary), *from_dqx(rows, "orders")):
        assert found(result)["two rows at most"].count == 0


def test_all_rows_are_counted_where_the_function_is_known(summary):
    summary[-1]["metric_value"] = summary[-1]["metric_value"].replace('"warning_count":2', '"warning_count":4')
    unknown, known = (
        found(from_dqx(summary, functions=functions)[0])["email is there"]
        for functions in (None, {"email is there": "is_not_null_and_not_empty"})
    )
    assert (unknown.count, known.count) == (0, 4)


def test_rows_with_result_columns(rows):
    (result,) = from_dqx(rows, "orders")
    assert statuses(result) == EXPECTED  # what passed is not there
    checks = found(result)
    assert (checks["id is there"].column, checks["id is there"].count) == ("id", 1)
    assert checks["email is there"].details["sample_values"] == ["", None]
    assert checks["unique"].columns == ("id", "shop")
    assert checks["unique"].details["sample_values"] == [{"id": 2, "shop": "y"}] * 2
    assert checks["amount in range"].message == "Value '12.0' in Column 'amount' not in range: [0, 10]"
    assert checks["amount in range"].details["parameters"] == {"filter": "shop = 'x'"}
    assert result.metadata["tool_run_id"] == rows[0]["_errors"][0]["run_id"]


def test_rows_without_errors_have_passed(rows):
    good = [row | {"_errors": None, "_warnings": None} for row in rows]
    (result,) = from_dqx(good, "orders")
    assert (result.status, result.results[0].checked) == (ResultStatus.SUCCESS, 4)


def test_values_can_be_hidden(rows):
    (bare,) = from_dqx(rows, "orders", samples=False)
    assert found(bare)["amount in range"].message == "1 value failed"
    (hidden,) = from_dqx(rows, "orders", redact=["amount"])
    assert "12.0" not in str(found(hidden)["amount in range"].to_dict())


def test_data_frames(summary, rows):
    for library in ("pandas", "polars"):
        frame: Any = imported(library).DataFrame(summary)
        assert statuses(from_any(frame)[0]) == EXPECTED | {"shop is there": "success"}

    def row(values):
        return SimpleNamespace(asDict=lambda *, recursive: values)

    spark = SimpleNamespace(columns=list(rows[0]), collect=lambda: list(map(row, rows)))
    assert statuses(from_any(spark, "orders")[0]) == EXPECTED


def test_runs_are_told_apart_and_stored_once(summary):
    other = [row | {"run_id": "2", "run_time": "2026-05-05T03:00:00"} for row in summary]
    store = MemoryStore()
    for result in from_dqx(summary + other):
        store.save(result, expect=ABSENT)
    with pytest.raises(StoreConflictError):
        store.save(from_any(recording(TOOL, "summary.json"))[0], expect=ABSENT)
    assert store.count() == 2


def test_what_says_too_little_is_refused(summary, rows):
    with pytest.raises(ValueError, match="no check_metrics, so that nothing is known of single checks"):
        from_dqx(summary[:-1])
    with pytest.raises(ValueError, match="give data_asset"):
        from_dqx(rows)
    with pytest.raises(ValueError, match="give data_asset"):
        from_dqx([row | {"input_location": None, "run_name": "dqx"} for row in summary])
    with pytest.raises(TypeError, match="expected summary metrics or checked rows of DQX, not list"):
        from_dqx([{"a": 1}])
    with pytest.raises(ValueError, match="this table has no rows, so that nothing is known"):
        from_dqx(imported("polars").DataFrame(rows).clear(), "orders")
