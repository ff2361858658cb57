"""dbt 1 and 2, by what they wrote: see recorded/dbt_project.py for the project and what is wrong in it."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.interop.recordings import imported, recorded, recording
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreBulkError, StoreConflictError
from truthstore.interop import from_any, from_dbt
from truthstore.items.checks import status_of
from truthstore.model.record import ABSENT
from truthstore.results import RESULTS, ResultStatus, ValidatorResult

ONE, TWO = "dbt-1.12.6", "dbt-2.0.0rc196"
VERSIONS = pytest.mark.parametrize("version", [ONE, TWO])


def results_of(version: str, what: str = "build", name: str = "run_results.json", **options: Any):
    found = from_dbt(
        recording(version, f"{what}-{name}"), manifest=recording(version, f"{what}-manifest.json"), **options
    )
    return {result.data_asset: result for result in found}


def checks_of(version: str, what: str = "build", name: str = "run_results.json", **options: Any):
    """All checks of an invocation, by the name of their node."""
    checks: dict[str, ValidatorResult] = {}
    for result in results_of(version, what, name, **options).values():
        for check in result.results:
            kind, _, *rest = str(check.check_id).split(".")
            checks[f"{kind} {rest[0] if kind == 'test' else rest[-1]}"] = check
    return checks


def freshness_of(version: str, **options: Any):
    manifest = recording(version, "build-manifest.json")
    return {
        r.data_asset: r.results[0] for r in from_dbt(recording(version, "freshness-sources.json"), manifest=manifest)
    }


def summary(version: str, what: str = "build") -> dict[str, int]:
    """The numbers that dbt printed."""
    text = recording(version, f"{what}.txt").read_text()
    return {
        (word or other).lower(): int(number or count)
        for word, number, count, other in re.findall(r"([A-Z-]+)=(\d+)|(\d+) (total|success|warn|error|skipped)", text)
    }


def counted(checks) -> Counter[str]:
    return Counter(str(status_of(check)) for check in checks.values())


def test_the_counts_are_those_that_dbt_1_printed():
    printed, found = summary(ONE), counted(checks_of(ONE))
    assert found["success"] == printed["pass"] == 8
    assert found["warning"] == printed["warn"] == 2
    assert found["failure"] + found["error"] == printed["error"] == 8
    assert found["skipped"] == printed["skip"] == 3
    assert sum(found.values()) == printed["total"] - printed["no-op"]


@pytest.mark.parametrize("name", ["run_results.json", "log.parquet"])
def test_the_counts_are_those_that_dbt_2_printed(name):
    imported("polars")
    printed, found = summary(TWO), counted(checks_of(TWO, name=name))
    assert found["success"] == printed["success"] == 8
    assert found["warning"] == printed["warn"] == 2
    assert found["failure"] + found["error"] == printed["error"] == 8
    assert found["skipped"] == printed["skipped"] == 3


@VERSIONS
def test_each_table_has_a_result_with_the_tests_that_look_at_it(version):
    results = results_of(version)
    assert set(results) == {"orders", "customers", "quiet", "below_quiet", "broken", "raw_orders", "ext.events"}
    orders = {(check.validator_name, check.column) for check in results["orders"].results}
    assert orders >= {("build", None), ("unique", "id"), ("amounts_are_positive", None), ("relationships", "customer")}
    assert [check.validator_name for check in results["ext.events"].results] == ["not_null"]
    assert {check.validator_name for check in results["quiet"].results} == {"build", "doubled"}


@VERSIONS
def test_what_dbt_says_of_the_run(version):
    orders = results_of(version, tags={"team": "shop"}, metadata={"job": "nightly"})["orders"]
    about = recorded(version, "build-run_results.json")["metadata"]
    assert orders.metadata["tool_run_id"] == about["invocation_id"]
    assert (orders.metadata["tool"], orders.metadata["tool_version"]) == ("dbt", about["dbt_version"])
    assert (orders.suite_name, orders.tags, orders.metadata["job"]) == ("shop", {"team": "shop"}, "nightly")
    assert orders.runtime_environment == {"which": "build", "adapter": "duckdb", "git_sha": "abc123", "branch": "main"}
    started, ended = (
        datetime.fromisoformat(about.get(name) or about["generated_at"])
        for name in ("invocation_started_at", "generated_at")
    )
    assert orders.run_time == started if version == ONE else started - timedelta(seconds=9) < orders.run_time < ended
    assert RESULTS.decode(RESULTS.encode(orders)) == orders


def test_words_of_dbt():
    checks = checks_of(ONE)
    failed, warned, broken = (
        checks["test amounts_are_positive"],
        checks["test unique_orders_id"],
        checks["test bad_sql"],
    )
    assert (failed.count, failed.severity, failed.message) == (1, "high", "Got 1 result, configured to fail if != 0")
    assert (warned.status, warned.count, warned.severity) == ("warning", 1, "medium")
    assert broken.errored
    assert checks["model quiet"].status == "skipped"
    assert results_of(ONE)["broken"].status is ResultStatus.ERROR


@VERSIONS
def test_a_test_that_passed_under_a_tolerance(version):
    tolerated = checks_of(version)["test tolerated"]
    assert tolerated.success
    assert tolerated.count == {ONE: None, TWO: 5}[version]  # dbt 1 writes 0 for the five
    assert tolerated.expected == "error if >10, warn if >10"
    assert checks_of(version)["test not_null_orders_id"].count == 0


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("reused", "skipped"),
        ("canceled", "not_evaluated"),
        ("partial success", "failure"),
        ("runtime error", "error"),
        ("a later word", "error"),
    ],
)
def test_only_pass_and_success_have_passed(word, status):
    document = recorded(ONE, "build-run_results.json")
    document["results"][0]["status"] = word
    (raw_orders, *_) = from_dbt(document)
    assert status_of(raw_orders.results[0]) == status


def test_without_a_manifest_no_count_of_what_passed_is_known():
    (alone,) = [r for r in from_dbt(recorded(ONE, "build-run_results.json")) if r.data_asset == "shop"]
    names = {check.validator_name: check for check in alone.results}
    assert names["not_null_orders_id"].count is None
    assert names["not_null_orders_id"].success
    assert names["doubled"].status == "failure"


@VERSIONS
def test_a_limit_makes_counts_lower_bounds(version):
    checks = checks_of(version)
    assert (checks["test limited"].count, checks["test limited"].details["lower_bound"]) == (1, True)
    assert "lower_bound" not in checks["test amounts_are_positive"].details


@VERSIONS
def test_what_is_calculated_is_no_number_of_rows(version):
    summed = checks_of(version)["test summed"]
    assert (summed.count, summed.observed, summed.details["fail_calc"]) == (0, 24, "sum(id)")


@VERSIONS
def test_columns_owners_and_parameters(version):
    checks = checks_of(version)
    both = checks["test unique_combination_orders_id__customer"]
    assert (both.column, both.columns) == ("id, customer", ("id", "customer"))
    assert both.owner == "Finance"  # of the group
    assert checks["test not_null_orders_customer"].owner == "ann"  # of the test itself
    assert checks["test not_null_orders_amount"].details["parameters"] == {"column_name": "amount", "where": "id > 100"}
    assert checks["test tolerated"].details["parameters"] == {"column_name": "id", "value": 2}
    assert str(checks["test tolerated"].check_id).startswith("test.shop.tolerated.")


@pytest.mark.parametrize(
    ("version", "name", "headline"),
    [(ONE, "run_results.json", "got 1"), (TWO, "run_results.json", "failed"), (TWO, "log.parquet", "got 1")],
)
def test_a_unit_test_that_failed_is_a_failure_without_rows(version, name, headline):
    imported("polars")
    doubled = checks_of(version, name=name)["unit_test doubled"]
    assert (status_of(doubled), doubled.count, doubled.observed) == ("failure", 0, None)
    assert checks_of(version, name=name, samples=False)["unit_test doubled"].message == headline


def test_a_test_that_breaks_is_an_error_in_the_log_of_dbt_2():
    imported("polars")
    assert checks_of(TWO, name="log.parquet")["test bad_sql"].errored
    assert status_of(checks_of(TWO)["test bad_sql"]) == "failure"  # its run results do not tell


@VERSIONS
def test_messages_with_values_are_left_out_with_the_samples(version):
    assert "ann@example.org" in str(checks_of(ONE)["test bad_sql"].message)
    text = str([check.to_dict() for check in checks_of(version, samples=False).values()])
    assert "@example.org" not in text.replace("finance@example.org", "")
    assert checks_of(ONE, samples=False)["test bad_sql"].message == (
        "Runtime Error in test bad_sql (tests/bad_sql.sql)"
    )


def test_an_interrupted_run_of_dbt_1_says_what_is_missing():
    printed, checks = summary(ONE, "interrupted"), checks_of(ONE, "interrupted")
    assert len(checks) == printed["total"] + 10
    assert counted(checks)["not_evaluated"] == 10
    assert checks["test slow_1"].status == "not_evaluated"
    assert {result.metadata["complete"] for result in results_of(ONE, "interrupted").values()} == {False}
    assert not any(result.success for result in results_of(ONE, "interrupted").values() if result.data_asset != "shop")


def interrupted(**changes: Any):
    document, manifest = (recorded(ONE, f"interrupted-{name}.json") for name in ("run_results", "manifest"))
    document["args"] |= changes
    return from_dbt(document, manifest=manifest)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"select": ["orders"]}, 4),  # tests of orders that come after the break
        ({"select": "orders"}, 4),
        ({"select": ["tag:nightly"]}, 4),
        ({"select": ["orders+"]}, 4),
        ({"select": ["orders"], "indirect_selection": "cautious"}, 4),
        ({"select": ["orders"], "indirect_selection": "empty"}, 0),
        ({"select": ["1+slow_1"]}, 1),
        ({"select": ["config.materialized:view"]}, 0),  # which cannot be told
        ({"exclude": ["orders"]}, 6),
        ({"exclude": ["tag:unknown"]}, 0),  # which cannot be told either
        ({"resource_types": ["unit_test"]}, 2),
        ({"invocation_command": "dbt retry"}, 0),
        ({"which": "freshness"}, 0),
    ],
    ids=str,
)
def test_only_what_was_surely_selected_is_missing(changes, missing):
    checks = [check for result in interrupted(**changes) for check in result.results]
    assert sum(check.status == "not_evaluated" for check in checks) == missing


@VERSIONS
def test_a_run_of_a_selection_has_the_counts_that_dbt_printed_and_is_complete(version):
    """With hooks, an ephemeral model, and no tests that look at another table too."""
    printed = summary(version, "selected")
    names = ("run_results.json", "log.parquet") if version == TWO else ("run_results.json",)
    for name in names:
        found = list(results_of(version, "selected", name).values())
        hooks = 0 if version == ONE else 2  # which dbt 2 prints, but does not write
        checks = [check for result in found for check in result.results]
        states = Counter(str(status_of(check)) for check in checks)
        assert states["success"] == printed["success" if "success" in printed else "pass"] - hooks
        assert states["warning"] == printed["warn"]
        assert states["failure"] + states["error"] == printed["error"]
        assert states["not_evaluated"] == states["skipped"] == printed.get("skip", 0) == 0
        assert len(checks) == printed["total"] - (0 if version == ONE else 2 + 1)
        assert not any("complete" in result.metadata for result in found)


@pytest.mark.parametrize("what", ["build", "selected", "interrupted"])
def test_the_run_results_and_the_log_of_dbt_2_are_one_run(what):
    imported("polars")
    of_file, of_log = (results_of(TWO, what, name) for name in ("run_results.json", "log.parquet"))
    for asset in of_file.keys() & of_log.keys():
        assert (of_log[asset].run_id, of_log[asset].run_time) == (of_file[asset].run_id, of_file[asset].run_time)
    assert of_file.keys() & of_log.keys()


def test_a_hook_is_a_check_of_the_project():
    assert [check.validator_name for check in results_of(ONE, "selected")["shop"].results] == [
        "shop-on-run-start-0",
        "shop-on-run-end-0",
    ]


@VERSIONS
def test_a_command_that_runs_nothing_is_refused(version):
    with pytest.raises(ValueError, match="a run of dbt compile, which runs no test and overwrites"):
        from_dbt(recording(version, "compiled-run_results.json"))
    document = recorded(version, "compiled-run_results.json")
    document["args"]["which"] = "generate"
    with pytest.raises(ValueError, match="a run of dbt docs generate,"):
        from_dbt(document)


def test_a_run_without_rows_says_so():
    document = recorded(ONE, "build-run_results.json")
    assert "empty" not in from_dbt(document)[0].runtime_environment
    document["args"] |= {"empty": True}
    assert from_dbt(document)[0].runtime_environment["empty"] is True


def test_the_manifest_of_another_invocation_does_not_tell_what_is_missing():
    document, manifest = (recorded(ONE, f"interrupted-{name}.json") for name in ("run_results", "manifest"))
    manifest["metadata"]["invocation_id"] = "another"
    assert all("complete" not in result.metadata for result in from_dbt(document, manifest=manifest))


def test_an_interrupted_run_of_dbt_2_has_no_outcome():
    checks = checks_of(TWO, "interrupted")
    assert set(counted(checks)) == {"not_evaluated"}
    assert {result.metadata["complete"] for result in results_of(TWO, "interrupted").values()} == {False}


def test_the_log_of_an_interrupted_run_keeps_what_had_ended():
    imported("polars")
    checks = checks_of(TWO, "interrupted", "log.parquet")
    assert checks["test slow_1"].status == "not_evaluated"
    assert checks["test slow_2"].success
    assert counted(checks)["not_evaluated"] == 1
    assert {result.metadata["complete"] for result in results_of(TWO, "interrupted", "log.parquet").values()} == {False}
    assert "model quiet" not in checks  # looked at for the sake of its unit test


@VERSIONS
def test_a_run_that_ended_is_complete(version):
    assert all("complete" not in result.metadata for result in results_of(version).values())


@VERSIONS
def test_freshness(version):
    found = freshness_of(version)
    assert {name: str(status_of(check)) for name, check in found.items() if name != "ext.missing"} == {
        "ext.events": "success",
        "ext.future": "success",
        "ext.warned": "warning",
        "ext.stale": "failure",
        "ext.empty": "failure",
    }
    stale, empty = found["ext.stale"], found["ext.empty"]
    assert (stale.column, stale.expected) == ("loaded_at", "warn after 1 hour, error after 1 day")
    assert isinstance(stale.observed, float)
    assert 40 <= stale.observed / 86_400 < 41
    assert (empty.observed, empty.message) == ("never", "no row was ever loaded")
    assert "max_loaded_at" not in empty.details


def test_a_source_of_which_nothing_is_said_is_an_error():
    missing = freshness_of(ONE)["ext.missing"]
    assert missing.errored
    assert "ext.unwatched" not in freshness_of(ONE)


def test_an_older_runtime_error_of_a_source():
    document = recorded(ONE, "freshness-sources.json")
    document["results"] = [{"unique_id": "source.shop.ext.events", "status": "runtime error", "error": "no table"}]
    (check,) = from_dbt(document)[0].results
    assert (check.errored, check.message) == (True, "no table")


@pytest.mark.parametrize("schema", ["v4", "v5", "v6"])
def test_run_results_of_earlier_versions(schema):
    document = recorded(ONE, "build-run_results.json")
    document["metadata"]["dbt_schema_version"] = f"https://schemas.getdbt.com/dbt/run-results/{schema}.json"
    del document["metadata"]["invocation_started_at"]
    late = {"v4": ("compiled", "compiled_code", "relation_name", "batch_results"), "v5": ("batch_results",), "v6": ()}
    for result in document["results"]:
        for name in (*late[schema], "overload_results"):
            result.pop(name, None)
        result["a later key"] = {"x": [1]}
    found = from_any(document)
    assert sum(result.statistics.total_validators for result in found) == 21


def test_manifest_beside_the_artefact_or_above_it(tmp_path):
    imported("polars")
    target = tmp_path / "target"
    (target / "metadata").mkdir(parents=True)
    (target / "manifest.json").write_bytes(recording(TWO, "build-manifest.json").read_bytes())
    for name, place in (("run_results.json", target), ("log.parquet", target / "metadata")):
        (place / name).write_bytes(recording(TWO, f"build-{name}").read_bytes())
        assert "orders" in {result.data_asset for result in from_any(str(place / name))}


def test_one_name_for_everything():
    (result,) = from_any(recording(ONE, "build-run_results.json"), "shop")
    assert (result.data_asset, result.statistics.total_validators) == ("shop", 21)


@VERSIONS
def test_an_invocation_is_stored_once(version):
    store = MemoryStore()
    ids = store.save_many(list(results_of(version).values()), expect=ABSENT)
    assert len(set(ids)) == 7
    with pytest.raises((StoreConflictError, StoreBulkError)):
        store.save_many(list(results_of(version).values()), expect=ABSENT)
    assert len(store.list_ids()) == 7


def test_the_raw_artefact_of_each_table():
    raw = results_of(ONE, keep_raw=True)["orders"].metadata["raw"]
    assert raw["metadata"] == recorded(ONE, "build-run_results.json")["metadata"]
    assert len(raw["results"]) == 12


def test_an_empty_selection_has_no_results():
    document = recorded(ONE, "build-run_results.json") | {"results": []}
    document["args"]["select"] = ["nothing"]
    assert from_dbt(document, manifest=recorded(ONE, "build-manifest.json")) == []


@pytest.mark.parametrize("name", ["build-manifest.json", "interrupted-manifest.json"])
def test_a_manifest_is_refused_with_the_reason(name):
    with pytest.raises(ValueError, match=r"this is dbt's manifest: the results are in run_results.json beside it"):
        from_any(recording(ONE, name))


def test_anything_else_is_refused():
    others: list[Any] = [{}, {"metadata": {}}, [1], 7]
    for other in others:
        with pytest.raises(TypeError, match=r"run_results\.json"):
            from_dbt(other)


def test_a_test_of_two_tables_belongs_to_the_one_it_is_called_after():
    document, manifest = (recorded(ONE, f"build-{name}.json") for name in ("run_results", "manifest"))
    node = manifest["nodes"]["test.shop.amounts_are_positive"]
    for name, expected in (
        ("orders_match_customers", "orders"),
        ("customers_of_orders", "customers"),
        ("other", "customers"),
    ):
        node["name"], node["depends_on"]["nodes"] = name, ["model.shop.orders", "model.shop.customers"]
        results = from_dbt(copy.deepcopy(document), manifest=json.loads(json.dumps(manifest)))
        found = [r.data_asset for r in results for c in r.results if c.check_id == "test.shop.amounts_are_positive"]
        assert found == [expected]


@VERSIONS
def test_an_interrupted_run_fixes_nothing_that_it_did_not_run(version):
    """What it ran and passed has passed; everything else is as it was."""
    document, manifest = (recorded(version, f"interrupted-{name}.json") for name in ("run_results", "manifest"))
    ran = {
        check.check_id
        for result in from_dbt(document, manifest=manifest)
        for check in result.results
        if check.status != "not_evaluated"
    }
    passed = {found["unique_id"] for found in document["results"] if found["status"] == "pass"} & ran
    assert bool(passed) is (version == ONE)
    before = copy.deepcopy(document)
    everything = {check.check_id for result in from_dbt(document, manifest=manifest) for check in result.results}
    before["results"] = [{"unique_id": name, "status": "fail", "failures": 1} for name in sorted(map(str, everything))]
    before["elapsed_time"] = 1.0
    for one in (before, manifest):
        one["metadata"]["invocation_id"] = "before"
    before["metadata"] |= dict.fromkeys(("generated_at", "invocation_started_at"), "2026-01-01T03:00:00Z")
    store = MemoryStore()
    store.save_many(from_dbt(before, manifest=manifest))
    manifest["metadata"]["invocation_id"] = document["metadata"]["invocation_id"]
    store.save_many(interrupted_run := from_dbt(document, manifest=manifest))
    since = min(result.run_time for result in interrupted_run) - timedelta(seconds=1)
    assert {check.check_id for check in store.checks.recovered(since)} == passed
    assert not any(store.compare_latest(result.data_asset).fixed for result in interrupted_run)
    still = {check.check_id for check in store.checks.latest() if check.status == "not_evaluated"}
    assert still == everything - ran
