"""Errors of Pydantic and of JSON Schema over rows."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from tests.interop.recordings import imported
from truthstore.interop import from_any, from_json_schema, from_pydantic
from truthstore.results import ResultStatus

jsonschema: Any = imported("jsonschema")

ROWS = [
    {"id": 1, "amount": 2, "email": "a@x.org", "address": {"zip": 1}, "tags": [1]},
    {"id": "x", "amount": -1, "email": "nope"},
    {"amount": -3, "email": "b@x.org", "address": {"zip": "k"}, "tags": [1, "b", "c"]},
    {"id": 7, "amount": 1, "email": "c@x.org"},
]
SCHEMA = {
    "title": "order",
    "type": "object",
    "required": ["id", "email"],
    "properties": {
        "id": {"type": "integer", "maximum": 5},
        "amount": {"type": "number", "minimum": 0},
        "email": {"type": "string", "pattern": ".+@.+"},
        "address": {"type": "object", "properties": {"zip": {"type": "integer"}}},
        "tags": {"type": "array", "items": {"type": "integer"}},
    },
}


class Address(pydantic.BaseModel):
    zip: int


class Order(pydantic.BaseModel):
    id: int
    amount: float = pydantic.Field(ge=0)
    email: str = pydantic.Field(pattern=".+@.+")
    address: Address | None = None
    tags: list[int] = []

    @pydantic.model_validator(mode="after")
    def together(self) -> Order:
        if self.id == 7:
            raise ValueError("seven is taken")
        return self


def errors_of(validate, value):
    try:
        validate(value)
    except pydantic.ValidationError as error:
        return error
    return None


@pytest.fixture
def of_list():
    return errors_of(pydantic.TypeAdapter(list[Order]).validate_python, ROWS)


@pytest.fixture
def of_rows():
    return [errors_of(Order.model_validate, row) for row in ROWS]


def found(result):
    return {(r.validator_name, r.column): r for r in result.results}


def test_errors_of_one_type_and_field_are_one_check_and_rows_are_counted(of_list):
    result = from_pydantic(of_list, "orders", checked=4)
    assert (result.status, result.statistics.total_rows) == (ResultStatus.FAILURE, 4)
    assert result.metadata["tool_version"] == pydantic.VERSION
    checks = found(result)
    amount = checks["greater_than_equal", "amount"]
    assert (amount.count, amount.checked, amount.success) == (2, 4, False)
    assert amount.details["parameters"] == {"ge": 0.0}
    assert (amount.details["sample_values"], amount.details["sample_indexes"]) == ([-1, -3], [1, 2])
    tags = checks["int_parsing", "tags"]
    assert (tags.count, tags.details["errors"]) == (1, 2)
    assert checks["int_parsing", "address.zip"].count == 1
    assert checks["value_error", None].message == "Value error, seven is taken"
    assert sum(check.details["errors"] for check in result.results) == of_list.error_count()


def test_a_missing_field_keeps_nothing_of_the_others(of_list):
    missing = found(from_pydantic(of_list, "orders"))["missing", "id"]
    assert (missing.count, missing.details["sample_indexes"]) == (1, [2])
    assert "sample_values" not in missing.details


def test_every_form_is_the_same(of_list, of_rows):
    expected = from_pydantic(of_list, "orders", checked=4).results
    result = from_pydantic(of_rows, "orders")
    assert (result.results, result.suite_name) == (expected, "Order")
    by_row = {row: error for row, error in enumerate(of_rows) if error}
    assert from_pydantic(by_row, "orders", checked=4).results == expected
    listed = from_pydantic(of_list.errors(include_url=False), "orders", checked=4)
    assert [(r.validator_name, r.column, r.count) for r in listed.results] == [
        (r.validator_name, r.column, r.count) for r in expected
    ]


def test_a_file_of_errors_is_one_run_and_errors_of_a_process_are_new_ones(of_list, tmp_path):
    path = tmp_path / "errors.json"
    path.write_text(of_list.json())
    assert len({from_any(path, "orders")[0].run_id for _ in range(2)}) == 1
    assert len({from_any(of_list, "orders")[0].run_id for _ in range(2)}) == 2


def test_rows_that_are_all_valid():
    result = from_pydantic([None, None], "orders")
    assert (result.status, result.results[0].checked) == (ResultStatus.SUCCESS, 2)


@pytest.mark.parametrize("convert", [from_pydantic, from_json_schema])
def test_no_error_of_nobody_knows_how_many_rows_is_no_success(convert):
    with pytest.raises(ValueError, match="nothing says how many rows were validated: give checked"):
        convert({}, "orders")
    with pytest.raises(ValueError, match="nothing says how many rows were validated: give checked"):
        convert(iter(()), "orders")
    with pytest.raises(TypeError, match=r"expected errors of (pydantic|jsonschema), not int"):
        convert([7], "orders")


def test_values_can_be_hidden(of_rows):
    hidden = found(from_pydantic(of_rows, "orders", redact=["email"]))
    assert "nope" not in str([check.to_dict() for check in hidden.values()])
    assert hidden["value_error", None].details["sample_values"] == [ROWS[3] | {"email": "[REDACTED]"}]
    assert "nope" not in str(from_pydantic(of_rows, "orders", samples=False).to_dict())


def test_errors_of_json_schema_for_an_array_and_for_each_row():
    row = jsonschema.Draft202012Validator(SCHEMA)
    array = jsonschema.Draft202012Validator({"type": "array", "items": SCHEMA})
    of_rows = from_json_schema([list(row.iter_errors(value)) for value in ROWS], "orders", schema=SCHEMA)
    of_array = from_json_schema(array.iter_errors(ROWS), "orders", schema=SCHEMA, checked=4)
    assert of_rows.results == of_array.results
    assert of_rows.suite_name == "order"
    checks = found(of_rows)
    amount = checks["minimum", "amount"]
    assert (amount.count, amount.checked, amount.expected) == (2, 4, 0)
    assert amount.message == "-1 is less than the minimum of 0"
    assert checks["required", "id"].count == 1
    assert checks["type", "tags"].success  # it is an array
    assert sorted(r.count or 0 for r in of_rows.results if not r.success) == [1, 1, 1, 1, 1, 1, 2]


def test_with_a_schema_what_passed_is_listed():
    result = from_json_schema([[], []], "orders", schema=SCHEMA)
    assert (result.status, result.statistics.passed_validators) == (ResultStatus.SUCCESS, 13)
    assert found(result)["required", "email"].checked == 2
    assert found(result)["type", "address.zip"].success
    (check,) = from_json_schema([[], []], "orders").results
    assert check.success


def test_recognised(of_list, of_rows):
    array = jsonschema.Draft202012Validator({"items": SCHEMA})
    for thing, tool in (
        (of_list, "pydantic"),
        (of_rows, "pydantic"),
        (of_list.errors(), "pydantic"),
        (list(array.iter_errors(ROWS)), "jsonschema"),
        ([[], list(array.iter_errors(ROWS))], "jsonschema"),
    ):
        assert from_any(thing, "orders")[0].metadata["tool"] == tool
