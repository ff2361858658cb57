"""The delivery loop: it calls at intervals and when it is woken, logs an error once, and ends."""

from __future__ import annotations

import gc
import logging
import threading

import pytest

from tests.storage.queue.doubles import in_child
from truthstore.storage.queue import DeliveryLoop


class Worker:
    """Count calls, raise what it is given, and say when it was called."""

    def __init__(self):
        self.called = threading.Semaphore(0)
        self.error: Exception | None = None

    def work(self):
        error = self.error
        self.called.release()
        if error:
            raise error


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def make_loop():
    loops: list[DeliveryLoop] = []

    def make(work, interval):
        loops.append(DeliveryLoop(work, interval=interval, name="test-loop"))
        return loops[-1]

    yield make
    for loop in loops:
        loop.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "test-loop"]


def test_it_calls_at_intervals_once_started(worker, make_loop):
    loop = make_loop(worker.work, 0.001)
    assert not threads()
    loop.start()
    for _ in range(3):
        assert worker.called.acquire(timeout=60)
    assert len(threads()) == 1
    loop.close()
    loop.start()
    assert not threads()


def test_it_calls_at_once_when_it_is_woken(worker, make_loop):
    loop = make_loop(worker.work, 3600)
    for _ in range(3):
        loop.wake()
        assert worker.called.acquire(timeout=60)


def test_without_an_interval_there_is_no_thread(worker, make_loop):
    make_loop(worker.work, None).wake()
    assert not threads()


def test_an_error_is_logged_once_and_kept_until_a_call_succeeds(worker, make_loop, caplog):
    loop = make_loop(worker.work, 0.001)
    worker.error = ValueError("down")
    with caplog.at_level(logging.ERROR, "truthstore"):
        loop.start()
        for _ in range(3):
            assert worker.called.acquire(timeout=60)
        assert str(loop.error) == "down"
        worker.error = None
        worker.called = threading.Semaphore(0)  # of calls before this, more than three may have been noted
        for _ in range(3):
            assert worker.called.acquire(timeout=60)
        loop.close()
    assert loop.error is None
    assert [record.getMessage() for record in caplog.records] == ["test-loop: ValueError: down"]


def test_it_ends_with_the_object_whose_method_it_calls(make_loop):
    worker = Worker()
    called = worker.called
    make_loop(worker.work, 0.001).start()
    assert called.acquire(timeout=60)
    (thread,) = threads()
    del worker
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_a_forked_child_has_a_thread_of_its_own(worker, make_loop):
    loop = make_loop(worker.work, 0.001)
    loop.start()
    assert worker.called.acquire(timeout=60)

    def work():
        assert not threads()
        worker.called = threading.Semaphore(0)
        loop.wake()
        assert worker.called.acquire(timeout=60)
        loop.close()

    assert in_child(work) == 0
