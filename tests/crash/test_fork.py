"""A process that forks while its stores are open, as worker pools do: parent, children and strangers lose nothing."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import Child, Gate
from truthstore.backends.filesystem import FileSystemStore
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
        assert writer.hear_within(20), "the folder stays locked"
        assert writer.wait() == 0
    finally:
        os.kill(idle, signal.SIGKILL)
    assert sorted(contents(open_store())) == ["a", "b"]
