"""The conformance suite over tiers in which items lie apart: in memory, and in folders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiering.doubles import scattered
from truthstore import BaseStore, WrapperStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.items.results import RESULTS
from truthstore.model.collection import Collection
from truthstore.testing import StoreSuite, WrapperSuite
from truthstore.tiering import StorageTier, TieredStore


class TestOverMemory(WrapperSuite):
    """The default tier is the store below; items leave it after every save."""

    transparent = False  # a tombstone that a layer keeps lies in the default tier only

    def wrap(self, base: BaseStore[Any]) -> WrapperStore[Any]:
        colder = [MemoryStore[Any](collection=RESULTS) for _ in range(2)] if isinstance(base, BaseStore) else []
        if not colder:
            return TieredStore(base)
        return TieredStore(base, colder=[StorageTier(f"tier {n}", store, priority=n) for n, store in enumerate(colder)])


class TestScattered(StoreSuite):
    concurrent = False
    shared_between_processes = False

    def make_store(self, location: Any, *, collection: Collection[Any] = RESULTS, **options: Any) -> BaseStore[Any]:
        space = options.pop("namespace", "default")
        stores = [
            FileSystemStore(base_path=location / str(number), collection=collection, namespace=space, durability="os")
            for number in range(3)
        ]
        return scattered(*stores, **options)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
