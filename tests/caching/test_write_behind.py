"""Write-behind is a cache above a durable queue: what was acknowledged is read at once and stored, whoever dies."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.crash.processes import Child
from truthstore import ABSENT, StoreConflictError, StoreNotFoundError, StoreQuery, StoreWriteError, WrapperStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, CacheMode, DiskCache
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample
from truthstore.versioning import VersionedStore


def files(path: Any) -> FileSystemStore[Sample]:
    return FileSystemStore(base_path=path, durability="os", collection=SAMPLES)


def behind(base: Any, cache: Any = None, **options: Any) -> CachedStore[Sample]:
    """Nothing is stored before it must be."""
    queue = BatchedStore(base, durable=True, durability="os", flush_interval_seconds=None)
    return CachedStore(queue, cache, CacheMode.WRITE_BEHIND, **options)


def test_the_mode_alone_makes_a_durable_queue(tmp_path):
    store = CachedStore(files(tmp_path / "s"), mode=CacheMode.WRITE_BEHIND)
    store.save(Sample("a"))
    assert store.get("a") == Sample("a")
    store.flush()
    assert store.layer(BatchedStore).pending == 0
    assert list((tmp_path / ".truthstore" / "queue").iterdir())
    assert files(tmp_path / "s").get("a") == Sample("a")
    store.close()


def test_a_write_is_not_stored_at_once_and_read_at_once(tmp_path):
    base = files(tmp_path / "s")
    with behind(base, max_size=1) as store:
        store.save_many([Sample("a", note="one"), Sample("b"), Sample("a", note="two")])
        assert not base.exists("a")
        assert store.get("a").note == "two"
        assert store.get("b") == Sample("b")
        assert store.layer(BatchedStore).pending == 3
        assert store.list_ids(StoreQuery(order_by="id")) == ["b", "a"]  # a query first stores what waits
        assert base.get("a").note == store.get("a").note == "two"
        with pytest.raises(StoreConflictError):
            store.save(Sample("a"), expect=ABSENT)
        store.save(Sample("a", note="three"))
        assert store.delete("a")
        assert not store.exists("a")


def test_what_waits_is_answered_from_the_cache_and_read_once_more_when_it_is_stored(tmp_path):
    """Layers below add to an item when it is stored, such as its version: the cache must not go on without that."""
    store = CachedStore(BatchedStore(VersionedStore(files(tmp_path / "s")), flush_interval_seconds=None))
    store.save(Sample("a"))
    store.get("a")
    assert (store.metrics.hits, store.metrics.misses) == (1, 0)
    store.layer(BatchedStore).flush()
    for _ in range(2):
        record = store.get_record("a", collection=SAMPLES)
        assert record.head() == store.head_record("a", collection=SAMPLES)
        assert "versioning" in record.meta.annotations
    assert (store.metrics.hits, store.metrics.misses) == (4, 1)  # heads count too
    store.close()


def test_a_revision_lasts(tmp_path):
    """That which a reader saw while the item waited is that which is stored."""
    with behind(files(tmp_path / "s")) as store:
        store.save(Sample("a"))
        revision = store.head("a").revision
        store.flush()
        assert store.head("a").revision == store.base.head("a").revision == revision
        store.save(Sample("a", note="new"), expect=revision)
        assert store.get("a").note == "new"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_killed_process_loses_nothing(tmp_path):
    def work(_: Any) -> None:
        store = behind(files(tmp_path / "s"))
        for number in range(20):
            store.save(Sample("again", note=str(number)))
            store.save(Sample(f"s{number:02}"))
        os.kill(os.getpid(), signal.SIGKILL)

    assert Child(work).wait() == -signal.SIGKILL
    with behind(files(tmp_path / "s")) as store:
        assert store.get("again").note == "19"
        assert store.count() == 21


def test_a_store_that_is_down_gets_it_later(tmp_path):
    plan = FaultPlan()
    store = behind(FaultyStore(files(tmp_path / "s"), plan))
    store.save(Sample("a"))
    store.flush()
    store.save(Sample("a", note="new"))
    plan.arm(1, "before")
    with pytest.raises(StoreWriteError, match="wait in"):
        store.flush()
    plan.disarm()
    assert store.get("a").note == "new"
    assert [sample.note for sample in store.query()] == ["new"]
    store.close()


def test_what_is_rejected_is_said_and_no_longer_served(tmp_path):
    base = files(tmp_path / "s")
    base.save(Sample("a", note="stored"))
    with behind(VersionedStore(base, require_message=True)) as store:
        store.save(Sample("a", note="refused"))
        assert store.get("a").note == "refused"
        with pytest.raises(StoreWriteError, match="rejected"):
            store.flush()
        assert store.get("a").note == "stored"
        queue = store.layer(BatchedStore)
        assert [item.id for item in queue.rejected()] == ["a"]
        assert queue.retry_rejected() == 1
        assert store.get("a").note == "refused"  # it waits again
        with pytest.raises(StoreWriteError):
            store.flush()
        assert queue.discard_rejected() == 1
        assert store.get("a").note == "stored"
    store = behind(VersionedStore(MemoryStore(collection=SAMPLES), require_message=True))
    store.save(Sample("b"))
    with pytest.raises(StoreWriteError):
        store.flush()
    with pytest.raises(StoreNotFoundError):
        store.get("b")
    store.close()


def test_other_caches_may_stand_above_and_below(tmp_path):
    inner = CachedStore(files(tmp_path / "s"), DiskCache(tmp_path / "c"))
    store = CachedStore(behind(inner, DiskCache(tmp_path / "c")))
    for note in ("one", "two"):
        store.save(Sample("a", note=note))
        assert store.get("a").note == note
        store.layer(BatchedStore).flush()
        assert store.get("a").note == inner.get("a").note == note
    store.close()


def test_the_last_that_is_delivered_wins(tmp_path):
    """No clock decides."""
    base = files(tmp_path / "s")
    with behind(base) as store:
        store.save(Sample("a", note="queued first"))
        base.save(Sample("a", note="stored meanwhile"))
        assert store.get("a").note == "queued first"
        store.flush()
        assert store.get("a").note == base.get("a").note == "queued first"


class Slow(WrapperStore[Any]):
    """Passes on; stands between to show that the queue goes where the mode says."""


def test_layers_are_as_they_were_stacked(tmp_path):
    names = [layer.name for layer in CachedStore(Slow(files(tmp_path / "s")), mode="write_behind").layers()]
    assert names == ["cached", "batched", "wrapper", "filesystem"]


def test_options_of_the_queue_are_handed_to_it(tmp_path):
    files = FileSystemStore(base_path=tmp_path / "store", collection=SAMPLES)
    options: dict[str, Any] = {"spool_path": tmp_path / "queue.db", "durability": "os", "flush_interval_seconds": None}
    with CachedStore(files, mode="write_behind", **options) as store:
        store.save(Sample("a"))
        assert (tmp_path / "queue.db").exists()
        assert files.list_ids() == []
        store.flush()
        assert files.list_ids() == ["a"]
    with pytest.raises(TypeError, match="spool_path"):
        CachedStore(MemoryStore(), spool_path="queue.db")
