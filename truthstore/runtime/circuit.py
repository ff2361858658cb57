"""A circuit breaker: after several failures in a row, calls are refused at once until the other side has had time to recover.

Closed, it lets everything pass and counts failures in a row. Open, it refuses. When the recovery time is over it is half
open: one call at a time is let through, and its outcome closes the circuit or opens it anew.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from truthstore.runtime.forks import Rank, watch_forks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CircuitBreaker", "CircuitConfig", "CircuitState"]


class CircuitState(enum.Enum):
    """What a circuit breaker does with a call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitConfig:
    """When a circuit opens, and when it closes again.

    Attributes:
        failure_threshold: it opens after so many failures in a row.
        recovery_timeout: seconds after which an open circuit lets one call through.
        success_threshold: it closes after so many successes of such calls in a row.

    Raises:
        ValueError: a number below its least.
    """

    failure_threshold: int = 5
    recovery_timeout: float = 30.0
    success_threshold: int = 1

    def __post_init__(self) -> None:
        if self.failure_threshold < 1 or self.success_threshold < 1 or self.recovery_timeout < 0:
            raise ValueError("thresholds are at least 1, and the recovery timeout at least 0")


class CircuitBreaker:
    """Counts failures and says whether a call may be made; safe to use from several threads.

    Ask `allow()` before a call, and tell its outcome by `succeeded()` or `failed()`.

    Args:
        config: when it opens and closes.
        clock: a clock that never goes back, in seconds.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_config",
        "_failures",
        "_lock",
        "_opened_at",
        "_probe_since",
        "_state",
        "_successes",
    )

    def __init__(self, config: CircuitConfig | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._config = config or CircuitConfig()
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()
        watch_forks(self, Rank.FIGURES)

    def reset(self) -> None:
        """Closes the circuit and forgets what was counted."""
        self._state = CircuitState.CLOSED
        self._failures = 0
        self._successes = 0
        self._opened_at = 0.0
        self._probe_since: float | None = None

    @property
    def state(self) -> CircuitState:
        """What it would do with a call now."""
        if self._state is CircuitState.OPEN and self.retry_after == 0:
            return CircuitState.HALF_OPEN
        return self._state

    @property
    def retry_after(self) -> float:
        """Seconds until an open circuit lets a call through; 0 if it is not open."""
        if self._state is not CircuitState.OPEN:
            return 0.0
        return max(0.0, self._opened_at + self._config.recovery_timeout - self._clock())

    def allow(self) -> bool:
        """Whether a call may be made. Whoever is told yes must tell the outcome."""
        if self._state is CircuitState.CLOSED:
            return True
        with self._lock:
            if self.state is CircuitState.OPEN:
                return False
            now = self._clock()
            # A caller that died with its probe must not keep the circuit half open for ever.
            waiting = self._probe_since is not None and now - self._probe_since < self._config.recovery_timeout
            if self._state is CircuitState.HALF_OPEN and waiting:
                return False
            self._state = CircuitState.HALF_OPEN
            self._probe_since = now
            return True

    def succeeded(self) -> None:
        """A call was answered."""
        if self._state is CircuitState.CLOSED and not self._failures:
            return
        with self._lock:
            self._failures = 0
            self._probe_since = None
            if self._state is CircuitState.HALF_OPEN:
                self._successes += 1
                if self._successes < self._config.success_threshold:
                    return
                self._state = CircuitState.CLOSED
            self._successes = 0

    def failed(self) -> None:
        """A call failed in a way that says the other side is not well."""
        with self._lock:
            self._failures += 1
            self._successes = 0
            self._probe_since = None
            if self._state is CircuitState.HALF_OPEN or self._failures >= self._config.failure_threshold:
                self._state = CircuitState.OPEN
                self._opened_at = self._clock()

    def before_fork(self) -> None:
        """Waits until no thread is in the middle of a change."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """A child knows what its parent knew, but not the caller that was let through: it may let one through itself."""
        if child:
            self._lock = threading.Lock()
            self._probe_since = None
        else:
            self._lock.release()
