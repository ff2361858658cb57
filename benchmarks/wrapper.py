"""What a layer that changes nothing costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import Figure, race
from benchmarks.places import Places
from benchmarks.workload import result
from truthstore import WrapperStore
from truthstore.backends.memory import MemoryStore


class Unchanged(WrapperStore[Any]):
    """Forwards everything."""


def figures(places: Places) -> Iterator[Figure]:
    """The same calls with and without a layer."""
    store = MemoryStore()
    wrapped = Unchanged(store)
    one = result(1)
    store.save(one)
    operations: list[tuple[str, float, Callable[[Any], object], Callable[[Any], object]]] = [
        ("get", 1, lambda _: wrapped.get(one.run_id), lambda _: store.get(one.run_id)),
        ("save", 2, lambda _: wrapped.save(one), lambda _: store.save(one)),
    ]
    for name, wanted, with_layer, without in operations:
        found = race(with_layer, without, rounds=places.rounds(200), calls=500)
        yield Figure(
            f"{name} through a wrapper that changes nothing",
            f"{name} without it (memory store)",
            found.difference * 1e6,
            "at most",
            wanted,
            "µs more",
            found.detail,
        )
