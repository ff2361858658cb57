"""A queue at a place of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from truthstore.storage.queue import DurableQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that does not exist yet, in a folder that does not either."""
    return tmp_path / "folder" / "queue.db"


@pytest.fixture
def queue(path: Path) -> Iterator[DurableQueue]:
    """An empty queue."""
    queue = DurableQueue(path, durability="os")
    yield queue
    queue.close()
