"""Methods of layers on the outermost store: found where one layer has them, and named where none does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from truthstore import StoreConfigError, StoreQuery, get_store, stack
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore
from truthstore.observability import ObservableStore
from truthstore.results import ResultStatus, ValidationResult
from truthstore.retention import RetentionConfig, RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore

OUTER = {
    "alone": (),
    "cached": (CachedStore,),
    "batched": (BatchedStore,),
    "all": (lambda s: RetentionStore(s, TimeBasedPolicy(90)), BatchedStore, CachedStore, ObservableStore),
}


@pytest.mark.parametrize("outer", OUTER.values(), ids=OUTER)
def test_versions_are_reached_through_a_stack(outer: Any):
    with stack(MemoryStore(collection=SAMPLES), VersionedStore, *outer) as store:
        top: Any = store
        store.save(Sample("a", count=1), message="first")
        store.save(Sample("a", count=2))
        assert top.list_versions("a") == [2, 1], "what waits was stored"
        assert store.get("a").count == 2
        top.rollback("a", version=1)
        assert store.get("a").count == 1
        assert [info.message for info in top.get_version_history("a")][-1] == "first"


def test_a_method_acts_on_the_collection_of_the_store_on_which_it_is_called():
    outermost: Any = CachedStore(VersionedStore(MemoryStore()))
    samples = outermost.collection(SAMPLES)
    samples.save(Sample("a"))
    assert samples.list_versions("a") == [1]
    assert outermost.list_versions("a") == []


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        ("rollback", "VersionedStore"),
        ("list_versions", "VersionedStore"),
        ("run_cleanup", "RetentionStore"),
        ("plan", "RetentionStore"),
        ("quarantined", "RetentionStore"),
        ("rejected", "BatchedStore"),
        ("invalidate_all", "CachedStore"),
    ],
)
@pytest.mark.parametrize("outer", [(), (ObservableStore,)])
def test_a_method_of_a_layer_that_is_not_there_names_it(method: str, layer: str, outer: Any):
    store = stack(MemoryStore(), *outer)
    assert not hasattr(store, method)
    with pytest.raises(AttributeError, match=layer) as error:
        getattr(store, method)
    assert method in str(error.value)


def test_of_two_layers_that_have_it_none_is_chosen():
    store: Any = ObservableStore(CachedStore(BatchedStore(MemoryStore())))
    with pytest.raises(AttributeError, match=r"CachedStore and BatchedStore.*store\.layer\(BatchedStore\)\.flush"):
        store.flush()
    store.close()


def test_a_method_of_the_backend_is_asked_of_the_backend():
    store: Any = VersionedStore(MemoryStore(collection=SAMPLES))
    store.save(Sample("a"))
    with pytest.raises(AttributeError, match=r"store\.layer\(MemoryStore\)\.clear_all"):
        store.clear_all()
    assert store.exists("a")


def test_what_nobody_has_is_an_ordinary_attribute_error():
    store: Any = CachedStore(MemoryStore())
    for name in ("lits_ids", "_private", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"'CachedStore' object has no attribute '{name}'"):
            getattr(store, name)


def result(run_id: str, **tags: str) -> ValidationResult:
    when = datetime.now(UTC) - timedelta(days=len(run_id))
    return ValidationResult(run_id, when, "orders", ResultStatus.SUCCESS, tags=tags)


def test_clearing_all_is_asked_for(tmp_path):
    for store in (get_store("memory"), stack(get_store("filesystem", base_path=tmp_path), VersionedStore, CachedStore)):
        store.save(result("a"))
        for wrong in (store.clear, lambda: store.clear(StoreQuery(), everything=True)):  # noqa: B023  # called in this turn
            with pytest.raises(TypeError, match="everything=True"):
                wrong()
        assert store.exists("a")
        assert store.clear(StoreQuery(data_asset="customers")) == 0
        assert store.clear(everything=True) == 1
        assert store.count() == 0
        store.close()


@pytest.mark.parametrize("hold", [{"excluded_tags": {"hold": "yes"}}, {"excluded_assets": ["orders"]}])
@pytest.mark.parametrize("outer", [(), (CachedStore, ObservableStore), (BatchedStore,)])
def test_clearing_respects_holds(hold: Any, outer: Any):
    held = RetentionStore(MemoryStore(), TimeBasedPolicy(90), **hold)
    with stack(held, *outer) as store:
        store.save_many([result("held", hold="yes")])
        kept = ["held"]
        if "excluded_tags" in hold:
            store.save_many([result("a"), result("b", hold="no")])
        assert store.clear(everything=True) == (2 if "excluded_tags" in hold else 0)
        assert store.clear(StoreQuery(data_asset="orders")) == 0
        assert store.list_ids() == kept


def test_a_head_shows_its_fields(tmp_path):
    with get_store("filesystem", base_path=tmp_path) as store:
        store.save(result("a", team="x"))
    with get_store("filesystem", base_path=tmp_path) as store:
        for head in (store.head("a"), next(iter(store.entries()))):
            assert "'data_asset': 'orders'" in repr(head)
            assert "'team': 'x'" in repr(head)


@pytest.mark.parametrize(
    ("misspelt", "right"),
    [
        (lambda base: CachedStore(base, mod="read_write"), "'mode'"),
        (lambda base: CachedStore(base, max_sise=3), "'max_size'"),
        (lambda base: RetentionStore(base, TimeBasedPolicy(1), cleanup_interval=3), "'cleanup_interval_hours'"),
        (lambda base: RetentionStore(base, polices=[]), "'policies'"),
        (lambda base: RetentionStore(base, TimeBasedPolicy(1), exclude_tags=["hold"]), "'excluded_tags'"),
        (lambda base: VersionedStore(base, max_version=3), "'max_versions'"),
        (lambda base: BatchedStore(base, max_batchsize=3), "'max_batch_size'"),
        (lambda base: ObservableStore(base, adit=None), "'audit'"),
    ],
)
def test_a_misspelt_option_of_a_layer_names_the_nearest_of_that_layer(misspelt: Any, right: str):
    with pytest.raises(TypeError, match=right):
        misspelt(MemoryStore())


@pytest.mark.parametrize(
    ("options", "why"),
    [({"message": "x"}, "belongs to VersionedStore"), ({"masage": "x"}, "it takes none")],
)
def test_an_option_of_a_layer_that_is_not_there_names_it(options: Any, why: str):
    store = CachedStore(MemoryStore(collection=SAMPLES))
    with pytest.raises(TypeError, match=why):
        store.save(Sample("a"), **options)
    with pytest.raises(TypeError, match="did you mean 'message'"):
        VersionedStore(store.base).save(Sample("a"), mesage="x")
    assert not store.exists("a")


@pytest.mark.parametrize("options", [{}, {"policies": []}, {"excluded_tags": ["hold"]}, {"config": RetentionConfig()}])
def test_retention_without_a_policy_is_refused(options: Any):
    with pytest.raises(StoreConfigError, match="policy"):
        RetentionStore(MemoryStore(), **options)
