"""Hypothesis profiles, and what every test folder may ask for.

`HYPOTHESIS_PROFILE` chooses the profile: `dev` (the default), `ci` (the default when CI=true), `nightly`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.services.process import stop_servers

if TYPE_CHECKING:
    from collections.abc import Callable

CI = os.environ.get("CI") == "true"

# Tests tell nobody that they ran.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

# The suites that ship in the wheel are full of assertions: let pytest explain those too. Before their first import.
pytest.register_assert_rewrite("truthstore.testing")

# No deadline anywhere: disks and shared machines are slow at times, and that is not what a property is about.
settings.register_profile("dev", max_examples=30, deadline=None)
settings.register_profile(
    "ci",
    max_examples=60,
    deadline=None,
    derandomize=True,  # a change is judged by its own faults; the search for new ones is `nightly`
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if CI else "dev"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the nightly profile what takes many minutes, and of a class with `smoke` the tests that are not in it.

    Stores that differ in their driver alone need the whole suite once.
    """
    if os.environ.get("HYPOTHESIS_PROFILE") == "nightly":
        return
    left = [item for item in items if isinstance(item, pytest.Function) and not _is_smoke(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [item for item in items if item not in gone]
    skip = pytest.mark.skip(reason="takes long: HYPOTHESIS_PROFILE=nightly runs it")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(skip)


def pytest_sessionfinish() -> None:
    stop_servers()


def _is_smoke(item: pytest.Function) -> bool:
    smoke: frozenset[str] | None = getattr(item.cls, "smoke", None)
    return smoke is None or item.originalname in smoke


@pytest.fixture
def importable_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children of multiprocessing import the functions of a test module; the installed package comes first."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[1])])


@pytest.fixture(scope="session")
def need_program() -> Callable[[str], str]:
    """Find a program that a test cannot do without: if it is missing, skip on a laptop and fail in CI."""

    def find(name: str) -> str:
        if path := shutil.which(name):
            return path
        message = f"{name} is not installed (on Debian: apt-get install {name})"
        if CI:
            pytest.fail(message, pytrace=False)
        pytest.skip(message)

    return find
