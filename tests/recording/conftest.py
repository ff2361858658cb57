"""An empty folder for each test: journals lie below the folder in which a program is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batching.doubles import Base
from truthstore.backends.filesystem import FileSystemStore


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store() -> Iterator[Base]:
    """A store in a folder that counts its writes, can be down, and rejects items."""
    with Base(FileSystemStore(base_path="store", durability="os")) as store:
        yield store
