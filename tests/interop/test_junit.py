"""JUnit XML: of pytest, run here, and of what other runners write."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import datetime
from xml.etree.ElementTree import fromstring

import pytest

from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConflictError
from truthstore.interop import from_any, from_junit
from truthstore.items.checks import status_of
from truthstore.model.record import ABSENT
from truthstore.results import RESULTS, ResultStatus

TESTS = """
import pytest

@pytest.fixture
def bad_setup():
    raise RuntimeError("setup")

@pytest.fixture
def bad_teardown():
    yield
    raise RuntimeError("teardown")

def test_pass(): pass
def test_fail(): assert "ann@example.org" == ""
def test_setup(bad_setup): pass
def test_teardown(bad_teardown): pass
def test_both(bad_teardown): assert 0
@pytest.mark.skip(reason="later")
def test_skip(): pass
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.parametrize("p", ["a/b[c] d", None])
def test_param(p): pass
def test_orders(record_property, record_testsuite_property):
    for name, value in {"data_asset": "orders", "column": "id", "failed": 3, "checked": 100, "severity": "low"}.items():
        record_property(name, value)
    record_testsuite_property("git.sha", "abc123")
    assert 0
"""
INTERRUPTED = "def test_first(): pass\ndef test_second(): raise KeyboardInterrupt\ndef test_third(): pass\n"
# As pytest-rerunfailures has pytest write it: attempts that failed stand there without a failure, and are not counted.
RERUN = """<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="0" tests="2">
<testcase classname="t" name="flaky" /><testcase classname="t" name="flaky" /><testcase classname="t" name="flaky" />
<testcase classname="t" name="bad" /><testcase classname="t" name="bad"><failure message="no" /></testcase>
</testsuite></testsuites>"""
# As pytest has two failures of one test: its subtest, and the test itself.
SUBTESTS = """<testsuite name="pytest" errors="0" failures="2" skipped="0" tests="5"><testcase classname="t" name="sub">
<failure message="assert 1 != 1" /><failure message="contains 1 failed subtest" /></testcase></testsuite>"""
NESTED = """<testsuites xmlns="urn:x"><testsuite name="outer" timestamp="Monday" failures="none"><properties><property name="BUILD_ID" value="77" /></properties>
<testcase name="a" time="1,234.5" /><testsuite name="inner"><testcase name="b" status="notrun" />
<testcase name="c"><flakyFailure message="once" /></testcase></testsuite></testsuite></testsuites>"""


def run(folder, source):
    (folder / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")  # of its own, wherever temporary folders are
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=report.xml", "-p", "no:cacheprovider", "test_it.py"]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    return folder / "report.xml", output.splitlines()[-1]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return run(tmp_path_factory.mktemp("junit"), TESTS)


@pytest.fixture
def results(report):
    return {result.data_asset: result for result in from_junit(report[0])}


def test_the_counts_are_those_of_the_report(results, report):
    statuses = Counter(str(status_of(check)) for result in results.values() for check in result.results)
    assert statuses == {"success": 3, "failure": 2, "warning": 1, "error": 3, "skipped": 2}
    assert report[1].startswith("3 failed, 4 passed, 1 skipped, 1 xfailed")  # one passed before its teardown broke


def test_each_check(results):
    checks = {check.validator_name: check for check in results["pytest"].results}
    assert checks["test_param[a/b[c] d]"].success
    assert checks["test_fail"].check_id == "test_it::test_fail"
    assert "ann@example.org" in str(checks["test_fail"].message)
    assert "def test_fail" in checks["test_fail"].details["exception_traceback"]
    assert checks["test_xfail"].details["type"] == "pytest.xfail"
    assert 'failed on setup with "RuntimeError: setup"' in str(checks["test_setup"].message)
    assert results["pytest"].status is ResultStatus.FAILURE
    assert RESULTS.decode(RESULTS.encode(results["pytest"])) == results["pytest"]


def test_properties_say_what_was_checked(results):
    (check,) = results["orders"].results
    assert (check.column, check.count, check.checked, check.severity) == ("id", 3, 100, "low")
    assert results["orders"].status is ResultStatus.WARNING
    assert results["orders"].runtime_environment["git_sha"] == "abc123"
    assert results["orders"].runtime_environment["host"]
    assert results["orders"].run_time.tzinfo


def test_values_are_left_out_with_the_samples(report):
    text = str([result.to_dict() for result in from_any(report[0], samples=False)])
    assert "ann@example.org" not in text
    assert "failed" in text


def test_one_name_for_everything(report):
    (result,) = from_any(str(report[0]), "shop")
    assert (result.data_asset, result.statistics.total_validators) == ("shop", 11)


def test_a_report_is_stored_once(report):
    store = MemoryStore()
    for result in from_junit(report[0]):
        store.save(result, expect=ABSENT)
    with pytest.raises(StoreConflictError):
        store.save(from_junit(report[0])[0], expect=ABSENT)
    assert len(store.list_ids()) == 2


def test_an_interrupted_test_has_no_outcome(tmp_path):
    (result,) = from_junit(run(tmp_path, INTERRUPTED)[0])
    assert [str(status_of(check)) for check in result.results] == ["success", "not_evaluated"]
    assert result.metadata["complete"] is False
    assert not result.success


def test_earlier_attempts_have_not_passed():
    (result,) = from_junit(fromstring(RERUN))
    assert [(check.validator_name, check.success, check.details["reruns"]) for check in result.results] == [
        ("flaky", True, 2),
        ("bad", False, 1),
    ]


def test_a_test_with_failed_subtests_failed_once():
    (check,) = from_junit(fromstring(SUBTESTS))[0].results
    assert (check.success, check.message) == (False, "assert 1 != 1; contains 1 failed subtest")


UNITTEST = """<testsuites>
<testsuite name="test_orders.Orders-20261130171302" tests="1" time="0.039" timestamp="2026-11-30T17:13:02" failures="0">
<testcase classname="test_orders.Orders" name="test_ok" time="0.001" timestamp="2026-11-30T17:13:02"/></testsuite>
<testsuite name="unittest.suite._ErrorHolder-20261130171302" tests="1" time="0" timestamp="0001-01-01T00:00:00" errors="1">
<testcase classname="unittest.suite" name="_ErrorHolder" time="0" timestamp="0001-01-01T00:00:00">
<error type="RuntimeError" message="setup">Traceback</error></testcase></testsuite></testsuites>"""


def test_suites_of_unittest_have_one_name_in_every_run_and_may_never_have_begun():
    found = from_junit(fromstring(UNITTEST))
    assert [(result.data_asset, result.suite_name) for result in found] == [
        ("test_orders.Orders",) * 2,
        ("unittest.suite._ErrorHolder",) * 2,
    ]
    assert found[0].run_time == datetime(2026, 11, 30, 17, 13, 2)  # noqa: DTZ001  # as the file has it
    assert found[1].run_time.year > 1
    assert status_of(found[1].results[0]) == "error"


def test_what_is_not_done_yet_may_fail():
    """As `node --test --test-reporter junit` writes it."""
    todo = (
        '<testsuites><testcase name="later" classname="test"><skipped type="todo" message="later"/>'
        '<failure type="testCodeFailure" message="Failed"/></testcase></testsuites>'
    )
    (check,) = from_junit(fromstring(todo), "orders")[0].results
    assert status_of(check) == "skipped"


def test_tests_of_one_name_that_are_no_attempts():
    same = '<testsuite name="mocha" tests="2"><testcase name="works" /><testcase name="works" /></testsuite>'
    assert from_junit(fromstring(same))[0].statistics.passed_validators == 2


def test_suites_in_suites_and_words_of_other_runners():
    outer, inner = from_any(fromstring(NESTED))
    assert (outer.suite_name, outer.results[0].execution_time_ms) == ("outer", 1_234_500)
    assert outer.runtime_environment == {"ci_run": "77"}
    assert [str(status_of(check)) for check in inner.results] == ["skipped", "success"]
    assert inner.results[1].details["reruns"] == 1


def test_a_failure_that_no_test_has_is_not_lost():
    (result,) = from_junit(fromstring('<testsuite name="s" errors="1"><testcase name="a" /></testsuite>'))
    assert result.status is ResultStatus.FAILURE


def test_what_says_too_little_is_refused():
    with pytest.raises(ValueError, match="give data_asset"):
        from_junit(fromstring('<testsuite><testcase name="a" /></testsuite>'))
    with pytest.raises(TypeError, match="expected JUnit XML"):
        from_junit(fromstring("<html />"))
    assert from_junit(fromstring("<testsuites />")) == []
