"""Keys change while the store is in use: nothing is lost, nothing is under the old key, and whoever is killed is followed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from tests.encryption.conftest import result
from truthstore import RESULTS, stack
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.caching import CachedStore
from truthstore.compression import CompressedStore
from truthstore.encryption import EncryptedStore, MemoryKeys, generate_key
from truthstore.encryption.datakeys import KEYS
from truthstore.errors import StoreConfigError, StoreError
from truthstore.testing import FaultyStore
from truthstore.testing.suite.concurrency import start_child
from truthstore.versioning import VersionedStore

OLD, NEW = generate_key(), generate_key()


def key_ids(base: Any, collection: Any = RESULTS) -> set[str]:
    return {head.meta.encodings[-1].partition(":")[2] for head in base.collection(collection).entries()}


def test_everything_is_under_the_new_key():
    base = MemoryStore()
    layers = (CompressedStore, VersionedStore, CachedStore)
    store: Any = stack(base, lambda b: EncryptedStore(b, OLD), *layers)
    for number in (1, 1, 2):
        store.save(result(number), message="why")
    store.delete("run-2")
    before = key_ids(base)
    assert store.get("run-1") == result(1)
    store = stack(base, lambda b: EncryptedStore(b, MemoryKeys(NEW, OLD)), *layers)
    done = store.rotate()
    assert done.unfinished == ()
    history = VersionedStore.history_of(RESULTS)
    assert key_ids(base) == key_ids(base, history) == {done.key_id}
    assert before.isdisjoint({done.key_id})
    # The old key is not needed any more.
    store = stack(base, lambda b: EncryptedStore(b, NEW), *layers)
    assert store.get("run-1") == store.get("run-1", version=1) == result(1)
    assert [info.message for info in store.get_version_history("run-1")] == ["why", "why"]
    store.rollback("run-2", 1)
    assert store.get("run-2") == result(2)
    with pytest.raises(StoreConfigError):
        EncryptedStore(base, OLD).get("run-1")
    assert store.verify().ok


@pytest.mark.parametrize("index", ["plain", "hashed"])
def test_questions_are_answered_as_before(index: str):
    base = MemoryStore()
    store: Any = stack(base, lambda b: EncryptedStore(b, OLD, index=index, text="hashed"), CompressedStore)
    store.save_many(map(result, range(5)))
    before = store.checks.query(), store.query(), [head.meta for head in store.entries()]
    assert store.rotate().rewritten == 5
    assert (store.checks.query(), store.query(), [head.meta for head in store.entries()]) == before
    assert store.verify().ok


def test_a_cache_above_hears_of_it():
    base = MemoryStore()
    store: Any = CachedStore(EncryptedStore(base, OLD))
    store.save(result(1))
    head = store.head("run-1")
    store.rotate()
    again = store.get_record("run-1", collection=RESULTS)
    assert again.revision != head.revision
    store.save(result(1), expect=again.revision)


def test_it_is_done_piece_by_piece():
    base = MemoryStore()
    store = EncryptedStore(base, OLD)
    store.save_many(map(result, range(20)))
    begun = store.rotate(budget=0)
    assert begun.unfinished == ("results",)
    store.save(result(100))
    assert begun.key_id in key_ids(base)
    another = EncryptedStore(base, OLD)
    assert another.maintain()["rotated"] == 20
    assert key_ids(base) == {begun.key_id}
    assert "rotated" not in another.maintain()
    assert another.rotate().key_id != begun.key_id


@pytest.mark.parametrize("kind", ["before", "after"])
def test_a_fault_between_any_two_steps_loses_nothing(kind: Any):
    for fail_at in range(1, 200):
        data = MemoryData()
        store = EncryptedStore(MemoryStore(data=data), OLD)
        store.save_many(map(result, range(3)))
        faulty = FaultyStore(MemoryStore(data=data))
        rotating = EncryptedStore(faulty, MemoryKeys(NEW, OLD))
        faulty.plan.arm(fail_at, kind)
        with suppress(StoreError):
            rotating.rotate()
        failed = not faulty.plan.disarm()
        fresh = EncryptedStore(MemoryStore(data=data), MemoryKeys(NEW, OLD))
        assert {item.run_id: item for item in fresh.query()} == {f"run-{n}": result(n) for n in range(3)}
        done = fresh.rotate()
        assert done.unfinished == ()
        assert key_ids(MemoryStore(data=data)) == {done.key_id}
        assert EncryptedStore(MemoryStore(data=data), NEW).get("run-1") == result(1)
        if not failed:
            return
    pytest.fail("a rotation of three items takes more than two hundred calls")


def test_a_kill_at_any_write_loses_nothing(tmp_path):
    """A forked process is killed before each of its writes in turn; the next goes on where it stopped."""
    place = tmp_path / "s"

    def opened(keys: Any, base: Any = None) -> EncryptedStore[Any]:
        return EncryptedStore(base or FileSystemStore(base_path=place, durability="os"), keys)

    with opened(OLD) as store:
        store.save_many(map(result, range(4)))
    done = False
    for kill_at in range(1, 40):

        def work(kill_at: int = kill_at) -> None:
            class Deadly(FileSystemStore[Any]):
                writes = 0

                def put_records(self, *args: Any, **options: Any) -> Any:
                    Deadly.writes += 1
                    if Deadly.writes == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return super().put_records(*args, **options)

            opened(MemoryKeys(NEW, OLD), Deadly(base_path=place, durability="os")).rotate()

        _, status = os.waitpid(start_child(work), 0)
        done = os.waitstatus_to_exitcode(status) == 0
        with opened(MemoryKeys(NEW, OLD)) as store:
            assert store.query() == [result(number) for number in (3, 2, 1, 0)]
            if not done:
                assert store.rotate().unfinished == ()
                assert store.count() == len(store.list_ids()) == 4
            assert len(key_ids(store.base)) == 1
        if done:
            break
    assert done
    with opened(NEW) as store:
        assert store.query() == [result(number) for number in (3, 2, 1, 0)]


def test_a_writer_of_before_loses_nothing():
    """A process that has the old data key in its hands writes with it while another one rotates."""
    data = MemoryData()
    old = EncryptedStore(MemoryStore(data=data), OLD)
    old.save(result(1))
    EncryptedStore(MemoryStore(data=data), OLD).rotate()
    old.save(result(2))
    fresh = EncryptedStore(MemoryStore(data=data), OLD)
    assert fresh.get("run-2") == result(2)
    done = fresh.rotate()
    assert key_ids(MemoryStore(data=data)) == {done.key_id}


def test_two_first_writers_share_a_key():
    data = MemoryData()
    for number in range(3):
        EncryptedStore(MemoryStore(data=data), OLD).save(result(number))
    assert len(key_ids(MemoryStore(data=data))) == 1
    assert "current" in MemoryStore(data=data).collection(KEYS).list_ids()
