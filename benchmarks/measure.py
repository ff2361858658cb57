"""Two contestants in turn, and the figures that come of it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Literal, NamedTuple

Operation = Callable[[Any], object]
Inputs = Callable[[int], Sequence[Any]]


class Race(NamedTuple):
    """Seconds for one call of each, and how many times the second's time the first takes.

    A turn counts by its mean call, so that what is done once for many calls is counted. The ratio is the median over the
    rounds of each round's own ratio: what disturbs the machine for a while disturbs both, and what disturbs it for a
    moment is left out.
    """

    ours: float
    theirs: float
    ratio: float
    difference: float

    @property
    def detail(self) -> str:
        """Both times, for people."""
        return f"{duration(self.ours)} : {duration(self.theirs)}"


def race(
    ours: Operation,
    theirs: Operation,
    *,
    rounds: int,
    calls: int | tuple[int, int] = 1,
    inputs: Inputs | tuple[Inputs, Inputs] = range,
) -> Race:
    """Runs two operations in turn, in changing order.

    Args:
        ours: the first.
        theirs: the second.
        rounds: how often each has its turn, after one turn that does not count.
        calls: how many calls make a turn, of both or of each.
        inputs: makes what the calls of a turn are given, of both or of each; making it is not measured.
    """
    counts = calls if isinstance(calls, tuple) else (calls, calls)
    makers = inputs if isinstance(inputs, tuple) else (inputs, inputs)
    contestants = ((0, ours, counts[0], makers[0]), (1, theirs, counts[1], makers[1]))
    taken: list[tuple[float, float]] = []
    os.sync()  # what was prepared is not to be written to the disk meanwhile
    for number in range(rounds + 1):
        times = [0.0, 0.0]
        gc.collect()
        for place, operation, count, make in contestants if number % 2 else contestants[::-1]:
            given = make(count)
            start = perf_counter()
            for one in given:
                operation(one)
            times[place] = (perf_counter() - start) / count
        if number:
            taken.append((times[0], times[1]))
    return Race(
        median(first for first, _ in taken),
        median(second for _, second in taken),
        median(first / second for first, second in taken),
        median(first - second for first, second in taken),
    )


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, and what is wanted.

    Attributes:
        what: the operation.
        against: what it is compared with.
        measured: the ratio, or the difference.
        wanted: what it should be.
        sense: whether it should be at most or at least that.
        unit: what both are counted in.
        detail: the two times behind a ratio.
    """

    what: str
    against: str
    measured: float
    sense: Literal["at most", "at least"]
    wanted: float
    unit: str = "×"
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is as wanted."""
        return self.measured <= self.wanted if self.sense == "at most" else self.measured >= self.wanted


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if abs(seconds) < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def progress(message: str) -> None:
    """Says what is going on, beside the table."""
    print(f"… {message}", file=sys.stderr, flush=True)
