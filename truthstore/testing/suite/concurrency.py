"""Part of the store suite: threads, two stores at one place, and processes. No test here waits or measures time."""

from __future__ import annotations

import os
import traceback
import warnings
from functools import partial
from typing import TYPE_CHECKING

import pytest

from truthstore.errors import StoreConflictError, StoreNotFoundError
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT
from truthstore.testing.sample import SAMPLES, Sample, make_samples
from truthstore.testing.suite.case import THREADS, StoreCase, at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from truthstore.store.store import BaseStore
    from truthstore.testing.suite.case import OpenStore

__all__ = ["ConcurrencyTests", "start_child", "wait_for_child"]


def start_child(work: Callable[[], object]) -> int:
    """Start some work in a forked process and return its number.

    No other thread may be inside the store meanwhile: a lock that it held would stay locked in the child for ever.
    """
    with warnings.catch_warnings():
        # From Python 3.12 on, fork warns of any other thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    try:  # pragma: no cover  # in another process
        work()
    except BaseException:  # the child must never return into pytest
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # pragma: no cover


def wait_for_child(child: int) -> None:
    """Wait for a process that `start_child` started and fails if its work failed."""
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the forked process failed: see its traceback above"


def increment(store: BaseStore[Sample], id: str) -> None:
    """Add one by compare-and-set, until it succeeds."""
    while True:
        revision = store.head(id).revision
        sample = store.get(id)
        sample.count = (sample.count or 0) + 1
        try:
            store.save(sample, expect=revision)
        except StoreConflictError:
            continue
        return


class ConcurrencyTests(StoreCase):
    """Threads, two stores at one place, and processes."""

    def test_threads_save_and_read_side_by_side(self, store: BaseStore[Sample]):
        def work(number: int) -> None:
            for i in range(10):
                id = f"{number}-{i}"
                store.save(Sample(id, count=i, data_asset=f"asset {number}"))
                assert store.get(id).count == i
                assert id in store.list_ids(StoreQuery(data_asset=f"asset {number}"))
            store.delete(f"{number}-0")

        at_once(work)
        assert sorted(store.list_ids()) == sorted(f"{n}-{i}" for n in range(THREADS) for i in range(1, 10))
        assert store.verify().ok

    def test_of_threads_that_create_one_id_one_wins(self, store: BaseStore[Sample]):
        for turn in range(5):
            id = f"turn {turn}"

            def create(number: int, id: str = id) -> bool:
                try:
                    store.save(Sample(id, count=number), expect=ABSENT)
                except StoreConflictError:
                    return False
                return True

            winners = [number for number, won in enumerate(at_once(create)) if won]
            assert len(winners) == 1
            assert store.get(id).count == winners[0]
            assert [(s.id, s.count) for s in store.query(StoreQuery(ids=[id]))] == [(id, winners[0])]

    def test_compare_and_set_loses_no_increment(self, store: BaseStore[Sample]):
        store.save(Sample("counter", count=0))

        def work(number: int) -> None:
            for _ in range(5):
                increment(store, "counter")

        at_once(work)
        assert store.get("counter").count == 5 * THREADS
        assert store.head("counter").meta.fields["count"] == 5 * THREADS
        assert store.list_ids(StoreQuery(where={"count": 5 * THREADS})) == ["counter"]

    def test_of_threads_that_delete_one_item_one_did(self, store: BaseStore[Sample]):
        store.save(Sample("a"))
        assert at_once(lambda _: store.delete("a")).count(True) == 1
        assert store.list_ids() == []

    def test_overwriting_shows_one_whole_item_or_another(self, store: BaseStore[Sample]):
        def item(number: int) -> Sample:
            return Sample("a", count=number, name=f"name {number}", details={"padding": str(number) * 1_000})

        store.save(item(0))

        def work(number: int) -> None:
            for _ in range(10):
                if number % 2:
                    store.save(item(number))
                else:
                    got = store.get("a")
                    assert got == item(got.count or 0)
                    (found,) = store.query()
                    assert found == item(found.count or 0)

        at_once(work)
        last = store.get("a")
        assert store.head("a").meta.fields["count"] == last.count
        assert store.list_ids(StoreQuery(where={"count": last.count})) == ["a"]

    def test_saving_and_deleting_one_id_leaves_one_answer(self, store: BaseStore[Sample]):
        def work(number: int) -> None:
            for i in range(10):
                if number % 2:
                    store.save(Sample("a", count=i))
                else:
                    store.delete("a")

        at_once(work)
        assert store.list_ids() == (["a"] if store.exists("a") else [])
        assert store.count() == len(store.list_ids())
        assert store.verify().ok

    def test_two_stores_at_one_place_see_each_other_s_writes(self, open_store: OpenStore):
        self._need(self.concurrent, "one store at a time")
        one, two = open_store(SAMPLES), open_store(SAMPLES)
        one.initialize()
        two.initialize()
        one.save(Sample("a", count=1))
        assert two.get("a").count == 1
        assert two.list_ids() == ["a"]
        two.save(Sample("a", count=2), expect=two.head("a").revision)
        two.save(Sample("b"))
        assert one.get("a").count == 2
        assert sorted(one.list_ids()) == ["a", "b"]
        assert one.count(StoreQuery(where={"count": 2})) == 1
        with pytest.raises(StoreConflictError):
            one.save(Sample("b"), expect=ABSENT)
        assert one.delete("b")
        assert not two.exists("b")
        assert two.list_ids() == ["a"]
        with pytest.raises(StoreNotFoundError):
            two.get("b")
        assert two.clear(everything=True) == 1
        assert one.count() == 0

    def test_stores_of_threads_race_fairly(self, open_store: OpenStore):
        self._need(self.concurrent, "one store at a time")
        stores = [open_store(SAMPLES) for _ in range(4)]
        stores[0].save(Sample("counter", count=0))

        def work(number: int) -> None:
            for i in range(4):
                increment(stores[number], "counter")
                stores[number].save(Sample(f"{number}-{i}"), expect=ABSENT)

        at_once(work, len(stores))
        for store in stores:
            assert store.get("counter").count == 16
            assert store.count() == 17
            assert store.verify().ok

    def test_a_forked_process_can_save_and_its_parent_reads(self, store: BaseStore[Sample]):
        self._need(self.shared_between_processes and hasattr(os, "fork"), "kept by one process")
        store.save(Sample("before"))

        def work() -> None:
            assert store.get("before") == Sample("before")
            store.save(Sample("child"))
            store.save_many(make_samples(10))
            assert store.count() == 12

        wait_for_child(start_child(work))
        assert store.get("child") == Sample("child")
        assert store.count() == 12
        store.save(Sample("after"), expect=ABSENT)
        assert store.verify().ok

    def test_processes_that_count_lose_nothing(self, store: BaseStore[Sample]):
        self._need(self.shared_between_processes and hasattr(os, "fork"), "kept by one process")
        store.save(Sample("counter", count=0))

        def count() -> None:
            for _ in range(10):
                increment(store, "counter")

        children = [start_child(count), start_child(count)]
        try:
            count()
        finally:
            for child in children:
                wait_for_child(child)
        assert store.get("counter").count == 30
        assert store.list_ids(StoreQuery(where={"count": 30})) == ["counter"]

    def test_revisions_of_forked_processes_differ(self, store: BaseStore[Sample]):
        self._need(self.shared_between_processes and hasattr(os, "fork"), "kept by one process")
        store.save(Sample("a"))
        for id in ("b", "c"):
            wait_for_child(start_child(partial(store.save, Sample(id))))
        store.save(Sample("d"))
        assert len({head.revision for head in store.entries()}) == 4

    def test_rows_that_another_store_wrote_are_found(self, open_store: OpenStore):
        self._need(self.concurrent, "one store at a time")
        ours, others = open_store(SAMPLES), open_store(SAMPLES)
        for number, store in enumerate([ours, others, ours, others]):
            store.save(Sample(f"s-{number}", note="some words"))
            for reader in (ours, others):
                assert len(list(reader.scan_rows(StoreQuery(), collection=SAMPLES))) == 2 * (number + 1)

    @staticmethod
    def _need(able: bool, reason: str) -> None:  # noqa: FBT001
        if not able:
            pytest.skip(reason)
