"""What a shared cache should have forgotten and could not: it is owed until it is gone, and not a moment less."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from tests.services.process import started
from tests.services.valkey import run_valkey
from truthstore import (
    Collection,
    Record,
    StoreError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreReadError,
    StoreWriteError,
    WrapperStore,
)
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore
from truthstore.caching.backends import DiskCache, RedisCache
from truthstore.caching.shared import OWED, Debts
from truthstore.model.record import NONE, Options
from truthstore.testing import SAMPLES, Sample


class Flaky(DiskCache):
    """A folder that cannot be used at times; one thread can be stopped when it has removed something."""

    def __init__(self, directory: Any) -> None:
        super().__init__(directory, retry_seconds=0)
        self.is_down = False
        self.removed, self.go_on = threading.Event(), threading.Event()

    def _fail(self) -> None:
        if self.is_down:
            raise OSError("away")

    def _stop(self) -> None:
        if threading.current_thread().name == "settler":
            self.removed.set()
            self.go_on.wait(10)

    def _remove(self, keys):
        self._fail()
        removed = super()._remove(keys)
        self._stop()
        return removed

    def _clear(self):
        self._fail()
        count = super()._clear()
        self._stop()
        return count


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_owed_again_while_it_is_removed_stays_owed(tmp_path, everything):
    cache, other = Flaky(tmp_path / "c"), DiskCache(tmp_path / "c")

    def remove() -> None:
        cache.is_down = True
        cache.clear() if everything else cache.delete("a")
        cache.is_down = False

    remove()
    settler = threading.Thread(target=lambda: cache.get("another"), name="settler")
    settler.start()
    assert cache.removed.wait(10)
    other.set("a", b"old")  # which is right as yet
    remove()
    cache.go_on.set()
    settler.join(10)
    assert cache.get("a") is None
    assert other.get("a") is None
    cache.close()
    other.close()


def test_too_many_debts_are_one_of_everything():
    debts: Debts[int] = Debts()
    assert not debts
    debts.owe(range(5))
    assert (str(debts), len(debts.now().keys)) == ("5 keys", 5)
    owed = debts.now()
    debts.owe([1])
    debts.paid(owed)
    assert list(debts.now().keys) == [1]
    debts.owe(range(OWED + 1))
    assert (str(debts), debts.now().keys) == ("keys", {})
    owed = debts.now()
    debts.owe([1])
    debts.paid(owed)
    assert debts
    debts.paid(debts.now())
    assert not debts
    debts.owe_all()
    assert debts.now().everything


class Nameless(WrapperStore[Any]):
    """A store that cannot be asked for its name at times."""

    error: StoreError | None = None

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        if self.error is not None and collection.name == "store.identity":
            raise self.error
        return self._base.get_record(id, collection=collection, options=options)


@pytest.fixture
def two(tmp_path):
    """A store whose old item is in a shared cache, and that of another process which starts without the name."""
    blobs = MemoryBlobs()
    here = CachedStore(MemoryStore(collection=SAMPLES, blobs=blobs), DiskCache(tmp_path / "c"))
    here.save(Sample("a", note="old"))
    nameless = Nameless(MemoryStore(collection=SAMPLES, blobs=blobs))
    elsewhere = CachedStore(nameless, DiskCache(tmp_path / "c"))
    yield here, elsewhere, nameless
    for store in (here, elsewhere):
        store.close()
        store.cache.close()


@pytest.mark.parametrize("many", [False, True])
def test_a_write_without_the_name_of_the_store_is_refused(two, many):
    here, elsewhere, nameless = two
    nameless.error = StoreReadError("throttled", retryable=True)
    assert elsewhere.get("a").note == "old"  # not from the cache
    with pytest.raises(StoreWriteError, match=r"nothing was written.*throttled") as refused:
        elsewhere.save_many([Sample("a", note="new")]) if many else elsewhere.save(Sample("a", note="new"))
    assert refused.value.retryable
    assert nameless.get("a").note == "old"
    nameless.error = None
    elsewhere.save(Sample("a", note="new"))
    assert [store.get("a").note for store in (here, elsewhere)] == ["new", "new"]


@pytest.mark.parametrize("below", [False, True])
def test_what_could_not_be_named_when_it_was_removed_is_removed_before_the_next_use(two, below):
    here, elsewhere, nameless = two
    nameless.error = StoreReadError("throttled", retryable=True)
    nameless.base.delete("a") if below else elsewhere.delete("a")
    nameless.error = None
    assert not elsewhere.exists("a")
    with pytest.raises(StoreNotFoundError):
        here.get("a")


def test_more_than_can_be_remembered_without_a_name(two, monkeypatch):
    monkeypatch.setattr("truthstore.caching.shared.OWED", 0)
    here, elsewhere, nameless = two
    nameless.error = StoreReadError("throttled", retryable=True)
    elsewhere.delete("a")
    nameless.error = None
    assert not elsewhere.exists("a")
    assert not here.exists("a")


def test_a_store_that_can_keep_no_name_is_not_cached_but_works(tmp_path, caplog):
    nameless = Nameless(MemoryStore(collection=SAMPLES))
    nameless.error = StoreNotSupportedError("no collections of the library's own")
    store = CachedStore(nameless, DiskCache(tmp_path / "c"))
    store.save(Sample("a"))
    assert store.get("a") == Sample("a")
    assert (store.metrics.hits, store.metrics.sets) == (0, 0)
    assert "can keep no name" in caplog.text
    store.cache.close()


@pytest.fixture(scope="module")
def url():
    yield from started(run_valkey())


@pytest.mark.parametrize("kind", ["redis", "disk"])
def test_a_life_without_end(kind, tmp_path, request):
    def make(seconds: float) -> Any:
        if kind == "disk":
            return DiskCache(tmp_path / "c", ttl_seconds=seconds)
        return RedisCache(request.getfixturevalue("url"), prefix=f"{tmp_path.name}:", ttl_seconds=seconds)

    for seconds in (math.inf, 1e300, 0):
        cache = make(seconds)
        store = CachedStore(MemoryStore(collection=SAMPLES), cache)
        store.save(Sample("a"))
        assert store.get("a") == Sample("a")
        assert store.metrics.hits == 1
        cache.set("b", b"1", ttl_seconds=seconds or math.inf)
        assert cache.get("b") == b"1"
        cache.set("b", b"1", ttl_seconds=math.nan)
        assert cache.get("b") is None
        assert (cache.metrics.errors, cache.metrics.available) == (0, True)
        cache.clear()
        cache.close()
    for wrong in (-1, math.nan):
        with pytest.raises(ValueError, match="ttl_seconds"):
            make(wrong)


def test_warming_passes_over_what_is_removed_meanwhile(tmp_path):
    class Removing(WrapperStore[Any]):
        def scan(self, query, *, collection, bodies=False, options=NONE):
            for record in super().scan(query, collection=collection, bodies=bodies, options=options):
                if record.id == "b":
                    self._base.delete_record("b", collection=collection)
                yield record

    base = MemoryStore(collection=SAMPLES)
    base.save_many([Sample(id) for id in "abc"])
    store = CachedStore(Removing(base), DiskCache(tmp_path / "c"))
    assert store.warm() == 2
    assert store.get_many(["a", "c"]).keys() == {"a", "c"}
    assert store.metrics.hits == 2
    store.cache.close()
