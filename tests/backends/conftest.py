"""The servers that tests of backends use, each started at its first use, once for every worker of a test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.mariadb import MariaDB, mariadb
from tests.services.postgresql import PostgreSQL, postgresql
from tests.services.process import shared


@pytest.fixture(scope="session")
def postgresql_16() -> Iterator[PostgreSQL]:
    yield from shared(postgresql, 16)


@pytest.fixture(scope="session")
def postgresql_18() -> Iterator[PostgreSQL]:
    yield from shared(postgresql, 18)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    yield from shared(mariadb)
