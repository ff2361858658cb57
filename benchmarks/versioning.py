"""Versions: what the first one costs, and finding those of one item among many others."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.filesystem import TURN
from benchmarks.measure import Figure, progress, race
from benchmarks.places import Durability, Places
from benchmarks.workload import result
from truthstore import ValidationResult
from truthstore.backends.filesystem import FileSystemStore
from truthstore.versioning import VersionedStore

VERSIONS = 5


def figures(places: Places) -> Iterator[Figure]:
    """First saves in files, then a history."""
    yield _first_save(places, "os")
    yield _first_save(places, "fsync")
    yield _history(places)


def _first_save(places: Places, durability: Durability) -> Figure:
    with (
        FileSystemStore(base_path=places.path(f"plain-{durability}"), durability=durability) as plain,
        VersionedStore(
            FileSystemStore(base_path=places.path(f"versioned-{durability}"), durability=durability)
        ) as kept,
    ):
        found = race(kept.save, plain.save, rounds=places.rounds(5), calls=TURN, inputs=places.new_results)
    return Figure(
        f'first version of an item, `durability="{durability}"`',
        "save without versions",
        found.ratio,
        "at most",
        1.4,
        detail=found.detail,
    )


def _history(places: Places) -> Figure:
    store = VersionedStore(FileSystemStore(base_path=places.path("history"), durability="os"), track_changes=False)
    others = places.many // VERSIONS
    progress(f"saving {VERSIONS} versions of {others:,} items")
    for _ in range(VERSIONS):
        store.save_many(map(_small, range(others)))
    ids = [_small(number * 37 % others).run_id for number in range(20)]
    found = race(
        store.get_version_history,
        store.get,
        rounds=places.rounds(30),
        calls=20,
        inputs=lambda _: ids,
    )
    store.close()
    return Figure(
        f"history of one item, among {places.many:,} versions of others",
        "getting it",
        found.ours * 1e3,
        "at most",
        5,
        "ms",
        found.detail,
    )


def _small(number: int) -> ValidationResult:
    """A result without checks: what is measured is how it is found."""
    one = result(number)
    return ValidationResult(one.run_id, one.run_time, one.data_asset, one.status, tags=one.tags)
