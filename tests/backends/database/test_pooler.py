"""PostgreSQL behind a pooler in transaction mode: each transaction may run on another connection of the server."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.processes import Child, at_once
from tests.crash.writers import IDS, State, Step, after, counts, steps, take
from tests.services.databases import Place, new_place
from tests.services.pgbouncer import pgbouncer
from tests.services.postgresql import PostgreSQL
from tests.services.process import started
from truthstore import StoreQuery, get_store
from truthstore.backends.database import DatabaseStore
from truthstore.model.collection import Collection
from truthstore.model.record import ABSENT
from truthstore.testing import SAMPLES, Sample

pytestmark = pytest.mark.xdist_group("postgresql-16")


@pytest.fixture(scope="module")
def pooler(postgresql_16: PostgreSQL) -> Iterator[PostgreSQL]:
    yield from started(pgbouncer(postgresql_16))


@pytest.fixture
def place(pooler: PostgreSQL) -> Place:
    return new_place(pooler.url)


ROUNDS = 20
WRITERS = 3
FEW = IDS[:12]
OWN = [FEW[number::WRITERS] for number in range(WRITERS)]
"""The ids of each writer."""


def collection(number: int) -> Collection[Sample]:
    return Collection.of(Sample, name=f"pooled_{number}", index={"count": int, "name": str}, tags="tags")


def test_four_processes_with_tables_of_their_own_find_what_they_saved(place: Place):
    def work(number: int) -> list[str]:
        with place.open(collection(number), table_prefix=f"p{number}_") as mine:
            ids = [mine.save(Sample(f"{number}-{i:03d}", count=number, tags={"n": str(number)})) for i in range(100)]
            assert [id for id in ids if mine.get(id).count != number] == []
            return ids

    saved = at_once(work, 4)
    for number, ids in enumerate(saved):
        with place.open(collection(number), table_prefix=f"p{number}_") as reader:
            assert sorted(reader.list_ids()) == ids
            assert reader.count(StoreQuery(tags={"n": str(number)})) == 100


def test_everything_that_a_store_does_works(place: Place):
    with place.open(SAMPLES) as store, place.open(SAMPLES, namespace="other") as other:
        for count in range(12):
            store.save(Sample("a", count=count), expect=store.head("a").revision if count else ABSENT)
            other.save_many(Sample(str(n), count=count, note="some words") for n in range(20))
        assert store.get("a").count == 11
        assert other.count(StoreQuery(text="words", where={"count": 11})) == 20
        assert other.delete_many(map(str, range(20))) == 20


def start_writer(place: Place, todo: Sequence[Step]) -> Child:
    def work(say: Callable[[Any], None]) -> None:
        store = place.open(SAMPLES)
        for number, step in enumerate(todo):
            take(store, step)
            say(number)

    return Child(work)


def kill_all(children: Sequence[Child], moment: random.Random) -> list[int]:
    """Kill each at a moment of its own, while the others go on; how many steps each has acknowledged."""
    heard = [[child.hear() for _ in range(moment.randrange(4))] for child in children]
    for number in moment.sample(range(WRITERS), WRITERS):
        time.sleep(moment.uniform(0, 0.01))
        children[number].kill(signal.SIGKILL)
        heard[number] += children[number].hear_all()
        assert children[number].wait() == -signal.SIGKILL
        assert heard[number] == list(range(len(heard[number])))
    return list(map(len, heard))


def settled(store: DatabaseStore[Sample], first: int, states: Sequence[Sequence[State]]) -> list[State]:
    """What the store holds of each writer, one of some states each, when every way of asking agrees on it.

    The server may still have to commit what a dead writer sent last.
    """
    end = time.monotonic() + 10
    while True:
        try:
            found = counts(contents(store, FEW, first=first))
            of_each = [{id: count for id, count in found.items() if id in own} for own in OWN]
            assert all(found in possible for found, possible in zip(of_each, states, strict=True)), (of_each, states)
        except AssertionError:
            if time.monotonic() > end:
                raise
        else:
            return of_each


def test_sixty_kills_of_three_writers_lose_nothing(place: Place):
    moment = random.Random(11)
    held: list[State] = [{} for _ in OWN]
    acknowledged = done = 0
    with place.open(SAMPLES) as reader:
        for round in range(ROUNDS):
            todo = [steps(WRITERS * round + number, own, many=3) for number, own in enumerate(OWN)]
            heard = kill_all([start_writer(place, mine) for mine in todo], moment)
            acknowledged += sum(heard)
            for number, mine in enumerate(todo):
                for step in mine[: heard[number]]:
                    held[number] = after(held[number], step)
            doubtful = [mine[number] for mine, number in zip(todo, heard, strict=True)]
            in_doubt = set(chain.from_iterable(ids for _, ids, _ in doubtful))
            certain = {id: count for state in held for id, count in state.items() if id not in in_doubt}
            others = [id for id in FEW if id not in in_doubt]
            with place.open(SAMPLES) if round % 4 == 0 else nullcontext(reader) as store:
                assert counts(store.get_many(others, missing="skip")) == certain
                assert sorted(store.list_ids(StoreQuery(ids=others))) == sorted(certain)
                assert store.count(StoreQuery(ids=others)) == len(certain)
                states = [[state, after(state, step)] for state, step in zip(held, doubtful, strict=True)]
                found = settled(store, round, states)
            done += sum(now != before for now, before in zip(found, held, strict=True))
            held = found
        assert reader.verify().ok
    # A kill between two operations, or always before the first, would show nothing.
    assert acknowledged > ROUNDS * WRITERS
    assert done > 0


def prepare_threshold(url: str) -> int | None:
    with get_store(url) as store:
        found: int | None = store.layer(DatabaseStore).execute_with_retry(lambda c: c.connection.prepare_threshold)
        return found


def test_statements_are_prepared_on_the_server_itself_alone(postgresql_16: PostgreSQL, pooler: PostgreSQL):
    assert prepare_threshold(postgresql_16.url) == 5
    assert prepare_threshold(pooler.url) is None


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("0", 0), ("none", None), ("None", None), ("null", None)])
def test_the_url_decides_what_is_prepared(text: str, value: int | None, postgresql_16: PostgreSQL, pooler: PostgreSQL):
    for server in (postgresql_16, pooler):
        assert prepare_threshold(f"{server.url}?prepare_threshold={text}") == value
