"""Part of the store suite: opening, watching, checking and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from truthstore.errors import StoreClosedError, StoreConflictError
from truthstore.items.expectations import SUITES
from truthstore.items.results import RESULTS
from truthstore.model.record import ABSENT, Change
from truthstore.testing.sample import SAMPLES, Sample, make_samples
from truthstore.testing.suite.case import StoreCase
from truthstore.testing.suite.items import a_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from truthstore.store.store import BaseStore
    from truthstore.testing.suite.case import OpenStore

__all__ = ["LifeTests"]


class LifeTests(StoreCase):
    """Opening, watching, checking and closing."""

    def test_it_persists(self, store: BaseStore[Sample], location: Any, open_store: OpenStore):
        if not self.persistent:
            pytest.skip("keeps nothing beyond its own life")
        store.save_many(make_samples())
        store.save(Sample("gone"))
        store.delete("gone")
        heads = list(store.entries())
        store.close()
        again = open_store(SAMPLES)
        assert [(head.id, head.revision, head.meta) for head in again.entries()] == [
            (head.id, head.revision, head.meta) for head in heads
        ]
        for sample in make_samples():
            assert repr(again.get(sample.id)) == repr(sample)
        assert not again.exists("gone")
        last = self.reopen(again, location, collection=SAMPLES)
        assert last.count() == len(heads)
        last.close()

    def test_a_context_manager_opens_and_closes(self, location: Any):
        with self.make_store(location) as store:
            store.save(a_result())
            assert store.exists("run_1")
        with pytest.raises(StoreClosedError):
            store.exists("run_1")

    def test_a_closed_store_refuses_everything(self, open_store: OpenStore):
        store = open_store(RESULTS)
        view = store.collection(SUITES)
        store.initialize()
        store.close()
        store.close()
        operations: list[Callable[[], object]] = [
            store.initialize,
            lambda: store.save(a_result()),
            lambda: store.save_many([a_result()]),
            lambda: store.get("a"),
            lambda: store.get_many(["a"]),
            lambda: store.head("a"),
            lambda: store.exists("a"),
            lambda: store.delete("a"),
            lambda: store.delete_many(["a"]),
            store.list_ids,
            store.query,
            lambda: list(store.iter_query()),
            lambda: list(store.entries()),
            store.count,
            store.clear,
            lambda: store.get_latest("orders"),
            store.list_assets,
            store.aggregate,
            store.verify,
            store.rebuild_index,
            store.maintain,
            store.stats,
            lambda: view.get("a"),
        ]
        for operation in operations:
            with pytest.raises(StoreClosedError):
                operation()
        assert not store.health_check()
        assert "closed" in store.health_check().message

    def test_a_healthy_store_says_so(self, filled: BaseStore[Sample]):
        health = filled.health_check()
        assert health.healthy
        assert health.backend
        assert health.message == ""

    def test_it_verifies_itself(self, filled: BaseStore[Sample]):
        verification = filled.verify()
        assert verification.ok, verification
        assert verification.checked == filled.count()

    def test_its_figures(self, filled: BaseStore[Sample]):
        stats = filled.stats()
        assert stats["collection"] == "samples"
        assert stats["items"] == filled.count() == len(make_samples())
        assert stats["bytes"] == sum(head.meta.size for head in filled.entries())

    def test_a_rebuilt_index_answers_alike(self, filled: BaseStore[Sample]):
        before = list(filled.entries())
        assert filled.rebuild_index() in {0, len(before)}
        assert list(filled.entries()) == before

    def test_maintenance_changes_nothing_that_is_kept(self, filled: BaseStore[Sample]):
        ids = filled.list_ids()
        filled.maintain()
        filled.maintain(budget=0.1)
        assert filled.list_ids() == ids
        with pytest.raises(ValueError):
            filled.maintain(budget=-1)

    def test_changes_are_announced(self, store: BaseStore[Sample]):
        seen: list[Change] = []

        def watch(changes: Sequence[Change]) -> None:
            for change in changes:
                # What is announced can be read.
                assert store.exists(change.id) == (change.revision is not None)
            seen.extend(change for change in changes if change.collection == "samples")

        store.subscribe(watch)
        store.save(Sample("a"))
        assert seen == [Change("samples", "a", store.head("a").revision)]
        seen.clear()
        with pytest.raises(StoreConflictError):
            store.save(Sample("a"), expect=ABSENT)
        assert seen == []
        store.save_many([Sample("b"), Sample("c")])
        assert {(change.id, change.revision) for change in seen} == {
            (head.id, head.revision) for head in store.entries() if head.id != "a"
        }
        seen.clear()
        store.delete("nothing")
        assert seen == []
        store.delete("a")
        store.delete_many(["b", "nothing"])
        assert {change.id for change in seen} == {"a", "b"}

    def test_subscribers_are_not_kept_alive_and_cannot_fail_a_write(self, store: BaseStore[Sample]):
        calls: list[int] = []

        def forgotten(changes: Sequence[Change]) -> None:
            calls.append(len(changes))

        def broken(changes: Sequence[Change]) -> None:
            raise RuntimeError(f"cannot take {len(changes)} changes")

        store.subscribe(forgotten)
        store.subscribe(broken)
        del forgotten
        store.save(Sample("a"))
        assert store.exists("a")
        assert calls == []
