"""Calls in parallel: in order, in bounds, and over when the caller is."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent.futures import wait
from typing import Any

import pytest

from truthstore.runtime.parallel import Parallel


def test_results_come_in_the_order_of_the_arguments():
    running: list[int] = []
    most: list[int] = []
    four = threading.Barrier(4, timeout=60)

    def work(number: int) -> int:
        running.append(number)
        if number < 4:
            four.wait()
        most.append(len(running))
        time.sleep(0.001 * (number % 3))
        running.remove(number)
        return -number

    parallel = Parallel(4)
    assert parallel(work, range(50)) == [-number for number in range(50)]
    assert max(most) == 4
    parallel.close()
    assert parallel(work, range(4, 7)) == [-4, -5, -6]
    parallel.close()


@pytest.mark.parametrize("first", [0, 20])
def test_an_interrupt_stops_the_calls(first: int, monkeypatch: pytest.MonkeyPatch):
    """It may come while the threads are called or while they run."""
    begun: list[int] = []
    stopped = threading.Event()

    def note(futures: Any) -> Any:
        stopped.set()
        return wait(futures)

    def work(number: int) -> None:
        begun.append(number)
        if number == first:
            os.kill(os.getpid(), signal.SIGINT)
        if number < first:
            time.sleep(0.005)
        else:
            assert stopped.wait(60)

    monkeypatch.setattr("truthstore.runtime.parallel.wait", note)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    assert threading.current_thread() is threading.main_thread()
    parallel = Parallel(2)
    gc.disable()  # Hypothesis measures it in a callback, and an interrupt that comes there is lost
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel(work, range(100_000))
    finally:
        gc.enable()
        signal.signal(signal.SIGINT, usual)
    parallel.close()
    assert len(begun) <= first + 2


def test_when_a_call_fails_the_others_have_ended():
    """A write that is still under way when its caller knows of the error would come as a surprise later."""
    ended: list[int] = []
    both = threading.Barrier(2)

    def work(number: int) -> None:
        both.wait()
        if number == 0:
            raise ValueError("the first")
        time.sleep(0.1)
        ended.append(number)

    parallel = Parallel(2)
    with pytest.raises(ValueError, match="the first"):
        parallel(work, range(2))
    assert ended == [1]
    parallel.close()
