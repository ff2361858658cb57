"""Writers in other processes, one of whom is slow: nothing comes back that was deleted, and nothing newer goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.versioning.doubles import SlowHistory, known
from truthstore import StoreNotFoundError
from truthstore.backends.memory import MemoryStore
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore
from truthstore.versioning.meta import history_of, version_id


@pytest.fixture
def base() -> MemoryStore[Any]:
    return MemoryStore(collection=SAMPLES)


@pytest.fixture
def store(base: MemoryStore[Any]) -> VersionedStore[Any]:
    return VersionedStore(base)


@pytest.fixture
def slow(base: MemoryStore[Any]) -> VersionedStore[Any]:
    return VersionedStore(SlowHistory(base))


def meanwhile(slow: VersionedStore[Any], action: Callable[[], object]) -> None:
    slow.layer(SlowHistory).meanwhile = action


def test_a_copy_keeps_the_revision_of_its_head(store):
    heads = []
    for count in (1, 2, 3):
        store.save(Sample("a", count=count))
        heads.append(store.head("a"))
    assert [store.head("a", version=number) for number in (1, 2, 3)] == heads
    store.rollback("a", 1)
    assert store.head("a").revision not in {head.revision for head in heads}


def test_the_same_write_given_twice_is_one_version(store):
    store.save(Sample("a", count=1))
    record = SAMPLES.encode(Sample("a", count=2))
    first = store.put_record(record, collection=SAMPLES)
    assert store.put_record(record, collection=SAMPLES) == first
    assert store.list_versions("a") == [2, 1]


def test_a_slow_saver_does_not_bring_back_a_deleted_version(store, slow):
    store.save_many([Sample("a", count=1), Sample("a", count=2)])
    meanwhile(slow, lambda: store.delete("a", delete_all_versions=True))
    slow.save(Sample("a", count=9))
    assert [info.version for info in known(store)] == [1]
    assert store.base.collection(history_of(SAMPLES)).count() == 0


def test_a_slow_saver_goes_on_after_others(store, slow):
    store.save(Sample("a", count=1))
    meanwhile(slow, lambda: store.save_many([Sample("a", count=2), Sample("a", count=3)]))
    slow.save(Sample("a", count=4))
    assert [(n, store.get("a", version=n).count) for n in store.list_versions("a")] == [(4, 4), (3, 3), (2, 2), (1, 1)]


def test_a_slow_delete_with_all_versions_spares_an_item_that_began_again(store, slow):
    store.save_many([Sample("a", count=1), Sample("a", count=2)])

    def begin_again() -> None:
        store.delete("a", delete_all_versions=True)
        store.save_many([Sample("a", count=8), Sample("a", count=9)])

    meanwhile(slow, begin_again)
    assert slow.delete("a", delete_all_versions=True)
    assert [(info.version, store.get("a", version=info.version).count) for info in known(store)] == [(2, 9), (1, 8)]


def test_a_save_finishes_a_delete_that_was_cut_short(store, slow):
    store.save_many([Sample("a", count=1), Sample("a", count=2)])

    def die() -> None:
        raise KeyboardInterrupt

    meanwhile(slow, die)
    with pytest.raises(KeyboardInterrupt):
        slow.delete("a", delete_all_versions=True)
    assert known(store) == []
    with pytest.raises(StoreNotFoundError):
        store.get("a", version=1)
    assert not store.delete("a", version=1)
    store.save(Sample("a", count=7))
    assert [info.version for info in known(store)] == [1]
    assert store.base.collection(history_of(SAMPLES)).count() == 0


def test_a_copy_of_another_head_under_the_same_number_is_replaced(store):
    """A crash left it, before the item was deleted with all its versions and began again."""
    store.save_many([Sample("a", count=1), Sample("a", count=2), Sample("a", count=3)])
    history = history_of(SAMPLES)
    left = store.base.get_record(version_id("a", 2), collection=history)
    store.delete("a", delete_all_versions=True)
    store.save_many([Sample("a", count=5), Sample("a", count=6)])
    store.base.put_record(left, collection=history)
    assert [info.version for info in known(store)] == [2, 1]
    store.save(Sample("a", count=7))
    assert [(n, store.get("a", version=n).count) for n in store.list_versions("a")] == [(3, 7), (2, 6), (1, 5)]
