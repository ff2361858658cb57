"""Stores to copy from and to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.copying.doubles import result
from truthstore import BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore


@pytest.fixture
def source(tmp_path: Path) -> Iterator[BaseStore[Any]]:
    """A folder with ten results."""
    with FileSystemStore(base_path=tmp_path / "source", durability="os") as store:
        store.save_many(result(number) for number in range(10))
        yield store


@pytest.fixture
def target() -> BaseStore[Any]:
    return MemoryStore()
