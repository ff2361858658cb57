"""Part of the store suite: ids of every kind, and the separation of places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from truthstore.errors import StoreKeyError, StoreNotFoundError
from truthstore.items.expectations import SUITES, ExpectationSuite
from truthstore.items.results import RESULTS
from truthstore.model.collection import Collection
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT
from truthstore.testing.sample import SAMPLES, Sample
from truthstore.testing.strategies import NASTY_IDS, ids
from truthstore.testing.suite.case import StoreCase
from truthstore.testing.suite.items import a_result

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore
    from truthstore.testing.suite.case import OpenStore

__all__ = ["IdTests"]

BAD_IDS = ("", "x" * 1_025, "nul\0", "line\nbreak", "tab\t", "\x7f", "\x85", "\ud800", "a\udfffb")


class IdTests(StoreCase):
    """Ids of every kind, and the separation of places."""

    def test_any_id_can_be_used(self, store: BaseStore[Sample]):
        for i, id in enumerate(NASTY_IDS):
            assert store.save(Sample(id, count=i), expect=ABSENT) == id
        for i, id in enumerate(NASTY_IDS):
            assert store.exists(id)
            assert store.get(id) == Sample(id, count=i)
            assert store.head(id).id == id
        assert store.list_ids(StoreQuery(order_by="id", ascending=True)) == sorted(NASTY_IDS)
        assert store.list_ids(StoreQuery(order_by="count", ascending=True)) == list(NASTY_IDS)
        assert store.list_ids(StoreQuery(ids=NASTY_IDS, order_by="count", ascending=True)) == list(NASTY_IDS)
        assert list(store.get_many(NASTY_IDS)) == list(NASTY_IDS)
        assert store.verify().ok

    def test_any_id_can_be_deleted_alone(self, store: BaseStore[Sample]):
        store.save_many(Sample(id) for id in NASTY_IDS)
        left = set(NASTY_IDS)
        for id in NASTY_IDS[::2]:
            assert store.delete(id) is True
            left.remove(id)
            assert not store.exists(id)
        assert set(store.list_ids()) == left
        assert all(store.exists(id) for id in left)

    @settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture])
    @given(some=st.lists(ids(), min_size=1, max_size=5, unique=True))
    def test_no_two_ids_are_confused(self, some: list[str], store: BaseStore[Sample]):
        store.clear(everything=True)
        for i, id in enumerate(some):
            store.save(Sample(id, count=i), expect=ABSENT)
        assert [store.get(id).count for id in some] == list(range(len(some)))
        assert store.delete(some[0])
        assert sorted(store.list_ids()) == sorted(some[1:])

    @pytest.mark.parametrize("id", BAD_IDS, ids=ascii)
    def test_ids_that_cannot_be_used(self, id: str, store: BaseStore[Sample]):
        for operation in (
            lambda: store.save(Sample(id)),
            lambda: store.get(id),
            lambda: store.head(id),
            lambda: store.exists(id),
            lambda: store.delete(id),
            lambda: store.get_many([id]),
            lambda: store.delete_many([id]),
        ):
            with pytest.raises(StoreKeyError):
                operation()
        assert store.count() == 0

    def test_collections_are_apart(self, open_store: OpenStore):
        results = open_store(RESULTS)
        suites = results.collection(SUITES)
        results.save(a_result("same"))
        assert not suites.exists("same")
        assert suites.list_ids() == []
        suites.save(ExpectationSuite.create("same", "orders"), expect=ABSENT)
        suites.save(ExpectationSuite.create("other", "customers"))
        assert results.get("same") == a_result("same")
        assert suites.get("same").data_asset == "orders"
        assert (results.count(), suites.count()) == (1, 2)
        assert results.list_assets() == ["orders"]
        assert suites.list_assets() == ["customers", "orders"]
        assert suites.clear(everything=True) == 2
        assert results.list_ids() == ["same"]
        assert results.collection(RESULTS).list_ids() == ["same"]

    def test_collections_whose_names_look_like_ids_are_apart(self, open_store: OpenStore):
        samples = open_store(SAMPLES)
        other: Collection[Any] = Collection.of(Sample, name="samples_2", index={"count": int})
        own: Collection[Any] = Collection(
            Sample,
            name=SAMPLES.derived("notes"),
            id="id",
            index={"count": int},
            time=None,
            tags=None,
            text=(),
            lookups=None,
            enc_hook=None,
            dec_hook=None,
        )
        stores = [samples, samples.collection(other), samples.collection(own)]
        names = ["_samples_2", "samples_2", "_samples.notes", "samples.notes", "_samples", "a"]
        for i, store in enumerate(stores):
            store.save_many(Sample(name, count=i) for name in names)
        for i, store in enumerate(stores):
            assert sorted(store.list_ids()) == sorted(names)
            assert {store.get(name).count for name in names} == {i}
        stores[0].clear(everything=True)
        assert [store.count() for store in stores] == [0, len(names), len(names)]

    def test_namespaces_are_apart(self, open_store: OpenStore):
        if not self.namespaces:
            pytest.skip("has no namespaces")
        names = ["default", "Default", "other", "../default", "default/other", "_samples", "ünïcode"]
        stores = {name: open_store(SAMPLES, namespace=name) for name in names}
        for name, store in stores.items():
            store.save(Sample("same", name=name), expect=ABSENT)
            store.save(Sample(name))
        for name, store in stores.items():
            assert sorted(store.list_ids()) == sorted({"same", name})
            assert store.get("same").name == name
        stores["default"].clear(everything=True)
        assert stores["other"].exists("same")
        with pytest.raises(StoreNotFoundError):
            stores["default"].get("same")
