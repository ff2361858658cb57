"""`save_many` beside the loop that it replaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.measure import Figure, progress, race
from benchmarks.places import Durability, Places
from truthstore.backends.filesystem import FileSystemStore


def figures(places: Places) -> Iterator[Figure]:
    """Both durabilities."""
    yield _save_many(places, "os", 1.5)
    yield _save_many(places, "fsync", 2)


def _save_many(places: Places, durability: Durability, wanted: float) -> Figure:
    rounds = 2
    part = places.middle
    progress(f"saving {part:,} results one by one and together, {rounds + 1} times, {durability}")
    with (
        FileSystemStore(base_path=places.path(f"many-{durability}"), durability=durability) as together,
        FileSystemStore(base_path=places.path(f"loop-{durability}"), durability=durability) as single,
    ):

        def loop(chunk: Sequence[Any]) -> None:
            for one in chunk:
                single.save(one)

        found = race(together.save_many, loop, rounds=rounds, inputs=lambda count: [places.new_results(part)] * count)
    return Figure(
        f'`save_many` of {part:,}, `durability="{durability}"`',
        "a loop of `save`",
        1 / found.ratio,
        "at least",
        wanted,
        "× faster",
        found.detail,
    )
