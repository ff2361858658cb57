"""Write-behind: what was acknowledged is stored, whoever dies and whatever fails."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from truthstore import ABSENT, StoreConflictError, StoreQuery, StoreWriteError, WrapperStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore, CacheMode, behind
from truthstore.testing import SAMPLES, FaultyBlobs, Sample, store_machine
from truthstore.testing.suite.concurrency import start_child


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files(path: Any) -> FileSystemStore[Sample]:
    return FileSystemStore(base_path=path, durability="os", collection=SAMPLES)


def cached(base: Any, **options: Any) -> CachedStore[Sample]:
    options = {"flush_interval_seconds": None, "spool_durability": "os", **options}
    return CachedStore(base, mode=CacheMode.WRITE_BEHIND, **options)


TestMachine = store_machine(
    lambda location: cached(files(location), spool_path=str(location.parent / "queue.db"), max_size=3),
    effort=0.15,
)


def test_a_write_is_not_stored_at_once_and_read_at_once(tmp_path):
    base = files(tmp_path / "s")
    with cached(base, max_size=1) as store:
        store.save_many([Sample("a", note="one"), Sample("b"), Sample("a", note="two")])
        assert not base.exists("a")
        assert store.get("a").note == "two"
        assert store.get("b") == Sample("b")
        assert store.get_stats()["write_behind"] == {"waiting": 3, "errors": 0, "refused": [], "superseded": 0}
        assert store.list_ids(StoreQuery(order_by="id")) == ["b", "a"]  # a query first stores what waits
        assert base.get("a").note == "two"
        assert store.get("a").note == "two"
        with pytest.raises(StoreConflictError):
            store.save(Sample("a"), expect=ABSENT)
        store.save(Sample("a", note="three"))
        assert store.delete("a")
        assert not store.exists("a")


@pytest.mark.parametrize("delivering", [False, True])
def test_a_killed_process_loses_nothing(tmp_path, delivering):
    class Deadly(WrapperStore[Any]):
        """Dies after the store has what it was given, before anybody knows."""

        def put_records(self, records, *, collection, expect=None, options=None):
            stored = self._base.put_records(records, collection=collection)
            os.kill(os.getpid(), signal.SIGKILL)
            return stored

    def work():
        store = cached(Deadly(files(tmp_path / "s")), spool_durability="fsync")
        for number in range(20):
            store.save(Sample("again", note=str(number)))
            store.save(Sample(f"s{number:02}"))
        if delivering:
            store.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(start_child(work), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    seen: list[Any] = []

    def watch(changes):
        seen.extend(change.id for change in changes if change.collection == "samples")

    base = files(tmp_path / "s")
    base.subscribe(watch)
    with cached(base) as store:
        assert base.count() == 21
        assert store.get("again").note == "19"
        assert store.get_stats()["write_behind"]["waiting"] == 0
    if delivering:
        # Each id's newest write is known to have arrived, and is not stored once more.
        assert "s19" not in seen


def test_a_store_that_is_down_gets_it_later():
    faulty = FaultyBlobs(MemoryBlobs())
    store = cached(MemoryStore(collection=SAMPLES, blobs=faulty))
    store.save(Sample("a"))
    store.flush()
    store.save(Sample("a", note="new"))
    faulty.arm(1, "before")
    with pytest.raises(StoreWriteError, match="wait in"):
        store.flush()
    faulty.disarm()
    assert store.get_stats()["write_behind"] == {"waiting": 1, "errors": 1, "refused": [], "superseded": 0}
    assert store.get("a").note == "new"
    assert [sample.note for sample in store.query()] == ["new"]
    assert store.maintain()["cache_expired"] == 0
    store.close()


def test_closing_says_what_could_not_be_stored_and_keeps_it():
    blobs = MemoryBlobs()
    faulty = FaultyBlobs(blobs)
    store = cached(MemoryStore(collection=SAMPLES, blobs=faulty))
    store.save(Sample("a"))
    store.flush()
    store.save(Sample("b"))
    faulty.arm(1, "before")
    with pytest.raises(StoreWriteError, match="wait in"):
        store.close()
    with cached(MemoryStore(collection=SAMPLES, blobs=blobs)) as again:
        assert again.get("b") == Sample("b")


def test_it_delivers_by_itself_and_at_exit():
    base = MemoryStore(collection=SAMPLES)
    store = cached(base, flush_interval_seconds=0.01)
    store.save(Sample("a"))
    deadline = time.monotonic() + 10
    while not base.exists("a") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert base.exists("a")
    late = cached(base, flush_interval_seconds=60)
    late.save(Sample("b"))
    behind._flush_all()
    assert base.exists("b")
    late.close()
    late.close()
    store.close()
