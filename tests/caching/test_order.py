"""Who has seen a newer item through a cache never sees an older one afterwards, whatever writers do at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.doubles import LateAnswer
from truthstore import StoreNotFoundError, WrapperStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore, CacheMode, DiskCache, InMemoryCache
from truthstore.testing import SAMPLES, Sample

READS: dict[str, Callable[[CachedStore[Any]], object]] = {
    "get": lambda store: store.get("a"),
    "head": lambda store: store.head("a"),
    "exists": lambda store: store.exists("a"),
    "get_many": lambda store: store.get_many(["a"]),
}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("read", READS)
def test_a_writer_whose_answer_is_late_does_not_bring_its_item_back(read: str, many: bool):
    """Between the write and its answer somebody overwrites the item, not announced yet, and a reader sees that."""
    blobs = MemoryBlobs()
    other = MemoryStore(collection=SAMPLES, blobs=blobs)

    def overwrite_and_read() -> None:
        other.save(Sample("a", count=2))
        READS[read](cached)

    late = LateAnswer(MemoryStore(collection=SAMPLES, blobs=blobs), overwrite_and_read)
    cached = CachedStore(late)
    if many:
        cached.save_many([Sample("a", count=1)])
    else:
        cached.save(Sample("a", count=1))
    assert cached.get("a").count == 2


def test_compare_and_set_by_head_and_item_fits_together():
    """The head is asked for first: the item that is read then must not be an older one."""
    blobs = MemoryBlobs()
    other = MemoryStore(collection=SAMPLES, blobs=blobs)
    seen: list[tuple[str, int | None]] = []

    def overwrite_and_look() -> None:
        other.save(Sample("a", count=2))
        seen.append((cached.head("a").revision, cached.get("a").count))

    cached = CachedStore(LateAnswer(MemoryStore(collection=SAMPLES, blobs=blobs), overwrite_and_look))
    cached.save(Sample("a", count=1))
    assert seen == [(other.head("a").revision, 2)]
    assert cached.head("a").revision == other.head("a").revision


class Stopping(WrapperStore[Any]):
    """Stops reads that have found something and have not said so yet, each kind on its own."""

    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self.stops: dict[str, tuple[threading.Event, threading.Event]] = {}

    def stop(self, kind: str) -> tuple[threading.Event, threading.Event]:
        """The next read of a kind: when it has read, and what it waits for."""
        self.stops[kind] = (threading.Event(), threading.Event())
        return self.stops[kind]

    def _wait(self, kind: str) -> None:
        reached, go_on = self.stops.pop(kind, (None, None))
        if reached is not None and go_on is not None:
            reached.set()
            go_on.wait(10)

    def get_record(self, id, **options):
        try:
            return super().get_record(id, **options)
        finally:
            if options["collection"].is_users:
                self._wait("get")

    def get_records(self, ids, **options):
        found = super().get_records(ids, **options)
        self._wait("get_many")
        return found

    def scan(self, query, **options):
        found = list(super().scan(query, **options))
        self._wait("scan")
        return iter(found)


class Scene:
    """A cached store, and another one that writes without its knowledge."""

    def __init__(self, cache: Any = None, **options: Any) -> None:
        blobs = MemoryBlobs()
        self.other = MemoryStore(collection=SAMPLES, blobs=blobs)
        self.below = Stopping(MemoryStore(collection=SAMPLES, blobs=blobs))
        self.store: CachedStore[Any] = CachedStore(self.below, cache, **options)
        self.other.save(Sample("a", count=1))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


BULK: dict[str, Callable[[CachedStore[Any]], object]] = {
    "get_many": lambda store: store.get_many(["a"]),
    "scan": lambda store: store.warm(),
    "get": lambda store: store.refresh("a"),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("read", ["head", "exists", "get_many"])
def test_nobody_joins_a_load_that_is_older_than_what_was_seen(pool, tmp_path, read: str, shared: bool):
    """A write is durable and not announced yet, a load of what was there before still on its way."""
    scene = Scene(DiskCache(tmp_path / "c") if shared else None)
    reached, go_on = scene.below.stop("get")
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(10)
    scene.other.save(Sample("a", count=2))
    READS[read](scene.store)
    late = pool.submit(scene.store.get, "a")
    try:
        assert late.result(5).count == 2
    finally:
        go_on.set()
    assert slow.result().count == 1
    assert scene.store.get("a").count == 2
    scene.store.cache.close()


def test_nobody_joins_a_load_of_what_was_seen_to_be_gone(pool):
    scene = Scene()
    reached, go_on = scene.below.stop("get")
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(10)
    scene.other.delete("a")
    assert not scene.store.exists("a")
    go_on.set()
    assert slow.result().count == 1
    with pytest.raises(StoreNotFoundError):
        scene.store.get("a")


@pytest.mark.parametrize("mode", [CacheMode.WRITE_THROUGH, CacheMode.CACHE_ASIDE])
@pytest.mark.parametrize("read", BULK)
def test_a_slow_read_does_not_bring_back_what_is_older_than_what_was_got(pool, read: str, mode: CacheMode):
    scene = Scene(mode=mode)
    reached, go_on = scene.below.stop(read)
    slow = pool.submit(BULK[read], scene.store)
    assert reached.wait(10)
    scene.other.save(Sample("a", count=2))
    assert scene.store.get("a").count == 2
    go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2


def test_what_was_kept_before_a_newer_load_ended_is_not_served_after_it(pool):
    """The older read ends first, and is kept: then who has got the newer one must not find the older."""
    scene = Scene()
    bulk_reached, bulk_go_on = scene.below.stop("get_many")
    bulk = pool.submit(scene.store.get_many, ["a"])
    assert bulk_reached.wait(10)
    scene.other.save(Sample("a", count=2))
    reached, go_on = scene.below.stop("get")
    newer = pool.submit(scene.store.get, "a")
    assert reached.wait(10)
    bulk_go_on.set()
    assert bulk.result()["a"].count == 1
    go_on.set()
    assert newer.result().count == 2
    assert scene.store.get("a").count == 2


@pytest.mark.parametrize("shared", [False, True])
def test_nobody_joins_a_load_that_began_before_another_process_wrote(pool, tmp_path, shared: bool):
    """With `revalidate` and with a shared cache, what another process has written is seen at once."""
    scene = Scene(DiskCache(tmp_path / "c") if shared else None, revalidate=not shared)
    writer = CachedStore(scene.other, DiskCache(tmp_path / "c"), mode=CacheMode.READ_THROUGH)
    reached, go_on = scene.below.stop("get")
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(10)
    writer.save(Sample("a", count=2))
    late = pool.submit(scene.store.get, "a")
    threading.Event().wait(0.05)  # until it has joined
    go_on.set()
    assert (slow.result().count, late.result().count) == (1, 2)
    assert scene.store.get("a").count == 2
    for store in (scene.store, writer):
        store.cache.close()


CLEARING: dict[str, Callable[[CachedStore[Any]], object]] = {
    "invalidate": lambda store: store.invalidate("a"),
    "invalidate_all": lambda store: store.invalidate_all(),
    "clear": lambda store: store.cache.clear(),
    "rebuild_index": lambda store: store.rebuild_index(),
    "neighbour": lambda store: CachedStore(MemoryStore(collection=SAMPLES), store.cache).invalidate_all(),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("clearing", CLEARING)
@pytest.mark.parametrize("read", ["load", *BULK])
def test_what_was_asked_for_before_the_cache_was_emptied_is_not_kept(
    pool, tmp_path, read: str, clearing: str, shared: bool
):
    """Another process has written meanwhile, and somebody empties the cache for that."""
    scene = Scene(DiskCache(tmp_path / "c") if shared else InMemoryCache())
    kind = "get" if read == "load" else read
    reached, go_on = scene.below.stop(kind)
    slow = pool.submit(BULK.get(read, lambda store: store.get("a")), scene.store)
    assert reached.wait(10)
    scene.other.save(Sample("a", count=2))
    CLEARING[clearing](scene.store)
    late = pool.submit(scene.store.get, "a")
    try:
        assert late.result(5).count == 2
    finally:
        go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2
    scene.store.cache.close()
