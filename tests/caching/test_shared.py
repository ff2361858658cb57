"""Stores above a cache that several processes share: what they see of each other, and what an outage costs."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.caching.doubles import Below, outage
from tests.crash.processes import Child, Gate
from tests.services.process import free_port
from tests.services.valkey import run_valkey
from truthstore import StoreConnectionError, StoreNotFoundError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.caching import CachedStore, CacheMode, DiskCache, RedisCache
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore

MODES = [mode for mode in CacheMode if mode is not CacheMode.WRITE_BEHIND]


def files(path: Any) -> FileSystemStore[Sample]:
    return FileSystemStore(base_path=path, collection=SAMPLES, durability="os")


@pytest.fixture(params=["redis", "disk"])
def new_cache(request, tmp_path):
    """Makes caches of one place, as several processes do."""
    made: list[Any] = []

    def make() -> Any:
        if request.param == "redis":
            made.append(RedisCache(request.getfixturevalue("url"), prefix=f"{tmp_path.name}:", timeout_seconds=60))
        else:
            made.append(DiskCache(tmp_path / "cache"))
        return made[-1]

    yield make
    for cache in made:
        cache.clear()
        cache.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_write_of_one_is_seen_by_the_other(new_cache, tmp_path, mode):
    one, two = (CachedStore(files(tmp_path / "s"), new_cache(), mode=mode) for _ in range(2))
    one.save(Sample("a", note="one"))
    assert two.get("a").note == "one"
    two.save(Sample("a", note="two"))
    assert one.get("a").note == "two"
    one.delete("a")
    assert not two.exists("a")
    with pytest.raises(StoreNotFoundError):
        two.get("a")
    one.save_many([Sample("a", note="three"), Sample("b")])
    assert two.get_many(["a", "b"])["a"].note == "three"


def test_one_fills_and_the_other_hits(new_cache, tmp_path):
    below = Below(files(tmp_path / "s"))
    one, two = CachedStore(Below(files(tmp_path / "s")), new_cache()), CachedStore(below, new_cache())
    one.save(Sample("a", tags={"by": "me"}))
    assert two.get("a") == Sample("a", tags={"by": "me"})
    assert two.head("a").revision == one.head("a").revision
    assert two.metrics.hits == 2
    one.save_many([Sample("b"), Sample("c")])
    two.invalidate_all()
    assert one.warm() == 3
    assert set(two.get_many(["a", "b", "c"])) == {"a", "b", "c"}
    with pytest.raises(StoreNotFoundError):
        one.get("d")
    assert not two.exists("d")
    assert below.loads == []


def test_a_late_load_does_not_replace_what_another_wrote_meanwhile(new_cache, tmp_path, pool):
    for mode in MODES:
        below = Below(files(tmp_path / mode))
        here = CachedStore(Below(files(tmp_path / mode)), new_cache(), mode=mode)
        elsewhere = CachedStore(below, new_cache())
        for write in (
            lambda: here.save(Sample("a", note="new")),  # noqa: B023  # called in this turn
            lambda: here.save_many([Sample("a", note="new"), Sample("b")]),  # noqa: B023
        ):
            below.base.save(Sample("a", note="old"))
            elsewhere.cache.clear()
            reached, go_on = below.stop()
            slow = pool.submit(elsewhere.get, "a")
            assert reached.wait(60)
            write()
            go_on.set()
            assert slow.result().note == "old"
            assert here.get("a").note == elsewhere.get("a").note == "new"
        reached, go_on = below.stop()
        elsewhere.cache.clear()
        slow = pool.submit(elsewhere.get, "a")
        assert reached.wait(60)
        here.delete("a")
        go_on.set()
        slow.result()
        assert not elsewhere.exists("a")


def test_revalidation_finds_what_was_written_without_the_cache(new_cache, tmp_path):
    store = CachedStore(files(tmp_path / "s"), new_cache(), revalidate=True)
    store.save(Sample("a", note="old"))
    files(tmp_path / "s").save(Sample("a", note="new"))
    assert store.get("a").note == "new"
    hits = store.metrics.hits
    assert store.get("a").note == "new"
    assert store.metrics.hits == hits + 1
    files(tmp_path / "s").delete("a")
    with pytest.raises(StoreNotFoundError):
        store.get("a")


def test_stores_of_other_places_and_layers_do_not_meet(new_cache, tmp_path):
    stores: list[CachedStore[Any]] = [
        CachedStore(base, new_cache())
        for base in (
            MemoryStore(collection=SAMPLES),
            MemoryStore(collection=SAMPLES),
            files(tmp_path / "one"),
            files(tmp_path / "two"),
            FileSystemStore(base_path=tmp_path / "one", namespace="other", collection=SAMPLES, durability="os"),
            VersionedStore(files(tmp_path / "three")),
            Below(files(tmp_path / "three")),
        )
    ]
    for number, store in enumerate(stores[:-1]):
        store.save(Sample("a", count=number))
    assert [store.get("a").count for store in stores[:-1]] == list(range(6))
    stores[-1].get("a")
    assert stores[-1].metrics.hits == 0


def test_views_of_other_collections_share_the_place_and_not_the_items(new_cache, tmp_path):
    from truthstore import RESULTS

    one = CachedStore(files(tmp_path / "s"), new_cache())
    two = CachedStore(FileSystemStore(base_path=tmp_path / "s", durability="os"), new_cache()).collection(SAMPLES)
    one.save(Sample("a"))
    assert two.get("a") == Sample("a")
    assert two.layer(CachedStore).metrics.hits == 1
    assert not one.collection(RESULTS).exists("a")


def test_a_damaged_entry_is_loaded_again(new_cache, tmp_path, caplog):
    store = CachedStore(files(tmp_path / "s"), new_cache())
    store.save(Sample("a"))
    key = store._records.key("samples", "a")
    store.cache.set(key, b"\xffsomething else")
    assert store.get("a") == Sample("a")
    assert "damaged" in caplog.text
    assert store.get("a") == Sample("a")
    assert store.metrics.hits == 2


def test_a_server_that_goes_and_comes_back():
    port = free_port()
    with run_valkey(port) as url:
        store: Any = CachedStore(MemoryStore(collection=SAMPLES), RedisCache(url, timeout_seconds=60, retry_seconds=0))
        store.save(Sample("a", note="one"))
        assert store.get("a").note == "one"
    store.save(Sample("a", note="two"))
    assert store.get("a").note == "two"
    assert store.metrics.errors > 0
    assert not store.metrics.available
    with run_valkey(port):
        store.save(Sample("a", note="three"))
        hits = store.metrics.hits
        assert [store.get("a").note for _ in range(2)] == ["three"] * 2
        assert store.metrics.hits > hits
        assert store.metrics.available
    store.cache.close()


def test_a_write_during_an_outage_is_not_answered_with_the_entry_of_before(url, tmp_path):
    """The server lives on with the old entry; only the way to it was gone."""
    store: Any = CachedStore(
        MemoryStore(collection=SAMPLES), RedisCache(url, prefix=tmp_path.name, timeout_seconds=60, retry_seconds=0)
    )
    store.save_many([Sample("a", note="old"), Sample("b", note="old"), Sample("c")])
    with outage(store.cache):
        store.save(Sample("a", note="new"))
        store.delete("b")
        assert not store.metrics.available
    assert store.get("a").note == "new"
    assert not store.exists("b")
    hits = store.metrics.hits
    assert store.get("c") == Sample("c")
    assert store.metrics.hits == hits + 1
    assert store.metrics.available
    store.cache.close()


def test_no_save_is_refused_because_of_a_cache_or_a_place_that_is_down():
    class Down(MemoryStore[Any]):
        def get_record(self, *_: Any, **__: Any) -> Any:
            raise StoreConnectionError("memory", "down")

    store = CachedStore(Down(collection=SAMPLES), RedisCache("redis://127.0.0.1:1/0", retry_seconds=60))
    assert store.save(Sample("a")) == "a"
    assert store.save_many([Sample("b")]) == ["b"]
    assert store.delete("a")
    store.close()


@pytest.mark.parametrize("left", [[], ["-shm"], ["-wal", "-shm"]])
def test_processes_whose_file_is_removed_share_the_next_one(left, tmp_path):
    """Each goes on in the file that is there now, or makes it: what one writes the other sees."""

    def open_store():
        return CachedStore(files(tmp_path / "s"), DiskCache(tmp_path / "cache"))

    gate = Gate()

    def work(say):
        store = open_store()
        say(store.get("a").note)
        gate.wait()
        store.save(Sample("a", note="theirs"))
        return store.metrics.errors

    with open_store() as store:
        store.save(Sample("a", note="old"))
    child = Child(work)
    assert child.hear() == "old"
    for suffix in {"", "-wal", "-shm"}.difference(left):
        (tmp_path / "cache" / f"cache.sqlite{suffix}").unlink()
    with open_store() as store:
        store.save(Sample("a", note="mine"))
        assert store.get("a").note == "mine"
        gate.open()
        assert child.result() == 0
        assert store.get("a").note == "theirs"
        assert store.metrics.errors == 0


def test_a_store_whose_cache_is_removed_goes_on_in_another(tmp_path):
    with CachedStore(files(tmp_path / "s"), DiskCache(tmp_path / "cache")) as store:
        store.save(Sample("a", note="old"))
        shutil.rmtree(tmp_path / "cache")
        store.save(Sample("a", note="new"))
        other = CachedStore(files(tmp_path / "s"), DiskCache(tmp_path / "cache"))
        assert other.get("a").note == "new"
        assert other.metrics.hits == 1
        other.save(Sample("a", note="newer"))
        assert store.get("a").note == "newer"
        assert store.metrics.errors == 0
        other.close()
