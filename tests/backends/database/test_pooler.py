"""PostgreSQL behind a pooler in transaction mode: each transaction may run on another connection of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.processes import at_once
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
