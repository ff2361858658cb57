"""A load that a write overtakes is not kept, whoever writes and however it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.caching.doubles import Scene
from truthstore import StoreNotFoundError
from truthstore.caching import CachedStore, CacheMode, DiskCache
from truthstore.testing import Sample

SLOW: dict[str, Callable[[CachedStore[Any]], object]] = {
    "get": lambda store: store.get("a"),
    "get_many": lambda store: store.get_many(["a"]),
    "warm": lambda store: store.warm(),
    "refresh": lambda store: store.refresh("a"),
}
KIND = {"get": "get", "get_many": "get_many", "warm": "get_many", "refresh": "get_many"}
MODES = [mode for mode in CacheMode if mode is not CacheMode.WRITE_BEHIND]


@pytest.fixture(params=["own", "shared"])
def scene(request, tmp_path):
    scene = Scene(DiskCache(tmp_path / "c") if request.param == "shared" else None)
    yield scene
    scene.store.cache.close()


@pytest.mark.parametrize("write", ["below", "through", "many"])
@pytest.mark.parametrize("read", SLOW)
def test_a_load_that_a_write_overtakes_is_not_kept(pool, scene, read: str, write: str):
    reached, go_on = scene.below.stop(KIND[read])
    slow = pool.submit(SLOW[read], scene.store)
    assert reached.wait(60)
    if write == "below":
        scene.below.base.save(Sample("a", count=2))
    elif write == "through":
        scene.store.save(Sample("a", count=2))
    else:
        scene.store.save_many([Sample("a", count=2), Sample("b")])
    go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_load_that_a_removal_overtakes_is_not_kept(pool, mode: CacheMode):
    scene = Scene(mode=mode)
    reached, go_on = scene.below.stop()
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(60)
    assert scene.store.delete("a")
    go_on.set()
    assert slow.result().count == 1  # it was asked before the removal
    with pytest.raises(StoreNotFoundError):
        scene.store.get("a")


def test_a_reader_after_a_write_does_not_join_an_older_load(pool):
    scene = Scene(mode=CacheMode.READ_THROUGH)
    reached, go_on = scene.below.stop()
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(60)
    scene.store.save(Sample("a", count=2))
    late = pool.submit(scene.store.get, "a")
    try:
        assert late.result(30).count == 2
    finally:
        go_on.set()
    assert slow.result().count == 1
    assert scene.store.get("a").count == 2


@pytest.mark.parametrize("shared", [False, True])
def test_with_revalidation_nobody_joins_a_load_that_began_before_another_process_wrote(pool, tmp_path, shared: bool):
    scene = Scene(DiskCache(tmp_path / "c") if shared else None, revalidate=True)
    reached, go_on = scene.below.stop("get_many")
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(60)
    scene.other.save(Sample("a", count=2))
    try:
        assert pool.submit(scene.store.get, "a").result(30).count == 2
    finally:
        go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2
    scene.store.cache.close()


@pytest.mark.parametrize("read", [lambda store: store.head("a"), lambda store: store.exists("a")])
def test_an_item_is_not_older_than_a_head_that_was_seen_before(pool, read: Callable[[Any], object]):
    """Another process has written while a load is on its way, and a head shows it."""
    scene = Scene()
    reached, go_on = scene.below.stop()
    slow = pool.submit(scene.store.get, "a")
    assert reached.wait(60)
    scene.other.save(Sample("a", count=2))
    read(scene.store)
    go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2


def test_a_slow_bulk_read_does_not_replace_what_was_loaded_later(pool, scene):
    reached, go_on = scene.below.stop("get_many")
    slow = pool.submit(scene.store.get_many, ["a"])
    assert reached.wait(60)
    scene.other.save(Sample("a", count=2))
    assert scene.store.get("a").count == 2
    go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2


CLEARING: dict[str, Callable[[CachedStore[Any]], object]] = {
    "invalidate": lambda store: store.invalidate("a"),
    "invalidate_all": lambda store: store.invalidate_all(),
    "rebuild_index": lambda store: store.rebuild_index(),
}


@pytest.mark.parametrize("clearing", CLEARING)
@pytest.mark.parametrize("read", SLOW)
def test_what_was_asked_for_before_the_cache_was_emptied_is_not_kept(pool, scene, read: str, clearing: str):
    """Another process has written meanwhile, and the cache is emptied for that."""
    reached, go_on = scene.below.stop(KIND[read])
    slow = pool.submit(SLOW[read], scene.store)
    assert reached.wait(60)
    scene.other.save(Sample("a", count=2))
    CLEARING[clearing](scene.store)
    late = pool.submit(scene.store.get, "a")
    try:
        assert late.result(30).count == 2
    finally:
        go_on.set()
    slow.result()
    assert scene.store.get("a").count == 2


def test_a_writer_whose_answer_is_late_does_not_bring_its_item_back(pool):
    """Two writers at once: the second is stored, announced and answered before the first has its answer."""
    scene = Scene()
    written, answer = threading.Event(), threading.Event()
    usual = scene.below.put_record

    def put_record(record: Any, **options: Any) -> Any:
        head = usual(record, **options)
        if not written.is_set():
            written.set()
            assert answer.wait(60)
        return head

    scene.below.put_record = put_record  # type: ignore[method-assign]
    first = pool.submit(scene.store.save, Sample("a", count=2))
    assert written.wait(60)
    scene.store.save(Sample("a", count=3))
    answer.set()
    first.result()
    assert scene.store.get("a").count == 3
