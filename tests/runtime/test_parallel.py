"""Calls in parallel: in order, in bounds, and over when the caller is."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest

from truthstore.runtime.parallel import Parallel


def test_results_come_in_the_order_of_the_arguments():
    running: list[int] = []
    most = 0

    def work(number: int) -> int:
        nonlocal most
        running.append(number)
        most = max(most, len(running))
        time.sleep(0.001 * (number % 3))
        running.remove(number)
        return -number

    parallel = Parallel(4)
    assert parallel(work, range(50)) == [-number for number in range(50)]
    assert 1 < most <= 4
    parallel.close()
    assert parallel(work, range(3)) == [0, -1, -2]
    parallel.close()


@pytest.mark.parametrize("first", [0, 20])
@pytest.mark.parametrize("count", [100, 100_000])
def test_an_interrupt_stops_the_calls(first: int, count: int):
    """It may come while they are handed to the threads or while they run."""
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == first:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.005)

    assert threading.current_thread() is threading.main_thread()
    parallel = Parallel(2)
    gc.disable()  # Hypothesis measures it in a callback, and an interrupt that comes there is lost
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel(work, range(count))
    finally:
        gc.enable()
    time.sleep(0.05)
    before = len(begun)
    time.sleep(0.1)
    assert len(begun) == before < 90
    parallel.close()


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
