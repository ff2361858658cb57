"""The servers that tests of backends use, each started at its first use, once for every worker of a test run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.services.mariadb import MariaDB, mariadb
from tests.services.postgresql import PostgreSQL, postgresql
from tests.services.process import started


@pytest.fixture(scope="session")
def postgresql_16() -> Iterator[PostgreSQL]:
    yield from started(postgresql(16))


@pytest.fixture(scope="session")
def postgresql_18() -> Iterator[PostgreSQL]:
    yield from started(postgresql(18))


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    yield from started(mariadb())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the nightly profile those tests of a suite that are not in `smoke` of its class, if that is given.

    Stores that differ in their driver alone need the whole suite once: the log store has it (tests/storage/log).
    """
    if os.environ.get("HYPOTHESIS_PROFILE") == "nightly":
        return
    left = [item for item in items if isinstance(item, pytest.Function) and not _is_smoke(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [item for item in items if item not in gone]


def _is_smoke(item: pytest.Function) -> bool:
    smoke: frozenset[str] | None = getattr(item.cls, "smoke", None)
    return smoke is None or item.originalname in smoke
