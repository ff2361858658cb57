"""Disks that are full, folders that can only be read, clocks that go back, and time zones that differ."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child
from truthstore.backends.filesystem import FileSystemStore, commit, files
from truthstore.errors import StoreBulkError, StoreClosedError, StoreConnectionError, StoreError, StoreWriteError
from truthstore.model.query import StoreQuery
from truthstore.testing.sample import SAMPLES, Sample

NOBODY = 65_534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_saves_that_fail_for_a_full_disk_keep_no_descriptors(small_disk: Path):
    """Of a disk on which the document still fits, but not its row."""
    with FileSystemStore(base_path=small_disk / "store", collection=SAMPLES) as store:
        store.save_many(Sample(str(n)) for n in range(30))
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4_096)
        os.truncate(ballast, ballast.stat().st_size - 4_096)
        before = len(os.listdir("/proc/self/fd"))
        for n in range(100):
            with suppress(StoreWriteError):
                store.save(Sample(f"new-{n}"))
        assert len(os.listdir("/proc/self/fd")) <= before + 3
        ballast.unlink()
        store.save(Sample("after"))
        assert store.verify().ok


def padded(id: str, size: int, count: int = 0) -> Sample:
    return Sample(id, count=count, details={"padding": "x" * size})


def test_a_full_disk_loses_nothing_and_is_told(small_disk: Path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    store, other = (FileSystemStore(base_path=small_disk / "store", collection=SAMPLES) for _ in range(2))
    with store, other:
        saved: dict[str, Sample] = {}
        refusals: list[str] = []
        following = ""
        for size in (20_000, 5_000, 1_000, 10):
            for n in range(1_000):
                sample = padded(f"{size}-{n}", size)
                following = f"{size}-{n + 1}"
                try:
                    store.save(sample)
                except StoreWriteError as error:
                    refusals.append(str(error))
                    break
                saved[sample.id] = sample
            assert contents(store, [following], rows=False) == saved
            assert contents(other, rows=False) == saved
        assert len(refusals) == 4
        assert all("full" in told for told in refusals), "of the disk, or of the database"
        assert len(saved) > 10
        first = next(iter(saved))
        for write in (
            lambda: other.save(padded(first, 50_000, count=1)),
            lambda: store.save_many(padded(f"many-{n}", 10_000) for n in range(20)),
        ):
            with pytest.raises((StoreWriteError, StoreBulkError)):
                write()
            assert contents(other, ["many-0"], rows=False) == saved
        ballast.unlink()
        for id in list(saved)[:5]:
            assert store.delete(id)
            del saved[id]
        saved[first] = padded(first, 1, count=2)
        other.save(saved[first])
        for reader in (store, other, FileSystemStore(base_path=small_disk / "store", collection=SAMPLES)):
            with reader:
                assert contents(reader) == saved
                assert reader.verify().ok
        assert not list((small_disk / "store").rglob(".truthstore/new/*")), "what failed still fills the disk"


def test_a_new_store_on_a_full_disk_is_refused(small_disk: Path):
    (small_disk / "ballast").write_bytes(b"x" * (2 << 20))
    with pytest.raises(StoreError, match="full"):
        FileSystemStore(base_path=small_disk / "store", collection=SAMPLES).save(Sample("a"))
    (small_disk / "ballast").unlink()
    with FileSystemStore(base_path=small_disk / "store", collection=SAMPLES) as store:
        store.save(Sample("a"))
        assert list(contents(store)) == ["a"]


@pytest.fixture
def visible() -> Iterator[Path]:
    """A folder to which every user finds the way."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)
        for folder in Path(path).rglob("*"):
            if folder.is_dir():
                folder.chmod(0o755)


def as_a_reader(work: Callable[[], Any]) -> Any:
    """Runs some work in a process that may write nothing."""

    def run(_: Any) -> Any:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return Child(run).result()


def read_only(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_folder_that_can_only_be_read_is_read(visible: Path):
    folder = visible / "store"
    samples = {id: Sample(id, note=f"the note {id}", tags={"id": id}) for id in "abc"}
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save_many(samples.values())
    read_only(folder)

    def work() -> None:
        reader = FileSystemStore(base_path=folder, collection=SAMPLES)
        assert contents(reader, ["d"]) == samples
        assert reader.list_ids(StoreQuery(text="note b")) == ["b"]
        assert reader.list_ids(StoreQuery(tags={"id": "c"})) == ["c"]
        assert reader.verify().ok
        assert reader.health_check().healthy
        for write in (
            lambda: reader.save(Sample("d")),
            lambda: reader.save_many([Sample("a"), Sample("d")]),
            lambda: reader.delete("a"),
            lambda: reader.clear(everything=True),
            reader.rebuild_index,
        ):
            with pytest.raises(StoreWriteError, match="read-only"):
                write()
        assert contents(reader, ["d"]) == samples

    before = sorted(folder.rglob("*"))
    as_a_reader(work)
    assert sorted(folder.rglob("*")) == before


def test_a_reader_without_rights_follows_a_writer_with_them(visible: Path):
    folder = visible / "store"
    if os.geteuid() != 0:
        pytest.skip("two users are needed, and only root may become another")
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save_many(Sample(id, count=0) for id in "abc")

        def work(say: Callable[[Any], None]) -> None:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            reader = FileSystemStore(base_path=folder, collection=SAMPLES)
            assert sorted(contents(reader)) == ["a", "b", "c"]
            say("read")
            assert os.read(go_on, 1) == b"x"
            assert {id: s.count for id, s in contents(reader, ["b"]).items()} == {"a": 1, "c": 0, "d": 0}

        go_on, tell = os.pipe()
        child = Child(work)
        assert child.hear() == "read"
        store.save(Sample("a", count=1))
        store.delete("b")
        store.save(Sample("d", count=0))
        os.write(tell, b"x")
        child.result()
        os.close(go_on)
        os.close(tell)


def test_a_folder_that_cannot_be_made(visible: Path):
    visible.chmod(0o555)

    def work() -> None:
        for operation in (lambda s: s.list_ids(), lambda s: s.save(Sample("a")), lambda s: s.get("a")):
            with pytest.raises(StoreConnectionError, match="permission"):
                operation(FileSystemStore(base_path=visible / "store", collection=SAMPLES))

    as_a_reader(work)
    visible.chmod(0o755)


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match="file"):
        FileSystemStore(base_path=tmp_path / "store", collection=SAMPLES).save(Sample("a"))


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_a_clock_that_jumps(days: int, store: FileSystemStore[Sample], open_store: OpenFolder, monkeypatch: Any):
    store.save_many(Sample(id, count=0) for id in "abc")
    real = time.time_ns
    shift = int(timedelta(days=days).total_seconds() * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: real() + shift)
    monkeypatch.setattr(time, "time", lambda: (real() + shift) / 1e9)
    monkeypatch.setattr("truthstore.model.collection.time_ns", lambda: real() + shift)
    store.save(Sample("a", count=1), expect=store.head("a").revision)
    store.delete("b")
    store.save(Sample("d", count=1))
    monkeypatch.undo()
    newcomer = open_store()
    newcomer.save(Sample("c", count=2))
    for reader in (store, newcomer):
        found = contents(reader, ["b"])
        assert {id: s.count for id, s in found.items()} == {"a": 1, "c": 2, "d": 1}
        ordered = reader.list_ids(StoreQuery(order_by="stored_at", ascending=True))
        assert ordered == (["a", "d", "c"] if days < 0 else ["c", "a", "d"])
        assert reader.verify().ok


def in_zone(zone: str, work: Callable[[], Any]) -> Any:
    def run(_: Any) -> Any:
        os.environ["TZ"] = zone
        time.tzset()
        return work()

    return Child(run).result()


def test_a_naive_time_beside_aware_ones_is_ordered_by_where_it_was_saved(folder: Path):
    naive = datetime(2026, 7, 1, 12)  # noqa: DTZ001  # the point of the test
    moment = datetime(2026, 7, 1, 3, tzinfo=UTC)
    aware = datetime(2026, 7, 1, 12, tzinfo=UTC)
    open_one = lambda: FileSystemStore(base_path=folder, collection=SAMPLES)  # noqa: E731

    def save() -> None:
        store = open_one()
        store.save(Sample("tokyo", moment=naive))  # 03:00 UTC
        store.save(Sample("utc", moment=aware))
        store.save(Sample("east", moment=aware.replace(tzinfo=timezone(timedelta(hours=14)))))  # 22:00 UTC, June 30
        look(store)

    def look(store: FileSystemStore[Sample]) -> None:
        contents(store)
        assert store.list_ids(StoreQuery(ascending=True)) == ["east", "tokyo", "utc"]
        night = datetime(2026, 7, 1, tzinfo=UTC)
        assert store.list_ids(StoreQuery(start_time=night, end_time=aware, ascending=True)) == ["tokyo", "utc"]
        assert store.get("tokyo").moment in {naive, moment}

    def look_elsewhere() -> None:
        store = open_one()
        look(store)
        assert store.get("tokyo").moment == moment, "here it would be another moment without its zone"
        assert store.rebuild_index() == 3
        look(store)
        shutil.rmtree(next(folder.rglob(".truthstore")))
        look(store)
        assert store.verify().ok

    in_zone("Asia/Tokyo", save)
    in_zone("America/New_York", look_elsewhere)


def test_a_place_that_is_taken_keeps_no_item_from_being_saved(store: FileSystemStore[Sample], open_store: OpenFolder):
    """What was committed is kept in the index until its file can be written."""
    taken = Path(store.root) / "_samples" / "a.json"
    taken.mkdir()
    store.save(Sample("a"))
    store.save(Sample("b"))
    for reader in (store, open_store()):
        assert contents(reader) == {"a": Sample("a"), "b": Sample("b")}
        with pytest.raises(StoreWriteError):
            reader.maintain()
    taken.rmdir()
    assert store.maintain()["writes_settled"] == 1
    assert taken.is_file()
    assert contents(store) == {"a": Sample("a"), "b": Sample("b")}
    assert store.verify().ok


def test_a_store_that_is_closed_while_a_thread_writes(open_store: OpenFolder, monkeypatch: pytest.MonkeyPatch):
    store = open_store()
    is_current = store._index.is_current

    def look_and_close() -> bool:
        monkeypatch.setattr(store._index, "is_current", is_current)
        found = is_current()
        store.close()
        return found

    monkeypatch.setattr(store._index, "is_current", look_and_close)
    with pytest.raises(StoreClosedError, match="was closed"):
        store.save(Sample("a"))
    again = open_store()
    assert again.list_ids() == []
    assert again.verify().ok


def test_an_item_for_which_there_is_no_room_costs_no_other(
    store: FileSystemStore[Sample], monkeypatch: pytest.MonkeyPatch
):
    write_new = files.write_new

    def write(path: str, data: bytes, *, sync: bool) -> None:
        if len(data) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_new(path, data, sync=sync)

    monkeypatch.setattr(commit, "write_new", write)
    with pytest.raises(StoreBulkError) as caught:
        store.save_many([Sample("a"), Sample("big", note="x" * 20_000), Sample("b")])
    assert caught.value.stored == ("a", "b")
    (error,) = caught.value.failed.values()
    assert isinstance(error, StoreWriteError)
    assert error.retryable
    assert str(error).startswith("cannot write samples 'big' to ")
    with pytest.raises(StoreWriteError, match="the disk is full"):
        store.save(Sample("big", note="x" * 20_000))
    assert sorted(contents(store)) == ["a", "b"]
    assert list(Path(store.root, ".truthstore", "new").iterdir()) == []


def test_a_folder_that_must_be_there_is_not_made_again(open_store: OpenFolder):
    """Such as one on a disk that was unmounted."""
    open_store().initialize()
    store = open_store(create_dirs=False)
    store.save(Sample("a"))
    shutil.rmtree(store.root)
    for work in (lambda: store.save(Sample("b")), lambda: store.get("a"), lambda: store.delete("a"), store.list_ids):
        with pytest.raises(StoreConnectionError, match="the folder was removed"):
            work()
    assert not Path(store.root).exists()
