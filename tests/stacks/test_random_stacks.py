"""Layers in any order that makes sense, over every backend: the state machine drives them, and no operation is lost."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from tests.stacks.backends import KINDS, POOLED, Place, backend, parameters
from truthstore import BaseStore, StoreQuery, WrapperStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.backpressure import BackpressureStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, CacheMode, DiskCache, LRUCache
from truthstore.caching.backends import TTLCache
from truthstore.compression import CompressedStore
from truthstore.encryption import EncryptedStore, generate_key
from truthstore.migration import MigratingStore, MigrationRegistry
from truthstore.observability import AuditConfig, MetricsConfig, ObservabilityConfig, ObservableStore
from truthstore.replication import ReplicaTarget, ReplicatedStore
from truthstore.retention import CountBasedPolicy, CustomPolicy, RetentionStore
from truthstore.store.schedule import Schedule
from truthstore.testing import SAMPLES, Sample, StoreMachine
from truthstore.tiering import CustomTierPolicy, StorageTier, TieredStore
from truthstore.versioning import VersionedStore

Layer = Callable[[BaseStore[Any]], BaseStore[Any]]


class PassingStore(WrapperStore[Any]):
    """Changes nothing."""


KEY = generate_key()


def observable(base: BaseStore[Any]) -> BaseStore[Any]:
    return ObservableStore(base, ObservabilityConfig(audit=AuditConfig(level="verbose", batch_size=5)))


def retaining(base: BaseStore[Any]) -> BaseStore[Any]:
    """Judges everything after every save; one policy lets all items go, the other keeps them."""
    policies = [CustomPolicy(lambda _: False, "nothing"), CountBasedPolicy(10_000)]
    return RetentionStore(base, policies=policies, mode="any", cleanup_interval_hours=1e-9)


def replicated(base: BaseStore[Any], **options: Any) -> BaseStore[Any]:
    """Has a replica that is new whenever the store is made, and is brought to the same state at once."""
    target = ReplicaTarget("replica", MemoryStore(collection=SAMPLES))
    return ReplicatedStore(
        base, targets=[target], mode="sync", delivery_interval_seconds=None, durability="os", **options
    )


def tiered(base: BaseStore[Any], cold: MemoryData | None = None) -> BaseStore[Any]:
    """Half of the items lie in a colder tier after every save, and come back when they are saved again."""
    below = StorageTier("cold", MemoryStore(collection=SAMPLES, data=cold), priority=1)
    policy = CustomTierPolicy("hot", "cold", lambda item: len(item.item_id) % 2 == 0)
    return TieredStore(base, colder=[below], policies=[policy], schedule=Schedule(interval_hours=1e-9))


# Innermost first: each may be there or not.
LAYERS: dict[str, Layer] = {
    "encrypted": lambda base: EncryptedStore(base, KEY, text="hashed"),
    "compressed": lambda base: CompressedStore(base, algorithm="lz4"),
    "replicated": replicated,
    "passing": PassingStore,
    "migrating": lambda base: MigratingStore(base, MigrationRegistry()),
    "tiered": tiered,
    "versioned": VersionedStore,
    "retention": retaining,
    "batched": lambda base: BatchedStore(base, max_batch_size=3, flush_interval_seconds=None),
    "batched durably": lambda base: BatchedStore(base, durable=True, durability="os", flush_interval_seconds=None),
    "backpressure": lambda base: BackpressureStore(base, max_concurrency=2, timeout_seconds=5),
    "read through": lambda base: CachedStore(base, LRUCache(max_size=3), mode=CacheMode.READ_THROUGH),
    "read write": lambda base: CachedStore(base, TTLCache(ttl_seconds=60), mode=CacheMode.READ_WRITE),
    "cache aside": lambda base: CachedStore(base, mode=CacheMode.CACHE_ASIDE),
    "revalidated": lambda base: CachedStore(base, LRUCache(max_size=3), revalidate=True),
    "write behind": lambda base: CachedStore(
        BatchedStore(base, durable=True, durability="os", flush_interval_seconds=None), mode=CacheMode.WRITE_BEHIND
    ),
    "observable": observable,
    "measured": lambda base: ObservableStore(
        base,
        ObservabilityConfig(audit=AuditConfig(backend="memory"), metrics=MetricsConfig(registry=CollectorRegistry())),
    ),
}


KEEPS_ELSEWHERE = {
    "encrypted": "an open store goes on with its key of hashes for a minute, and others make one: its page says so",
    "replicated": "the replica is another place, and has the items",
    "tiered": "the other tier is another place, and has the items that moved",
}
"""Layers under which an emptied place is no empty store, and why."""


class RandomStacks(StoreMachine):
    """The state machine over a stack that is drawn; a subclass makes the places."""

    # An independent reader would have to share the queue of write-behind.
    independent = False
    can_empty = False

    def __init__(self) -> None:
        self._names: list[str] = []
        self._cold: dict[Place, MemoryData] = {}
        super().__init__()

    @initialize(names=st.lists(st.sampled_from(list(LAYERS)), unique=True, max_size=5))
    def open(self, names: Sequence[str] = ()) -> None:
        self._names = sorted(names, key=list(LAYERS).index)
        self.can_empty = not KEEPS_ELSEWHERE.keys() & set(names)
        super().open()

    def make_store(self, location: Place) -> BaseStore[Sample]:
        store: BaseStore[Any] = location(SAMPLES)
        for name in self._names:
            is_tiered = name == "tiered"
            store = tiered(store, self._cold.setdefault(location, MemoryData())) if is_tiered else LAYERS[name](store)
        return store

    def empty_location(self, location: Place, way: int) -> None:
        """Empty the place, and those caches that may show what others removed until it expires."""
        location.empty(way)
        for handle in self._handles:
            for layer in handle.store.layers():
                if isinstance(layer, CachedStore) and not layer._revalidates:
                    layer.invalidate_all()

    def rebuilt(self) -> Container[int]:
        """Of several tiers, only some may have an index."""
        return range(len(self._model) + 1) if "tiered" in self._names else super().rebuilt()

    def waiting_ids(self, store: BaseStore[Sample]) -> Iterable[str]:
        """Return what waits in the queues of the stack: it is stored in the empty place."""
        boxes = [layer._outbox for layer in store.layers() if isinstance(layer, BatchedStore)]
        return [entry.key for box in boxes for entry in box.queue.pending(box.topic(SAMPLES))]


@pytest.fixture(autouse=True, scope="module")
def own_folder():
    folder = tempfile.mkdtemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", parameters((*KINDS, POOLED)))
def test_random_stacks(kind: str, tmp_path: Path):
    profile = settings()
    near = kind in {"memory", "filesystem", "log", "sqlite"}
    with backend(kind, tmp_path / "places", apart=True) as new:

        class Stacks(RandomStacks):
            def make_location(self) -> Place:
                return new()

        run_state_machine_as_test(
            Stacks,
            settings=settings(
                # Each step looks at everything in every way: on a server some hundred requests or queries.
                max_examples=max(5, profile.max_examples // 3) if near else max(3, profile.max_examples // 20),
                stateful_step_count=20 if near else 10,
                deadline=None,
                phases=[phase for phase in profile.phases if phase is not Phase.explain],
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.data_too_large,
                    HealthCheck.filter_too_much,
                    HealthCheck.function_scoped_fixture,
                ],
            ),
        )


def ignore(changes: object) -> None:
    """Nothing."""


def public_operations() -> list[str]:
    names = [name for name, _ in inspect.getmembers(BaseStore) if not name.startswith("_")]
    return [name for name in names if name not in {"name", "OPTIONS"}]


CALLS: dict[str, Callable[[Any], Any]] = {
    "save": lambda s: s.save(Sample("z")),
    "get": lambda s: s.get("a"),
    "head": lambda s: s.head("a").meta.tags,
    "exists": lambda s: (s.exists("a"), s.exists("no")),
    "delete": lambda s: (s.delete("c"), s.delete("no")),
    "save_many": lambda s: s.save_many([Sample("x"), Sample("y")]),
    "get_many": lambda s: s.get_many(["a", "b"]),
    "delete_many": lambda s: s.delete_many(["b", "no"]),
    "list_ids": lambda s: s.list_ids(StoreQuery(order_by="id")),
    "query": lambda s: s.query(StoreQuery(where={"count": (">=", 2)})),
    "iter_query": lambda s: list(s.iter_query(batch_size=1)),
    "entries": lambda s: [entry.id for entry in s.entries(StoreQuery(order_by="id"))],
    "count": lambda s: s.count(),
    "scan_revisions": lambda s: [one.id for one in s.scan_revisions(StoreQuery(order_by="id"), collection=SAMPLES)],
    "held_ids": lambda s: s.held_ids(StoreQuery(), collection=SAMPLES),
    "clear": lambda s: s.clear(StoreQuery(ids=["a"])),
    "get_latest": lambda s: s.get_latest("orders"),
    "list_runs": lambda s: sorted(s.list_runs("orders")),
    "asset_history": lambda s: len(s.asset_history("orders")),
    "get_failures": lambda s: s.get_failures(),
    "list_assets": lambda s: s.list_assets(),
    "distinct": lambda s: s.distinct("count"),
    "aggregate": lambda s: s.aggregate(metrics=("count", "sum:count")),
    "subscribe": lambda s: s.subscribe(ignore),
    "maintain": lambda s: isinstance(s.maintain(), dict),
    "verify": lambda s: s.verify().ok,
    "rebuild_index": lambda s: isinstance(s.rebuild_index(), int),
    "health_check": lambda s: s.health_check().healthy,
    "stats": lambda s: s.stats()["items"],
    "initialize": lambda s: s.initialize(),
    "collection": lambda s: s.collection(SAMPLES).count(),
    "layer": lambda s: s.layer(MemoryStore).name,
    "layers": lambda s: len(list(s.layers())) > 0,
    "close": lambda s: s.close(),
}
# Versioned stores answer otherwise, a layer may not know, a layer without copies has none to change; the rest are no
# operations, or questions about the checks of results: tests/checks asks them of stacks.
ELSEWHERE = {
    "collection_names",  # layers with a state of their own add theirs
    *("get_history", "definitely_absent", "change_copies", "copied_ids", "identity", "sealed", "opened"),
    *("checks", "compare", "compare_latest", "acknowledge", "protect", "forget", "open_run", "iter_checks"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_no_wrapper_lacks_an_operation(name: str):
    """Every public operation answers through every wrapper what it answers without."""
    told = {
        operation
        for operation in public_operations()
        if not operation.endswith(("_record", "_records", "_rows", "scan", "scan_ids"))
    }
    assert told - CALLS.keys() - ELSEWHERE == set()
    for operation, call in CALLS.items():
        bare, wrapped = MemoryStore(collection=SAMPLES), LAYERS[name](MemoryStore(collection=SAMPLES))
        for store in (bare, wrapped):
            for number, id in enumerate("abc"):
                store.save(Sample(id, data_asset="orders", status="failure", count=number))
        assert call(wrapped) == call(bare), operation
        assert wrapped._lifecycle.closed or wrapped.list_ids(StoreQuery(order_by="id")) == bare.list_ids(
            StoreQuery(order_by="id")
        ), operation
        wrapped.close()


def test_layers_of_a_yaml_file(tmp_path, monkeypatch):
    from truthstore import open_store

    path = tmp_path / "truthstore.yaml"
    path.write_text(
        "backend: memory\nlayers:\n"
        "  - {layer: 'truthstore.caching:CachedStore', mode: read_write, max_size: 5}\n"
        "  - truthstore.observability:ObservableStore\n"
    )
    with open_store(path) as store:
        assert store.layer(CachedStore).mode is CacheMode.READ_WRITE
        assert store.layer(ObservableStore).audit.query() == []


def test_a_disk_cache_outlives_its_process(tmp_path):
    def make() -> CachedStore[Sample]:
        base = FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os")
        return CachedStore(base, DiskCache(tmp_path / "cache"))

    with make() as store:
        store.save(Sample("a"))
        store.cache.close()
    with make() as store:
        assert store.get("a") == Sample("a")
        assert store.metrics.hits == 1
        store.cache.close()
