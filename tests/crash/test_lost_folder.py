"""The folder of an open store is removed: reading says so, saving makes it anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import OpenFolder
from truthstore.backends.filesystem import FileSystemStore
from truthstore.errors import StoreConnectionError
from truthstore.testing.sample import Sample

READS: dict[str, Callable[[FileSystemStore[Sample]], Any]] = {
    "list_ids": lambda store: store.list_ids(),
    "query": lambda store: store.query(),
    "iter_query": lambda store: list(store.iter_query()),
    "count": lambda store: store.count(),
    "get": lambda store: store.get("a"),
    "exists": lambda store: store.exists("a"),
    "head": lambda store: store.head("a"),
    "verify": lambda store: store.verify(),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_says_that_the_folder_is_gone(name: str, store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a"))
    shutil.rmtree(folder)
    for _ in range(2):
        with pytest.raises(StoreConnectionError, match="was removed: restore it, or save"):
            READS[name](store)
    assert not folder.exists()


def test_a_delete_says_so_too(store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a"))
    shutil.rmtree(folder)
    with pytest.raises(StoreConnectionError, match="was removed"):
        store.delete("a")


def test_saving_makes_the_folder_anew(store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a"))
    shutil.rmtree(folder)
    store.save(Sample("b"))
    assert store.list_ids() == ["b"]
    assert store.verify().ok


def test_a_folder_that_is_back_can_be_read(store: FileSystemStore[Sample], folder: Path, tmp_path: Path):
    store.save(Sample("a"))
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreConnectionError):
        store.list_ids()
    (tmp_path / "elsewhere").rename(folder)
    assert store.list_ids() == ["a"]


def test_a_folder_that_could_only_be_read(
    store: FileSystemStore[Sample], folder: Path, open_store: OpenFolder, monkeypatch: pytest.MonkeyPatch
):
    store.save(Sample("a"))
    monkeypatch.setattr("truthstore.backends.filesystem.store.is_writable", lambda path: False)
    reader = open_store()
    assert reader.list_ids() == ["a"]
    shutil.rmtree(folder)
    for _ in range(2):
        with pytest.raises(StoreConnectionError, match="was removed"):
            reader.list_ids()
