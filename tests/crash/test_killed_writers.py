"""A writer that is killed at any moment loses nothing that it acknowledged, and leaves nothing half done."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child
from tests.crash.witness import Witness
from tests.crash.writers import IDS, State, after, counts, steps, take
from truthstore.backends.filesystem import FileSystemStore
from truthstore.model.query import StoreQuery
from truthstore.testing.sample import SAMPLES, Sample

KILLS = 200


def writer(folder: Path, seed: int) -> Callable[[Callable[[Any], None]], None]:
    def work(say: Callable[[Any], None]) -> None:
        durability: Literal["os", "fsync"] = "os" if seed % 3 else "fsync"
        store = FileSystemStore(base_path=folder, collection=SAMPLES, durability=durability)
        for number, step in enumerate(steps(seed)):
            take(store, step)
            say(number)

    return work


def test_200_kills_lose_nothing(folder: Path, open_store: OpenFolder):
    moment = random.Random(7)
    state: State = {}
    acknowledged = done = 0
    with Witness(folder, IDS) as witness:
        for seed in range(KILLS):
            child = Child(writer(folder, seed))
            heard = [child.hear() for _ in range(moment.randrange(6))]
            # Not to wait for anything: the moment of death shall be any.
            time.sleep(moment.uniform(0, 0.003))
            child.kill(signal.SIGKILL)
            heard += child.hear_all()
            assert child.wait() == -signal.SIGKILL
            assert heard == list(range(len(heard)))
            *known, doubtful = steps(seed)[: len(heard) + 1]
            for step in known:
                state = after(state, step)
            in_doubt = after(state, doubtful)
            with open_store() as newcomer:
                # Every way of asking comes first at times, in a store that was open and in one that is opened now.
                ways = [partial(witness.contents, seed // 2), partial(contents, newcomer, IDS, first=seed // 2)]
                for way in ways if seed % 2 else reversed(ways):
                    found = counts(way())
                    assert found in (state, in_doubt), f"kill {seed}: after {known[-1:]}, during {doubtful}"
                    done += found != state
                    state = found
                for id, count in state.items():
                    assert newcomer.list_ids(StoreQuery(where={"count": count}, ids=[id])) == [id]
                assert newcomer.verify().ok
            acknowledged += len(heard)
    # A kill between two operations, or always before the first, would show nothing.
    assert acknowledged > KILLS
    assert done > 0


def test_writers_that_live_on_lose_nothing_by_the_death_of_another(folder: Path, open_store: OpenFolder):
    def save_own(say: Callable[[Any], None]) -> list[str]:
        with FileSystemStore(base_path=folder, collection=SAMPLES) as mine:
            ids: list[str] = []
            for n in range(200):
                ids.append(mine.save(Sample(f"own-{n:03d}", count=n)))
                assert mine.list_ids(StoreQuery(ids=ids[-3:], order_by="id", ascending=True)) == ids[-3:]
                if n % 20 == 0:
                    say(n)
            return ids

    survivor = open_store()
    living = Child(save_own)
    kills = 0
    moment = random.Random(3)
    while living.hear() is not None:
        for _ in range(3):
            child = Child(writer(folder, kills))
            for _ in range(moment.randrange(1, 4)):
                child.hear()
            time.sleep(moment.uniform(0, 0.002))
            child.kill(signal.SIGKILL)
            child.hear_all()
            assert child.wait() == -signal.SIGKILL
            kills += 1
    own = living.result()
    assert kills > 20
    for reader in (survivor, open_store()):
        found = contents(reader, IDS)
        assert sorted(id for id in found if id.startswith("own-")) == own
        assert reader.verify().ok
