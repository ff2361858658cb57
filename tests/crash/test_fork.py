"""A process that forks while its stores are open, as worker pools do: parent, children and strangers lose nothing."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child, Gate
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.caching import CachedStore, InMemoryCache
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig
from truthstore.runtime.forks import Gate as ThreadGate, before_fork, fork_gate, in_child
from truthstore.testing.sample import SAMPLES, Sample


def stranger(folder: Path, id: str) -> list[str]:
    """What another process finds, which opens the folder, saves one item and goes."""

    def work(_: Any) -> list[str]:
        with FileSystemStore(base_path=folder, collection=SAMPLES) as store:
            found = sorted(contents(store))
            assert store.verify().ok
            store.save(Sample(id))
            return found

    found: list[str] = Child(work).result()
    return found


def test_a_child_outlives_the_store_of_its_parent(folder: Path):
    store = FileSystemStore(base_path=folder, collection=SAMPLES)
    store.save(Sample("parent"))
    closed, visited = Gate(), Gate()

    def work(say: Any) -> list[str]:
        store.save(Sample("child 1"))
        say("saved")
        closed.wait()
        store.save(Sample("child 2"))
        say("saved")
        visited.wait()
        store.save(Sample("child 3"))
        assert store.verify().ok
        return sorted(contents(store))

    child = Child(work)
    assert child.hear() == "saved"
    store.close()
    closed.open()
    assert child.hear() == "saved"
    assert stranger(folder, "stranger 1") == ["child 1", "child 2", "parent"]
    visited.open()
    everything = ["child 1", "child 2", "child 3", "parent", "stranger 1"]
    assert child.result() == everything
    assert stranger(folder, "stranger 2") == everything


def test_a_parent_outlives_its_children(store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("parent 0"))
    for turn in range(1, 4):
        Child(lambda _, turn=turn: store.save(Sample(f"child {turn}"))).result()  # type: ignore[misc]
        store.save(Sample(f"parent {turn}"))
        stranger(folder, f"stranger {turn}")
    names = [*(f"{who} {n}" for who in ("child", "parent", "stranger") for n in range(1, 4)), "parent 0"]
    assert sorted(contents(store)) == sorted(names)
    assert store.verify().ok


def test_grandchildren_write_too(store: FileSystemStore[Sample]):
    def work(_: Any) -> None:
        store.save(Sample("child"))
        Child(lambda _: store.save(Sample("grandchild"))).result()
        store.save(Sample("child again"))

    Child(work).result()
    assert sorted(contents(store)) == ["child", "child again", "grandchild"]


def test_forks_while_other_threads_write_and_read(store: FileSystemStore[Sample]):
    going = threading.Event()
    going.set()
    saved: list[list[str]] = [[], []]
    store.save(Sample("first"))

    def write(number: int) -> None:
        while going.is_set():
            saved[number].append(store.save(Sample(f"thread {number} {len(saved[number]):04d}")))
            store.count()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(20):
            child = Child(lambda _, turn=turn: (store.save(Sample(f"child {turn}")), store.count())[1])  # type: ignore[misc]
            assert child.result() > turn
    finally:
        going.clear()
        for thread in threads:
            thread.join()
    assert sorted(contents(store)) == sorted(["first", *saved[0], *saved[1], *(f"child {n}" for n in range(20))])
    assert store.verify().ok


def test_a_child_that_never_uses_the_store_does_not_keep_its_lock(folder: Path, open_store: OpenFolder):
    """A lock of flock(2) belongs to the open file, which a fork shares: a killed parent must not leave it to its child."""

    def parent(say: Any) -> None:
        store = FileSystemStore(base_path=folder, collection=SAMPLES)
        store.save(Sample("a"))
        gate = Gate()
        say(Child(lambda _: None, gate).pid)  # which waits for ever
        with store._lock:
            os.kill(os.getpid(), signal.SIGKILL)

    killed = Child(parent)
    idle = killed.hear()
    assert killed.wait() == -signal.SIGKILL
    try:
        os.kill(idle, 0)
        writer = Child(lambda _: FileSystemStore(base_path=folder, collection=SAMPLES).save(Sample("b")))
        assert writer.hear_within(60), "the folder stays locked"
        assert writer.wait() == 0
    finally:
        os.kill(idle, signal.SIGKILL)
    assert sorted(contents(open_store())) == ["a", "b"]


class StoppedCache(InMemoryCache[Any]):
    """Stops a writer that is about to put something in, while it holds the locks of the cached store."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def set_many(self, values: Any, ttl_seconds: float | None = None, *, replace: bool = True) -> None:
        self.reached.set()
        self.go_on.wait(60)
        super().set_many(values, ttl_seconds, replace=replace)


def test_a_child_does_not_wait_for_a_writer_that_was_in_the_middle_of_caching():
    store: CachedStore[Sample] = CachedStore(MemoryStore(collection=SAMPLES), StoppedCache())
    cache: Any = store.cache
    writer = threading.Thread(target=store.save, args=(Sample("a"),))
    writer.start()
    assert cache.reached.wait(60)

    def work(_: Any) -> list[str]:
        cache.go_on.set()
        store.save(Sample("b"))
        return [store.get(id).id for id in "ab"]

    child = Child(work)
    assert child.hear_within(60), "the child hangs"
    assert child.wait() == 0
    assert child.returned == ["a", "b"]
    cache.go_on.set()
    writer.join(60)
    assert not writer.is_alive()


class Watching:
    """Note each fork, and fail at the given step."""

    def __init__(self, seen: list[str], failing: str = "") -> None:
        self.seen, self.failing = seen, failing
        before_fork(self.before)
        in_child(self.child)

    def before(self) -> None:
        self._note("before")

    def child(self) -> None:
        self._note("child")

    def _note(self, step: str) -> None:
        self.seen.append(step)
        if step == self.failing:
            raise ValueError(step)


@pytest.mark.parametrize("failing", ["before", "child"])
def test_a_step_that_fails_at_a_fork_keeps_the_others_ready(failing: str, caplog: pytest.LogCaptureFixture):
    first, broken, last, forgotten = list[str](), list[str](), list[str](), list[str]()
    alive = [Watching(first), Watching(broken, failing), Watching(last)]
    Watching(forgotten)
    assert Child(lambda _: [first, broken, last, forgotten]).result() == [["before", "child"]] * 3 + [[]]
    assert [first, broken, last] == [["before"]] * 3
    assert ("failed at a fork" in caplog.text) == (failing == "before")
    forking = threading.Thread(target=lambda: Child(lambda _: None).result())
    forking.start()
    forking.join(60)
    assert not forking.is_alive()
    assert len(alive) == 3


def test_a_fork_waits_for_threads_inside_the_gate():
    inside, leave, left = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        with fork_gate:
            inside.set()
            leave.wait(60)
            with fork_gate:  # closed by now, and this thread is inside
                left.set()

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(60)
    threading.Timer(0.05, leave.set).start()

    def work(_: Any) -> bool:
        with fork_gate:
            return left.is_set()

    assert Child(work).result() is True
    thread.join(60)


def test_a_child_has_a_circuit_breaker_of_its_own():
    now = [0.0]
    breaker = CircuitBreaker(CircuitConfig(failure_threshold=1, recovery_timeout=10), clock=lambda: now[0])
    breaker.failed()
    now[0] = 10
    assert breaker.allow()
    assert not breaker.allow()
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with breaker._lock:
            held.set()
            assert forked.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)

    def work(_: Any) -> bool:
        return breaker.allow()  # whoever was let through in the parent is not here

    child = Child(work)
    forked.set()
    holder.join()
    assert child.hear_within(60), "the lock stayed locked"
    assert child.wait() == 0
    assert child.returned is True


def test_a_gate():
    gate, inside, leave, closed = ThreadGate(), threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        with gate:
            inside.set()
            leave.wait(60)

    def close() -> None:
        gate.close()
        closed.set()

    def enter() -> None:
        with gate:
            entered.set()

    entered = threading.Event()
    threads = [threading.Thread(target=work) for work in (stay, close, enter)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    assert not closed.wait(0.05)
    leave.set()
    assert closed.wait(60)
    threads[2].start()
    assert not entered.wait(0.05)
    gate.open()
    assert entered.wait(60)
    for thread in threads:
        thread.join(60)
    with gate:
        gate.close()  # waits for nobody but others
        with gate:
            gate.reset()
    with gate:
        pass
