"""Faults and other writers at every step: no version and no number is lost."""

from __future__ import annotations

import pytest

from tests.versioning.doubles import known, save_version
from truthstore import (
    ABSENT,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
)
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.testing import SAMPLES, FaultyStore, Sample, SimulatedCrashError
from truthstore.testing.suite.case import at_once
from truthstore.versioning import (
    VersionedStore,
)
from truthstore.versioning.meta import history_of


@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
@pytest.mark.parametrize("operation", ["save", "delete", "purge", "delete head", "rollback", "first"])
def test_a_fault_at_every_step_loses_no_version_and_no_number(operation, kind):
    """Whatever was acknowledged is there, in the same order; the next save goes on."""
    for fail_at in range(1, 30):
        data = MemoryData()
        with VersionedStore(MemoryStore(collection=SAMPLES, data=data)) as store:
            store.save_many(Sample("a", count=n) for n in (1, 2, 3))
        faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=data))
        store = VersionedStore(faulty)
        store.initialize()
        steps = {
            "save": lambda store=store: store.save(Sample("a", count=4)),
            "first": lambda store=store: store.save(Sample("b", count=4)),
            "delete": lambda store=store: store.delete("a"),
            "purge": lambda store=store: store.delete("a", delete_all_versions=True),
            "delete head": lambda store=store: store.delete("a", version=3),
            "rollback": lambda store=store: store.rollback("a", 1),
        }
        faulty.plan.arm(fail_at, kind)
        acknowledged = False
        try:
            steps[operation]()
            acknowledged = True
        except (StoreConflictError, StoreNotFoundError):
            raise  # a storage that fails is neither
        except (StoreError, SimulatedCrashError):
            pass
        finished = faulty.plan.disarm()
        store = VersionedStore(MemoryStore(collection=SAMPLES, data=data))
        versions = {n: store.get("a", version=n).count for n in store.list_versions("a")}
        head = store.get("a").count if store.exists("a") else None
        old, new = {
            "save": (({3: 3, 2: 2, 1: 1}, 3), ({4: 4, 3: 3, 2: 2, 1: 1}, 4)),
            "first": (({3: 3, 2: 2, 1: 1}, 3), ({3: 3, 2: 2, 1: 1}, 3)),
            "delete": (({3: 3, 2: 2, 1: 1}, 3), ({3: 3, 2: 2, 1: 1}, None)),
            "purge": (({3: 3, 2: 2, 1: 1}, 3), ({}, None)),
            "delete head": (({3: 3, 2: 2, 1: 1}, 3), ({2: 2, 1: 1}, 2)),
            "rollback": (({3: 3, 2: 2, 1: 1}, 3), ({4: 1, 3: 3, 2: 2, 1: 1}, 1)),
        }[operation]
        assert (versions, head) in ([new] if acknowledged else [old, new]), (fail_at, kind)
        before = store.list_versions("a")
        store.save(Sample("a", count=9))
        assert store.list_versions("a")[1:] == before
        assert store.get("a").count == 9
        store.delete("a", delete_all_versions=True)
        store.maintain()
        left = store.base.collection(history_of(SAMPLES)).list_ids()
        assert left == []
        if not finished:
            break
    else:
        pytest.fail("the operation has more steps than were tried")


def test_a_removal_that_was_cut_short_is_finished_by_maintenance():
    data = MemoryData()
    store = VersionedStore(MemoryStore(collection=SAMPLES, data=data))
    store.save_many(Sample("a", count=n) for n in range(5))
    for fail_at in range(1, 40):
        faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=data))
        dying = VersionedStore(faulty)
        dying.list_versions("a")
        faulty.plan.arm(fail_at, "crash-before")
        with pytest.raises(SimulatedCrashError):
            dying.delete("a", delete_all_versions=True)
        store = VersionedStore(MemoryStore(collection=SAMPLES, data=data))
        if not store.exists("a"):
            break
    assert known(store) == []
    assert store.base.collection(history_of(SAMPLES)).count() == 4
    store.maintain()
    assert store.base.collection(history_of(SAMPLES)).count() == 0
    assert store.list_ids(StoreQuery(include_deleted=True)) == []


def test_savers_and_removers_of_one_id_agree_on_its_numbers(reopen):
    store = reopen()
    made: list[int] = []

    def work(thread: int) -> None:
        for n in range(15):
            if thread % 3 == 0:
                store.delete("a")
            else:
                made.append(save_version(store, Sample("a", count=n)).version)

    at_once(work, 6)
    assert len(set(made)) == len(made)
    assert sorted(made, reverse=True) == store.list_versions("a")


def test_removing_all_versions_while_others_save_leaves_no_trace_of_the_old(reopen):
    store = reopen()

    def work(thread: int) -> None:
        for n in range(10):
            if thread == 0:
                store.delete("a", delete_all_versions=True)
            else:
                store.save(Sample("a", count=n))

    at_once(work, 4)
    store.delete("a", delete_all_versions=True)
    assert store.base.collection(history_of(SAMPLES)).list_ids() == []
    store.save(Sample("a"), expect=ABSENT)
    assert store.list_versions("a") == [1]
