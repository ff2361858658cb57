"""Saves that wait: in front of a store that is down, and in front of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.measure import Figure, race
from benchmarks.places import Durability, Places
from truthstore import BaseStore, Record, StoreConnectionError, WrapperStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore


class DeadStore(WrapperStore[Any]):
    """Cannot be reached."""

    def put_records(self, records: Sequence[Record], **_: Any) -> list[Record]:
        """Raise the error that a server which is down causes."""
        raise StoreConnectionError("dead", "connection refused")


def figures(places: Places) -> Iterator[Figure]:
    """Durable saves in front of a dead store beside saves to a folder, then saves to it in batches."""
    yield _dead(places, "fsync", 1)
    yield _dead(places, "os", 2)  # every few hundred saves SQLite waits for the disk, files do not
    yield _batches(places)


def _dead(places: Places, durability: Durability, wanted: float) -> Figure:
    dead: BaseStore[Any] = DeadStore(MemoryStore())
    path = places.path(f"queue-{durability}.db")
    waiting = BatchedStore(dead, durable=True, path=path, durability=durability)
    with places.store(places.middle, durability) as store:
        found = race(waiting.save, store.save, rounds=places.rounds(9), calls=200, inputs=places.new_results)
    waiting.close()
    return Figure(
        f'durable save in front of a store that is down, `durability="{durability}"`',
        f'save to the filesystem store, `durability="{durability}"`',
        found.ratio,
        "at most",
        wanted,
        detail=found.detail,
    )


def _batches(places: Places) -> Figure:
    with places.store(places.middle, "fsync") as store, places.store(places.middle, "fsync") as below:
        waiting = BatchedStore(below, max_batch_size=100)
        found = race(waiting.save, store.save, rounds=places.rounds(9), calls=200, inputs=places.new_results)
        waiting.flush()
    return Figure(
        "save in batches of 100 to the filesystem store",
        "save to it one by one",
        1 / found.ratio,
        "at least",
        3,
        "× faster",
        found.detail,
    )
