"""What the crash tests share: a folder, stores over it that are closed afterwards, and strace."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from truthstore.backends.filesystem import FileSystemStore
from truthstore.testing.sample import SAMPLES, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from truthstore.model.collection import Collection


class OpenFolder(Protocol):
    """Opens another store over the folder of the test."""

    def __call__(self, collection: Collection[Any] = SAMPLES, **options: Any) -> FileSystemStore[Any]: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "store"


@pytest.fixture
def open_store(folder: Path) -> Iterator[OpenFolder]:
    with ExitStack() as opened:

        def open_store(collection: Collection[Any] = SAMPLES, **options: Any) -> FileSystemStore[Any]:
            options.setdefault("base_path", folder)
            store: FileSystemStore[Any] = FileSystemStore(collection=collection, **options)
            opened.callback(store.close)
            store.initialize()
            return store

        yield open_store


@pytest.fixture
def store(open_store: OpenFolder) -> FileSystemStore[Sample]:
    """An open, empty store of samples."""
    return open_store()
