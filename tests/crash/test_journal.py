"""The journal of the index keeps what was saved until its file is on the disk, whenever a process dies or the power fails."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child
from truthstore.backends.filesystem import FileSystemStore, commit, files
from truthstore.backends.filesystem.commit import Commits
from truthstore.backends.filesystem.mark import DOUBTFUL
from truthstore.errors import (
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.model.record import ABSENT
from truthstore.storage.catalog.catalog import Catalog
from truthstore.storage.catalog.journal import Journal
from truthstore.testing.sample import SAMPLES, Sample

Store = FileSystemStore[Sample]


def file_of(store: Store, id: str) -> Path:
    return Path(store.root) / "_samples" / f"{id}.json"


def waiting(store: Store) -> list[str]:
    """Names of the files that wait in the journal."""
    return sorted(Path(file).stem for file in store._journal.files())


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(
    folder: Path, work: Callable[[Store], object], *, at: tuple[Any, str] | None = None, durability: str = "fsync"
) -> None:
    """Does some work in a process that is killed: where it calls `at`, or else when it is done."""

    def run(_: Any) -> None:
        store: Store = FileSystemStore(base_path=folder, collection=SAMPLES, durability=durability)
        store.initialize()
        if at is not None:
            setattr(*at, die)
        work(store)
        die()

    child = Child(run)
    child.hear_all()
    assert child.wait() == -signal.SIGKILL


def restart_the_machine(store: Store) -> None:
    """Lets the folder look as if the machine had been started again since it was written."""
    mark = Path(store.root) / ".truthstore" / "mark"
    mark.write_bytes(mark.read_bytes()[:1] + b"another boot")


def test_what_is_saved_waits_until_it_is_released(store: Store):
    store.save(Sample("a"))
    assert file_of(store, "a").is_file()
    assert waiting(store) == ["a"]
    store.maintain()
    assert waiting(store) == []


@pytest.mark.parametrize(("limit", "value"), [("RELEASE_FILES", 3), ("RELEASE_BYTES", 1_000)])
def test_what_waits_is_bounded(limit: str, value: int, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commit, limit, value)
    for number in range(10):
        store.save(Sample(str(number), note="x" * 100))
        assert len(waiting(store)) < 3
    assert len(contents(store)) == 10


def test_closing_releases_what_waits(folder: Path, open_store: OpenFolder):
    with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
        store.save(Sample("a"))
    with sqlite3.connect(next(folder.rglob("index-*.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    connection.close()
    assert list(contents(open_store())) == ["a"]


def test_nothing_is_released_before_file_and_folder_are_synced(store: Store, monkeypatch: pytest.MonkeyPatch):
    steps: list[str] = []
    empty = Journal.empty

    def sync(paths: Any) -> None:
        assert [Path(path).stem for path in paths] == ["a"]
        files.sync_files(paths)
        steps.append("sync")

    def empty_journal(journal: Journal, keep: Any = ()) -> None:
        steps.append("empty")
        empty(journal, keep)

    monkeypatch.setattr(commit, "sync_files", sync)
    monkeypatch.setattr(Journal, "empty", empty_journal)
    store.save(Sample("a"))
    assert steps == []
    store.maintain()
    assert steps == ["sync", "empty"]


def test_a_store_that_does_not_wait_for_the_disk_keeps_no_documents_in_the_index(store: Store, open_store: OpenFolder):
    hasty = open_store(durability="os")
    hasty.save(Sample("a", note="x" * 1_000))
    assert isinstance(hasty._journal.read("_samples/a.json").data, str)  # type: ignore[union-attr]
    assert file_of(hasty, "a").is_file()
    store.save(Sample("a", count=1))
    assert store._journal.read("_samples/a.json").data == file_of(store, "a").read_bytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_writes_that_are_refused_or_outrun_leave_no_new_files(durability: str, open_store: OpenFolder):
    store = open_store(durability=durability)
    store.save(Sample("a"))
    with pytest.raises(StoreConflictError):
        store.save(Sample("a"), expect=ABSENT)
    held(store, [lambda n=n: store.save(Sample("a", count=n)) for n in range(4)])  # type: ignore[misc]
    held(store, [lambda: store.save(Sample("a")), lambda: store.delete("a")])
    assert list(Path(store.root, ".truthstore", "new").iterdir()) == []


@pytest.mark.parametrize("number", [1, 9])
def test_files_and_folders_are_synced(number: int, store: Store, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    fsync = os.fsync

    def remember(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", remember)
    monkeypatch.setattr(files, "_sync_disk", lambda _: False)
    store.save_many(Sample(str(n)) for n in range(number))
    store.maintain()
    written = [file_of(store, str(n)) for n in range(number)]
    assert {path.stat().st_ino for path in [*written, written[0].parent]} <= set(synced)


@pytest.mark.skipif(not files.is_linux_since(5, 8), reason="syncfs(2) tells of errors since Linux 5.8")
def test_many_files_are_synced_together(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.save_many(Sample(str(n)) for n in range(9))
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("a file was synced by itself"))
    store.maintain()
    assert waiting(store) == []


def test_a_file_that_could_not_be_synced_is_written_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    """After an error the system may take for written what it could not write: a second sync alone proves nothing."""

    def fail(_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store.save(Sample("a"))
    with monkeypatch.context() as patched:
        patched.setattr(commit, "sync_files", fail)
        with pytest.raises(StoreWriteError):
            store.maintain()
    assert waiting(store) == ["a"]
    before = file_of(store, "a").stat().st_ino
    assert contents(store) == {"a": Sample("a")}
    assert store.maintain()["writes_settled"] == 1
    assert file_of(store, "a").stat().st_ino != before
    assert waiting(store) == []


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def zero_a_page(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:10] + b"\0" * 50 + data[60:])


LOSSES: list[Callable[[Path], None]] = [tear, empty, zero, zero_a_page, Path.unlink]


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_files_that_a_failure_of_the_power_took_are_written_again(
    lose: Callable[[Path], None], compression: str | None, folder: Path, open_store: OpenFolder
):
    with open_store(compression=compression) as store:
        store.save(Sample("old", count=0, note="x" * 500))

    def work(_: Any) -> None:
        child = FileSystemStore(base_path=folder, collection=SAMPLES, compression=compression)
        child.save(Sample("a", count=1, note="x" * 500))
        child.save(Sample("old", count=1, note="x" * 500))
        child.delete("nothing")
        die()

    Child(work).wait()
    for path in folder.rglob("*.json*"):
        if path.parent.name == "_samples":
            lose(path)
    restart_the_machine(store)
    after = open_store(compression=compression)
    assert {id: s.count for id, s in contents(after).items()} == {"a": 1, "old": 1}
    assert after.verify().ok


@pytest.mark.parametrize("lose", [tear, empty, zero, zero_a_page], ids=lambda lose: lose.__name__)
def test_without_syncs_a_failure_of_the_power_does_not_put_half_a_file_in_the_place_of_a_whole_one(
    lose: Callable[[Path], None], folder: Path, open_store: OpenFolder
):
    with open_store() as store:
        store.save(Sample("a", count=1, note="x" * 500))
    killed(
        folder,
        lambda other: other.save(Sample("a", count=2, note="x" * 500)),
        at=(Commits, "_write_files"),
        durability="os",
    )
    (new,) = Path(store.root, ".truthstore", "new").iterdir()
    lose(new)
    restart_the_machine(store)
    after = open_store()
    assert after.get("a").count == 1
    after.rebuild_index()
    assert contents(after)["a"].count == 1


def test_an_older_version_that_came_back_is_replaced(folder: Path, store: Store, open_store: OpenFolder):
    store.save(Sample("a", count=0))
    store.maintain()
    old = file_of(store, "a").read_bytes()
    killed(folder, lambda other: other.save(Sample("a", count=1)))
    file_of(store, "a").write_bytes(old)
    restart_the_machine(store)
    assert contents(open_store())["a"].count == 1


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("with_tail", [False, True])
def test_what_was_edited_while_it_waited_stays_so(
    with_tail: bool, restarted: bool, folder: Path, store: Store, open_store: OpenFolder
):
    killed(folder, lambda other: other.save(Sample("a", count=1)))
    path = file_of(store, "a")
    path.write_text(path.read_text().replace('"count": 1', '"count": 2') if with_tail else '{"id": "a", "count": 2}')
    if restarted:
        restart_the_machine(store)
    for reader in (store, open_store()):
        assert reader.get("a").count == 2
        reader.rebuild_index()
        assert contents(reader)["a"].count == 2


def test_a_file_that_was_removed_by_hand_does_not_come_back(folder: Path, store: Store, open_store: OpenFolder):
    killed(folder, lambda other: other.save(Sample("a")))
    file_of(store, "a").unlink()
    with pytest.raises(StoreCorruptError, match="gone"):
        open_store().get("a")


STEPS: dict[str, tuple[Callable[[Store], object], dict[str, int]]] = {
    "save": (lambda store: store.save(Sample("x", count=2)), {"a": 1, "b": 1, "x": 2}),
    "overwrite": (lambda store: store.save(Sample("a", count=2)), {"a": 2, "b": 1}),
    "delete": (lambda store: store.delete("a"), {"b": 1}),
    "save_many": (
        lambda store: store.save_many([Sample("a", count=2), Sample("x", count=2)]),
        {"a": 2, "b": 1, "x": 2},
    ),
    "delete_many": (lambda store: store.delete_many(["a", "b"]), {}),
}
MOMENTS: dict[str, tuple[Any, str]] = {
    "before the files": (Commits, "_write_files"),
    "before the mark": (Commits, "_release_removed"),
    "while it syncs": (commit, "sync_files"),
    "before it is released": (Journal, "_delete"),
}


@pytest.mark.parametrize("durability", ["fsync", "os"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", STEPS)
def test_a_writer_that_dies_behind_the_commit_has_done_it(
    name: str, moment: str, durability: str, folder: Path, store: Store, open_store: OpenFolder
):
    step, expected = STEPS[name]
    store.save_many([Sample("a", count=1), Sample("b", count=1)])
    killed(folder, lambda other: (step(other), other.maintain()), at=MOMENTS[moment], durability=durability)
    for reader in (store, open_store()):
        found = contents(reader, ["a", "b", "x"])
        assert {id: sample.count for id, sample in found.items()} == expected
        assert reader.verify().ok
    assert waiting(store) == []
    store.save(Sample("a", count=3))
    assert contents(open_store())["a"].count == 3


def test_the_next_writer_finishes_what_was_cut_short(folder: Path, store: Store):
    killed(folder, lambda other: other.save(Sample("a")), at=(Commits, "_write_files"))
    assert not file_of(store, "a").exists()
    store.save(Sample("b"))
    assert file_of(store, "a").exists()
    assert sorted(contents(store)) == ["a", "b"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_same_write_again_is_done(moment: str, folder: Path, store: Store):
    record = SAMPLES.encode(Sample("a", count=1), "json")

    def put(into: Store) -> None:
        into.put_record(record, collection=SAMPLES, expect=ABSENT)
        into.maintain()

    killed(folder, put, at=MOMENTS[moment])
    for _ in range(2):
        put(store)
        assert store.head("a").revision == record.revision
    with pytest.raises(StoreConflictError):
        store.save(Sample("a", count=2), expect=ABSENT)
    assert contents(store) == {"a": Sample("a", count=1)}


def test_a_deleted_file_that_is_put_back_stays(store: Store, open_store: OpenFolder):
    store.save(Sample("a", count=1))
    backup = file_of(store, "a").read_bytes()
    store.delete("a")
    assert waiting(store) == []
    file_of(store, "a").write_bytes(backup)
    other = open_store()
    assert other.get("a").count == 1
    other.rebuild_index()
    assert contents(store) == {"a": Sample("a", count=1)}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_what_cannot_be_written_to_its_file_is_kept_all_the_same(
    code: int, store: Store, open_store: OpenFolder, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    store.save(Sample("a", count=1))
    other = open_store()
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fail)
        store.save(Sample("a", count=2))
        store.save(Sample("b", count=2))
        for reader in (store, other):
            assert {id: sample.count for id, sample in contents(reader).items()} == {"a": 2, "b": 2}
        with pytest.raises(StoreWriteError):
            store.maintain()
    assert other.maintain()["writes_settled"] == 2
    assert waiting(store) == []
    assert other.verify().ok


def test_a_release_that_fails_fails_no_save(store: Store, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commit, "RELEASE_FILES", 2)
    with monkeypatch.context() as patched:
        patched.setattr(commit, "sync_files", fail)
        store.save_many(Sample(str(n)) for n in range(5))
        store.save(Sample("a"))
    assert len(waiting(store)) == 6
    assert len(contents(store)) == 6
    store.maintain()
    assert waiting(store) == []


def test_a_store_that_does_not_wait_for_the_disk_does_so_for_one_that_does(
    store: Store, open_store: OpenFolder, monkeypatch: pytest.MonkeyPatch
):
    synced: list[str] = []
    monkeypatch.setattr(commit, "sync_files", lambda paths: synced.extend(Path(path).stem for path in paths))
    hasty = open_store(durability="os")
    store.save(Sample("safe"))
    hasty.save(Sample("hasty"))
    hasty.maintain()
    assert synced == ["safe"]
    assert waiting(store) == []


def test_a_write_that_its_thread_gave_up_is_not_committed_by_another(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.save(Sample("a", count=0))

    def fail() -> bool:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(store._index, "is_current", fail)
        with pytest.raises(StoreWriteError):
            store.save(Sample("a", count=1))
    store.save(Sample("b"))
    assert store.get("a").count == 0


def test_an_index_that_is_given_up_gives_its_journal_first(store: Store):
    store.save(Sample("a", count=1))
    store.save(Sample("newer", count=1))
    kept = file_of(store, "newer").read_bytes()
    tear(file_of(store, "a"))
    store._commits.mark.set(DOUBTFUL)
    with store._lock:
        store._index.replace()
        store._prepare_all()
    assert file_of(store, "newer").read_bytes() == kept
    assert contents(store) == {"a": Sample("a", count=1), "newer": Sample("newer", count=1)}


def test_an_index_that_is_removed_gives_its_journal_to_a_store_that_has_it_open(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    store.save(Sample("old"))
    with monkeypatch.context() as patched:
        patched.setattr(store._commits, "_write_files", lambda entries, staged: False)
        store.save(Sample("a", count=1))
    shutil.rmtree(Path(store.root) / ".truthstore")
    assert contents(store) == {"a": Sample("a", count=1), "old": Sample("old")}


@pytest.mark.parametrize("use", ["save", "list_ids"])
@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_a_folder_that_is_wiped_under_an_open_store_stays_empty(durability: str, use: str, open_store: OpenFolder):
    """An item that waits for the disk is in its file already: a missing file was removed."""
    store = open_store(durability=durability)
    store.save_many([Sample("old"), Sample("older")])
    for path in Path(store.root).iterdir():
        shutil.rmtree(path)
    if use == "save":
        store.save(Sample("new"))
    expected = ["new"] if use == "save" else []
    for reader in (store, open_store(durability=durability)):
        assert reader.list_ids() == sorted(contents(reader, ["old"])) == expected


def test_what_an_index_that_is_out_of_date_says_does_not_undo_what_is_newer(store: Store, open_store: OpenFolder):
    store.save(Sample("a", count=1))
    own = Path(store.root) / ".truthstore"
    shutil.copytree(own, own.with_name("copy"))
    open_store().save(Sample("a", count=2))
    with sqlite3.connect(next(own.with_name("copy").glob("index-*.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchone() == (1,)
        store._commits.mark.set(DOUBTFUL)
        store._commits.rescue(connection)
    connection.close()
    assert contents(store)["a"].count == 2


def test_a_folder_that_can_only_be_read_shows_what_waits(
    folder: Path, store: Store, open_store: OpenFolder, monkeypatch: pytest.MonkeyPatch
):
    store.save_many(Sample(id, count=1) for id in "abc")

    def work(other: Store) -> None:
        other._commits._write_files = lambda entries, staged: False  # type: ignore[method-assign]
        other.save(Sample("a", count=2))
        other.save(Sample("d", count=2))
        other.delete("b")

    killed(folder, work)
    monkeypatch.setattr("truthstore.backends.filesystem.store.is_writable", lambda _: False)
    found = contents(open_store(), ["b"])
    assert {id: sample.count for id, sample in found.items()} == {"a": 2, "c": 1, "d": 2}


def held(store: Store, works: list[Callable[[], object]]) -> list[BaseException | None]:
    """Lets threads write while the folder is locked, until all wait; the errors that they met."""
    errors: list[BaseException | None] = [None] * len(works)

    def run(number: int) -> None:
        try:
            works[number]()
        except StoreError as error:
            errors[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    with store._lock:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(store._commits._waiting) < len(works):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    return errors


def test_threads_that_write_at_once_share_one_transaction(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.save(Sample("old"))
    begun: list[int] = []
    write = Journal.append

    def append(journal: Journal, connection: Any, entries: Any, **options: Any) -> None:
        begun.append(1)
        write(journal, connection, entries, **options)

    monkeypatch.setattr(Journal, "append", append)
    works: list[Callable[[], object]] = [lambda n=n: store.save(Sample(str(n), count=n)) for n in range(8)]  # type: ignore[misc]
    errors = held(store, [*works, lambda: store.save(Sample("old", count=1), expect=ABSENT)])
    assert len(begun) == 1
    assert errors[:-1] == [None] * 8
    assert isinstance(errors[-1], StoreConflictError)
    assert sorted(contents(store)) == sorted([*map(str, range(8)), "old"])


def test_of_threads_that_write_at_once_one_that_fails_harms_no_other(store: Store, monkeypatch: pytest.MonkeyPatch):
    write = Catalog.write

    def fail(catalog: Catalog, connection: Any, collection: Any, puts: Any, *given: Any, **options: Any) -> Any:
        if any(put.record.id == "bad" for put in puts):
            raise sqlite3.OperationalError("refused")
        return write(catalog, connection, collection, puts, *given, **options)

    monkeypatch.setattr(Catalog, "write", fail)
    errors = held(store, [lambda id=id: store.save(Sample(id)) for id in ("1", "bad", "2", "3")])  # type: ignore[misc]
    assert [error is None for error in errors] == [True, False, True, True]
    assert isinstance(errors[1], StoreWriteError | StoreReadError)
    assert sorted(contents(store, ["bad"])) == ["1", "2", "3"]


def test_threads_that_write_one_item_at_once_leave_the_last(store: Store):
    held(store, [lambda n=n: store.save(Sample("a", count=n)) for n in range(8)])  # type: ignore[misc]
    (found,) = contents(store).values()
    assert store.list_ids() == ["a"]
    assert found.count in range(8)
    assert store.verify().ok


def test_an_index_of_an_earlier_version_is_refused(folder: Path, store: Store, open_store: OpenFolder):
    store.save(Sample("a"))
    store.close()
    (path,) = folder.rglob("index-*.db")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(StoreConfigError, match="earlier version"):
        FileSystemStore(base_path=folder, collection=SAMPLES).list_ids()
    path.unlink()
    assert list(contents(open_store())) == ["a"]
