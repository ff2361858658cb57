"""Stores below policies."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.versioning import VersionedStore


@pytest.fixture(params=["memory", "files", "versioned"])
def base(request, tmp_path) -> Any:
    store: Any = MemoryStore()
    if request.param == "files":
        store = FileSystemStore(base_path=tmp_path, durability="os")
    if request.param == "versioned":
        store = VersionedStore(store)
    yield store
    store.close()
