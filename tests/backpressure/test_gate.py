"""The gate: callers go on in turn, up to a limit that follows how the other side does, and no faster than a rate."""

from __future__ import annotations

import threading

import pytest

from truthstore.backpressure.gate import AdmissionGate, TokenBucket


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rounds(gate: AdmissionGate, number: int, *, overloaded: bool = False, at: float = 0.0) -> None:
    """Fill the gate and empty it, several times."""
    for _ in range(number):
        inside = 0
        while gate.enter(0):
            inside += 1
        for _ in range(inside):
            gate.leave(at, overloaded=overloaded)


def test_a_sign_of_overload_takes_a_tenth_and_each_round_that_went_well_gives_one(clock: Clock):
    gate = AdmissionGate(10, clock=clock)
    assert gate.enter(0)
    gate.leave(0, overloaded=True)
    assert gate.limit == pytest.approx(9)
    rounds(gate, 1)
    assert 9.4 < gate.limit <= 10
    rounds(gate, 5)
    assert gate.limit == 10


def test_what_began_before_the_limit_fell_says_nothing_new(clock: Clock):
    gate = AdmissionGate(10, clock=clock)
    for _ in range(10):
        assert gate.enter(0)
    clock.now = 1.0
    for _ in range(10):
        gate.leave(0.5, overloaded=True)
    assert gate.limit == pytest.approx(9)


def test_one_at_a_time_is_the_least(clock: Clock):
    gate = AdmissionGate(3, clock=clock)
    for second in range(50):
        clock.now = float(second)
        assert gate.enter(0)
        gate.leave(clock.now, overloaded=True)
    assert gate.limit == 1
    assert gate.enter(0)
    assert not gate.enter(0)


def test_a_limit_that_nobody_reaches_does_not_rise(clock: Clock):
    gate = AdmissionGate(10, clock=clock)
    for second in range(5):
        assert gate.enter(0)
        gate.leave(float(second), overloaded=True)
        clock.now = second + 1.0
    low = gate.limit
    for _ in range(100):
        assert gate.enter(0)
        gate.leave(clock.now, overloaded=False)
    assert gate.limit == low


def test_callers_go_on_in_the_order_in_which_they_came():
    gate = AdmissionGate(1)
    assert gate.enter(0)
    order: list[int] = []

    def call(number: int) -> None:
        assert gate.enter(30)
        order.append(number)
        gate.leave(0, overloaded=False)

    threads = []
    for number in range(8):
        threads.append(threading.Thread(target=call, args=(number,)))
        threads[-1].start()
        while gate.waiting <= number:
            pass
    gate.leave(0, overloaded=False)
    for thread in threads:
        thread.join()
    assert order == list(range(8))
    assert (gate.inside, gate.waiting, gate.admitted) == (0, 0, 9)


def test_a_newcomer_does_not_overtake_those_who_wait():
    gate = AdmissionGate(5, TokenBucket(0.001, 1))
    assert gate.enter(0)
    waiter = threading.Thread(target=gate.enter, args=(0.2,))
    waiter.start()
    while not gate.waiting:
        pass
    gate._bucket = None  # now there is room, and the one who waits has not noticed
    assert not gate.enter(0)
    waiter.join()


def test_who_is_held_back_holds_nobody_up():
    gate = AdmissionGate(1)
    held = [True]
    left: list[float] = []
    waiter = threading.Thread(target=lambda: left.append(gate.wait_while(lambda: held[0], 30)))
    waiter.start()
    assert gate.enter(0)
    held[0] = False
    waiter.join()
    assert 0 < left[0] < 30
    assert gate.wait_while(lambda: True, 0) < 0
    assert gate.wait_while(lambda: False, 5) == 5
    assert gate.refused == 1


def test_whoever_waited_for_nothing_makes_room_for_the_next():
    gate = AdmissionGate(1)
    assert gate.enter(0)
    assert not gate.enter(0.01)
    assert (gate.refused, gate.waiting) == (1, 0)
    assert gate.waited_seconds >= 0.01
    gate.leave(0, overloaded=False)
    assert gate.enter(0)


def test_a_rate_allows_a_burst_and_then_so_many_a_second(clock: Clock):
    bucket = TokenBucket(10, 3, clock=clock)
    gate = AdmissionGate(100, bucket, clock=clock)
    assert [gate.enter(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.delay() == pytest.approx(0.1)
    clock.now = 0.1
    assert [gate.enter(0) for _ in range(2)] == [True, False]
    clock.now = 100.0
    assert [gate.enter(0) for _ in range(4)] == [True, True, True, False]


def test_callers_wait_for_the_rate():
    gate = AdmissionGate(100, TokenBucket(100, 1))
    assert all(gate.enter(30) for _ in range(4))
    assert gate.waited_seconds >= 0.025


def test_many_threads_never_exceed_the_limit():
    gate = AdmissionGate(3)
    inside, most = [0], [0]
    lock = threading.Lock()

    def call() -> None:
        for turn in range(200):
            assert gate.enter(30)
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1
            gate.leave(0.0, overloaded=turn % 7 == 0)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 3
    assert (gate.inside, gate.waiting, gate.admitted) == (0, 0, 1_600)


def settles_at(capacity: int, most: int) -> float:
    """The limit after many rounds against a server that fails what comes beyond its capacity."""
    clock = Clock()
    gate = AdmissionGate(most, clock=clock)
    seen = []
    for second in range(300):
        clock.now = float(second)
        inside = 0
        while gate.enter(0):
            inside += 1
        for number in range(inside):
            gate.leave(clock.now, overloaded=number >= capacity)
        seen.append(gate.limit)
    return sum(seen[100:]) / len(seen[100:])


@pytest.mark.parametrize("capacity", [2, 8, 20])
def test_the_limit_settles_where_the_other_side_can_follow(capacity: int):
    assert capacity * 0.7 <= settles_at(capacity, 64) <= capacity + 2


def test_it_settles_at_the_most_where_nothing_fails():
    assert settles_at(100, 16) == 16
