"""Cached stores: the suite in every mode and over every cache, and what only a cache can get wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from truthstore import (
    RESULTS,
    BaseStore,
    Collection,
    Meta,
    Record,
    StoreConfigError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
    WrapperStore,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CacheConfig, CachedStore, CacheMode, DiskCache, LFUCache, LRUCache, TTLCache
from truthstore.model.record import NONE, Options
from truthstore.testing import SAMPLES, FaultyBlobs, Sample, WrapperSuite, make_samples, store_machine

MODES = [mode for mode in CacheMode if mode is not CacheMode.WRITE_BEHIND]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class TestReadThrough(WrapperSuite):
    mode = CacheMode.READ_THROUGH

    def wrap(self, base):
        return CachedStore(base, LRUCache(max_size=20), mode=self.mode)


class TestWriteThrough(TestReadThrough):
    mode = CacheMode.WRITE_THROUGH


class TestCacheAside(TestReadThrough):
    mode = CacheMode.CACHE_ASIDE


class TestWriteBehind(TestReadThrough):
    mode = CacheMode.WRITE_BEHIND

    def wrap(self, base):
        return CachedStore(base, mode=self.mode, spool_durability="os", flush_interval_seconds=None)

    def test_what_put_returns_is_what_is_stored(self, store):
        """But for the revision, which holds until the record is stored."""
        for sample in make_samples(5):
            stored = store.put_record(SAMPLES.encode(sample), collection=SAMPLES)
            assert stored.meta == store.head_record(sample.id, collection=SAMPLES).meta

    def test_changes_are_announced(self, store: Any):
        """When they are stored."""
        seen: list[str] = []

        def watch(changes):
            seen.extend(change.id for change in changes if change.collection == "samples")

        store.subscribe(watch)
        store.save_many([Sample("a"), Sample("b")])
        assert seen == []
        store.flush()
        assert seen == ["a", "b"]
        store.delete("a")
        assert seen == ["a", "b", "a"]


class TestRevalidated(WrapperSuite):
    """With revalidation, several stores at one place see each other's writes at once, in other processes too."""

    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)

    def wrap(self, base):
        return CachedStore(base, mode=CacheMode.READ_WRITE, revalidate=True, negative_ttl_seconds=0)


class TestDisk(TestRevalidated):
    """A shared cache in a folder: two stores of this machine see each other's writes."""

    def make_store(self, location, *, collection=RESULTS, **options):
        base = self.make_base(location, collection=collection, **options)
        return CachedStore(base, DiskCache(location.parent / "cache"), mode=CacheMode.READ_WRITE)

    def wrap(self, base):
        return CachedStore(base, DiskCache("cache"), mode=CacheMode.READ_WRITE)


def make(mode: CacheMode, **options: Any) -> dict[str, Any]:
    def open_store(location: MemoryBlobs):
        return CachedStore(MemoryStore(collection=SAMPLES, blobs=location), mode=mode, **options)

    def open_faulty(location: MemoryBlobs):
        faulty = FaultyBlobs(location)
        return CachedStore(MemoryStore(collection=SAMPLES, blobs=faulty), mode=mode, **options), faulty

    return {"make_store": open_store, "make_location": MemoryBlobs, "make_faulty": open_faulty, "effort": 0.3}


TestReadThroughMachine = store_machine(**make(CacheMode.READ_THROUGH, max_size=3))
TestReadWriteMachine = store_machine(**make(CacheMode.READ_WRITE, max_size=3))
TestCacheAsideMachine = store_machine(**make(CacheMode.CACHE_ASIDE))
TestRevalidatedMachine = store_machine(
    lambda location: CachedStore(
        FileSystemStore(base_path=location, durability="os", collection=SAMPLES),
        revalidate=True,
        negative_ttl_seconds=0,
    ),
    writers=2,
    effort=0.2,
)


class Counting(WrapperStore[Any]):
    """Counts loads, and can be made to wait in the middle of one."""

    def __init__(self, base: BaseStore[Any]) -> None:
        super().__init__(base)
        self.loads: list[str] = []
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        if collection.is_users:
            self.loads.append(id)
        try:
            return self._base.get_record(id, collection=collection, options=options)
        finally:
            self.reached.set()
            self.go_on.wait(10)

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        return self._base.head_record(id, collection=collection, options=options)


@pytest.fixture
def below():
    store = Counting(MemoryStore(collection=SAMPLES))
    yield store
    store.go_on.set()


@pytest.mark.parametrize("mode", [CacheMode.READ_THROUGH, CacheMode.WRITE_THROUGH, CacheMode.READ_WRITE])
def test_what_was_read_is_not_read_again(below, mode):
    store = CachedStore(below, mode=mode)
    below.save(Sample("a"))
    assert [store.get("a") for _ in range(3)] == [Sample("a")] * 3
    assert store.exists("a")
    assert store.get_many(["a"]) == {"a": Sample("a")}
    assert below.loads == ["a"]
    assert (store.metrics.hits, store.metrics.misses) == (4, 1)


@pytest.mark.parametrize("mode", list(CacheMode))
def test_whether_what_was_written_is_read_again(below, mode):
    store = CachedStore(below, mode=mode, flush_interval_seconds=None)
    store.save(Sample("a", note="one"))
    assert store.get("a").note == "one"
    store.save(Sample("a", note="two"))
    assert store.get("a").note == "two"
    fills = mode not in {CacheMode.READ_THROUGH, CacheMode.CACHE_ASIDE}
    assert below.loads == ([] if fills else ["a", "a"])
    store.close()


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
    assert CachedStore(below, negative_ttl_seconds=0).get_many(["b"], missing="skip") == {}


def test_a_hundred_threads_are_one_load(below):
    below.save(Sample("a"))
    store = CachedStore(below)
    below.go_on.clear()
    barrier = threading.Barrier(100)

    def read(_: int) -> Any:
        barrier.wait()
        return store.get("a")

    with ThreadPoolExecutor(100) as pool:
        answers = pool.map(read, range(100))
        below.reached.wait(10)
        below.go_on.set()
        assert list(answers) == [Sample("a")] * 100
    assert below.loads == ["a"]


def test_the_error_of_a_shared_load_reaches_everyone():
    faulty = FaultyBlobs(MemoryBlobs())
    below = Counting(MemoryStore(collection=SAMPLES, blobs=faulty))
    below.save(Sample("a"))
    store = CachedStore(below)
    faulty.arm(1, "before")
    with pytest.raises(StoreError):
        store.get("a")
    faulty.disarm()
    assert store.get("a") == Sample("a")


def test_a_load_that_a_write_overtakes_is_not_cached(below):
    below.save(Sample("a", note="old"))
    store = CachedStore(below)
    below.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.get, "a")
        assert below.reached.wait(10)
        below.base.save(Sample("a", note="new"))  # below the cache
        below.go_on.set()
        assert slow.result().note == "old"  # it was asked before the write was acknowledged
    assert store.get("a").note == "new"


def test_a_reader_after_a_write_does_not_join_an_older_load(below):
    below.save(Sample("a", note="old"))
    store = CachedStore(below)
    below.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(store.get, "a")
        assert below.reached.wait(10)
        store.save(Sample("a", note="new"))
        below.reached.clear()
        store.invalidate("a")
        late = pool.submit(store.get, "a")
        assert below.reached.wait(10)
        below.go_on.set()
        assert late.result().note == "new"
        assert slow.result().note == "old"


def test_two_writers_at_once_leave_what_the_store_has(below):
    store = CachedStore(below)

    def write(number: int) -> None:
        for turn in range(30):
            store.save(Sample("a", note=f"{number}-{turn}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert store.get("a") == below.get("a")


def test_a_backend_that_announces_nothing_is_served_right():
    class Silent(MemoryStore[Any]):
        def _announce(self, changes: Any) -> None:
            pass

    for mode in MODES:
        store = CachedStore(Silent(collection=SAMPLES), mode=mode)
        store.save(Sample("a", note="one"))
        store.get("a")
        store.save(Sample("a", note="two"))
        assert store.get("a").note == "two"
        store.delete("a")
        assert not store.exists("a")
        store.save_many([Sample("a", note="three"), Sample("b")])
        assert store.get("a").note == "three"


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
    assert store.cache.size == 0
    assert store.delete_records(["v"], collection=own) == ["v"]
    assert store.delete_record("v", collection=own) is False


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


def test_a_bad_setting_is_refused(below):
    with pytest.raises(StoreConfigError, match="write_through"):
        CachedStore(below, mode="sometimes")
    with pytest.raises(TypeError, match="max_size"):
        CachedStore(below, max_sise=3)
    with pytest.raises(TypeError, match="not both"):
        CachedStore(below, config=CacheConfig(), max_size=3)
    with pytest.raises(StoreConfigError, match="above write-behind"):
        CachedStore(CachedStore(below, mode="write_behind"))
    cache: Any = {}
    with pytest.raises(TypeError, match="cache"):
        CachedStore(below, cache)


@pytest.mark.parametrize("kind", [LRUCache, LFUCache, TTLCache])
def test_an_old_entry_is_loaded_again(below, kind):
    store = CachedStore(below, kind(ttl_seconds=0.02))
    store.save(Sample("a"))
    threading.Event().wait(0.03)
    store.get("a")
    assert below.loads == ["a"]
    assert store.metrics.expirations == 1
