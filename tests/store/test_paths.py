"""A path that begins with ~ lies in the home folder, whichever option it is given to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from truthstore import BaseStore, get_store, open_store
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.filesystem.log import FileLogStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, DiskCache
from truthstore.observability import AuditConfig, FileAuditBackend, ObservabilityConfig, ObservableStore
from truthstore.testing import SAMPLES, Sample


def memory() -> BaseStore[Any]:
    return get_store("memory", collection=SAMPLES)


def audited(audit: AuditConfig) -> BaseStore[Any]:
    return ObservableStore(memory(), ObservabilityConfig(audit=audit))


OPTIONS: dict[str, Callable[[], BaseStore[Any]]] = {
    "base_path": lambda: FileSystemStore(base_path="~/made", collection=SAMPLES),
    "a Path": lambda: FileSystemStore(base_path=Path("~/made"), collection=SAMPLES),
    "base_path with a log": lambda: FileLogStore(base_path="~/made", cache_dir="~/made/cache", collection=SAMPLES),
    "cache_dir": lambda: get_store(
        "filesystem", base_path="~/made", index="log", cache_dir="~/made/cache", collection=SAMPLES
    ),
    "a database file": lambda: get_store("sqlite:///~/made/x.db", collection=SAMPLES),
    "the file of a queue": lambda: BatchedStore(memory(), durable=True, path="~/made/queue.db"),
    "the folder of a cache": lambda: CachedStore(memory(), DiskCache("~/made/cache")),
    "the file of the audit trail": lambda: audited(AuditConfig(file_path="~/made/audit.jsonl")),
    "the file of a sink": lambda: audited(AuditConfig(backend=FileAuditBackend("~/made/audit.jsonl"))),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, with a folder that may be used; the program works elsewhere."""
    (tmp_path / "home" / "made").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_tilde_is_the_home_folder(home: Path, option: str):
    with OPTIONS[option]() as store:
        store.save(Sample("a"))
        assert store.count() == 1
    assert any(path.is_file() for path in (home / "made").rglob("*"))
    assert not os.path.exists("~")


def test_it_is_for_open_store_too(home: Path):
    (home / "store.yaml").write_text("backend: filesystem\nbase_path: ~/made\n")
    with open_store("~/store.yaml") as store:
        assert store.layer(FileSystemStore).root == str(home / "made/default/validations")
