"""A copy, an export and a restore killed at every step: the same call goes on, nothing is lost, nothing is twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batching.doubles import in_child
from tests.copying.doubles import CARRIED, OF_RESULTS, Killing, fill, held, versioned
from truthstore import BaseStore, copy_store, export_store, restore_store
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.copying.archive import Archive
from truthstore.versioning import VersionedStore

Open = Callable[[Path], BaseStore[Any]]


def folder(path: Path) -> BaseStore[Any]:
    return FileSystemStore(base_path=path, durability="os")


def database(path: Path) -> BaseStore[Any]:
    return DatabaseStore(connection_url=f"sqlite:///{path}.db")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "store"
    with versioned(folder(path)) as store:
        fill(store, 5)
    return path


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("truthstore.copying.transfer.BATCH", 3)
    monkeypatch.setattr("truthstore.copying.store.BATCH", 3)
    monkeypatch.setattr("truthstore.copying.transfer.PAGE", 4)


def killed_at_every_step(work: Callable[[int], object], check: Callable[[int], object], stride: int = 1) -> None:
    for step in range(0, 400, stride):

        def run(step: int = step) -> None:
            Killing.at(step)
            work(step)

        status = in_child(run)
        check(step)
        if status == 0:
            assert step > 5
            return
        assert status == -signal.SIGKILL
    pytest.fail("it takes more than 400 steps")


@pytest.mark.parametrize(("opened", "stride"), [(folder, 1), (database, 5)])
def test_a_copy(opened: Open, stride: int, filled: Path, tmp_path: Path):
    with folder(filled) as source:
        expected = held(source)
    assert {name for name, _ in expected} == {collection.name for collection in CARRIED}

    def work(step: int) -> None:
        copy_store(Killing(folder(filled)), Killing(opened(tmp_path / f"target-{step}")), everything=True, delete=True)

    def check(step: int) -> None:
        with folder(filled) as source, opened(tmp_path / f"target-{step}") as target:
            there = held(target)
            assert there.items() <= expected.items(), "what is there is as it should be"
            counts = copy_store(source, target, everything=True)
            assert (counts.unchanged, counts.copied) == (len(there), len(expected) - len(there))
            assert held(target) == expected

    killed_at_every_step(work, check, stride)


def test_a_mirror_that_deletes(filled: Path, tmp_path: Path):
    def work(step: int) -> None:
        with VersionedStore(folder(tmp_path / f"source-{step}")) as source:
            fill(source, 3)
            target = VersionedStore(folder(tmp_path / f"target-{step}"))
            fill(target, 6)
            copy_store(source, Killing(target), delete=True, conflict="source")

    def check(step: int) -> None:
        with folder(tmp_path / f"source-{step}") as source, folder(tmp_path / f"target-{step}") as target:
            copy_store(source, target, delete=True, conflict="source")
            assert held(target, OF_RESULTS) == held(source, OF_RESULTS)

    killed_at_every_step(work, check)


def test_an_export(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "export.tar.gz"
    with folder(filled) as source:
        expected = held(source)
        export_store(source, file)
    before = file.read_bytes()

    def work(step: int) -> None:
        add, replace, sync = Archive.add, os.replace, os.fsync

        def stepping(call: Any) -> Any:
            def step(*args: Any) -> Any:
                Killing.step()
                return call(*args)

            return step

        monkeypatch.setattr(Archive, "add", stepping(add))
        monkeypatch.setattr(os, "replace", stepping(replace))
        with folder(filled) as source:
            monkeypatch.setattr(os, "fsync", stepping(sync))
            export_store(source, file)

    def check(step: int) -> None:
        with folder(tmp_path / f"restored-{step}") as target:  # the old file, or the new one
            restore_store(file, target)
            assert held(target) == expected
        if file.read_bytes() != before:
            file.write_bytes(before)

    killed_at_every_step(work, check)
    with folder(filled) as source:
        export_store(source, file)
    assert [path.name for path in tmp_path.glob("export*")] == ["export.tar.gz"]


def test_a_restore(filled: Path, tmp_path: Path):
    file = tmp_path / "export.tar.gz"
    with folder(filled) as source:
        expected = held(source)
        export_store(source, file)

    def work(step: int) -> None:
        restore_store(file, Killing(folder(tmp_path / f"target-{step}")))

    def check(step: int) -> None:
        with folder(tmp_path / f"target-{step}") as target:
            there = held(target)
            assert there.items() <= expected.items()
            assert restore_store(file, target).copied == len(expected) - len(there)
            assert held(target) == expected

    killed_at_every_step(work, check)
