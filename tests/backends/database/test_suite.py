"""The store suite and the state machine on SQLite, PostgreSQL 16 and 18, and MariaDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.services.databases import Place, new_place
from tests.services.emptying import ways_of_sqlite
from tests.smoke import SMOKE
from truthstore import RESULTS
from truthstore.backends.database import DatabaseStore
from truthstore.testing import SAMPLES, StoreSuite, store_machine
from truthstore.testing.suite.items import ItemTests
from truthstore.testing.suite.records import RecordTests


class TestSQLite(StoreSuite):
    def make_store(self, location, *, collection=RESULTS, **options):
        return DatabaseStore(connection_url=f"sqlite:///{location}/store.db", collection=collection, **options)


class TestMessagePackInSQLite(ItemTests, RecordTests):
    """What a format can break."""

    def make_store(self, location, *, collection=RESULTS, **options):
        url = f"sqlite:///{location}/store.db"
        return DatabaseStore(
            connection_url=url, collection=collection, serialization_format="msgpack", table_prefix="checks_", **options
        )


class OnServer(StoreSuite):
    def make_store(self, location: Place, *, collection: Any = RESULTS, **options: Any):
        return location.open(collection, **options)


@pytest.mark.xdist_group("postgresql-16")
class TestPostgreSQL16(OnServer):
    smoke = SMOKE

    @pytest.fixture
    def location(self, postgresql_16):
        return new_place(postgresql_16.url)


@pytest.mark.xdist_group("postgresql-18")
class TestPostgreSQL18(OnServer):
    @pytest.fixture
    def location(self, postgresql_18):
        return new_place(postgresql_18.url)


@pytest.mark.xdist_group("mariadb")
class TestMariaDB(OnServer):
    @pytest.fixture
    def location(self, mariadb_server):
        return new_place(mariadb_server.url)


# State machines are made when this file is read, the servers when the first test needs them.
servers: dict[str, str] = {}


def machine_on(name: str, writers: int) -> Any:
    return store_machine(
        lambda place: place.open(SAMPLES),
        make_location=lambda: new_place(servers[name]),
        writers=writers,
        steps=20,
        effort=0.1,
    )


def empty_location(location: Path, way: int) -> None:
    ways = ways_of_sqlite(location / "store.db")
    ways[way % len(ways)]()


TestSQLiteMachine = store_machine(
    lambda location: DatabaseStore(connection_url=f"sqlite:///{location}/store.db", collection=SAMPLES),
    empty_location=empty_location,
    writers=2,
    effort=0.15,
)


@pytest.mark.xdist_group("postgresql-16")
class TestPostgreSQL16Machine(machine_on("postgresql_16", 2)):  # type: ignore[misc]  # made by a function
    @pytest.fixture(autouse=True)
    def server(self, postgresql_16):
        servers["postgresql_16"] = postgresql_16.url


@pytest.mark.xdist_group("postgresql-18")
class TestPostgreSQL18Machine(machine_on("postgresql_18", 1)):  # type: ignore[misc]  # made by a function
    @pytest.fixture(autouse=True)
    def server(self, postgresql_18):
        servers["postgresql_18"] = postgresql_18.url


@pytest.mark.xdist_group("mariadb")
class TestMariaDBMachine(machine_on("mariadb", 2)):  # type: ignore[misc]  # made by a function
    @pytest.fixture(autouse=True)
    def server(self, mariadb_server):
        servers["mariadb"] = mariadb_server.url
