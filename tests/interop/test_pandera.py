from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from vega_datasets import local_data

from tests.interop.recordings import imported
from truthstore.interop import from_any, from_pandera
from truthstore.results import RESULTS, ResultStatus, ValidationResult

pa: Any = pytest.importorskip("pandera.pandas")
errors: Any = pytest.importorskip("pandera.errors")
pandera_config: Any = pytest.importorskip("pandera.config")


@pytest.fixture(scope="module")
def riots():
    """63 people; one without an age."""
    return local_data.la_riots()


def validated(schema, table, *, lazy=True):
    """What a pipeline has in hand after validation: the errors, or the table."""
    try:
        return schema.validate(table, lazy=lazy)
    except (errors.SchemaErrors, errors.SchemaError) as failed:
        return failed


@pytest.fixture(scope="module")
def schema():
    return pa.DataFrameSchema(
        {
            "last_name": pa.Column(str, unique=True),
            "age": pa.Column(
                float,
                [pa.Check.in_range(18, 60), pa.Check(lambda s: s.mean() > 80, name="mean is high")],
                nullable=False,
            ),
            "longitude": pa.Column(float, [pa.Check.ge(-180), pa.Check.le(-118)]),
            "altitude": pa.Column(int),
            "address": pa.Column(int, coerce=True),
            "race": pa.Column(str, pa.Check(lambda s: s / 0, name="broken")),
            "gender": pa.Column(str, [pa.Check.isin(["Male"]), pa.Check.isin(["Male", "Female"])]),
            "first_name": pa.Column(str, pa.Check.str_length(1, 30), nullable=True),
        },
        checks=pa.Check(lambda table: table["latitude"] > 34, name="north"),
        name="people",
        strict=True,
        unique=["last_name", "gender"],
    )


@pytest.fixture
def result(schema, riots) -> ValidationResult:
    return from_pandera(validated(schema, riots), "riots", tags={"team": "news"}, metadata={"commit": "abc"})


def entry(result, name, column=None):
    (found,) = [r for r in result.results if r.validator_name == name and r.column == column]
    return found


def test_the_run(result):
    assert result.data_asset == "riots"
    assert result.suite_name == "people"
    assert result.status is ResultStatus.FAILURE
    assert result.tags == {"team": "news"}
    assert result.metadata == {"tool": "pandera", "tool_version": result.metadata["tool_version"], "commit": "abc"}
    assert (result.statistics.total_rows, result.statistics.total_columns) == (63, 11)


def test_the_figures(result):
    figures = result.statistics
    assert figures.total_validators == len(result.results)
    assert figures.error_validators == 1
    assert figures.failed_validators == figures.total_issues == figures.critical_issues + figures.high_issues
    assert figures.passed_validators == sum(r.success for r in result.results) > 10


def test_counts_and_samples_are_those_of_the_table(result, riots):
    young_or_old = entry(result, "in_range", "age")
    rows = riots[riots["age"].notna() & ~riots["age"].between(18, 60)]
    assert (young_or_old.count, young_or_old.severity) == (len(rows), "high")
    assert young_or_old.details["sample_values"] == rows["age"].tolist()
    assert young_or_old.details["sample_indexes"] == rows.index.tolist()
    assert young_or_old.details["parameters"]["max_value"] == 60
    assert young_or_old.message == "in_range(18, 60): 8 of 63 values failed, such as 87.0, 15.0, 65.0"
    missing = entry(result, "not_nullable", "age")
    assert (missing.count, missing.issue_type) == (1, "series_contains_nulls")
    assert missing.details["sample_values"] == ["NaN"]
    same = entry(result, "field_uniqueness", "last_name")
    assert same.count == riots["last_name"].duplicated(keep=False).sum()


def test_checks_of_rows_count_rows(result, riots):
    north = entry(result, "north")
    south = riots[riots["latitude"] <= 34]
    assert north.count == len(south)
    assert north.details["sample_indexes"] == south.index[:20].tolist()
    assert north.details["sample_values"][0]["last_name"] == south.iloc[0]["last_name"]
    twice = entry(result, "multiple_fields_uniqueness", "last_name, gender")
    assert twice.count == riots.duplicated(["last_name", "gender"], keep=False).sum()


def test_the_shape_is_critical(result, riots):
    missing = entry(result, "column_in_dataframe", "altitude")
    assert (missing.severity, missing.message) == ("critical", "the column is missing")
    unknown = {r.column for r in result.results if r.validator_name == "column_in_schema"}
    assert unknown == set(riots.columns) - {
        "last_name", "age", "longitude", "address", "race", "gender", "first_name",
    }  # fmt: skip
    wrong = entry(result, "dtype", "address")
    assert (wrong.severity, wrong.count, wrong.details["expected"]) == ("critical", 63, "int64")
    assert len(wrong.details["sample_values"]) == 20


def test_what_raised_is_an_error(result):
    broken = entry(result, "broken", "race")
    assert broken.errored
    assert "TypeError" in str(broken.message)


def test_an_aggregate_has_no_number_of_rows(result):
    mean = entry(result, "mean is high", "age")
    assert (mean.count, mean.message) == (0, "mean is high: failed")
    assert "sample_values" not in mean.details


def test_what_passed_is_listed(result):
    assert entry(result, "str_length", "first_name").success
    assert entry(result, "greater_than_or_equal_to", "longitude").success
    assert entry(result, "dtype", "age").details == {"expected": "float64"}
    # Two checks of one kind: the first fails, the second passes.
    assert not entry(result, "isin", "gender").success
    assert entry(result, "isin #2", "gender").success
    # Nothing is known of a column that is missing.
    assert {(r.validator_name, r.status) for r in result.results if r.column == "altitude"} == {
        ("column_in_dataframe", None),
        ("dtype", "not_evaluated"),
        ("not_nullable", "not_evaluated"),
    }
    assert not [r for r in result.results if r.validator_name == "column_in_schema" and r.success]


def test_it_is_stored_as_it_is(result):
    for encoding in ("json", "msgpack"):
        assert RESULTS.decode(RESULTS.encode(result, encoding)) == result
    assert ValidationResult.from_dict(result.to_dict()) == result


def test_every_conversion_is_new(schema, riots):
    failed = validated(schema, riots)
    assert from_pandera(failed, "riots").run_id != from_pandera(failed, "riots").run_id
    assert from_pandera(failed, "riots", "mine").run_id == "mine"
    # Its failure case is the name of the column alone, the same in every run.
    missing = validated(pa.DataFrameSchema({"gone": pa.Column(int)}), riots, lazy=False)
    assert from_pandera(missing, "riots").run_id != from_pandera(missing, "riots").run_id


def test_success_lists_what_the_schema_demands(riots):
    schema = pa.DataFrameSchema(
        {
            "^l[ao].*ude$": pa.Column(float, pa.Check.in_range(-180, 180), regex=True),
            "age": pa.Column(float, nullable=True),
            "nickname": pa.Column(str, required=False),
        },
        index=pa.Index(int, pa.Check.ge(0)),
        ordered=True,
        unique_column_names=True,
        name="places",
    )
    table = riots[["longitude", "latitude", "age"]]
    when = datetime(2024, 5, 1, 6, tzinfo=UTC)
    for outcome in (validated(schema, table), None):
        result = from_pandera(outcome, "riots", schema=schema, run_time=when, execution_time_ms=3.5)
        assert result.success
        assert result.suite_name == "places"
        assert result.statistics.pass_rate == 1.0
        assert result.statistics.execution_time_ms == 3.5
        assert result.run_id.startswith("run_20240501_060000_")
        labels = {f"{r.column}.{r.validator_name}" for r in result.results}
        assert labels >= {
            "None.column_ordered",
            "None.dataframe_column_labels_unique",
            "index.greater_than_or_equal_to",
        }
        assert ("latitude.in_range" in labels) == (outcome is not None)
        assert not [label for label in labels if label.startswith("nickname") and outcome is not None]
    with pytest.raises(ValueError, match="give schema"):
        from_pandera(table, "riots")


def test_a_model_class_is_a_schema(riots):
    class Person(pa.DataFrameModel):  # type: ignore[misc]  # pandera is imported as Any
        last_name: str
        age: float = pa.Field(ge=0, nullable=True)

        @pa.dataframe_check
        def has_place(cls, table):  # noqa: N805  # pandera makes it a class method
            return table["latitude"].notna()

    result = from_pandera(Person.validate(riots), "riots", schema=Person)
    assert result.success
    assert result.suite_name == "Person"
    assert {"greater_than_or_equal_to", "has_place"} <= {r.validator_name for r in result.results}


def test_without_lazy_only_the_first_failure_is_known(schema, riots):
    early = pa.DataFrameSchema({"age": pa.Column(float, pa.Check.gt(100), nullable=True), "gender": pa.Column(str)})
    result = from_pandera(validated(early, riots, lazy=False), "riots", schema=early)
    assert [(r.validator_name, r.column, r.success) for r in result.results] == [("greater_than", "age", False)]
    assert result.metadata["complete"] is False
    # A strict schema raises SchemaErrors even then; only the caller knows.
    strict = validated(schema, riots, lazy=False)
    assert {r.success for r in from_pandera(strict, "riots", lazy=False).results} == {False}


# A check that only warns, does so through the warnings module.
@pytest.mark.filterwarnings("ignore:Column 'age' failed:pandera.errors.SchemaWarning")
def test_checks_that_warn_are_not_taken_for_passed(riots):
    schema = pa.DataFrameSchema({"age": pa.Column(float, pa.Check.gt(100, raise_warning=True), nullable=True)})
    result = from_pandera(validated(schema, riots), "riots", schema=schema)
    assert result.success
    assert "greater_than" not in {r.validator_name for r in result.results}
    assert result.metadata["unreported_checks"] == ["age.greater_than"]


def test_limited_failure_cases_keep_their_true_count(riots):
    schema = pa.DataFrameSchema({"age": pa.Column(float, pa.Check.gt(100, n_failure_cases=3), nullable=True)})
    (failed,) = [r for r in from_pandera(validated(schema, riots), "riots").results if not r.success]
    assert len(failed.details["sample_values"]) == 3
    assert failed.count >= riots["age"].notna().sum()


def test_long_parameters_are_cut(riots):
    schema = pa.DataFrameSchema({"age": pa.Column(float, pa.Check.isin(range(1_000, 9_000)), nullable=True)})
    result = from_pandera(validated(schema, riots), "riots")
    (failed,) = [r for r in result.results if not r.success]
    assert failed.details["parameters"]["allowed_values"][98:] == [1_098, 1_099, "… 7,900 more"]
    assert len(str(failed.message)) < 300
    assert len(RESULTS.encode(result).body or b"") < 5_000


def test_order_duplicate_labels_and_index(riots):
    table = pd.concat([riots[["age", "gender"]], riots[["age"]]], axis=1)
    schema = pa.DataFrameSchema(
        {"gender": pa.Column(str), "age": pa.Column(float, nullable=True)},
        index=pa.Index(int, pa.Check.lt(60), name="row"),
        ordered=True,
    )
    result = from_pandera(validated(schema, riots[["age", "gender"]]), "riots")
    assert {(r.validator_name, r.column) for r in result.results if not r.success} >= {
        ("column_ordered", "age"),
        ("column_ordered", "gender"),
    }
    index_only = pa.DataFrameSchema({}, index=pa.Index(int, pa.Check.lt(60)))
    result = from_pandera(validated(index_only, riots), "riots")
    assert entry(result, "less_than", "index").details["sample_values"] == [60, 61, 62]
    labels = pa.DataFrameSchema({}, unique_column_names=True)
    result = from_pandera(validated(labels, table), "riots")
    assert not entry(result, "dataframe_column_labels_unique").success


def test_a_series(riots):
    schema = pa.SeriesSchema(float, pa.Check.lt(60), nullable=False, name="age")
    result = from_pandera(validated(schema, riots["age"]), "ages")
    assert {(r.validator_name, r.column, r.success) for r in result.results} == {
        ("dtype", "age", True),
        ("not_nullable", "age", False),
        ("less_than", "age", False),
    }
    assert (result.statistics.total_rows, result.statistics.total_columns) == (63, 1)


def test_names_of_several_levels():
    table = pd.DataFrame({("a", "x"): [1, -2], ("a", "y"): [3, 4]})
    schema = pa.DataFrameSchema({("a", "x"): pa.Column(int, pa.Check.gt(0)), ("a", "y"): pa.Column(int)})
    result = from_pandera(validated(schema, table), "levels")
    assert entry(result, "greater_than", "a.x").details["sample_values"] == [-2]
    assert entry(result, "dtype", "a.y").success


def test_polars():
    pl: Any = pytest.importorskip("polars")
    pap: Any = pytest.importorskip("pandera.polars")
    table = pl.DataFrame({"age": [87.0, None, 30.0], "name": ["x", "y", "x"]})
    schema = pap.DataFrameSchema(
        {
            "age": pap.Column(float, pap.Check.lt(60)),
            "name": pap.Column(str, [pap.Check.isin(["x"]), pap.Check.str_length(1, 3)]),
            "altitude": pap.Column(int),
        },
        unique=["name"],
    )
    result = from_pandera(validated(schema, table), "people")
    failed = {(r.validator_name, r.column): r for r in result.results if not r.success}
    assert failed["less_than", "age"].details["sample_values"] == [87.0]
    assert failed["not_nullable", "age"].count == 1
    assert failed["isin", "name"].details["sample_values"] == ["y"]
    assert ("column_in_dataframe", "altitude") in failed
    assert entry(result, "str_length", "name").success
    assert result.statistics.total_rows == 3
    assert RESULTS.decode(RESULTS.encode(result)) == result
    lazily = from_pandera(validated(schema, table.lazy()), "people")
    ran = {r.validator_name for r in lazily.results if r.column != "altitude" and r.status != "not_evaluated"}
    assert ran == {"column_in_dataframe", "dtype"}
    assert entry(lazily, "less_than", "age").message == "validation had the depth SCHEMA_ONLY"


def test_a_table_that_passed_brings_its_schema():
    schema = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.ge(0))}, name="small")
    result = from_pandera(schema.validate(pd.DataFrame({"a": [1, 2]}), lazy=True), "t")
    assert result.status is ResultStatus.SUCCESS
    assert result.suite_name == "small"
    assert entry(result, "greater_than_or_equal_to", "a").success


@pytest.mark.parametrize("outcome", ["a table", {"a": [1]}, [1], 7, ValueError("not pandera's")])
def test_what_pandera_never_returns(outcome):
    with pytest.raises(TypeError, match="expected what pandera's validate raised or returned"):
        from_pandera(outcome, "t")


def test_a_level_of_an_index_of_several_is_named():
    levels = [pa.Index(int, name="day"), pa.Index(str, pa.Check.isin(["north"]), name="region")]
    schema = pa.DataFrameSchema({"n": pa.Column(int)}, index=pa.MultiIndex(levels))
    table = pd.DataFrame({"n": [1]}, index=pd.MultiIndex.from_tuples([(1, "south")], names=["day", "region"]))
    checks = [check for check in from_pandera(validated(schema, table), "t").results if check.validator_name == "isin"]
    assert [(check.column, check.success, check.count) for check in checks] == [("region", False, 1)]


def test_what_says_too_little_is_refused_with_the_reason():
    schema = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.gt(0))})
    failed = validated(schema, pd.DataFrame({"a": [-1, 2, -3]}))
    with pytest.warns(UserWarning, match="does not preserve state"):
        pickled = pickle.loads(pickle.dumps(failed))
    with pytest.raises(ValueError, match="pickled"):
        from_pandera(pickled, "t", schema=schema)
    with pytest.raises(TypeError, match="table of failure cases"):
        from_pandera(failed.failure_cases, "t", schema=schema)


POSITIVE = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.gt(0))}, name="positive")


def outcomes(result):
    return {r.validator_name: "passed" if r.success else r.status or "failed" for r in result.results}


def of_depth(depth, schema, table, **said):
    with pandera_config.config_context(validation_depth=pandera_config.ValidationDepth[depth]):
        outcome = validated(schema, table)
        return from_pandera(outcome, "t", schema=schema, **said)


BAD = pd.DataFrame({"a": [-1, 2]})
SHAPE_PASSED = {"column_in_dataframe": "passed", "dtype": "passed", "not_nullable": "passed"}


def test_checks_that_the_depth_leaves_out_have_not_passed():
    result = of_depth("SCHEMA_ONLY", POSITIVE, BAD)
    assert outcomes(result) == SHAPE_PASSED | {"greater_than": "not_evaluated"}
    assert result.status is ResultStatus.ERROR
    only_data = outcomes(of_depth("DATA_ONLY", POSITIVE, pd.DataFrame({"a": [1]})))
    assert only_data == dict.fromkeys(SHAPE_PASSED, "not_evaluated") | {"greater_than": "passed"}


def test_the_depth_can_be_said():
    with pandera_config.config_context(validation_depth=pandera_config.ValidationDepth.SCHEMA_ONLY):
        outcome = POSITIVE.validate(BAD, lazy=True)
    result = from_pandera(outcome, "t", schema=POSITIVE, depth="SCHEMA_ONLY")
    assert outcomes(result)["greater_than"] == "not_evaluated"


def test_failures_of_the_shape_say_nothing_of_values_that_nobody_looked_at():
    schema = pa.DataFrameSchema({"a": pa.Column(str, pa.Check.isin(["x"])), "b": pa.Column(int)})
    result = of_depth("SCHEMA_ONLY", schema, pd.DataFrame({"a": [-1], "b": [1]}))
    assert entry(result, "isin", "a").status == "not_evaluated"
    assert entry(result, "dtype", "b").success


def test_disabled_validation_checks_nothing():
    with pandera_config.config_context(validation_enabled=False):
        outcome = POSITIVE.validate(BAD, lazy=True)
    result = from_pandera(outcome, "t", schema=POSITIVE)  # which the table tells
    assert set(outcomes(result).values()) == {"not_evaluated"}
    with pandera_config.config_context(validation_enabled=False):
        assert set(outcomes(from_pandera(None, "t", schema=POSITIVE)).values()) == {"not_evaluated"}


@pytest.mark.parametrize("part", ["head", "tail", "sample"])
def test_a_part_of_the_table_is_not_the_table(part):
    said: dict[str, Any] = {part: 1}
    outcome = POSITIVE.validate(pd.DataFrame({"a": [1, 2]}), lazy=True, **said)
    result = from_pandera(outcome, "t", schema=POSITIVE, **said)
    assert outcomes(result) == SHAPE_PASSED | {"greater_than": "not_evaluated"}
    assert entry(result, "greater_than", "a").message == "validation looked at a part of the table"


def test_rows_that_were_dropped_have_not_passed():
    schema = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.gt(0))}, drop_invalid_rows=True)
    result = from_pandera(schema.validate(BAD, lazy=True), "t", schema=schema)
    assert entry(result, "greater_than", "a").message == "rows may have been dropped"


def test_a_lazy_frame_whose_values_were_looked_at():
    pl, pap = imported("polars"), imported("pandera.polars")
    schema = pap.DataFrameSchema({"a": pap.Column(int, [pap.Check.gt(0), pap.Check.lt(9)]), "b": pap.Column(int)})
    with pandera_config.config_context(validation_depth=pandera_config.ValidationDepth.SCHEMA_AND_DATA):
        failed = validated(schema, pl.LazyFrame({"a": [-1, 2], "b": [1, 2]}))
    result = from_pandera(failed, "t")  # its values failed, so they were looked at
    assert entry(result, "less_than", "a").success
    assert entry(result, "greater_than", "a").details["sample_values"] == [-1]
    assert not from_pandera(schema.validate(pl.LazyFrame({"a": [1], "b": [1]})), "t", schema=schema).success


def test_a_check_of_a_whole_column_shows_no_innocent_value():
    pl, pap = imported("polars"), imported("pandera.polars")
    mean = pap.Check(lambda data: data.lazyframe.select(pl.col(data.key).mean() > 5), name="mean")
    for table in (pl.DataFrame({"a": [1, 2]}), pl.LazyFrame({"a": [1, 2]})):
        with pandera_config.config_context(validation_depth=pandera_config.ValidationDepth.SCHEMA_AND_DATA):
            failed = validated(pap.DataFrameSchema({"a": pap.Column(int, mean)}), table)
        check = entry(from_pandera(failed, "t"), "mean", "a")
        assert (check.success, check.count, check.details.get("sample_values")) == (False, 0, None)


@pytest.mark.parametrize("as_series", [False, True], ids=["one outcome", "one per row of a group"])
def test_a_check_of_groups_shows_no_innocent_value(as_series):
    def high(groups):
        return groups["x"] > 5 if as_series else groups["x"].mean() > 5

    schema = pa.DataFrameSchema({"a": pa.Column(int, pa.Check(high, groupby="g", name="high")), "g": pa.Column(str)})
    result = from_pandera(validated(schema, pd.DataFrame({"a": [1, 2, 3], "g": ["x", "x", "y"]})), "t")
    check = entry(result, "high", "a")
    assert (check.count, check.details.get("sample_values"), check.message) == (0, None, "high: failed")


def test_a_whole_column_of_a_wrong_type_has_no_number_of_rows():
    schema = pa.DataFrameSchema({"a": pa.Column(int)})
    check = entry(from_pandera(validated(schema, pd.DataFrame({"a": ["x", "y"]})), "t"), "column_in_dataframe", "a")
    assert check.success
    wrong = entry(from_pandera(validated(pa.DataFrameSchema({"a": pa.Column(str)}), BAD), "t"), "dtype", "a")
    assert (wrong.count, wrong.observed) == (0, "int64")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_missing_values_are_not_among_the_true_count(library):
    module, tables = (pa, pd) if library == "pandas" else (imported("pandera.polars"), imported("polars"))
    column = module.Column(float, module.Check.gt(10, n_failure_cases=1), nullable=True)
    failed = validated(module.DataFrameSchema({"a": column}), tables.DataFrame({"a": [1.0, None, 3.0, 20.0]}))
    check = entry(from_pandera(failed, "t"), "greater_than", "a")
    assert (check.count, check.details["sample_values"]) == (2, [1.0])


def test_limited_cases_of_rows_keep_their_true_count():
    check = pa.Check(lambda table: table["a"] < table["b"], name="less", n_failure_cases=1)
    schema = pa.DataFrameSchema({"a": pa.Column(int), "b": pa.Column(int)}, checks=check)
    result = from_pandera(validated(schema, pd.DataFrame({"a": [1, 2, 3], "b": [1, 1, 9]})), "t")
    assert entry(result, "less").count == 2


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("whole", [False, True], ids=["column", "table"])
def test_what_could_not_be_coerced_failed_on_its_column(library, whole):
    module, tables = (pa, pd) if library == "pandas" else (imported("pandera.polars"), imported("polars"))
    columns = {"a": module.Column(int, coerce=not whole), "b": module.Column(int, coerce=not whole)}
    schema = module.DataFrameSchema(columns, coerce=whole)
    result = from_pandera(validated(schema, tables.DataFrame({"a": ["1", "x"], "b": ["2", "3"]})), "t")
    coerced = entry(result, "coerce_dtype", "a")
    assert (coerced.success, coerced.count, coerced.details["sample_values"]) == (False, 1, ["x"])
    assert not entry(result, "dtype", "a").success


def test_a_type_for_all_columns_that_could_not_be_coerced():
    schema = pa.DataFrameSchema({"a": pa.Column(), "b": pa.Column()}, dtype=int, coerce=True)
    result = from_pandera(validated(schema, pd.DataFrame({"a": ["1", "x"], "b": ["2", "3"]})), "t")
    assert not entry(result, "coerce_dtype", "a").success


def test_levels_without_names_are_not_listed_as_passed_and_failed():
    index = pa.MultiIndex([pa.Index(int), pa.Index(str, pa.Check.isin(["x"]))])
    table = pd.DataFrame({"n": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "y"), (1, "z")]))
    result = from_pandera(validated(pa.DataFrameSchema({"n": pa.Column(int)}, index=index), table), "t")
    assert [(r.column, r.success) for r in result.results if r.validator_name == "isin"] == [("index", False)]


def test_a_check_is_known_by_schema_column_and_name():
    result = from_pandera(validated(POSITIVE, BAD), "t")
    assert entry(result, "greater_than", "a").check_id == "positive.a.greater_than"


def test_columns_of_a_check_over_several():
    schema = pa.DataFrameSchema({"a": pa.Column(int), "b": pa.Column(int)}, unique=["a", "b"])
    result = from_pandera(validated(schema, pd.DataFrame({"a": [1, 1], "b": [1, 1]})), "t")
    assert entry(result, "multiple_fields_uniqueness", "a, b").columns == ("a", "b")


def test_parts_of_an_error_are_refused_with_the_reason():
    failed = validated(POSITIVE, BAD)
    for part in (failed.args, failed.args[0], failed.message, failed.schema_errors):
        with pytest.raises(TypeError, match="give the error itself, not its args, message or data"):
            from_pandera(part, "t", schema=POSITIVE)
    lacking = validated(POSITIVE, pd.DataFrame({"b": [1]}))
    with pytest.raises(ValueError, match="this table has no column 'a', so it did not pass"):
        from_pandera(lacking.data, "t", schema=POSITIVE)


def test_values_are_left_out_with_the_samples():
    schema = pa.DataFrameSchema({"a": pa.Column(str, pa.Check.isin(["x"]))})
    failed = validated(schema, pd.DataFrame({"a": ["ann@example.org"]}))
    assert "ann@example.org" in str(from_any(failed, "t")[0].to_dict())
    assert "ann@example.org" not in str(from_any(failed, "t", samples=False)[0].to_dict())
