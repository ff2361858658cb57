from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.recordings import imported
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConflictError
from truthstore.interop import from_any, from_pointblank
from truthstore.items.check_rows import check_ids
from truthstore.items.checks import status_of
from truthstore.model.record import ABSENT
from truthstore.results import ResultStatus

pb: Any = imported("pointblank")
pl: Any = imported("polars")


@pytest.fixture(scope="module")
def orders():
    return pl.DataFrame(
        {
            "shop": ["x", "x", "y", "y", "y"],
            "amount": [1, 2, -3, 4, None],
            "email": ["a@x.org", "bb", None, "d@x.org", "e@x.org"],
        }
    )


def steps(table, **options):
    return pb.Validate(table, tbl_name="orders", **options)


@pytest.fixture(scope="module")
def validation(orders):
    limits = pb.Thresholds(warning=1, error=0.5, critical=0.9)
    return (
        steps(orders, label="nightly", thresholds=limits)
        .col_vals_gt("amount", 0)
        .col_vals_gt("amount", 0, na_pass=True, segments="shop")
        .col_vals_not_null(["shop", "email"])
        .col_vals_lt("amount", 3, pre=lambda table: table.filter(pl.col("shop") == "x"))
        .rows_distinct(columns_subset=["shop", "amount"])
        .col_vals_gt("gone", 0)
        .col_vals_gt("amount", 100, active=False)
        .col_exists("gone")
        .row_count_match(5)
        .col_vals_between("amount", 0, 10, thresholds=pb.Thresholds(critical=3))
        .conjointly(lambda _: pl.col("amount") > 0, lambda _: pl.col("shop") != "z")
        .interrogate()
    )


@pytest.fixture
def result(validation):
    return from_pointblank(validation)


def check_of(result, name, column=None, **parameters):
    (found,) = [
        r
        for r in result.results
        if (r.validator_name, r.column) == (name, column)
        and parameters.items() <= r.details.get("parameters", {}).items()
    ]
    return found


def test_the_run(result, validation):
    assert (result.data_asset, result.suite_name, result.status) == ("orders", "nightly", ResultStatus.FAILURE)
    assert result.metadata["tool"] == "pointblank"
    assert result.metadata["tool_version"] == pb.__version__
    assert abs((result.run_time - validation.time_start).total_seconds()) < 60
    assert (result.statistics.total_rows, result.statistics.total_columns) == (5, 3)


def test_every_step_and_segment_counts_once(result, validation):
    figures = result.statistics
    known = validation.validation_info
    assert figures.total_validators == len(known) == 13
    assert figures.error_validators == sum(bool(step.eval_error) for step in known) == 1
    assert figures.skipped_validators == 1
    tolerated = 1  # fails in two rows, and only three are critical
    assert figures.passed_validators - tolerated == sum(step.all_passed is True for step in known)
    assert [(r.count, r.checked) for r in result.results if r.checked] == [
        (step.n_failed, step.n) for step in known if step.active and step.n > 1
    ]


def test_levels_become_severities(result):
    assert check_of(result, "col_vals_gt", "amount", na_pass=False, values=0).severity == "medium"
    exists = check_of(result, "col_exists", "gone")
    assert (exists.severity, exists.count, exists.checked) == ("critical", 0, None)
    assert status_of(check_of(result, "col_vals_not_null", "email")) == "warning"


def test_without_thresholds_a_step_with_failures_has_failed(orders):
    (check,) = from_pointblank(steps(orders).col_vals_gt("amount", 0).interrogate()).results
    assert (status_of(check), check.severity, check.count, check.checked) == ("failure", None, 2, 5)


def test_a_step_below_its_thresholds_has_passed_and_says_what_it_tolerates(result):
    between = check_of(result, "col_vals_between", "amount")
    assert (between.success, between.count, between.checked) == (True, 2, 5)


def test_a_step_that_could_not_be_evaluated_is_an_error(result, validation):
    gone = check_of(result, "col_vals_gt", "gone")
    assert (gone.errored, gone.count, gone.checked) == (True, 0, None)
    # The report says the same of it as of a step that is not active, but for the rows.
    (said,) = [
        step for step in json.loads(validation.get_json_report()) if step["column"] == "gone" and step["i"] < 10
    ][:1]
    assert (said["active"], said["all_passed"], said["n"]) == (False, None, 5)


def test_a_step_that_is_not_active_is_skipped(result):
    assert status_of(check_of(result, "col_vals_gt", "amount", values=100)) == "skipped"


def test_segments_are_checks_of_their_own(result):
    rows = {value: check_of(result, "col_vals_gt", "amount", segments=["shop", value]).count for value in "xy"}
    assert rows == {"x": 0, "y": 1}


def test_a_step_over_several_columns(result):
    distinct = check_of(result, "rows_distinct", "shop, amount")
    assert distinct.columns == ("shop", "amount")


def test_rows_are_those_that_remain_after_pre(result):
    assert check_of(result, "col_vals_lt", "amount").checked == 2


def test_failing_values_of_the_column_are_kept(result):
    check = check_of(result, "col_vals_gt", "amount", na_pass=False, values=0)
    assert check.details["sample_values"] == [-3, None]
    assert check.details["sample_indexes"] == [3, 5]
    assert check.message == "Expect that values in `amount` should be > `0`: 2 of 5 values failed, such as -3"


def test_samples_can_be_left_out_or_redacted(validation):
    check = check_of(from_pointblank(validation, samples=False), "col_vals_gt", "amount", na_pass=False, values=0)
    assert "sample_values" not in check.details
    assert check.message == "Expect that values in `amount` should be > `0`: 2 of 5 values failed"
    hidden = check_of(from_pointblank(validation, redact=["email"]), "conjointly")
    assert "x.org" not in str(hidden.to_dict())


@pytest.mark.parametrize("form", [str, json.loads, "file"], ids=["text", "list", "file"])
def test_a_report_is_the_run_that_it_reports(validation, result, form, tmp_path):
    report: Any = validation.get_json_report()
    if form == "file":
        path = tmp_path / "report.json"
        path.write_text(report)
        report = path
    else:
        report = form(report)
    from_report = from_pointblank(report, "orders")
    assert from_report.run_id == result.run_id
    assert [status_of(r) for r in from_report.results] == [status_of(r) for r in result.results]
    assert [r.details["parameters"] for r in from_report.results if "parameters" in r.details] == [
        r.details["parameters"] for r in result.results if "parameters" in r.details
    ]


def test_parameters_are_the_same_in_another_process(result):
    assert (
        check_of(result, "conjointly").details["parameters"]["values"]["expressions"]
        == ["<function validation.<locals>.<lambda>>"] * 2
    )


def test_what_is_measured_once_is_the_same_check_whatever_was_measured_and_is_allowed(orders):
    """Pointblank puts the age of the newest row and the outcome of a comparison among the values of a step."""

    def ids(table, other, allowed):
        dated = table.with_columns(loaded=pl.datetime(2020, 1, allowed, time_zone="UTC"))
        validation = (
            steps(dated)
            .data_freshness("loaded", max_age=f"{allowed} days")
            .row_count_match(allowed)
            .col_sum_le("amount", allowed)
            .tbl_match(other)
            .interrogate()
        )
        result = from_pointblank(validation)
        assert [check.observed for check in result.results[1:]] == [None] * 3
        assert "days" in str(result.results[0].observed)
        assert result.results[1].details["limits"]["count"] == allowed
        assert "limits" not in result.results[3].details  # where its samples would be
        assert "987654321" not in json.dumps(from_pointblank(validation, samples=False).to_dict())
        return check_ids(result)

    assert ids(orders, orders, 5) == ids(orders, orders.with_columns(amount=987654321), 7)


def test_the_same_run_is_stored_once_and_the_next_one_too(validation, orders):
    store = MemoryStore()
    store.save(from_pointblank(validation), expect=ABSENT)
    with pytest.raises(StoreConflictError):
        store.save(from_pointblank(validation.get_json_report(), "orders"), expect=ABSENT)
    for _ in range(2):
        store.save(from_pointblank(steps(orders).col_vals_gt("amount", 0).interrogate()), expect=ABSENT)
    assert store.count() == 3


def test_what_says_nothing_is_refused(orders, validation):
    with pytest.raises(ValueError, match=r"never interrogated.*call interrogate\(\) first"):
        from_pointblank(steps(orders).col_vals_gt("amount", 0))
    with pytest.raises(ValueError, match="give data_asset"):
        from_pointblank(validation.get_json_report())
    with pytest.raises(TypeError, match="expected a Validate of Pointblank or its JSON report, not dict"):
        from_pointblank({"i": 1})


def test_unknown_keys_are_left_alone_and_the_owner_is_kept(orders):
    validation = steps(orders, owner="crm").col_vals_gt("amount", 0).interrogate()
    assert from_pointblank(validation).results[0].owner == "crm"
    report = [{**step, "brand_new": 1} for step in json.loads(validation.get_json_report())]
    assert from_pointblank(report, "orders").results[0].count == 2


def test_a_table_of_pandas():
    pd: Any = imported("pandas")
    table = pd.DataFrame({"amount": [1.0, -2.0, None]})
    (check,) = from_pointblank(steps(table).col_vals_gt("amount", 0).interrogate()).results
    assert (check.count, check.details["sample_values"]) == (2, [-2.0, "NaN"])


def test_recognised(validation):
    assert from_any(validation)[0].data_asset == "orders"
    assert from_any(json.loads(validation.get_json_report()), "o")[0].data_asset == "o"
