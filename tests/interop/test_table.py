from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.interop.recordings import imported
from truthstore.backends.memory import MemoryStore
from truthstore.interop import from_any, from_table
from truthstore.items.checks import status_of
from truthstore.results import ResultStatus

ROWS = [
    {"Check": "not null", "Column Name": "id", "Passed": True, "Failed Rows": 0, "Rows": 90, "Table": "orders"},
    {"Check": "unique", "Column Name": "id", "Passed": False, "Failed Rows": 3, "Rows": 90, "Table": "orders"},
    {"Check": "not null", "Column Name": "name", "Passed": True, "Failed Rows": None, "Rows": 7, "Table": "people"},
]


def checked(**row):
    ((check,),) = (result.results for result in from_table([{"check": "rule", **row}], "orders"))
    return check


def test_a_row_is_a_check_and_every_data_asset_a_result():
    orders, people = from_table(ROWS, tags={"team": "shop"}, tool="our checks")
    assert (orders.data_asset, people.data_asset) == ("orders", "people")
    assert (orders.status, people.status) == (ResultStatus.FAILURE, ResultStatus.SUCCESS)
    assert (orders.metadata["tool"], orders.tags) == ("our checks", {"team": "shop"})
    unique = orders.results[1]
    assert (unique.validator_name, unique.column, unique.count, unique.checked) == ("unique", "id", 3, 90)
    assert unique.message == "3 of 90 values failed"
    assert people.results[0].count is None  # it passed, and nobody says how many failed


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_is_the_same(library):
    frame: Any = imported(library).DataFrame(ROWS)
    of_frame, of_rows = (from_table(rows) for rows in (frame, ROWS))
    assert [result.results for result in of_frame] == [result.results for result in of_rows]
    assert from_any(frame, "orders")[0].statistics.total_validators == 3


def test_a_file(tmp_path):
    path = tmp_path / "checks.json"
    path.write_text(json.dumps(ROWS))
    assert [result.data_asset for result in from_any(path)] == ["orders", "people"]
    imported("polars").DataFrame(ROWS).write_parquet(tmp_path / "checks.parquet")
    assert [result.data_asset for result in from_any(tmp_path / "checks.parquet")] == ["orders", "people"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"status": "PASS"}, "success"),
        ({"status": "Failed"}, "failure"),
        ({"status": "warn"}, "warning"),
        ({"status": "Not evaluated"}, "not_evaluated"),
        ({"status": "skipped"}, "skipped"),
        ({"status": "error"}, "error"),
        ({"status": None}, "not_evaluated"),
        ({"success": 1}, "success"),
        ({"success": 0.0}, "failure"),
        ({"success": "no"}, "failure"),
        ({"success": None, "failed": 0}, "not_evaluated"),
        ({"failed": 0}, "success"),
        ({"failed": 2}, "failure"),
        ({"failed": None}, "not_evaluated"),
        ({"status": "warning", "success": False}, "warning"),
    ],
    ids=str,
)
def test_words_for_a_status(said, status):
    assert status_of(checked(**said)) == status


def test_a_status_that_nobody_knows_or_that_contradicts_is_refused():
    with pytest.raises(ValueError, match=r"check 'rule': 'meh' is no status of 0, 1, disabled, error"):
        checked(status="meh")
    with pytest.raises(ValueError, match="check 'rule': success contradicts success=False"):
        checked(status="passed", success=False)


def test_what_is_no_number_of_rows_is_not_counted():
    assert (checked(passed=False, violations=1.5).count, checked(passed=False, violations="3").count) == (0, 3)
    assert checked(passed=True, violations=float("nan")).count is None


def test_other_columns_are_kept_in_the_details():
    check = checked(passed=False, level="WARNING", note="n", threshold=0.5, actual="x", owner="crm", message="it is so")
    assert check.details == {"note": "n"}
    assert (check.severity, check.expected, check.observed, check.owner) == ("medium", 0.5, "x", "crm")
    assert check.message == "it is so"


def test_several_columns():
    assert checked(passed=True, columns=("a", "b")).columns == ("a", "b")
    assert checked(passed=True, columns=["a"]).columns is None


def test_cuallee():
    """Columns of its summary: `check` is the suite there, and `rule` the check."""
    row = {"id": 1, "timestamp": "2026-11-29 22:43:25", "check": "orders", "level": "WARNING", "column": "id"}
    row |= {"rule": "is_unique", "rows": 6, "violations": 2, "pass_rate": 0.6, "pass_threshold": 1.0, "status": "FAIL"}
    row |= {"value": 5}
    (result,) = from_any([row], "orders")
    (check,) = result.results
    assert (check.validator_name, check.count, check.checked, check.severity) == ("is_unique", 2, 6, "medium")
    assert (check.observed, check.expected) == (None, 5)
    assert result.run_time == datetime(2026, 11, 29, 22, 43, 25)  # noqa: DTZ001  # naive: local time


def test_runs_are_told_apart_by_their_id_and_stored_once():
    rows = [{"check": "rule", "passed": True, "run_id": run, "run_time": f"2026-05-0{run}T03:00:00Z"} for run in (1, 2)]
    store = MemoryStore()
    for _ in range(2):
        for result in from_table(rows, "orders"):
            store.save(result)
    assert store.count() == 2
    first, second = from_table(rows, "orders")
    assert (first.metadata["tool_run_id"], first.run_time) == ("1", datetime(2026, 5, 1, 3, tzinfo=UTC))
    assert from_table(rows, "people")[1].run_id != second.run_id


def test_a_list_is_a_document_and_a_frame_a_new_run():
    pd: Any = imported("pandas")
    assert len({from_table(ROWS)[0].run_id for _ in range(2)}) == 1
    assert len({from_table(pd.DataFrame(ROWS))[0].run_id for _ in range(2)}) == 2


@pytest.mark.parametrize("rows", [[], [{"check": "rule"}], [{"passed": True}]], ids=str)
def test_what_says_nothing_of_checks_is_refused(rows):
    with pytest.raises(TypeError, match=r"a table of checks needs a column for the (name|status), such as"):
        from_table(rows)
    with pytest.raises(TypeError, match="not the result of a known tool"):
        from_any(rows)


def test_the_data_asset_must_be_said():
    with pytest.raises(ValueError, match="give data_asset"):
        from_table([{"check": "rule", "passed": True}])
    with pytest.raises(TypeError, match="expected a table or a list of dicts, not int"):
        from_table(7)
    with pytest.raises(ValueError, match="this table has no rows, so that nothing is known"):
        from_table(imported("pandas").DataFrame(ROWS).head(0))
