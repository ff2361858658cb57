"""A circuit breaker: after several failures in a row, calls are refused at once until the other side has had time to recover.

Closed, it lets everything pass and counts failures in a row. Open, it refuses. When the recovery time is over it is half
open: one call at a time is let through, and its outcome closes the circuit or opens it again.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from truthstore.runtime.forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CircuitBreaker", "CircuitConfig", "CircuitState"]


class CircuitState(enum.Enum):
    """Name the states of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitConfig:
    """Set when a circuit opens, and when it closes again.

    Attributes:
        failure_threshold: it opens after so many failures in a row.
        recovery_timeout: seconds after which an open circuit lets one call through.

    Raises:
        ValueError: a number below its least.
    """

    failure_threshold: int = 5
    recovery_timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.failure_threshold < 1 or self.recovery_timeout < 0:
            raise ValueError("the failure threshold is at least 1, and the recovery timeout at least 0")


class CircuitBreaker:
    """Count failures and decide whether a call may be made; safe to use from several threads.

    Ask `allow()` before a call, and report its outcome by `succeeded()` or `failed()`.

    Args:
        config: when it opens and closes.
        clock: a clock that never goes back, in seconds.
    """

    def __init__(self, config: CircuitConfig | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._config = config or CircuitConfig()
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()
        in_child(self._leave_parent)

    def reset(self) -> None:
        """Close the circuit and forget all counts."""
        self._failures = 0
        self._opened_at = 0.0
        self._probe_since: float | None = None

    @property
    def state(self) -> CircuitState:
        """The state that decides on a call made now."""
        if self._failures < self._config.failure_threshold:
            return CircuitState.CLOSED
        return CircuitState.OPEN if self.retry_after else CircuitState.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until an open circuit lets a call through; 0 if it is not open."""
        if self._failures < self._config.failure_threshold:
            return 0.0
        return max(0.0, self._opened_at + self._config.recovery_timeout - self._clock())

    def allow(self) -> bool:
        """Decide whether a call may be made; after True, report its outcome."""
        if self._failures < self._config.failure_threshold:
            return True
        with self._lock:
            now = self._clock()
            # A caller that died with its probe must not keep the circuit half open for ever.
            waiting = self._probe_since is not None and now - self._probe_since < self._config.recovery_timeout
            if self.retry_after or waiting:
                return False
            self._probe_since = now
            return True

    def succeeded(self) -> None:
        """Report that a call was answered, which closes the circuit."""
        if self._failures:
            with self._lock:
                self.reset()

    def failed(self) -> None:
        """Report a failure that says that the other side is not well."""
        with self._lock:
            self._failures += 1
            self._probe_since = None
            self._opened_at = self._clock()

    def _leave_parent(self) -> None:
        """Keep the counts in a forked child, but not the call that was let through: the child may make one itself."""
        self._lock = threading.Lock()
        self._probe_since = None
