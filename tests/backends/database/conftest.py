"""Places in each kind of database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.databases import Place, new_place


@pytest.fixture(params=["sqlite", "postgresql_18", "mariadb_server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return a place in each kind of database."""
    if request.param == "sqlite":
        return new_place(f"sqlite:///{tmp_path}/store.db")
    return new_place(request.getfixturevalue(request.param).url)
