"""An empty folder for each test: durable queues lie below the folder in which a program is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.batching.doubles import Base
from truthstore.batching import BatchedStore
from truthstore.testing.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def base() -> Base:
    """A store in memory that counts its calls and can be switched off."""
    return Base()


@pytest.fixture(params=["memory", "durable"])
def mode(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Options of a store without a thread, over either queue."""
    options: dict[str, Any] = {"flush_interval_seconds": None}
    if request.param == "durable":
        options.update(durable=True, path=str(tmp_path / "queue.db"), durability="os")
    return options


@pytest.fixture
def make(base: Base, mode: dict[str, Any]) -> Iterator[Callable[..., BatchedStore[Sample]]]:
    """Make stores over `base`."""
    stores: list[BatchedStore[Sample]] = []

    def make(**options: Any) -> BatchedStore[Sample]:
        stores.append(BatchedStore(base, **{**mode, **options}))
        return stores[-1]

    yield make
    base.down = None
    base.never.clear()
    for store in stores:
        store.discard_rejected() if not store._lifecycle.closed else None
        store._outbox._new_rejections.clear()
        store.close()
