from __future__ import annotations

import importlib
import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from vega_datasets import local_data

from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConflictError
from truthstore.interop import from_any, from_great_expectations, from_great_expectations_checkpoint
from truthstore.model.record import ABSENT
from truthstore.results import RESULTS, VALIDATOR_ERROR, ResultStatus, ValidationResult

pytest.importorskip("great_expectations")

pytestmark = [
    # Importing Great Expectations imports sre_constants, which Python 3.11 deprecates.
    pytest.mark.filterwarnings("ignore:module 'sre_constants' is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def airports():
    """3,376 airports, 12 of them without city and state."""
    return local_data.airports()


@pytest.fixture(scope="module")
def gx(airports):
    """An ephemeral context with the airports, and the suite that most tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GX_ANALYTICS_ENABLED", "false")
        great_expectations = importlib.import_module("great_expectations")
        expect = importlib.import_module("great_expectations.expectations")
        context = great_expectations.get_context(mode="ephemeral")
        source = context.data_sources.add_pandas("tables")
        definition = source.add_dataframe_asset("airports").add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(great_expectations.ExpectationSuite(name="airport suite"))
        for expectation in (
            expect.ExpectTableRowCountToBeBetween(min_value=1, max_value=5_000),
            expect.ExpectTableColumnCountToEqual(value=7),
            expect.ExpectColumnValuesToBeUnique(column="iata"),
            expect.ExpectColumnValuesToNotBeNull(column="city", notes="asked for by the map"),
            expect.ExpectColumnValuesToNotBeNull(column="state", mostly=0.9),
            expect.ExpectColumnValuesToBeBetween(column="latitude", min_value=20, max_value=60, severity="warning"),
            expect.ExpectColumnValuesToBeBetween(column="longitude", min_value=-180, max_value=-60, severity="info"),
            expect.ExpectColumnValuesToBeInSet(column="country", value_set=["USA"], severity="warning"),
            expect.ExpectColumnMeanToBeBetween(column="latitude", min_value=50, max_value=60),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(column_A="latitude", column_B="longitude"),
            expect.ExpectCompoundColumnsToBeUnique(column_list=["state", "city"]),
            expect.ExpectColumnValuesToNotBeNull(column="altitude"),
        ):
            suite.add_expectation(expectation)
        validation = context.validation_definitions.add(
            great_expectations.ValidationDefinition(name="airports daily", data=definition, suite=suite)
        )
        yield SimpleNamespace(
            module=great_expectations,
            expect=expect,
            context=context,
            validation=validation,
            batch=definition.get_batch(batch_parameters={"dataframe": airports}),
            parameters={"dataframe": airports},
        )


@pytest.fixture(scope="module")
def outcome(gx):
    return gx.validation.run(batch_parameters=gx.parameters, result_format="COMPLETE")


@pytest.fixture
def result(outcome) -> ValidationResult:
    return from_great_expectations(outcome, tags={"team": "maps"}, metadata={"commit": "abc"})


def by_name(result, name, column=None):
    (found,) = [r for r in result.results if r.validator_name == name and r.column == column]
    return found


def test_the_run(result, outcome):
    assert result.data_asset == "airports"
    assert result.suite_name == "airport suite"
    assert result.status is ResultStatus.FAILURE
    assert not result.success
    assert result.tags == {"team": "maps"}
    assert result.run_time == outcome.meta["validation_time"]
    assert result.metadata["tool"] == "great_expectations"
    assert result.metadata["tool_version"] == outcome.meta["great_expectations_version"]
    assert result.metadata["tool_run_id"] == outcome.meta["run_id"].run_time.isoformat()
    assert result.metadata["validation_id"] == outcome.meta["validation_id"]
    assert result.metadata["commit"] == "abc"


def test_the_figures(result, outcome):
    figures = result.statistics
    assert figures.total_validators == outcome.statistics["evaluated_expectations"] == 12
    assert figures.passed_validators == outcome.statistics["successful_expectations"]
    assert figures.error_validators == 1
    assert figures.passed_validators + figures.failed_validators + figures.error_validators == 12
    assert (figures.total_rows, figures.total_columns) == (3_376, 7)
    assert figures.total_issues == figures.critical_issues + figures.medium_issues + figures.low_issues
    assert (figures.medium_issues, figures.low_issues) == (2, 1)


def test_counts_and_samples_are_those_of_the_table(result, airports):
    missing = by_name(result, "expect_column_values_to_not_be_null", "city")
    rows = airports[airports["city"].isna()]
    assert (missing.success, missing.count, missing.severity) == (False, len(rows), "critical")
    assert missing.details["sample_indexes"] == list(rows.index)
    assert missing.details["notes"] == "asked for by the map"
    outside = by_name(result, "expect_column_values_to_be_between", "latitude")
    values = airports.loc[~airports["latitude"].between(20, 60), "latitude"]
    assert (outside.count, outside.severity) == (len(values), "medium")
    assert outside.details["sample_values"] == values.head(20).tolist()
    assert outside.details["sample_indexes"] == values.head(20).index.tolist()
    assert outside.details["kwargs"] == {"column": "latitude", "min_value": 20.0, "max_value": 60.0}
    assert f"{len(values)} of 3,376 values failed" in str(outside.message)


def test_what_passed_is_listed(result):
    unique = by_name(result, "expect_column_values_to_be_unique", "iata")
    assert unique.success
    assert (unique.severity, unique.issue_type, unique.message, unique.count) == (None, None, None, 0)
    tolerated = by_name(result, "expect_column_values_to_not_be_null", "state")
    assert tolerated.success
    assert tolerated.count == 12


def test_checks_of_several_columns_and_of_none(result):
    pair = by_name(result, "expect_column_pair_values_a_to_be_greater_than_b", "latitude, longitude")
    assert pair.columns == ("latitude", "longitude")
    assert pair.checked == 3_376
    compound = by_name(result, "expect_compound_columns_to_be_unique", "state, city")
    assert compound.details["columns"] == ["state", "city"]
    assert by_name(result, "expect_table_row_count_to_be_between").details["observed_value"] == 3_376


def test_an_aggregate_has_no_number_of_rows(result, airports):
    mean = by_name(result, "expect_column_mean_to_be_between", "latitude")
    assert (mean.success, mean.count) == (False, 0)
    assert mean.observed == pytest.approx(airports["latitude"].mean())
    assert mean.expected == "min_value = 50.0, max_value = 60.0"
    assert mean.details["observed_value"] == pytest.approx(airports["latitude"].mean())
    assert str(mean.message).startswith("observed 4")


def test_what_raised_is_an_error(result):
    altitude = by_name(result, "expect_column_values_to_not_be_null", "altitude")
    assert altitude.errored
    assert altitude.issue_type == VALIDATOR_ERROR
    assert altitude.count == 0
    assert altitude.message == 'Error: The column "altitude" in BatchData does not exist.'
    assert "MetricResolutionError" in altitude.details["exception_traceback"]


def test_it_is_stored_as_it_is(result):
    for encoding in ("json", "msgpack"):
        assert RESULTS.decode(RESULTS.encode(result, encoding)) == result
    assert ValidationResult.from_dict(result.to_dict()) == result


def test_its_json_says_the_same(result, outcome):
    from_json = from_great_expectations(
        outcome.to_json_dict(), "airports", tags={"team": "maps"}, metadata={"commit": "abc"}
    )
    assert from_json.run_id == result.run_id
    assert from_json.statistics == result.statistics
    assert from_json.run_time == result.run_time
    assert from_json.metadata == result.metadata
    # Only missing values differ: Great Expectations writes them as null.
    assert [(r.validator_name, r.column, r.count, r.severity) for r in from_json.results] == [
        (r.validator_name, r.column, r.count, r.severity) for r in result.results
    ]


def test_the_same_run_has_the_same_id(gx, outcome, result):
    assert from_great_expectations(outcome).run_id == result.run_id
    assert from_great_expectations(outcome, "other asset").run_id != result.run_id
    assert from_great_expectations(outcome, run_id="mine").run_id == "mine"
    again = gx.validation.run(batch_parameters=gx.parameters)
    assert from_great_expectations(again).run_id != result.run_id


def test_a_repeated_job_stores_its_run_once(outcome):
    with MemoryStore() as store:
        run_id = store.save(from_great_expectations(outcome), expect=ABSENT)
        with pytest.raises(StoreConflictError):
            store.save(from_great_expectations(outcome), expect=ABSENT)
        assert store.list_ids() == [run_id]
        assert store.get(run_id) == from_great_expectations(outcome)
        assert store.get_failures("airports", limit=5) == [store.get(run_id)]


def test_only_warnings_mean_warning(gx):
    suite = gx.module.ExpectationSuite(name="soft")
    suite.add_expectation(gx.expect.ExpectColumnValuesToBeInSet(column="country", value_set=[], severity="info"))
    result = from_great_expectations(gx.batch.validate(suite))
    assert result.status is ResultStatus.WARNING
    assert not result.success


def test_without_a_run_id_every_conversion_is_new(gx):
    suite = gx.module.ExpectationSuite(name="one")
    suite.add_expectation(gx.expect.ExpectColumnToExist(column="iata"))
    outcome = gx.batch.validate(suite)
    when = datetime(2024, 5, 1, 6, tzinfo=UTC)
    assert from_great_expectations(outcome).run_id != from_great_expectations(outcome).run_id
    first = from_great_expectations(outcome, run_time=when, execution_time_ms=12.5)
    assert first.success
    assert first.run_id.startswith("run_20240501_060000_")
    assert first.run_id == from_great_expectations(outcome, run_time=when).run_id  # the same at the same time
    assert "tool_run_id" not in first.metadata
    assert first.run_time == when
    assert first.statistics.execution_time_ms == 12.5


def test_one_expectation_alone(gx):
    outcome = gx.batch.validate(gx.expect.ExpectColumnValuesToNotBeNull(column="city"))
    result = from_great_expectations(outcome, "airports")
    assert [r.count for r in result.results] == [12]
    with pytest.raises(ValueError, match="give data_asset"):
        from_great_expectations(outcome)


def test_named_index_columns(gx, airports):
    outcome = gx.batch.validate(
        gx.expect.ExpectColumnValuesToNotBeNull(column="city"),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["iata"]},
    )
    (missing,) = from_great_expectations(outcome, "airports").results
    found = [index["iata"] for index in missing.details["sample_indexes"]]
    assert found == airports.loc[airports["city"].isna(), "iata"].tolist()


def test_checkpoint(gx):
    checkpoint = gx.context.checkpoints.add(
        gx.module.Checkpoint(name="nightly", validation_definitions=[gx.validation], result_format="BASIC")
    )
    run = checkpoint.run(batch_parameters=gx.parameters)
    (result,) = from_great_expectations_checkpoint(run, tags={"team": "maps"}, metadata={"commit": "abc"})
    assert result.data_asset == "airports"
    assert result.metadata["checkpoint_name"] == "nightly"
    assert result.metadata["commit"] == "abc"
    assert result.statistics.total_validators == 12
    assert result.run_id == from_great_expectations_checkpoint(run)[0].run_id
    (named,) = from_great_expectations_checkpoint(run, "elsewhere", run_time=datetime(2024, 5, 1, tzinfo=UTC))
    assert (named.data_asset, named.run_time.year) == ("elsewhere", 2024)
    with pytest.raises(TypeError, match="from_great_expectations_checkpoint"):
        from_great_expectations(run)


@pytest.mark.parametrize("form", ["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"])
@pytest.mark.parametrize("as_json", [False, True], ids=["objects", "json"])
def test_every_result_format(gx, form, as_json):
    suite = gx.module.ExpectationSuite(name="formats")
    suite.add_expectation(gx.expect.ExpectColumnValuesToNotBeNull(column="city"))
    suite.add_expectation(gx.expect.ExpectColumnValuesToNotBeNull(column="altitude"))
    outcome = gx.batch.validate(suite, result_format=form)
    result = from_great_expectations(outcome.to_json_dict() if as_json else outcome, "airports")
    assert {(r.column, r.success, r.errored) for r in result.results} == {
        ("city", False, False),
        ("altitude", False, True),
    }
    alone = gx.batch.validate(gx.expect.ExpectColumnToExist(column="iata"), result_format=form)
    assert from_great_expectations(alone.to_json_dict() if as_json else alone, "airports").success


def test_a_suite_without_expectations(gx):
    outcome = gx.batch.validate(gx.module.ExpectationSuite(name="empty"))
    assert from_great_expectations(outcome, "airports").results == []


CONFIG = {"type": "expect_column_to_exist", "kwargs": {"column": "id"}}


@pytest.mark.parametrize(
    "other",
    [
        None,
        {},
        3,
        {"metadata": {}, "results": [{"status": "pass", "unique_id": "t"}]},
        {"metadata": {}, "results": []},
        {"success": True, "results": "abc"},
        {"success": True, "results": {"expectation_config": CONFIG, "success": True}},
        {"success": True, "results": [None]},
        {"success": True, "results": [{"success": True}]},
        {"success": True, "results": [{"success": True, "expectation_config": "x"}]},
        {"success": True, "results": [{"success": True, "expectation_config": {"kwargs": {}}}]},
        {"success": True, "results": [{"success": True, "expectation_config": CONFIG, "result": "x"}]},
        {"success": True, "results": [{"expectation_config": CONFIG}]},
        {"expectation_config": CONFIG},
    ],
)
def test_anything_else_is_refused(other):
    with pytest.raises(TypeError, match="expected a result of Great Expectations"):
        from_great_expectations(other, "x")
    with pytest.raises(TypeError):
        from_great_expectations_checkpoint(other)


@pytest.mark.parametrize("figure", ["unexpected_count", "element_count", "unexpected_percent"])
def test_a_figure_that_is_not_a_number_was_not_measured(figure):
    config = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "c"}}
    outcome = {"success": False, "expectation_config": config, "result": {figure: float("nan")}}
    (check,) = from_great_expectations({"success": False, "results": [outcome], "meta": {}}, "t").results
    assert (check.success, check.count, check.details.get(figure)) == (False, 0, None)


def test_a_success_whose_figure_is_not_a_number_has_no_count():
    config = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "c"}}
    outcome = {"success": True, "expectation_config": config, "result": {"unexpected_count": float("nan")}}
    assert from_great_expectations(outcome, "t").results[0].count is None


def test_what_a_tolerance_let_pass_is_not_known_without_figures(gx):
    outcome = gx.validation.run(batch_parameters=gx.parameters, result_format="BOOLEAN_ONLY")
    result = from_great_expectations(outcome)
    assert by_name(result, "expect_column_values_to_not_be_null", "state").count is None
    assert by_name(result, "expect_column_values_to_be_unique", "iata").count == 0
    assert by_name(result, "expect_column_values_to_not_be_null", "city").count == 0  # in a failure: not known


@pytest.fixture
def months(gx, tmp_path):
    """A checkpoint over two files of one asset, of which January has missing ids."""
    (tmp_path / "jan.csv").write_text('id\n1\n""\n')
    (tmp_path / "feb.csv").write_text("id\n1\n2\n")
    name = tmp_path.name
    context = gx.context
    asset = context.data_sources.add_pandas_filesystem(name, base_directory=tmp_path).add_csv_asset("orders")
    suite = context.suites.add(gx.module.ExpectationSuite(name=name))
    suite.add_expectation(gx.expect.ExpectColumnValuesToNotBeNull(column="id"))
    definitions = [
        context.validation_definitions.add(
            gx.module.ValidationDefinition(
                name=f"{name} {month}", suite=suite, data=asset.add_batch_definition_path(month, path=f"{month}.csv")
            )
        )
        for month in ("jan", "feb")
    ]
    checkpoint = gx.module.Checkpoint(name=name, validation_definitions=definitions)
    return context.checkpoints.add(checkpoint).run()


def test_a_validation_that_the_checkpoint_lost_is_named(months):
    assert (months.success, len(months.run_results)) == (True, 1)  # as Great Expectations has it
    february, january = from_any(months)
    assert february.success
    assert not january.success
    assert january.data_asset == "orders"
    (check,) = january.results
    assert check.status == "not_evaluated"
    assert check.validator_name.endswith("jan")
    assert "lost this validation" in str(check.message)
    assert january.run_id != february.run_id
    assert january.run_id == from_any(months)[1].run_id


def test_results_of_one_run_never_share_an_id(gx, outcome):
    one = outcome.to_json_dict()
    other = outcome.to_json_dict()
    del other["meta"]["validation_id"], one["meta"]["validation_id"]
    other["meta"]["active_batch_definition"]["batch_identifiers"] = {"path": "feb.csv"}
    assert from_great_expectations(one, "t").run_id != from_great_expectations(other, "t").run_id
    assert from_great_expectations(one, "t").run_id == from_great_expectations(one, "t").run_id


def test_custom_sql_counts_its_rows(gx, tmp_path):
    with sqlite3.connect(path := tmp_path / "shop.db") as connection:
        connection.execute("create table orders (id integer, n integer)")
        connection.executemany("insert into orders values (?, ?)", [(number, number % 10) for number in range(1_000)])
    connection.close()
    source = gx.context.data_sources.add_sqlite(tmp_path.name, connection_string=f"sqlite:///{path}")
    batch = source.add_table_asset("orders", table_name="orders").add_batch_definition_whole_table("all").get_batch()
    query = "select * from {batch} where n < 3"
    expectation = gx.expect.UnexpectedRowsExpectation(unexpected_rows_query=query, description="n is at least 3")
    for form in ("BASIC", "COMPLETE"):
        (check,) = from_great_expectations(batch.validate(expectation, result_format=form), "orders").results
        assert (check.count, check.message) == (300, "n is at least 3: 300 rows failed")
        assert ("sample_values" in check.details) == (form == "COMPLETE")
        assert check.details["parameters"] == {"unexpected_rows_query": query}
    hidden = from_great_expectations(batch.validate(expectation, result_format="COMPLETE"), "orders", redact=["id"])
    assert hidden.results[0].details["sample_values"][0] == {"id": "[REDACTED]", "n": 0}


def test_missing_members_of_a_set_are_no_missing_rows(gx):
    expectation = gx.expect.ExpectColumnDistinctValuesToContainSet(column="country", value_set=["USA", "Utopia"])
    (check,) = from_great_expectations(gx.batch.validate(expectation), "airports").results
    assert check.details["missing_members"] == ["Utopia"]
    assert check.details["missing_member_count"] == 1
    assert "missing_count" not in check.details
    assert check.message == "missing 'Utopia'"


@pytest.mark.filterwarnings("ignore:.* deprecated as of GX Core:DeprecationWarning")
def test_rows_of_a_condition_are_not_the_rows_of_the_table(gx, airports):
    condition = {"row_condition": 'state=="TX"', "condition_parser": "pandas"}
    suite = gx.module.ExpectationSuite(name="some")
    suite.add_expectation(gx.expect.ExpectColumnValuesToNotBeNull(column="city", **condition))
    (check,) = (result := from_great_expectations(gx.batch.validate(suite))).results
    assert check.checked == (airports["state"] == "TX").sum()
    assert result.statistics.total_rows == 0
    assert check.details["parameters"] == {"row_condition": check.details["kwargs"]["row_condition"]}


def test_thresholds_do_not_tell_checks_apart(result):
    assert "parameters" not in by_name(result, "expect_table_row_count_to_be_between").details
    assert "parameters" not in by_name(result, "expect_column_values_to_not_be_null", "state").details  # mostly
    between = by_name(result, "expect_column_values_to_be_between", "latitude")
    assert between.details["parameters"] == {"min_value": 20.0, "max_value": 60.0}


def test_a_stored_validation_is_read_from_its_file(gx, tmp_path, airports):
    context = gx.module.get_context(mode="file", project_root_dir=tmp_path)
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset("airports")
    suite = context.suites.add(gx.module.ExpectationSuite(name="stored"))
    suite.add_expectation(gx.expect.ExpectColumnValuesToNotBeNull(column="city"))
    definition = gx.module.ValidationDefinition(
        name="stored", suite=suite, data=asset.add_batch_definition_whole_dataframe("all")
    )
    checkpoint = gx.module.Checkpoint(
        name="stored", validation_definitions=[context.validation_definitions.add(definition)]
    )
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": airports})
    (path,) = (tmp_path / "gx" / "uncommitted" / "validations").glob("**/*.json")
    (stored,), (live,) = from_any(str(path)), from_any(run)
    assert (stored.run_id, stored.data_asset, stored.statistics) == (live.run_id, "airports", live.statistics)


def test_a_document_without_a_run_has_the_time_at_which_its_data_were_loaded(gx):
    suite = gx.module.ExpectationSuite(name="loaded")
    suite.add_expectation(gx.expect.ExpectColumnToExist(column="iata"))
    document = gx.batch.validate(suite).to_json_dict()
    loaded = document["meta"]["batch_markers"]["ge_load_time"]
    assert from_great_expectations(document).run_time == datetime.fromisoformat(loaded)
    assert from_great_expectations(document).run_id == from_great_expectations(document).run_id
