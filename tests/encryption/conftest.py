"""A result whose every part that shows data holds a secret, and an empty folder for the files of queues."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from truthstore import ResultStatus, ValidationResult, ValidatorResult

SECRETS = ("alicemessage", "aliceobserved", "aliceexpected", "alicesample", "alicemetadata")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def result(number: int, asset: str = "orders") -> ValidationResult:
    return ValidationResult(
        f"run-{number}",
        datetime(2026, 5, 4, 12, number % 60, tzinfo=UTC),
        asset,
        ResultStatus.FAILURE,
        results=[
            ValidatorResult(
                "not_null",
                success=False,
                column="email",
                message="alicemessage is missing",
                observed=f"aliceobserved {number}",
                expected="aliceexpected",
                details={"sample": ["alicesample"]},
                count=number,
            ),
            ValidatorResult("unique", success=True, column="id", observed=number),
        ],
        tags={"team": "sales"},
        metadata={"sample": "alicemetadata"},
    )
