"""Connections to one SQLite file and forks: a child never has a connection of its parent, whatever the parent was doing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Child
from truthstore.storage.catalog import connections
from truthstore.storage.catalog.catalog import Catalog
from truthstore.testing.sample import SAMPLES


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(lambda collection, locations: iter(()))
    catalog.open(str(tmp_path / "index.db"))
    catalog.prepare(SAMPLES, lambda: ())
    yield catalog
    catalog.close()


def open_files(path: str | None) -> list[str]:
    """The files of a database that this process holds open."""
    assert path is not None
    folder = Path("/proc/self/fd")
    links = [os.readlink(one) for one in folder.iterdir() if one.is_symlink() and one.exists()]
    return [link for link in links if link.startswith(path)]


def test_a_fork_closes_all_connections(catalog: Catalog):
    assert catalog.find(SAMPLES, "a") is None
    assert Child(lambda _: open_files(catalog._path)).result() == []


def test_a_fork_closes_readers_that_are_there_without_a_writer(catalog: Catalog):
    for _ in range(2):
        assert Child(lambda _: open_files(catalog._path)).result() == []
        assert catalog.find(SAMPLES, "a") is None  # opens a reader, and no writer
        assert open_files(catalog._path)


def test_a_child_of_a_transaction_uses_connections_of_its_own(catalog: Catalog):
    with catalog.transaction() as connection:

        def work(_: Any) -> tuple[bool, bool]:
            found = catalog.find(SAMPLES, "a")
            return found is None, catalog._writer is None and any(one is connection for one in connections._open)

        assert Child(work).result() == (True, True)
        connection.execute("PRAGMA user_version = 1")
    assert catalog.find(SAMPLES, "a") is None
