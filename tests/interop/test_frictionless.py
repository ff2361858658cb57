from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.recordings import imported
from truthstore.interop import from_any, from_frictionless
from truthstore.items.checks import status_of
from truthstore.results import ResultStatus

frictionless: Any = imported("frictionless")

SCHEMA = {
    "primaryKey": ["id"],
    "fields": [
        {"name": "id", "type": "integer", "constraints": {"required": True}},
        {"name": "amount", "type": "number", "constraints": {"minimum": 0}},
        {"name": "email", "type": "string", "format": "email", "constraints": {"unique": True}},
        {"name": "shop", "type": "string", "constraints": {"enum": ["x"]}},
    ],
}
ROWS = """id,amount,email,shop
1,2.5,a@x.org,x
2,abc,,x
3,4,not-an-address,y
3,-5,d@x.org,y
4,1
5,1,f@x.org,x,more,again
"""


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def validated(rows=ROWS, checks=(), **options):
        (tmp_path / "orders.csv").write_text(rows)
        resource = frictionless.Resource("orders.csv", schema=frictionless.Schema.from_descriptor(SCHEMA))
        return resource.validate(frictionless.Checklist.from_descriptor({"checks": list(checks)}), **options)

    return validated


def found(result):
    return {(r.validator_name, r.column, *r.details.get("parameters", {}).values()): r for r in result.results}


def test_errors_of_one_kind_and_field_are_one_check_and_counts_are_those_printed(report):
    printed = report()
    (result,) = from_frictionless(printed)
    assert result.data_asset == "orders.csv"
    assert result.status is ResultStatus.FAILURE
    assert (result.statistics.total_rows, result.statistics.total_columns) == (6, 4)
    assert result.statistics.execution_time_ms == pytest.approx(printed.stats["seconds"] * 1_000)
    assert sum(r.details["errors"] for r in result.results) == printed.stats["errors"]
    checks = found(result)
    amount = checks["type-error", "amount"]
    assert (amount.count, amount.checked, amount.expected) == (1, 6, 'type is "number/default"')
    assert (amount.details["sample_values"], amount.details["sample_indexes"]) == (["abc"], [3])
    shop = checks["constraint-error", "shop", "enum"]
    assert (shop.count, shop.details["sample_values"]) == (2, ["y", "y"])
    assert checks["constraint-error", "amount", "minimum"].count == 1
    assert checks["primary-key", None].count == 1


def test_rows_are_counted_and_not_their_errors(report):
    (result,) = from_frictionless(report())
    extra = found(result)["extra-cell", None]
    assert (extra.count, extra.details["errors"]) == (1, 2)


def test_with_the_schema_what_passed_is_listed(report):
    for schema in (SCHEMA, frictionless.Schema.from_descriptor(SCHEMA)):
        (result,) = from_frictionless(report(), schema=schema)
        passed = {key for key, check in found(result).items() if check.success}
        assert passed == {
            ("type-error", "id"),
            ("constraint-error", "id", "required"),
            ("unique-error", "email"),
            ("type-error", "shop"),
        }
        assert found(result)["primary-key", "id"].count == 1
        assert len(found(result)) == len(result.results)


def test_a_file_without_errors(report):
    valid = report("id,amount,email,shop\n1,2.5,a@x.org,x\n")
    (result,) = from_frictionless(valid)
    assert (result.status, result.results[0].checked) == (ResultStatus.SUCCESS, 1)
    (result,) = from_frictionless(valid, schema=SCHEMA)
    assert (result.statistics.passed_validators, result.statistics.total_validators) == (9, 9)


@pytest.mark.parametrize(("limit", "rows"), [({}, 1_000), ({"limit_errors": 10}, 10), ({"limit_rows": 5}, 5)], ids=str)
def test_counts_are_lower_bounds_when_frictionless_stops(report, limit, rows):
    lines = "".join(f"{n},x,a{n}@x.org,x\n" for n in range(1_500))
    (result,) = from_frictionless(report("id,amount,email,shop\n" + lines, **limit), schema=SCHEMA)
    amount = found(result)["type-error", "amount"]
    assert (amount.count, amount.checked) == (rows, rows)
    assert result.metadata["complete"] is False
    assert result.statistics.total_rows == 0  # nobody knows
    assert result.statistics.passed_validators == 0
    assert status_of(found(result)["type-error", "shop"]) == "not_evaluated"


def test_a_file_that_is_not_there_is_an_error():
    (result,) = from_frictionless(frictionless.Resource("none.csv").validate(), schema=SCHEMA)
    assert (result.status, result.statistics.error_validators) == (ResultStatus.ERROR, 1)
    assert result.statistics.passed_validators == 0
    assert "No such file" in str(found(result)["scheme-error", None].message)


def test_a_descriptor_that_is_wrong_is_an_error():
    wrong = frictionless.validate({"resources": [{"name": "a", "path": "../a.csv"}]})
    results = from_frictionless(wrong, "package")
    assert {result.status for result in results} == {ResultStatus.ERROR}


def test_checks_of_a_checklist(report):
    formula = {"type": "row-constraint", "formula": "amount > 3"}
    (result,) = from_frictionless(report(checks=[formula, {"type": "table-dimensions", "numRows": 3}]))
    checks = found(result)
    assert checks["row-constraint", None, "amount > 3"].count == 5
    dimensions = checks["table-dimensions", None]
    assert (dimensions.success, dimensions.count, dimensions.checked) == (False, 0, None)


def test_one_result_for_each_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("id\n1\n")
    package = frictionless.Package({"resources": [{"name": name, "path": f"{name}.csv"} for name in "ab"]})
    results = from_frictionless(package.validate())
    assert [result.data_asset for result in results] == ["a.csv", "b.csv"]
    with pytest.raises(ValueError, match="that of one table, and this report has several"):
        from_frictionless(package.validate(), schema=SCHEMA)


def test_rows_in_memory_have_no_place():
    report = frictionless.Resource([["id"], ["1"]], name="orders").validate()
    assert from_frictionless(report)[0].data_asset == "orders"


def test_samples_can_be_left_out_or_redacted(report):
    printed = report(checks=[{"type": "row-constraint", "formula": "amount > 3"}])
    (bare,) = from_frictionless(printed, samples=False)
    assert "not-an-address" not in json.dumps(bare.to_dict())
    (hidden,) = from_frictionless(printed, redact=["email"])
    assert "not-an-address" not in json.dumps(hidden.to_dict())
    assert found(hidden)["type-error", "amount"].details["sample_values"] == ["abc"]


def test_a_document_is_one_run_and_every_report_of_a_process_another(report, tmp_path):
    printed = report()
    (tmp_path / "report.json").write_text(printed.to_json())
    ids = {from_any(thing)[0].run_id for thing in (tmp_path / "report.json", str(tmp_path / "report.json"))}
    assert len(ids) == 1
    assert len({from_any(printed)[0].run_id for _ in range(2)}) == 2


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="expected a Report of Frictionless, not dict"):
        from_frictionless({"valid": True})
