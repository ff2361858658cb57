"""The guide's whole stack over memory, and a cache hit beside decoding the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.by_hand import decode, encode
from benchmarks.measure import Figure, race
from benchmarks.places import Places
from benchmarks.workload import result
from truthstore import BaseStore
from truthstore.backends.memory import MemoryStore
from truthstore.caching import CachedStore, CacheMode, LRUCache
from truthstore.caching.backends import TTLCache
from truthstore.observability import AuditConfig, MetricsConfig, ObservabilityConfig, ObservableStore
from truthstore.versioning import VersionedStore, VersioningConfig


def figures(places: Places) -> Iterator[Figure]:
    """The stack, then the caches."""
    yield from _stack(places)
    yield _hit(places, "LRU", LRUCache(max_size=1_000), 1.3)
    yield _hit(places, "TTL", TTLCache(max_size=1_000, ttl_seconds=3_600), 1.5)


def guide_stack(base: BaseStore[Any]) -> ObservableStore[Any]:
    """Versions, a cache, an audit trail and metrics, as in the guide's "Composing Features"."""
    versioned = VersionedStore(base, VersioningConfig(max_versions=10))
    cached = CachedStore(versioned, LRUCache(max_size=1_000, ttl_seconds=3_600), mode=CacheMode.READ_WRITE)
    config = ObservabilityConfig(audit=AuditConfig(), metrics=MetricsConfig(registry=CollectorRegistry()))
    return ObservableStore(cached, config)


def _stack(places: Places) -> Iterator[Figure]:
    bare = MemoryStore()
    stack = guide_stack(MemoryStore())
    one = result(1)
    bare.save(one)
    stack.save(one)
    got = race(lambda _: stack.get(one.run_id), lambda _: bare.get(one.run_id), rounds=places.rounds(200), calls=200)
    yield Figure(
        "get through versions, cache, audit and metrics (a hit)",
        "get without them (memory store)",
        got.ratio,
        "at most",
        2,
        detail=got.detail,
    )
    saved = race(stack.save, bare.save, rounds=places.rounds(200), calls=20, inputs=places.new_results)
    yield Figure(
        "save through versions, cache, audit and metrics",
        "save without them (memory store)",
        saved.difference * 1e6,
        "at most",
        100,
        "µs more",
        saved.detail,
    )
    stack.close()


def _hit(places: Places, name: str, cache: Any, wanted: float) -> Figure:
    store = CachedStore(MemoryStore(), cache)
    one = result(1)
    store.save(one)
    body = encode(one)
    found = race(lambda _: store.get(one.run_id), lambda _: decode(body), rounds=places.rounds(200), calls=200)
    return Figure(f"cache hit, {name}", "decoding alone", found.ratio, "at most", wanted, detail=found.detail)
