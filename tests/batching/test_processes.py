"""Processes that die, fork, end without a word and share a queue; clocks that go back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.batching.doubles import DOWN, Base, in_child
from truthstore.backends.filesystem import FileSystemStore
from truthstore.batching import BatchedStore
from truthstore.storage.queue.file import QueueFile
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child, wait_for_child


def files(**options):
    return FileSystemStore(base_path="store", collection=SAMPLES, durability="os", **options)


def durable(base, **options):
    settings: dict[str, Any] = {"durable": True, "durability": "os", "flush_interval_seconds": None, **options}
    return BatchedStore(base, **settings)


def test_what_was_acknowledged_survives_a_kill_and_is_stored_by_the_next_process():
    def work():
        base = Base(files())
        base.down = DOWN
        store = durable(base)
        for count in range(3):
            store.save(Sample("a", count=count))
        store.save(Sample("b"))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert files().list_ids() == []
    store = durable(files())
    revision = store.head("a").revision
    assert (store.get("a").count, store.pending) == (2, 4)
    store.flush()
    assert files().get("a").count == 2
    assert files().head("a").revision == revision
    store.close()


def test_a_thread_of_the_next_process_stores_it_by_itself():
    def work():
        durable(files()).save(Sample("a"))
        os.kill(os.getpid(), signal.SIGKILL)

    in_child(work)
    with durable(files(), flush_interval_seconds=0.01):
        deadline = time.monotonic() + 60
        while not files().exists("a"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_kill_between_any_two_steps_of_the_queue_loses_nothing(monkeypatch, tmp_path):
    prepare = QueueFile._prepare
    for step in range(200):
        acknowledged = tmp_path / f"acknowledged {step}"

        def work(step=step, acknowledged=acknowledged):
            steps = iter(range(step))

            def count(_):
                if next(steps, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            def traced(self, connection):
                connection.set_trace_callback(count)
                prepare(self, connection)

            with monkeypatch.context() as patch:
                patch.setattr(QueueFile, "_prepare", traced)
                store = durable(files(namespace=f"n{step}"))
                handle = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                for number in range(3):
                    store.save(Sample("a", count=number))
                    os.write(handle, b"x")
                store.delete("b")
                store.close()

        status = in_child(work)
        known = len(acknowledged.read_bytes()) if acknowledged.exists() else 0
        with durable(files(namespace=f"n{step}")) as store:
            counts = [sample.count for sample in store.query()]
        assert counts in ([[known - 1], [known]] if known else [[], [0]])
        if status == 0:
            assert step > 10
            return
        assert status == -signal.SIGKILL
    pytest.fail("it takes more than 200 statements")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_between_two_runs_drops_nothing(hours, monkeypatch):
    with durable(files()) as store:
        store.save(Sample("a", count=1))
        store.save(Sample("b", count=1))
    real = time.time_ns
    shift = int(timedelta(hours=hours).total_seconds() * 1e9)
    base = Base(files())
    base.down = DOWN
    with monkeypatch.context() as patch, durable(base) as store:
        patch.setattr("truthstore.model.collection.time_ns", lambda: real() + shift)
        store.save(Sample("a", count=2))
    with durable(files()) as store:
        store.save(Sample("c", count=3))
        assert {sample.id: sample.count for sample in store.query()} == {"a": 2, "b": 1, "c": 3}


def test_two_processes_share_a_queue():
    def work(name):
        with durable(files(), flush_interval_seconds=0.01, max_batch_size=3) as store:
            for count in range(20):
                store.save(Sample(f"{name} {count % 4}", count=count))
                store.save(Sample("common", count=count, note=name))
            store.flush()

    for child in [start_child(lambda name=name: work(name)) for name in "abc"]:  # type: ignore[misc]
        wait_for_child(child)
    with durable(files()) as store:
        counts = {sample.id: sample.count for sample in store.query()}
    assert counts == {"common": 19, **{f"{name} {n}": 16 + n for name in "abc" for n in range(4)}}


def test_a_fork_leaves_what_waits_in_memory_to_the_parent():
    base = Base(files())
    store = BatchedStore(base, flush_interval_seconds=None)
    store.save(Sample("parent"))

    def work():
        assert store.pending == 0
        store.save(Sample("child"))
        store.flush()
        assert base.calls == [["child"]]

    assert in_child(work) == 0
    assert base.calls == []
    assert sorted(store.list_ids()) == ["child", "parent"]
    store.close()


def test_a_forked_child_goes_on_with_a_durable_queue():
    with durable(files(), flush_interval_seconds=0.01) as store:
        store.save(Sample("parent"))

        def work():
            store.save(Sample("child"))
            store.flush()
            assert sorted(store.list_ids()) == ["child", "parent"]

        assert in_child(work) == 0
        assert sorted(store.list_ids()) == ["child", "parent"]


@pytest.mark.parametrize("options", ["", "durable=True", "flush_interval_seconds=None"])
def test_a_program_that_ends_without_closing_has_stored_everything(options):
    program = f"""
        from truthstore.backends.filesystem import FileSystemStore
        from truthstore.batching import BatchedStore
        from truthstore.testing import SAMPLES, Sample
        store = BatchedStore(FileSystemStore(base_path="store", collection=SAMPLES), {options})
        store.save(Sample("a"))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    assert files().list_ids() == ["a"]


def save_one(id):
    store = BatchedStore(files(), flush_interval_seconds=None)
    store.save(Sample(id))
    KEPT.append(store)


KEPT: list[BatchedStore[Sample]] = []


def test_a_child_of_multiprocessing_that_ends_has_stored_everything():
    child = multiprocessing.get_context("fork").Process(target=save_one, args=("a",))
    child.start()
    child.join()
    assert files().list_ids() == ["a"]
