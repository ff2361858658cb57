"""Comparison of two versions, and the public values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from truthstore.backends.memory import MemoryStore
from truthstore.expectations import SUITES, Expectation, ExpectationSuite
from truthstore.results import ResultStatus, ValidationResult, ValidatorResult
from truthstore.versioning import (
    DiffType,
    VersionedStore,
    VersionNotFoundError,
)
from truthstore.versioning.base import VersionChange, VersionDiff, VersionInfo
from truthstore.versioning.diff import differences


def result(*checks: ValidatorResult, **changes: Any) -> ValidationResult:
    values: dict[str, Any] = {
        "run_id": "run",
        "run_time": datetime(2026, 1, 1, tzinfo=UTC),
        "data_asset": "orders",
        "status": ResultStatus.SUCCESS,
    }
    return ValidationResult(**{**values, **changes}, results=list(checks))


def test_checks_are_compared_by_what_they_check():
    store = VersionedStore(MemoryStore())
    null, unique = ValidatorResult("not_null", success=True, column="a"), ValidatorResult("unique", success=True)
    other = ValidatorResult("not_null", success=True, column="b")
    store.save(result(null, unique))
    failed = ValidatorResult("not_null", success=False, column="a", count=3)
    store.save(result(other, unique, failed, status=ResultStatus.FAILURE, tags={"a.b": "x"}))
    diff = store.diff("run", 1)
    found = {change.path: (change.type, change.old, change.new) for change in diff.changes}
    assert found["status"] == (DiffType.MODIFIED, "success", "failure")
    assert found["tags['a.b']"] == (DiffType.ADDED, None, "x")
    assert found["results[not_null, a].success"] == ("modified", True, False)
    assert found["results[not_null, a].count"] == ("modified", 0, 3)
    assert found["results[not_null, b]"][0] is DiffType.ADDED
    assert not [path for path in found if "unique" in path]
    assert diff.changes[0]["old_value"] == "success"
    assert diff.changes[0]["type"] == "modified"
    assert (diff.version_a, diff.version_b) == (1, 2)
    back = store.diff("run", 2, 1)
    assert {change.path for change in back.changes} == set(found)
    assert back.summary.startswith("0 added, 2 removed, ")
    assert not store.diff("run", 2, 2)
    assert diff.to_dict()["changes"][0]["path"] == "status"
    with pytest.raises(VersionNotFoundError):
        store.diff("run", 7)
    with pytest.raises(VersionNotFoundError):
        store.diff("unknown", 1)


def test_suites_and_views_have_versions_too():
    store = VersionedStore(MemoryStore()).collection(SUITES)
    assert isinstance(store, VersionedStore)
    suite = ExpectationSuite.create("daily", "orders")
    store.save(suite)
    suite.add_expectation(Expectation("not_null", "amount"))
    store.save(suite)
    assert "expectations[not_null, amount]" in [change.path for change in store.diff("daily", 1).changes]
    assert store.list_versions("daily") == [2, 1]


def test_differences_of_documents():
    def paths(old: Any, new: Any) -> list[str]:
        return [f"{change.type[0]} {change.path}" for change in differences(old, new)]

    assert paths({"a": 1}, {"a": True}) == ["m a"]
    assert paths({"a": 1}, {"a": 1.0}) == []
    assert paths({"a": float("nan")}, {"a": float("nan")}) == []
    assert paths({"a": [1, 2]}, {"a": [1, 3, 4]}) == ["m a[1]", "a a[2]"]
    same = [{"name": "x", "v": 1}, {"name": "x", "v": 2}, {"name": "x, 2", "v": 3}]
    assert paths(same, same) == []
    assert paths(same, same[:2]) == ["r [x, 2, 2]"]
    assert paths([{"name": "x"}], []) == ["r [x]"]
    assert paths({"a": None}, {}) == ["r a"]
    assert paths([1], {"0": 1}) == ["m "]


def test_values_can_be_written_down():
    info = VersionInfo(1, "a", datetime(2026, 1, 1, tzinfo=UTC), created_by="ada", metadata={"x": 1}, changes=("b",))
    assert json.loads(json.dumps(info.to_dict())) == info.to_dict()
    assert info.to_dict()["created_at"] == "2026-01-01T00:00:00+00:00"
    diff = VersionDiff("a", 1, 2, [VersionChange("x", DiffType.MODIFIED, "a", "b")])
    assert diff.to_dict()["changes"] == [{"path": "x", "type": "modified", "old_value": "a", "new_value": "b"}]
    assert diff.changes[0]["path"] == "x"
    error = VersionNotFoundError("item", 99)
    assert (error.item_id, error.version) == ("item", 99)
    assert "99" in str(error)
