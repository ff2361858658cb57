"""Pipes, devices, loops and unreadable files cost one item each: nothing else fails because of them, or waits."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from truthstore.backends.filesystem import FileSystemStore, open_folder
from truthstore.backends.filesystem.files import FileBlobs
from truthstore.errors import StoreCorruptError, StoreReadError, StoreWriteError
from truthstore.testing.sample import SAMPLES, Sample


def bind(path: Path) -> None:
    """Make a socket; its path must be short."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


ODD: dict[str, Callable[[Path], object]] = {
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a folder": lambda path: path.symlink_to("/tmp"),
    "a folder": Path.mkdir,
    "a socket": bind,
    "an empty file": Path.touch,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with FileSystemStore(base_path=tmp_path, collection=SAMPLES) as store:
        store.save_many([Sample("a"), Sample("b")])
    return Path(store.root)


def opened(folder: Path) -> FileSystemStore[Sample]:
    return FileSystemStore(base_path=folder.parent.parent, collection=SAMPLES)


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_in_the_place_of_an_item_costs_that_item(kind: str, folder: Path):
    place = folder / "_samples" / "b.json"
    place.unlink()
    ODD[kind](place)
    with opened(folder) as store:
        with pytest.raises(StoreCorruptError, match=r"b\.json|'b'"):
            store.get("b")
        assert store.get("a") == Sample("a")
        assert list(store.verify().corrupt) == ["b"]
        assert store.rebuild_index() == 1
        assert store.query() == [Sample("a")]
        assert store.delete("a")
        assert store.list_ids() == []


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_beside_the_items_keeps_no_index_from_being_made(kind: str, folder: Path):
    ODD[kind](folder / "_samples" / "x.json")
    shutil.rmtree(folder / ".truthstore")
    with opened(folder) as store:
        assert sorted(store.list_ids()) == ["a", "b"]
        assert list(store.verify().corrupt) == ([] if kind == "a folder" else ["x.json"])
        assert store.rebuild_index() == 2


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "a folder"])
def test_an_item_can_be_saved_where_something_else_lies(kind: str, folder: Path):
    place = folder / "_samples" / "x.json"
    ODD[kind](place)
    with opened(folder) as store:
        store.save(Sample("x"))
        assert store.get("x") == Sample("x")
        assert stat.S_ISREG(place.lstat().st_mode)
        assert store.verify().ok


def test_what_is_saved_where_a_folder_lies_waits_and_is_named(folder: Path):
    place = folder / "_samples" / "x.json"
    place.mkdir()
    with opened(folder) as store:
        store.save(Sample("x"))
        assert store.get("x") == Sample("x")
        verification = store.verify()
        assert (verification.checked, verification.missing) == (2, ("x",))
        with pytest.raises(StoreWriteError, match=r"x\.json: Is a directory"):
            store.maintain()
        place.rmdir()
        assert store.verify().ok
    assert place.is_file()


@pytest.mark.parametrize("kind", ["a loop of links", "a pipe", "a link to a device"])
def test_what_is_no_file_in_a_folder_with_a_log_costs_one_item(kind: str, tmp_path: Path):
    options: dict[str, Any] = {"base_path": tmp_path / "s", "index": "log", "cache_dir": ":memory:"}
    with open_folder(collection=SAMPLES, **options) as store:
        store.save_many([Sample("a"), Sample("b")])
    (place,) = (tmp_path / "s").rglob("b.json")
    place.unlink()
    ODD[kind](place)
    with open_folder(collection=SAMPLES, **options) as store:
        assert store.get("a") == Sample("a")
        assert list(store.verify().corrupt) == ["b"]


def test_a_folder_in_the_place_of_an_item_keeps_no_other_from_leaving_the_index_of_a_log(tmp_path: Path):
    options: dict[str, Any] = {"base_path": tmp_path / "s", "index": "log", "cache_dir": ":memory:"}
    with open_folder(collection=SAMPLES, **options) as store:
        store.save_many([Sample("a"), Sample("b"), Sample("c")])
    for name in "ab":
        (place,) = (tmp_path / "s").rglob(f"{name}.json")
        place.unlink()
        if name == "a":
            place.mkdir()
    with open_folder(collection=SAMPLES, **options) as store:
        with pytest.raises(StoreWriteError, match=r"a\.json: not a regular file"):
            store.rebuild_index()
        assert sorted(store.list_ids()) == ["a", "c"]


def test_a_folder_that_is_in_itself_by_way_of_a_link_is_listed_once(tmp_path: Path):
    """Two such links lead to as many paths as two to the power of forty."""
    (tmp_path / "a").touch()
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").touch()
    assert list(FileBlobs(tmp_path).list("")) == ["a", "sub/b"]


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "a folder"])
def test_what_lies_among_the_new_files_is_removed_in_time(kind: str, folder: Path):
    place = folder / ".truthstore" / "new" / "x"
    ODD[kind](place)
    os.utime(place, (0, 0), follow_symlinks=False)
    with opened(folder) as store:
        assert store.maintain()["leftovers_removed"] == 1


def test_an_index_that_could_not_be_made_is_made_by_the_next_operation(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with opened(folder) as store:
        assert store.count() == 2
        shutil.rmtree(folder / ".truthstore")

        def fail(*_: Any) -> Any:
            raise StoreReadError("too many open files in this process", backend="filesystem")

        with monkeypatch.context() as patched:
            patched.setattr(store._folder, "names", fail)
            with pytest.raises(StoreReadError, match="too many open files"):
                store.list_ids()
        assert sorted(store.list_ids()) == ["a", "b"]
        store.save(Sample("c"))
        assert store.count() == 3
