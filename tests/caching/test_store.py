"""Cached stores: what is cached when, and what only a cache can get wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.caching.doubles import Below, Silent
from truthstore import (
    ABSENT,
    Collection,
    Meta,
    Record,
    StoreConfigError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
    StoreWriteError,
    WrapperStore,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.caching import CacheConfig, CachedStore, CacheMode, LFUCache, LRUCache, TTLCache, coherence
from truthstore.model.record import NONE, Options
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample, make_samples

MODES = [mode for mode in CacheMode if mode is not CacheMode.WRITE_BEHIND]
FILLING = [CacheMode.WRITE_THROUGH, CacheMode.READ_WRITE]


@pytest.fixture
def below() -> Below:
    return Below(MemoryStore(collection=SAMPLES))


@pytest.mark.parametrize("mode", [CacheMode.READ_THROUGH, *FILLING])
def test_what_was_read_is_not_read_again(below, mode):
    store = CachedStore(below, mode=mode)
    below.save(Sample("a"))
    assert [store.get("a") for _ in range(3)] == [Sample("a")] * 3
    assert store.exists("a")
    assert store.get_many(["a"]) == {"a": Sample("a")}
    assert below.loads == ["a"]
    assert (store.metrics.hits, store.metrics.misses) == (4, 1)
    assert store.figures() == {"cache_hits": 4, "cache_misses": 1}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_write_is_read_at_once_and_cached_as_the_mode_says(below, mode, many):
    store = CachedStore(below, mode=mode)
    for note in ("one", "two"):
        if many:
            store.save_many([Sample("a", note=note), Sample("b")])
        else:
            store.save(Sample("a", note=note))
        assert store.get("a").note == note
    assert below.loads == ([] if mode in FILLING else ["a", "a"])


def test_the_answer_to_many_ids_is_in_their_order(below):
    """Whichever of them are cached."""
    below.save_many([Sample(id) for id in "abcd"])
    store = CachedStore(below)
    for cached in ("b", "d"):
        store.get(cached)
    assert list(store.get_many(["d", "a", "b", "c"])) == ["d", "a", "b", "c"]


def test_one_id_twice_in_a_bulk_write(below):
    store = CachedStore(below)
    store.save_many([Sample("a", note="one"), Sample("a", note="two")])
    assert store.get("a").note == "two"


def test_cache_aside_is_filled_by_hand(below):
    store = CachedStore(below, mode="cache_aside")
    below.save_many([Sample("a"), Sample("b"), Sample("c")])
    store.get("a")
    store.get("a")
    assert below.loads == ["a", "a"]
    assert store.refresh("a") == Sample("a")
    assert store.warm(StoreQuery(ids=["b"])) == 1
    below.loads.clear()
    store.get_many(["a", "b"])
    assert below.loads == []
    store.get("c")
    assert below.loads == ["c"]


def test_a_cached_item_cannot_be_changed(below):
    store = CachedStore(below)
    store.save(Sample("a", tags={"by": "me"}))
    store.get("a").tags["by"] = "you"
    head: Any = store.head("a").meta
    head.tags["by"] = "you"
    assert store.get("a").tags == {"by": "me"}
    assert store.head("a").meta.tags == {"by": "me"}


def test_a_missing_id_is_remembered_until_it_is_written(below):
    store = CachedStore(below)
    for _ in range(3):
        with pytest.raises(StoreNotFoundError):
            store.get("a")
        assert not store.exists("a")
    assert below.loads == ["a"]
    below.save(Sample("a"))
    assert store.get("a") == Sample("a")
    store.delete("a")
    assert not store.exists("a")
    with pytest.raises(StoreNotFoundError):
        store.refresh("a")


def test_a_missing_id_is_looked_for_again_if_that_is_not_to_be_kept(below):
    store = CachedStore(below, negative_ttl_seconds=0)
    assert store.get_many(["a"], missing="skip") == {}
    assert store.get_many(["a"], missing="skip") == {}
    assert below.loads == ["a", "a"]


@pytest.fixture
def joined(monkeypatch) -> threading.Semaphore:
    """Is released by each thread that waits for the load of another."""
    joined, usual = threading.Semaphore(0), coherence.Load.result

    def result(load: Any, timeout: float | None = None) -> Record:
        joined.release()
        return usual(load, timeout)

    monkeypatch.setattr(coherence.Load, "result", result)
    return joined


def test_a_hundred_threads_are_one_load(below, joined):
    below.save(Sample("a"))
    store = CachedStore(below)
    _, go_on = below.stop()
    with ThreadPoolExecutor(100) as threads:
        answers = threads.map(lambda _: store.get("a"), range(100))
        for _ in range(99):
            assert joined.acquire(timeout=60)
        go_on.set()
        assert list(answers) == [Sample("a")] * 100
    assert below.loads == ["a"]


def test_the_error_of_a_load_reaches_those_that_wait_and_is_not_cached(pool, joined):
    plan = FaultPlan()
    below = Below(FaultyStore(MemoryStore(collection=SAMPLES), plan))
    below.save(Sample("a"))
    store = CachedStore(below)
    plan.arm(1, "before")
    reached, go_on = below.stop()
    first = pool.submit(store.get, "a")
    assert reached.wait(60)
    plan.disarm()
    second = pool.submit(store.get, "a")
    assert joined.acquire(timeout=60)
    go_on.set()
    for asked in (first, second):
        with pytest.raises(StoreError):
            asked.result()
    assert store.get("a") == Sample("a")


def test_when_a_load_is_interrupted_one_that_waits_loads(below, pool, joined):
    below.save(Sample("a"))
    store = CachedStore(below)
    usual, interrupts = below.base.get_record, [KeyboardInterrupt()]

    def get_record(id: str, **options: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return usual(id, **options)

    below.base.get_record = get_record
    reached, go_on = below.stop()
    first = pool.submit(store.get, "a")
    assert reached.wait(60)
    second = pool.submit(store.get, "a")
    assert joined.acquire(timeout=60)
    go_on.set()
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.result() == Sample("a")


def test_four_writers_at_once_leave_what_the_store_has(below):
    store = CachedStore(below)

    def write(number: int) -> None:
        for turn in range(30):
            store.save(Sample("a", note=f"{number}-{turn}"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert store.get("a") == below.get("a")


@pytest.mark.parametrize("mode", MODES)
def test_a_backend_that_announces_nothing_is_served_right(mode):
    store = CachedStore(Silent(collection=SAMPLES), mode=mode)
    store.save(Sample("a", note="one"))
    store.get("a")
    store.save(Sample("a", note="two"))
    assert store.get("a").note == "two"
    store.delete("a")
    assert not store.exists("a")
    store.save_many([Sample("a", note="three"), Sample("b")])
    assert store.get("a").note == "three"
    assert store.delete_many(["a", "b"]) == 2
    assert not store.exists("a")


def test_writers_at_once_over_a_backend_that_announces_nothing():
    base = Silent(collection=SAMPLES)
    store = CachedStore(base)

    def write(number: int) -> None:
        for turn in range(30):
            store.save(Sample("a", note=f"{number}-{turn}"))

    for _ in range(10):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(write, range(4)))
        assert store.get("a") == base.get("a")


def test_a_conflict_empties_the_cache(tmp_path):
    here, elsewhere = (FileSystemStore(base_path=tmp_path, collection=SAMPLES, durability="os") for _ in range(2))
    store = CachedStore(here)
    store.save(Sample("a", note="old"))
    revision = store.head("a").revision
    elsewhere.save(Sample("a", note="new"))
    assert store.get("a").note == "old"  # another process: up to the life span
    with pytest.raises(StoreConflictError):
        store.save(Sample("a", note="mine"), expect=revision)
    assert store.get("a").note == "new"
    here.close()
    elsewhere.close()


def test_head_and_item_fit_together_for_compare_and_set(tmp_path):
    """Else a caller would overwrite, by the newer revision, an item that it has not seen."""
    here, elsewhere = (FileSystemStore(base_path=tmp_path, collection=SAMPLES, durability="os") for _ in range(2))
    store = CachedStore(here)
    store.save(Sample("a", count=1))
    elsewhere.save(Sample("a", count=2))
    seen = store.get("a").count
    if seen == 1:
        with pytest.raises(StoreConflictError):
            store.save(Sample("a", count=seen + 1), expect=store.head("a").revision)
    here.close()
    elsewhere.close()


def test_an_item_that_comes_back_with_the_same_content_is_another_revision(below):
    """ABA: neither the cache nor a write by revision takes the second for the first."""
    store = CachedStore(below, revalidate=True)
    store.save(Sample("a", note="A"))
    first = store.head("a").revision
    below.save(Sample("a", note="B"))
    below.save(Sample("a", note="A"))
    assert store.head("a").revision != first
    with pytest.raises(StoreConflictError):
        store.save(Sample("a", note="C"), expect=first)
    assert store.get("a").note == "A"
    with pytest.raises(StoreConflictError):
        store.save(Sample("a"), expect=ABSENT)


@pytest.mark.parametrize("after", ["before", "after"])
def test_a_write_that_fails_is_looked_up(after):
    plan = FaultPlan()
    base = MemoryStore(collection=SAMPLES)
    store = CachedStore(FaultyStore(base, plan))
    store.save(Sample("a", note="old"))
    plan.arm(1, after)
    with pytest.raises(StoreError):
        store.save(Sample("a", note="new"))
    plan.disarm()
    assert store.get("a") == base.get("a")


def test_one_cache_for_two_stores():
    cache = LRUCache[Any](max_size=10)
    one, two = (CachedStore(MemoryStore(collection=SAMPLES), cache) for _ in range(2))
    one.save(Sample("a", note="one"))
    two.save(Sample("a", note="two"))
    assert (one.get("a").note, two.get("a").note) == ("one", "two")
    assert cache.size == 2
    assert two.invalidate_all() == 2


def test_options_of_other_layers_pass_by(below):
    class Shouting(WrapperStore[Any]):
        OPTIONS = {"get": frozenset({"loud"}), "save": frozenset({"loud"})}

        def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
            seen.append(options.get("loud"))
            return self._base.get_record(id, collection=collection)

        def put_record(self, record, *, collection, expect=None, options: Options = NONE) -> Record:
            seen.append(options.get("loud"))
            return self._base.put_record(record, collection=collection)

    seen: list[Any] = []
    store = CachedStore(Shouting(below))
    store.save(Sample("a"), loud=1)
    store.get("a", loud=2)
    store.get("a")
    store.get("a")
    store.get("a", loud=3)
    assert seen == [1, 2, None, 3]


def test_the_librarys_own_collections_are_not_cached(below):
    own = Collection.of_records("samples.versions", index={})
    store = CachedStore(below)
    store.put_record(Record(Meta("v", fields={}, tags={}, text="", size=2), b"{}"), collection=own)
    for _ in range(2):
        assert store.get_record("v", collection=own).body == b"{}"
        assert store.get_records(["v"], collection=own)
        assert store.head_record("v", collection=own).id == "v"
    assert store.collection(own).layer(CachedStore).warm() == 0
    assert store.cache.size == 0
    assert store.delete_records(["v"], collection=own) == ["v"]
    assert store.delete_record("v", collection=own) is False


def test_a_query_is_one_query_below(below):
    """Nothing is read item by item, though `get_record` is overridden."""
    store = CachedStore(below)
    store.save_many(make_samples(20))
    below.loads.clear()
    assert len(store.query()) == store.count() == 20
    assert below.loads == []


def test_warming(below):
    store = CachedStore(below, max_size=100)
    below.save_many(make_samples(20))
    assert store.warm(StoreQuery(limit=5)) == 5
    assert store.warm() == 20
    below.loads.clear()
    store.get_many([sample.id for sample in make_samples(20)])
    assert below.loads == []
    assert store.get_stats()["metrics"]["size"] == 20
    assert store.stats()["cache"]["mode"] == "write_through"
    assert store.maintain()["cache_expired"] == 0
    store.rebuild_index()
    assert store.metrics.size == 0


def test_invalidating_and_refreshing(below):
    store = CachedStore(below)
    store.save(Sample("a"))
    store.invalidate("a")
    store.get("a")
    assert store.refresh("a") == Sample("a")
    assert below.loads == ["a", "a"]
    store.get("a")
    assert store.invalidate_all() == 1
    store.get("a")
    assert below.loads == ["a", "a", "a"]


def test_a_bad_setting_is_refused(below):
    with pytest.raises(StoreConfigError, match="write_through"):
        CachedStore(below, mode="sometimes")
    with pytest.raises(TypeError, match="max_size"):
        CachedStore(below, max_sise=3)
    with pytest.raises(TypeError, match="not both"):
        CachedStore(below, config=CacheConfig(), max_size=3)
    cache: Any = {}
    with pytest.raises(TypeError, match="cache"):
        CachedStore(below, cache)


def test_options_that_a_given_cache_would_not_heed_are_refused(below):
    for options in ({"max_size": 3}, {"config": CacheConfig(ttl_seconds=5)}):
        wrong: Any = options
        with pytest.raises(StoreConfigError, match="LRUCache"):
            CachedStore(below, LRUCache(), **wrong)
    config = CacheConfig(max_size=5, revalidate=True)
    cache = CachedStore(below, config=config).cache
    assert CachedStore(below, cache, config=config).cache is cache


@pytest.mark.parametrize("kind", [LRUCache, LFUCache, TTLCache])
def test_an_old_entry_is_loaded_again(below, kind):
    store = CachedStore(below, kind(ttl_seconds=0.02))
    store.save(Sample("a"))
    threading.Event().wait(0.03)
    store.get("a")
    assert below.loads == ["a"]
    assert store.metrics.expirations == 1


def test_closing_closes_what_is_below(below):
    store = CachedStore(below)
    store.save(Sample("a"))
    store.close()
    store.close()
    assert store.cache.size == 0
    with pytest.raises(StoreError):
        store.get("a")


def test_a_failing_write_of_many_empties_the_cache_of_them(below):
    store = CachedStore(below)
    store.save_many([Sample("a", note="old"), Sample("b")])

    def put_records(*_: Any, **__: Any) -> Any:
        below.base.save(Sample("a", note="new"))
        raise StoreWriteError("half of it", store_unavailable=True)

    below.put_records = put_records
    with pytest.raises(StoreWriteError):
        store.save_many([Sample("a", note="new"), Sample("b")])
    assert store.get("a").note == "new"
