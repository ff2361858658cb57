"""The folder of an open store is removed, emptied or replaced: reading says so, or shows what is there now; saving makes it anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.filesystem.mark import DOUBTFUL
from truthstore.errors import StoreConnectionError, StoreNotFoundError
from truthstore.store.health import Verification
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


# `rm -rf folder/*` leaves what begins with a dot, and so the index.


def remove_what_is_not_hidden(folder: Path) -> None:
    for path in map(Path, glob(f"{folder}/*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(params=["os", "fsync"])
def durable(request: pytest.FixtureRequest, open_store: OpenFolder) -> FileSystemStore[Sample]:
    """An open store with what two writers saved."""
    store = open_store(durability=request.param)
    store.save_many([Sample("old"), Sample("older")])
    open_store(durability=request.param).delete("older")
    return store


def assert_holds(ids: list[str], *stores: FileSystemStore[Sample]) -> None:
    for store in stores:
        assert sorted(contents(store, ["old", "new"])) == ids
        assert store.verify().ok


@pytest.mark.parametrize("name", READS)
def test_each_read_of_a_folder_that_is_emptied_but_for_hidden_names_finds_it_empty(
    name: str, store: FileSystemStore[Sample], open_store: OpenFolder
):
    store.save(Sample("old"))
    remove_what_is_not_hidden(Path(store.root))
    with suppress(StoreNotFoundError):
        assert READS[name](store) in ([], 0, False, Verification(checked=0))
    assert_holds([], store)


@pytest.mark.parametrize("first", ["an open store reads", "an open store saves", "a new store reads"])
@pytest.mark.parametrize("cut_short", [False, True])
def test_a_folder_that_is_emptied_but_for_hidden_names_is_empty_for_all(
    cut_short: bool, first: str, durable: FileSystemStore[Sample], open_store: OpenFolder
):
    if cut_short:
        durable._commits.mark.set(DOUBTFUL)
    remove_what_is_not_hidden(Path(durable.root))
    stores = [durable, open_store()]
    if first == "an open store saves":
        durable.save(Sample("new"))
    elif first == "a new store reads":
        stores.reverse()
    assert_holds(["new"] if first == "an open store saves" else [], *stores, open_store())


def test_a_format_that_is_removed_alone_loses_nothing_and_not_what_waits(
    durable: FileSystemStore[Sample], open_store: OpenFolder, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        patched.setattr(durable._commits, "_write_files", lambda entries, staged: False)
        durable.save(Sample("new"))
    shutil.rmtree(f"{durable.root}/_truthstore")
    assert_holds(["new", "old"], open_store(), durable)


@pytest.mark.parametrize("opened", ["open", "later"])
def test_another_store_that_is_copied_to_the_place_without_hidden_names_is_the_one_there(
    opened: str, durable: FileSystemStore[Sample], open_store: OpenFolder, tmp_path: Path
):
    with open_store(base_path=tmp_path / "another") as another:
        another.save(Sample("new"))
    remove_what_is_not_hidden(Path(durable.root))
    for path in map(Path, glob(f"{another.root}/*")):
        shutil.copytree(path, Path(durable.root) / path.name)
    newcomer = open_store()
    assert_holds(["new"], *((durable, newcomer) if opened == "open" else (newcomer, durable)))
    durable.save(Sample("old"))
    assert_holds(["new", "old"], newcomer, open_store(), durable)


def test_a_format_that_is_put_back_keeps_the_index(durable: FileSystemStore[Sample], open_store: OpenFolder):
    form = Path(durable.root) / "_truthstore" / "format.json"
    copy = form.with_name("copy")
    shutil.copy(form, copy)
    copy.rename(form)
    (index,) = Path(durable.root).glob(".truthstore/index-*.db")
    assert_holds(["old"], durable, open_store())
    assert [index] == list(Path(durable.root).glob(".truthstore/index-*.db"))
