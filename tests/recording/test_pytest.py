"""The plugin of pytest, in sessions of their own: one check for each test, however it ran."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from truthstore import get_store
from truthstore.items.checks import status_of
from truthstore.results import ValidationResult

PLUGINS = ("truthstore.recording.pytest_plugin", "xdist", "rerunfailures", "no:cacheprovider")

TESTS = """
import os
import pytest

pytestmark = pytest.mark.data_asset("orders")

def test_passes(record_property):
    record_property("checked", 100)

@pytest.mark.data_asset("orders", column="id", severity="high", owner="sales")
def test_fails(record_property):
    record_property("failed", 3)
    assert [1, 2] == [1]

@pytest.mark.parametrize("name", ["a", "b@c"])
def test_named(name):
    pass

@pytest.mark.skip(reason="not today")
def test_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_known():
    assert False

@pytest.fixture
def broken():
    raise OSError("no table")

def test_setup(broken):
    pass

@pytest.fixture
def leaking():
    yield
    raise OSError("no disk")

def test_teardown(leaking):
    pass

@pytest.mark.data_asset("customers")
def test_other():
    pass
"""
OUTCOMES = {
    "test_passes": "success",
    "test_fails": "failure",
    "test_named[a]": "success",
    "test_named[b@c]": "success",
    "test_skipped": "skipped",
    "test_known": "warning",
    "test_setup": "error",
    "test_teardown": "error",
}


def session(tests: str, *arguments: str, code: int = 1) -> None:
    """Run tests in a session of their own, with the plugins that are meant alone, which start faster."""
    Path("test_data.py").write_text(tests, encoding="utf-8")
    store = Path("store").absolute().as_uri()
    Path("pytest.ini").write_text(
        f"[pytest]\ntruthstore_store = {store}\ntruthstore_tags =\n  team = sales\n", encoding="utf-8"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    plugins = [option for plugin in PLUGINS for option in ("-p", plugin)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", *plugins, *arguments],
        env={**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr


def runs() -> dict[str, ValidationResult]:
    with get_store("filesystem", base_path="store") as store:
        found = list(store.query())
    assert len(found) == len({run.data_asset for run in found})
    return {run.data_asset: run for run in found}


def outcomes(run: ValidationResult) -> list[tuple[str, str]]:
    return sorted((check.validator_name, str(status_of(check))) for check in run.results)


@pytest.mark.parametrize(
    "arguments", [(), ("-n", "2"), ("-n", "2", "--dist", "loadgroup")], ids=["alone", "xdist", "groups"]
)
def test_each_marked_test_is_one_check(arguments):
    tests = (
        TESTS.replace("def test_passes", '@pytest.mark.xdist_group("g")\ndef test_passes')
        if "loadgroup" in arguments
        else TESTS
    )
    session(tests, *arguments)
    found = runs()
    assert outcomes(found["orders"]) == sorted(OUTCOMES.items())
    assert outcomes(found["customers"]) == [("test_other", "success")]
    assert (found["orders"].status, found["orders"].tags) == ("failure", {"team": "sales"})
    checks = {check.validator_name: check for check in found["orders"].results}
    assert (checks["test_passes"].checked, checks["test_passes"].check_id) == (100, "test_data.py::test_passes")
    failed = checks["test_fails"]
    assert (failed.count, failed.column, failed.severity, failed.owner) == (3, "id", "high", "sales")
    assert failed.message is not None
    assert "assert [1, 2] == [1]" in failed.message
    assert (checks["test_skipped"].message, checks["test_known"].message) == ("Skipped: not today", "known")


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_of_reruns_the_last_counts(arguments):
    tests = """
import pytest
counts = []
pytestmark = pytest.mark.data_asset("orders")
def test_flaky():
    counts.append(1)
    assert len(counts) == 3
def test_never():
    assert False
"""
    session(tests, "--reruns", "3", *arguments)
    assert outcomes(runs()["orders"]) == [("test_flaky", "success"), ("test_never", "failure")]


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="pytest 9 has subtests")
def test_subtests_are_of_their_test(arguments):
    tests = """
import pytest
@pytest.mark.data_asset("orders")
def test_columns(subtests):
    for column in ("a", "b", "c"):
        with subtests.test(column=column):
            assert column != "b"
"""
    session(tests, *arguments)
    assert outcomes(runs()["orders"]) == [("test_columns", "failure")]


def test_a_test_that_takes_its_worker_down_is_an_error():
    tests = """
import os
import pytest
pytestmark = pytest.mark.data_asset("orders")
@pytest.fixture
def dies_before():
    os._exit(1)
@pytest.fixture
def dies_after():
    yield
    os._exit(1)
def test_before(): pass
def test_setup(dies_before): pass
def test_call(): os._exit(1)
def test_teardown(dies_after): pass
def test_after(): pass
"""
    session(tests, "-n", "1")
    assert outcomes(runs()["orders"]) == [
        ("test_after", "success"),
        ("test_before", "success"),
        ("test_call", "error"),
        ("test_setup", "error"),
        ("test_teardown", "error"),
    ]


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_test_that_the_session_did_not_come_to_is_not_evaluated(arguments):
    tests = """
import pytest
pytestmark = pytest.mark.data_asset("orders")
def test_fails():
    assert False
def test_1(): pass
def test_2(): pass
def test_3(): pass
"""
    session(tests, "-x", *arguments, code=2 if arguments else 1)
    found = dict(outcomes(runs()["orders"]))
    assert (found["test_fails"], found["test_3"]) == ("failure", "not_evaluated")
    assert len(found) == 4


def test_a_session_that_is_killed_leaves_its_checks_to_the_next():
    tests = """
import os
import signal
import pytest
pytestmark = pytest.mark.data_asset("orders")
def test_passes(): pass
def test_kills(): os.kill(os.getpid(), signal.SIGKILL)
"""
    session(tests, code=-9)
    session("import pytest\n@pytest.mark.data_asset('customers')\ndef test_passes(): pass", code=0)
    found = runs()
    assert outcomes(found["orders"]) == [("run", "error"), ("test_passes", "success")]
    assert (found["orders"].status, found["customers"].status) == ("error", "success")


@pytest.mark.parametrize(("on_error", "code"), [("queue", 0), ("raise", 1)])
def test_a_store_that_cannot_be_opened_fails_no_test_unless_asked(on_error, code):
    session(
        "import pytest\n@pytest.mark.data_asset('orders')\ndef test_passes(): pass",
        "--truthstore",
        "nowhere.yaml",
        "-o",
        f"truthstore_on_error={on_error}",
        code=code if on_error == "queue" else 3,
    )


def test_nothing_is_recorded_without_a_store_or_a_mark_and_when_tests_are_only_listed():
    session("import pytest\ndef test_passes(): pass", code=0)
    session(TESTS, "--collect-only", code=0)
    assert not Path("store").exists()
    session(TESTS, "-o", "truthstore_store=")
    assert not Path("store").exists()


def test_a_mark_that_names_no_asset_is_refused():
    session("import pytest\n@pytest.mark.data_asset(asset='orders')\ndef test_passes(): pass", code=4)
