from __future__ import annotations

from datetime import UTC, datetime

import pytest

from truthstore.items.check_rows import check_ids
from truthstore.results import RESULTS, ResultStatus, ValidationResult, ValidatorResult


def run(*checks: ValidatorResult) -> ValidationResult:
    return ValidationResult("run-1", datetime(2026, 1, 1, tzinfo=UTC), "orders", ResultStatus.FAILURE, list(checks))


def ids(*checks: ValidatorResult) -> list[str]:
    return check_ids(run(*checks))


def test_a_check_is_called_as_its_tool_calls_it_or_by_column_name_and_parameters():
    assert ids(
        ValidatorResult("unique", success=True, column="id", check_id="test.shop.unique"),
        ValidatorResult("unique", success=True, column="id"),
        ValidatorResult("row_count", success=True),
        ValidatorResult("between", success=True, column="a", details={"parameters": {"max": 3, "min": 1}}),
        ValidatorResult("between", success=True, column="a", details={"parameters": {"min": 1, "max": 3}}),
    ) == [
        "test.shop.unique",
        "id unique",
        "row_count",
        'a between({"max":3,"min":1})',
        'a between({"max":3,"min":1}) #2',
    ]


def test_an_ordinal_never_takes_the_name_of_another_check():
    checks = [ValidatorResult("x", success=True, check_id=id) for id in ("a #2", "a", "a", "a #2", "a")]
    found = ids(*checks)
    assert found == ["a #2", "a", "a #3", "a #2 #2", "a #4"]
    assert len({*found}) == len(checks)


def test_long_statements_that_differ_at_their_end_are_two_checks():
    first, second = ids(*(ValidatorResult("SELECT " + "x" * 2_000 + end, success=True) for end in "ab"))
    assert first != second
    assert len(first) <= 1_000


@pytest.mark.parametrize(
    ("count", "status", "failed"),
    [
        (0, "success", 0),
        (3, "success", 3),
        (None, "success", None),
        (0, "failure", None),
        (2, "failure", 2),
        (0, "skipped", None),
        (5, "not_evaluated", None),
        (2**80, "failure", 2**63 - 1),
    ],
)
def test_no_figure_stands_for_what_nobody_knows(count: int | None, status: str, failed: int | None):
    check = ValidatorResult("unique", status == "success", count=count, status=status)
    (row,) = RESULTS.rows_of(RESULTS.encode(run(check)))
    assert row.meta.fields["failed"] == failed
