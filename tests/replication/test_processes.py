"""Processes that die at any step, several that write at once, and servers of different kinds."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.replication.doubles import Remote, content, folder, replicated
from tests.stacks.backends import backend
from truthstore.errors import StoreError
from truthstore.storage.queue import DurableQueue
from truthstore.testing import Sample
from truthstore.testing.suite.case import at_once
from truthstore.testing.suite.concurrency import start_child


def wait_for_child(child: int) -> int:
    """Its exit status, negative for a signal."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Steps:
    """Kills this process at the step with a number: before or after each call of a store or the queue."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self, name: str = "") -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, remote: Remote) -> Remote:
        remote.before = remote.after = self
        return remote

    def watch_queue(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("exchange", "_finish"):
            method = getattr(DurableQueue, name)

            def call(*arguments: Any, method: Any = method) -> Any:
                self()
                result = method(*arguments)
                self()
                return result

            patch.setattr(DurableQueue, name, call)


def save_new(store: Any) -> None:
    store.save(Sample("new", count=1))


def overwrite(store: Any) -> None:
    store.save(Sample("old", count=2))


def remove(store: Any) -> None:
    store.delete("old")


def save_many(store: Any) -> None:
    store.save_many([Sample("old", count=3), Sample("new"), Sample("third")])


def mend(store: Any) -> None:
    store.repair()


@pytest.mark.parametrize(
    ("work", "mode"),
    [
        (save_new, "async"),
        (overwrite, "sync"),
        (remove, "sync"),
        (remove, "async"),
        (save_many, "async"),
        (mend, "async"),
    ],
)
def test_a_process_that_is_killed_at_any_step_leaves_nothing_behind(
    work: Callable[[Any], None], mode: str, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the primary has when it is looked at again, the replicas get: no more, no less, and nothing twice."""
    for last in range(1, 100):
        names = [f"{name}-{last}" for name in ("primary", "a")]
        with replicated(*map(folder, names), mode="sync") as store:
            store.save(Sample("old", count=1))
            store.save(Sample("kept"))
        if work is mend:
            folder(names[1]).delete("kept")

        def die(last: int = last, names: list[str] = names) -> None:
            steps = Steps(last)
            steps.watch_queue(monkeypatch)
            store = replicated(*(steps.watch(Remote(folder(name))) for name in names), mode=mode)
            store._begin()
            work(store)
            with suppress(StoreError):
                store.catch_up()

        status = wait_for_child(start_child(die))
        with replicated(*map(folder, names), mode=mode) as store:
            store.catch_up()
            if work is mend:
                store.repair()
            primary, a = map(folder, names)
            assert content(primary) == content(a), f"killed at step {last}"
            assert store.metrics.pending == 0
            assert store.rejected() == []
            assert store.exists("kept")
            work(store)
            store.catch_up()
            assert content(primary) == content(a)
        if status == 0:
            assert last > 8
            return
    pytest.fail("so many steps has no write")


def test_notes_of_a_live_process_are_not_taken_while_it_writes():
    """Another process delivers between the note and the write: it must leave the note."""
    primary, a = Remote(folder("primary")), folder("a")
    with replicated(primary, a) as writer, replicated(folder("primary"), folder("a")) as other:

        def deliver(name: str) -> None:
            if name == "put_record":
                primary.before = None
                other.catch_up()
                writer.catch_up()

        primary.before = deliver
        writer.save(Sample("x"))
        assert writer.metrics.pending == 1
        writer.catch_up()
        assert a.exists("x")


@pytest.mark.parametrize("mode", ["sync", "semi_sync", "async"])
def test_several_processes_and_threads_write_the_same_ids(mode: str):
    def write() -> None:
        with replicated(*map(folder, "pab"), mode=mode, delivery_interval_seconds=0.01) as store:

            def some(number: int) -> None:
                for n in range(15):
                    if (n + number) % 4 == 3:
                        store.delete(f"{n % 3}")
                    else:
                        store.save(Sample(f"{n % 3}", count=n))

            at_once(some, threads=3)

    children = [start_child(write) for _ in range(3)]
    assert [wait_for_child(child) for child in children] == [0, 0, 0]
    with replicated(*map(folder, "pab"), mode=mode) as store:
        store.catch_up()
        assert content(folder("p")) == content(folder("a")) == content(folder("b"))
        assert store.repair() == {"a": 0, "b": 0}


def test_stores_without_a_common_queue_end_equal():
    """As on two machines: each delivers its own notes, those of one id at the same time."""

    def write(number: int) -> None:
        with replicated(*map(folder, "pa"), path=f"queue-{number}.db", delivery_interval_seconds=0.001) as store:
            for n in range(40):
                store.delete("x") if n % 3 == number % 3 else store.save(Sample("x", count=n))
            store.catch_up()

    children = [start_child(lambda n=n: write(n)) for n in range(3)]  # type: ignore[misc]
    assert [wait_for_child(child) for child in children] == [0, 0, 0]
    assert content(folder("p")) == content(folder("a"))


def test_a_replica_from_which_others_remove_what_it_took_keeps_it_all_the_same():
    """What is gone from the replica and from the primary was removed: nothing is wrong with the replica."""
    primary, a = Remote(), Remote()
    with replicated(primary, a, mode="sync") as store:
        left = [1, 2, 3, 4]

        def another_process_removes_and_saves(name: str) -> None:
            if name == "put_record" and left:
                count = left.pop()
                primary.delete("x")
                a.delete("x")
                primary.save(Sample("x", count=count))

        a.after = another_process_removes_and_saves
        store.save(Sample("x"))
        assert (a.get("x").count, primary.get("x").count) == (1, 1)


def test_a_write_that_changes_while_it_is_delivered_is_delivered_again():
    primary, a = Remote(), Remote()
    with replicated(primary, a) as store:
        store.save(Sample("x", count=1))

        def overwrite(name: str) -> None:
            if name == "put_record":
                a.after = None
                primary.save(Sample("x", count=2))

        a.after = overwrite
        store.catch_up()
        assert content(a) == content(primary)
        assert a.get("x").count == 2


def test_a_forked_child_writes_and_delivers():
    with replicated(folder("p"), folder("a"), mode="sync") as store:
        store.save(Sample("parent"))

        def child() -> None:
            store.save(Sample("child"))

        assert wait_for_child(start_child(child)) == 0
        store.save(Sample("later"))
        assert content(folder("p")) == content(folder("a"))
        assert len(folder("a").list_ids()) == 3


@pytest.mark.xdist_group("postgresql-16")
def test_from_a_folder_to_s3_and_postgresql(tmp_path: Path):
    with backend("s3", tmp_path / "s3") as s3, backend("postgresql", tmp_path / "pg") as postgresql:
        on_s3, in_sql = s3(), postgresql()
        a, b = Remote(on_s3()), Remote(in_sql())
        with replicated(folder("primary"), a, b, mode="sync") as store:
            store.save_many(Sample(f"{n:02}", count=n, tags={"n": f"{n}"}) for n in range(30))
            assert content(a) == content(b) == content(folder("primary"))
            a.down = True
            with pytest.raises(StoreError, match="a: no route"):
                store.save(Sample("00", count=-1))
            with suppress(StoreError):
                store.delete("01")
            a.down = False
            store.catch_up()
            assert content(a) == content(b) == content(folder("primary"))
            a.delete("02")
            b.save(Sample("03", count=99))
            b.save(Sample("elsewhere"))
            assert store.repair() == {"a": 1, "b": 2}
            assert content(a) == content(b) == content(folder("primary"))
            assert store.failover("b") == "b"
            store.save(Sample("in SQL first"))
            assert content(a) == content(b) == content(folder("primary"))


def test_a_process_that_ends_without_closing_delivers_first():
    program = """
from tests.replication.doubles import Sample, folder, replicated
store = replicated(folder("p"), folder("a"), delivery_interval_seconds=60)
store.save(Sample("x"))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert folder("a").exists("x")


def test_it_travels_to_another_process_as_its_recipe():
    with replicated(folder("p"), folder("a"), mode="sync") as store:
        with pickle.loads(pickle.dumps(store)) as other:
            other.save(Sample("x"))
        assert folder("a").exists("x")


def test_threads_that_write_while_much_is_delivered_do_not_wait_for_it():
    a, b = Remote(seconds=0.2), Remote()
    with replicated(Remote(), a, b, mode="semi_sync", delivery_interval_seconds=0.01, batch_size=1) as store:
        store.save(Sample("a is measured now"))
        store.save(Sample("b is measured now"))
        at_once(lambda number: [store.save(Sample(f"{number}-{n}")) for n in range(3)], threads=4)
        assert {f"{number}-{n}" for number in range(4) for n in range(3)} <= set(b.list_ids())
        a.seconds = 0.0


def test_a_thread_that_delivers_ends_with_its_store():
    store = replicated(folder("p"), folder("a"), delivery_interval_seconds=0.01)
    store.save(Sample("x"))
    store.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "truthstore-replication"]
    assert folder("a").exists("x")
