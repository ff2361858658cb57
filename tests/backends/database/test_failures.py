"""The database store when things go wrong: many writers, lost connections, commits in doubt, a server that is away."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from traceback import format_exception
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from tests.crash.processes import Child, Gate, at_once
from tests.services.databases import Place, new_place
from tests.services.dropping import DroppingProxy
from tests.services.postgresql import free_port
from truthstore import (
    StoreBulkError,
    StoreConflictError,
    StoreConnectionError,
    StoreNotFoundError,
    StoreOverloadedError,
    StoreQuery,
    StoreWriteError,
)
from truthstore.backends.database import DatabaseStore, PoolingConfig
from truthstore.model.collection import Collection
from truthstore.model.record import ABSENT
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import increment

BY_ID = StoreQuery(order_by="id", ascending=True)
QUICK = PoolingConfig(retry_base_delay=0.01)


class Server(NamedTuple):
    port: int
    url: str


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    one = request.getfixturevalue("postgresql_18" if request.param == "postgresql" else "mariadb_server")
    return Server(one.port, one.url)


@pytest.fixture
def proxy(server: Server) -> Iterator[DroppingProxy]:
    proxy = DroppingProxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def place_of(server: Server) -> Place:
    return new_place(server.url)


@pytest.fixture
def store(server: Server, place_of: Place, proxy: DroppingProxy) -> Iterator[DatabaseStore[Any]]:
    """A store whose connections go through the proxy."""
    with through(proxy, server, place_of).open(SAMPLES, pooling=QUICK) as store:
        yield store


def through(proxy: DroppingProxy, server: Server, place: Place) -> Place:
    """The same place, by way of the proxy."""
    return place._replace(url=server.url.replace(f":{server.port}/", f":{proxy.port}/"))


# Many writers.


def test_four_processes_save_250_results_each_and_all_are_found(place: Place):
    def work(number: int) -> list[str]:
        with place.open(SAMPLES) as mine:
            return [
                mine.save(Sample(f"{number}-{i:03d}", count=number, tags={"writer": str(number)}, note="some words"))
                for i in range(250)
            ]

    acknowledged = sorted(id for ids in at_once(work, 4) for id in ids)
    assert len(acknowledged) == 1_000
    with place.open(SAMPLES) as reader:
        assert sorted(reader.list_ids()) == acknowledged
        assert sorted(sample.id for sample in reader.query()) == acknowledged
        assert reader.count(StoreQuery(tags={"writer": "2"}, text="words")) == 250
        assert all(reader.get(id).id == id for id in acknowledged[::10])


def test_processes_that_write_the_same_ids_leave_one_answer_each(place: Place):
    ids = [f"{i:02d}" for i in range(30)]

    def work(number: int) -> int:
        wins = 0
        with place.open(SAMPLES) as mine:
            for turn, id in enumerate(ids if number % 2 else reversed(ids)):
                mine.save(Sample(id, count=number, tags={"writer": str(number)}))
                increment(mine, "counter")
                try:
                    mine.save(Sample(f"first {id}"), expect=ABSENT)
                except StoreConflictError:
                    continue
                else:
                    wins += 1
                if turn % 10 == 0:
                    mine.save_many(Sample(one, count=number, tags={"writer": str(number)}) for one in ids)
        return wins

    with place.open(SAMPLES) as store:
        store.save(Sample("counter", count=0))
        assert sum(at_once(work, 3)) == len(ids)
        assert store.get("counter").count == 3 * len(ids)
        for head in store.entries(StoreQuery(ids=ids)):
            assert dict(head.meta.tags) == {"writer": str(head.meta.fields["count"])} == store.get(head.id).tags
        assert sum(store.count(StoreQuery(tags={"writer": str(n)})) for n in range(3)) == len(ids)


def test_an_id_that_others_create_and_delete_meanwhile_is_saved(place: Place):
    errors: list[Exception] = []
    with place.open(SAMPLES) as store:
        store.initialize()

        def work() -> None:
            try:
                for count in range(30):
                    store.save(Sample("one", count=count))
                    store.delete("one")
                    store.save_many([Sample("one", tags={"a": "b"}), Sample("two"), Sample("three")])
                    store.delete_many(["three", "one", "two"])
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


# Lost connections.


def test_connections_that_died_while_idle_do_no_harm(store: DatabaseStore[Any], proxy: DroppingProxy):
    store.save(Sample("a", count=1))
    for moment in ("before", "after"):
        proxy.arm(b"SELECT", moment)
        assert store.get("a").count == 1
    assert proxy.dropped == 2
    assert store.pool_metrics.invalidated == 2
    assert store.is_healthy


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("mark", [b"INSERT INTO", b"COMMIT"])
def test_a_save_whose_connection_is_dropped_is_there_once(
    mark: bytes, moment: Any, store: DatabaseStore[Any], proxy: DroppingProxy, place_of: Place
):
    store.save(Sample("old", count=0, tags={"a": "1"}))
    proxy.arm(mark, moment)
    store.save(Sample("new", count=1, tags={"a": "2"}), expect=ABSENT)
    proxy.arm(mark, moment)
    store.save(Sample("old", count=2, tags={"a": "3"}), expect=store.head("old").revision)
    proxy.arm(mark, moment)
    store.save_many([Sample("x", count=3), Sample("y", count=3)])
    proxy.arm(b"COMMIT", moment)
    store.save(Sample("x", count=4))
    proxy.arm(b"COMMIT", moment)
    assert store.delete("y") is True
    proxy.arm(b"", moment, times=0)
    assert proxy.dropped >= 3
    with place_of.open(SAMPLES) as reader:
        assert {s.id: s.count for s in reader.query()} == {"old": 2, "new": 1, "x": 4}
        assert {head.id: dict(head.meta.tags) for head in reader.entries()} == {
            "old": {"a": "3"},
            "new": {"a": "2"},
            "x": {},
        }
        assert [h.revision for h in reader.entries()] == [h.revision for h in store.entries()]


def test_a_commit_in_doubt_is_never_answered_wrongly(
    store: DatabaseStore[Any], proxy: DroppingProxy, place_of: Place, monkeypatch: pytest.MonkeyPatch
):
    """The answer is lost, and before the repetition another writer changes the item."""
    store.save(Sample("a", count=0))
    before = store.head("a").revision
    with place_of.open(SAMPLES) as other:

        def meddle(*arguments: Any) -> float:
            other.save(Sample("a", count=99))
            return 0.0

        monkeypatch.setattr(store._database, "_wait", meddle)
        proxy.arm(b"COMMIT", "after")
        with pytest.raises(StoreWriteError, match="may or may not"):
            store.save(Sample("a", count=1), expect=before)
        assert other.get("a").count == 99


def test_when_every_attempt_is_lost_the_error_says_so(store: DatabaseStore[Any], proxy: DroppingProxy, place_of: Place):
    store.save(Sample("a", count=0))
    proxy.arm(b"COMMIT", "after", times=100)
    with pytest.raises(StoreWriteError, match="may or may not"):
        store.save(Sample("a", count=1), expect=store.head("a").revision)
    proxy.arm(b"SELECT", "before", times=100)
    with pytest.raises(StoreConnectionError):
        store.get("a")
    with pytest.raises(StoreConnectionError):
        store.list_ids()
    proxy.arm(b"", "before", times=0)
    with place_of.open(SAMPLES) as reader:
        assert reader.get("a").count in {0, 1}
    assert store.get("a").count in {0, 1}


def test_nothing_is_lost_while_an_administrator_ends_connections(postgresql_16: Any):
    place = new_place(postgresql_16.url)
    wanted, ended, done = threading.Semaphore(0), threading.Semaphore(1), threading.Event()
    chance = random.Random(7)
    kill = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = :name AND pid <> pg_backend_pid()"
    )

    def administrator() -> None:
        with closing(DatabaseStore(connection_url=postgresql_16.url)) as mine:
            while wanted.acquire() and not done.is_set():
                time.sleep(chance.uniform(0, 0.006))
                mine.execute_with_retry(lambda c: c.execute(kill, {"name": place.space}))
                ended.release()

    victim = Place(f"{place.url}?application_name={place.space}", place.space)
    thread = threading.Thread(target=administrator)
    with victim.open(SAMPLES, pooling=QUICK) as store:
        store.initialize()
        thread.start()
        try:
            for i in range(150):
                if i % 3 == 0 and ended.acquire(blocking=False):  # never faster than a save is repeated
                    wanted.release()
                store.save(Sample(str(i), count=i, tags={"a": "b"}), expect=ABSENT)
                store.save(Sample(str(i), count=-i), expect=store.head(str(i)).revision)
        finally:
            done.set()
            wanted.release()
            thread.join()
        assert store.pool_metrics.invalidated > 0
    with place.open(SAMPLES) as reader:
        assert {s.id: s.count for s in reader.query()} == {str(i): -i for i in range(150)}


# A server that is away, or busy.


def test_the_circuit_opens_and_recovers(server: Server, proxy: DroppingProxy, place_of: Place):
    pooling = PoolingConfig(failure_threshold=2, recovery_timeout=30, enable_retry=False)
    now = [0.0]
    with through(proxy, server, place_of).open(SAMPLES, pooling=pooling) as store:
        store._database.circuit._clock = lambda: now[0]
        store.save(Sample("a"))
        assert store.get_pool_status()["circuit"] == "closed"
        proxy.arm(b"", "before", times=10_000)
        for _ in range(2):
            with pytest.raises(StoreConnectionError):
                store.get("a")
        dropped = proxy.dropped
        for ask in (lambda: store.get("a"), store.list_ids, lambda: store.save(Sample("b"))):
            with pytest.raises(StoreConnectionError, match="tried again in"):
                ask()
        assert proxy.dropped == dropped  # the server was left alone
        assert store.pool_metrics.circuit == "open"
        assert not store.is_healthy
        assert "could not be reached" in store.health_check().message
        proxy.arm(b"", "before", times=0)
        now[0] = 30
        assert store.pool_metrics.circuit == "half_open"
        with pytest.raises(StoreNotFoundError):
            store.get("nothing")  # an answer all the same
        assert store.pool_metrics.circuit == "closed"
        assert store.get("a").id == "a"
        assert store.is_healthy


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_that_is_away_is_a_connection_error(kind: str):
    address = f"{kind}://user:secret@127.0.0.1:{free_port()}/x"
    with closing(DatabaseStore(connection_url=address, pooling=QUICK)) as store:
        with pytest.raises(StoreConnectionError) as caught:
            store.list_ids()
        assert caught.value.retryable
        assert "secret" not in str(caught.value)
        assert store.pool_metrics.retries == 3
        assert not store.health_check()
        assert "".join(format_exception(caught.value)).count("\n") < 45  # a screen, not the way through SQLAlchemy


def test_while_a_server_is_away_nothing_is_answered(store: DatabaseStore[Any], proxy: DroppingProxy):
    store.save(Sample("a", count=1))
    proxy.go_away()
    asks: list[Any] = [
        lambda: store.save(Sample("b")),
        lambda: store.save_many([Sample("b"), Sample("c")]),
        lambda: store.get("a"),
        lambda: store.exists("a"),
        lambda: store.exists("nothing"),
        lambda: store.delete("a"),
        lambda: store.get_many(["a"]),
        store.list_ids,
        store.query,
        store.count,
    ]
    for ask in asks:
        store._database.circuit.reset()
        # Of a write that the server may have heard before it went, the error says that nobody knows.
        with pytest.raises((StoreConnectionError, StoreWriteError)):
            ask()
    assert store.get_pool_status()["healthy"] is False
    proxy.come_back()
    store._database.circuit.reset()
    assert store.is_healthy
    assert store.list_ids() == ["a"]


def test_a_server_that_restarts_is_waited_for(server: Server, proxy: DroppingProxy, place_of: Place):
    pooling = PoolingConfig(max_retries=8, retry_base_delay=0.02)
    with through(proxy, server, place_of).open(SAMPLES, pooling=pooling) as store:
        store.save(Sample("a", count=0))

        def restart(retries: int) -> None:
            while store.pool_metrics.retries == retries:
                time.sleep(0.001)
            proxy.come_back()

        for turn in range(3):
            proxy.go_away()
            with ThreadPoolExecutor(1) as thread:
                restarted = thread.submit(restart, store.pool_metrics.retries)
                store.save(Sample("a", count=turn), expect=store.head("a").revision)
                store.save(Sample(f"new {turn}"), expect=ABSENT)
                restarted.result(60)
    with place_of.open(SAMPLES) as reader:
        assert sorted(reader.list_ids()) == ["a", "new 0", "new 1", "new 2"]
        assert reader.get("a").count == 2


def test_a_pool_that_is_used_up_says_so(server: Server, place_of: Place):
    pooling = PoolingConfig(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with place_of.open(SAMPLES, pooling=pooling) as store:
        with pytest.raises(StoreOverloadedError, match="pool_size"):
            store.execute_with_retry(lambda _: store.list_ids())
        assert store.list_ids(StoreQuery(limit=1)) is not None
        status = store.get_pool_status()
        assert (status["size"], status["checked_out"]) == (1, 0)
        assert store.recycle_connections() == 1
        assert store.is_healthy


def test_transactions_of_one_s_own_are_whole(place: Place):
    with place.open(SAMPLES) as store:
        store.save(Sample("a", count=1))

        def work(connection: Any) -> None:
            connection.execute(text("UPDATE samples SET count = 2 WHERE id = 'a'"))
            raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            store.execute_with_retry(work)
        assert store.head("a").meta.fields["count"] == 1


def test_a_fork_in_the_middle_leaves_the_parent_s_connections_alone(place: Place):
    with place.open(SAMPLES) as store:
        store.save(Sample("a"))

        def work(number: int) -> int:
            store.save(Sample(str(number)))
            return store.pool_metrics.checked_in

        assert at_once(work, 3) == [1, 1, 1]
        assert store.count() == 4
        assert store.pool_metrics.invalidated == 0


def test_deadlocks_are_repeated(postgresql_18: Any):
    place = new_place(postgresql_18.url)
    turn = threading.Barrier(2, timeout=60)
    with place.open(SAMPLES, pooling=QUICK) as store:
        store.save_many([Sample("a", count=0), Sample("b", count=0)])

        def work(first: str, second: str) -> None:
            attempts: list[int] = []

            def both(connection: Any) -> None:
                attempts.append(1)
                add = text("UPDATE samples SET count = count + 1 WHERE namespace = :space AND id = :id")
                connection.execute(add, {"id": first, "space": store._settings.space})
                if len(attempts) == 1:
                    turn.wait()
                connection.execute(add, {"id": second, "space": store._settings.space})

            store.execute_with_retry(both)

        threads = [threading.Thread(target=work, args=ids) for ids in (("a", "b"), ("b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [head.meta.fields["count"] for head in store.entries()] == [2, 2]
        assert store.pool_metrics.retries >= 1


# The circuit breaker by itself.


def test_a_circuit_breaker():
    now = [0.0]
    circuit = CircuitBreaker(CircuitConfig(failure_threshold=2, recovery_timeout=10), clock=lambda: now[0])
    circuit.failed()
    circuit.succeeded()
    circuit.failed()
    assert circuit.state.name == "CLOSED"
    circuit.failed()
    assert circuit.state.name == "OPEN"
    assert not circuit.allow()
    assert circuit.retry_after == 10
    now[0] = 10
    assert circuit.state.name == "HALF_OPEN"
    assert circuit.allow()
    assert not circuit.allow()  # one at a time
    circuit.failed()
    assert circuit.state.name == "OPEN"
    now[0] = 20
    assert circuit.allow()
    now[0] = 31
    assert circuit.allow()  # the call that was let through never came back
    circuit.succeeded()
    assert circuit.state.name == "CLOSED"
    with pytest.raises(ValueError):
        CircuitConfig(failure_threshold=0)


# A SQLite file that others remove or replace.


def remove_the_file(path: Path) -> None:
    for file in path.parent.glob("store.db*"):
        file.unlink()


def empty_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def replace_the_file(path: Path) -> None:
    with DatabaseStore(connection_url=f"sqlite:///{path.with_name('new.db')}", collection=SAMPLES) as other:
        other.save(Sample("theirs"))
    remove_the_file(path)
    path.with_name("new.db").rename(path)


@pytest.mark.parametrize("change", [remove_the_file, empty_the_folder, replace_the_file])
def test_what_is_saved_after_the_file_was_removed_or_replaced_is_seen_by_others(
    change: Callable[[Path], None], tmp_path: Path
):
    path = tmp_path / "folder" / "store.db"
    url = f"sqlite:///{path}"
    with DatabaseStore(connection_url=url, collection=SAMPLES) as store:
        store.save(Sample("old"))
        change(path)
        tables = store.execute_with_retry(lambda c: c.execute(text("SELECT name FROM sqlite_schema")).all())
        assert bool(tables) == (change is replace_the_file)
        theirs = ["theirs"] if change is replace_the_file else []
        assert store.list_ids() == theirs
        store.save(Sample("new"))
        with DatabaseStore(connection_url=url, collection=SAMPLES) as other:
            assert sorted(other.list_ids()) == ["new", *theirs]
            other.save(Sample("another"))
        assert store.get("another").id == "another"


@pytest.mark.parametrize("left", [["-shm"], ["-wal", "-shm"]])
def test_a_file_that_is_removed_without_what_lies_beside_it_while_another_process_has_it_open(
    left: list[str], tmp_path: Path
):
    """The other's shared memory tells of the log of the file that is gone, and would be believed of the new one."""
    path = tmp_path / "store.db"
    gate = Gate()

    def open_store() -> DatabaseStore[Sample]:
        return DatabaseStore(connection_url=f"sqlite:///{path}", collection=SAMPLES)

    def work(say: Callable[[int], None]) -> list[str]:
        with open_store() as other:
            other.save(Sample("old"))
            say(other.count())
            gate.wait()
            other.save(Sample("theirs"))
            return other.list_ids(BY_ID)

    child = Child(work)
    assert child.hear() == 1
    for suffix in {"", "-wal", "-shm"}.difference(left):
        path.with_name(path.name + suffix).unlink()
    with open_store() as store:
        store.save(Sample("mine"))
        assert store.list_ids() == ["mine"]
        gate.open()
        assert child.result() == store.list_ids(BY_ID) == ["mine", "theirs"]
    with open_store() as store:
        assert store.list_ids(BY_ID) == ["mine", "theirs"]
        assert store.verify().ok


def test_the_folder_of_a_file_is_made_once_more(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/folder/store.db"
    with DatabaseStore(connection_url=url, collection=SAMPLES) as store:
        store.save(Sample("old"))
        shutil.rmtree(tmp_path / "folder")
        healthy = [store.is_healthy]
        store.save(Sample("new"))
        assert [*healthy, store.is_healthy] == [False, True]
        with DatabaseStore(connection_url=url, collection=SAMPLES) as other:
            assert other.list_ids() == ["new"]


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with DatabaseStore(connection_url="sqlite:///data/store.db", collection=SAMPLES) as store:
        identity = store.identity
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.save(Sample("a"))
        assert store.identity == identity
    assert (tmp_path / "data" / "store.db").exists()


# An item that the database does not take.


def test_an_item_that_the_database_does_not_take_costs_one_item(place: Place):
    name = f"checked_{place.space.replace('-', '_')}"
    collection: Collection[Any] = Collection.of(Sample, name=name, index={"count": int}, tags="tags")
    check = f"ALTER TABLE {name} ADD CONSTRAINT no_{name} CHECK (count <> -1)"
    if place.url.startswith("sqlite"):
        check = (
            f"CREATE TRIGGER no_{name} BEFORE INSERT ON {name} WHEN NEW.count = -1 "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    seen: list[str] = []

    def note(changes: Any) -> None:
        seen.extend(change.id for change in changes)

    with place.open(collection) as store:
        store.execute_with_retry(lambda c: c.execute(text(check)))
        store.subscribe(note)
        good = [Sample(f"{n:04d}", count=n) for n in range(1_200)]
        bad = Sample("bad", count=-1)
        with pytest.raises(StoreBulkError) as caught:
            store.save_many([*good[:700], bad, *good[700:]])
        assert sorted(caught.value.stored) == sorted(seen)
        assert set(seen) >= {one.id for one in good[:999]}
        assert list(caught.value.failed) == ["bad"]
        error = caught.value.failed["bad"]
        assert isinstance(error, StoreWriteError)
        assert (error.retryable, error.store_unavailable, error.identifier) == (False, False, "bad")
        with pytest.raises(StoreWriteError, match=f"{name} 'bad': ") as alone:
            store.save(bad)
        assert alone.value.identifier == "bad"
