"""Stores with versions, over memory and over files."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.testing import SAMPLES
from truthstore.versioning import (
    VersionedStore,
)


@pytest.fixture(params=["memory", "filesystem"])
def reopen(request, tmp_path):
    """Open one more store at the same place; of memory, after the one before was closed."""
    data = MemoryData()
    opened: list[VersionedStore[Any]] = []

    def make(collection: Any = SAMPLES, **options: Any) -> VersionedStore[Any]:
        if request.param == "memory":
            for store in opened:
                store.close()
            base: Any = MemoryStore(collection=collection, data=data)
        else:
            base = FileSystemStore(base_path=tmp_path, durability="os", collection=collection)
        opened.append(VersionedStore(base, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
