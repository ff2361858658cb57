"""Versions of an item whose newest one is damaged: the older ones are there, and the item can be saved again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.versioning.doubles import save_version
from truthstore import StoreCorruptError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore, VersionNotFoundError


@pytest.fixture
def store(tmp_path: Path):
    """Three versions, the newest of which cannot be read."""
    base: FileSystemStore[Any] = FileSystemStore(base_path=tmp_path, durability="os", collection=SAMPLES)
    with VersionedStore(base) as made:
        made.save_many(Sample("a", count=count) for count in (1, 2, 3))
        damage(made)
        yield made


def damage(store: VersionedStore[Any]) -> None:
    (path,) = Path(store.layer(FileSystemStore).root).rglob("a.json")
    path.write_bytes(path.read_bytes()[:40])


def test_the_older_versions_can_be_read(store: VersionedStore[Any]):
    for version in (None, 3):
        with pytest.raises(StoreCorruptError, match="'a'"):
            store.get("a", version=version)
    assert store.get("a", version=2).count == 2
    assert store.list_versions("a") == [3, 2, 1]
    assert store.count_versions("a") == 3
    with pytest.raises(VersionNotFoundError):
        store.get("a", version=4)
    assert not store.verify().ok


def test_it_is_overwritten_under_the_next_number(store: VersionedStore[Any]):
    info = save_version(store, Sample("a", count=4), message="again")
    assert (info.version, info.parent_version, info.changes) == (4, 3, ())
    assert store.get("a").count == 4
    assert store.list_versions("a") == [4, 2, 1], "what could not be read is not kept"
    assert store.verify().ok


def test_an_older_version_takes_its_place(store: VersionedStore[Any]):
    store.rollback("a", 2)
    assert store.get("a").count == 2
    assert store.list_versions("a") == [4, 2, 1]


def test_it_is_removed_and_brought_back(store: VersionedStore[Any]):
    assert store.delete("a")
    assert not store.exists("a")
    assert store.list_versions("a") == [2, 1]
    store.rollback("a", 1)
    assert store.get("a").count == 1
    assert store.list_versions("a") == [5, 2, 1]


def test_it_is_removed_with_all_its_versions(store: VersionedStore[Any]):
    assert store.delete("a", delete_all_versions=True)
    assert store.list_versions("a") == []
    store.save(Sample("a", count=9))
    assert store.list_versions("a") == [1]


def test_where_the_index_does_not_know_it_nothing_is_guessed(store: VersionedStore[Any]):
    store.rebuild_index()
    for operation in (lambda: store.save(Sample("a", count=4)), lambda: store.delete("a")):
        with pytest.raises(StoreCorruptError, match="'a'"):
            operation()
    assert store.delete("a", delete_all_versions=True)
    store.save(Sample("a", count=4))
    assert store.get("a").count == 4
