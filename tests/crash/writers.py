"""What writers do that are killed, and what a store then holds: always the same for one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from truthstore.store.store import BaseStore
from truthstore.testing.sample import Sample

IDS = [f"id-{i:02d}" for i in range(24)]

Step = tuple[str, list[str], int]
"""An operation, the ids that it concerns, and the count that it writes."""
State = dict[str, int]


def steps(seed: int, ids: Sequence[str] = IDS, many: int = 8) -> list[Step]:
    """What one writer does with some ids, several of them at a time where it writes many."""
    chosen = random.Random(seed)
    operations = chosen.choices(["save", "delete", "save_many", "delete_many"], [6, 3, 2, 1], k=400)
    return [
        (name, chosen.sample(ids, many if name.endswith("many") else 1), 1_000 * seed + n)
        for n, name in enumerate(operations)
    ]


def a_sample(id: str, count: int) -> Sample:
    return Sample(
        id, count=count, name=f"name {count}", note=f"word{count} of {id}", details={"padding": str(count) * 300}
    )


def take(store: BaseStore[Any], step: Step) -> None:
    name, ids, count = step
    if name == "save":
        store.save(a_sample(ids[0], count))
    elif name == "save_many":
        store.save_many(a_sample(id, count) for id in ids)
    elif name == "delete":
        store.delete(ids[0])
    else:
        store.delete_many(ids)


def after(state: State, step: Step) -> State:
    """What a store holds after a step."""
    name, ids, count = step
    if name.startswith("save"):
        return {**state, **dict.fromkeys(ids, count)}
    return {id: held for id, held in state.items() if id not in ids}


def counts(found: dict[str, Sample]) -> State:
    """The counts of some items by id."""
    for id, sample in found.items():
        assert sample.count is not None
        assert sample == a_sample(id, sample.count), "a document of two writes"
    return {id: sample.count for id, sample in found.items() if sample.count is not None}
