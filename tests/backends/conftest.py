"""The servers that tests of backends use, each started at its first use, once for every worker of a test run."""

from __future__ import annotations

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the nightly profile those tests of a suite that are not in `smoke` of its class, if that is given.

    Stores that differ in their driver alone need the whole suite once: the log store has it (tests/storage/log).
    """
    for item in items:
        if isinstance(item, pytest.Function):
            smoke: frozenset[str] | None = getattr(item.cls, "smoke", None)
            if smoke is not None and item.originalname not in smoke:
                item.add_marker("nightly")
