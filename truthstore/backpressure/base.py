"""Options of back-pressure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from truthstore.errors import echoed
from truthstore.runtime.circuit import CircuitConfig

__all__ = ["BackpressureConfig"]

NUMBERS = {
    "max_concurrency": 1,
    "timeout_seconds": 0,
    "latency_target_seconds": 0,
    "rate_per_second": 0,
    "burst": 1,
    "max_memory_mb": 0,
    "max_pending": 0,
}
"""The numbers, and the least that each may be."""
WHOLE = ("max_concurrency", "burst", "max_pending")
NEEDED = ("max_concurrency", "timeout_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackpressureConfig:
    """How many operations the store below is asked at a time, and when a caller waits or is refused.

    Attributes:
        max_concurrency: at most so many operations at a time. The limit falls below it while the store is overloaded:
            while operations end with an error that may pass, or take longer than `latency_target_seconds`.
        timeout_seconds: a caller waits so long for its turn, and then gets `StoreOverloadedError`.
        latency_target_seconds: an operation that takes longer is a sign of overload; None for no target.
        rate_per_second: operations a second on average; None for no bound.
        burst: so many operations may follow each other at once; one second's number if None.
        max_memory_mb: no save begins while this process uses more memory than so many megabytes; None for no bound.
        max_pending: no save begins while more saves wait in a batching layer below; None for no bound.
        signals: further signs of overload by name: functions that are called before a save, must be quick, and return
            True while no save should begin.
        circuit: when the store is not asked at all for a while, after so many failures in a row; None for never.

    Raises:
        ValueError: a number that makes no sense.
        TypeError: something else instead of a number or a function.
    """

    max_concurrency: int = 32
    timeout_seconds: float = 30.0
    latency_target_seconds: float | None = None
    rate_per_second: float | None = None
    burst: int | None = None
    max_memory_mb: float | None = None
    max_pending: int | None = None
    signals: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    circuit: CircuitConfig | None = field(default_factory=CircuitConfig)

    def __post_init__(self) -> None:
        for name, least in NUMBERS.items():
            value = getattr(self, name)
            if value is None and name not in NEEDED:
                continue
            if isinstance(value, bool) or not isinstance(value, int if name in WHOLE else int | float):
                raise TypeError(f"{name} is a {'whole ' if name in WHOLE else ''}number, not {echoed(value)}")
            if not least <= value < math.inf or (value == 0 and name in {"latency_target_seconds", "rate_per_second"}):
                raise ValueError(f"{name} is {'more than 0' if least == 0 else 'at least 1'} and finite, not {value}")
        if self.burst is not None and self.rate_per_second is None:
            raise ValueError("burst belongs to rate_per_second: give both, or neither")
        if not isinstance(self.signals, Mapping) or not all(callable(signal) for signal in self.signals.values()):
            raise TypeError("signals are functions by name")
        if self.circuit is not None and not isinstance(self.circuit, CircuitConfig):
            raise TypeError(f"circuit is a CircuitConfig or None, not {echoed(self.circuit)}")
