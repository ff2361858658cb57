"""Tiers: the newest results over three of them, and a get that finds its result in the first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.measure import Figure, race
from benchmarks.places import Places
from benchmarks.workload import result, results
from truthstore import StoreQuery
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.tiering import StorageTier, TieredStore

NEWEST = StoreQuery(limit=50)


def figures(places: Places, each: int = 30_000) -> Iterator[Figure]:
    """Time against one store of as many results, and against the store below."""

    def store(name: str) -> FileSystemStore[Any]:
        return FileSystemStore(base_path=places.path(name), durability="os")

    one, tiers = store("tiers-one"), [store(f"tiers-{number}") for number in range(3)]
    one.save_many(results(3 * each))
    for number, tier in enumerate(tiers):
        tier.save_many(results(each, (2 - number) * each))  # the newest are hot
    hot_first = [StorageTier(str(number), tier, priority=number) for number, tier in enumerate(tiers)]
    tiered: TieredStore[Any] = TieredStore(hot_first)
    found = race(lambda _: tiered.query(NEWEST), lambda _: one.query(NEWEST), rounds=places.rounds(60), calls=3)
    yield Figure(
        f"newest 50 over three tiers of {each:,}",
        f"the same of one store of {3 * each:,}",
        found.ratio,
        "at most",
        1.3,
        "×",
        found.detail,
    )
    one.close()
    tiered.close()

    base: Any = MemoryStore()
    above = TieredStore(base)
    base.save(result(1))
    id = result(1).run_id
    found = race(lambda _: above.get(id), lambda _: base.get(id), rounds=places.rounds(200), calls=500)
    yield Figure(
        "get through tiers, of what lies in the first",
        "get without them (memory store)",
        found.difference * 1e6,
        "at most",
        1,
        "µs more",
        found.detail,
    )
