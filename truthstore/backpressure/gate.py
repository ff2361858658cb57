"""Who may go on now, and who waits: in turn, up to a limit that follows how the other side does.

The limit rises by one for each round of operations that went well, and falls by a tenth at a sign of overload: additive
increase, multiplicative decrease, which lets callers in several processes end at equal shares of what the other side can
take (D.-M. Chiu, R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in computer networks",
1989). As in TCP, what began before the limit fell says nothing new (RFC 6582). The rate is a token bucket.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from truthstore.runtime.forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AdmissionGate", "TokenBucket"]

DECREASE: Final = 0.9
POLL: Final = 0.05
"""Seconds after which a caller looks again whether it is still held back from outside."""


class TokenBucket:
    """Allow so many operations a second on average, and a burst at once.

    Args:
        rate: tokens a second.
        burst: tokens that a bucket holds; it begins full.
        clock: a clock that never goes back, in seconds.
    """

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def delay(self) -> float:
        """Return the seconds until there is a token; 0.0 if there is one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        """Take a token."""
        self._tokens -= 1


class AdmissionGate:
    """Let callers through in the order in which they came; safe to use from several threads.

    Args:
        max_limit: at most so many callers inside.
        bucket: the rate; None for no bound.
        clock: a clock that never goes back, in seconds.

    Attributes:
        limit: so many callers may be inside now, in parts of one.
        inside: callers inside.
        admitted: callers that were let through.
        refused: callers that waited in vain.
        waited_seconds: what all callers waited.
    """

    def __init__(
        self, max_limit: int, bucket: TokenBucket | None = None, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._max_limit, self._bucket, self._clock = max_limit, bucket, clock
        self.limit = float(max_limit)
        self.admitted = self.refused = 0
        self.waited_seconds = 0.0
        self._decreased_at = -1.0
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        """Begin with nobody inside: a fork copies no thread but one."""
        self._lock = threading.Lock()
        self._waiting: deque[threading.Condition] = deque()
        self.inside = 0

    @property
    def waiting(self) -> int:
        """Callers that wait."""
        return len(self._waiting)

    def wait_while(self, held_back: Callable[[], bool], timeout: float) -> float:
        """Wait outside the line while something speaks against going on.

        Args:
            held_back: returns True while it does.
            timeout: seconds to wait at most.

        Returns:
            The seconds that are left; below 0 if it still does.
        """
        began = self._clock()
        left = timeout
        while held_back() and left >= 0:
            sleep(min(POLL, left))
            left = timeout - (self._clock() - began) if left else -1.0
        if left < timeout:
            with self._lock:
                self.waited_seconds += timeout - left
                self.refused += left < 0
        return left

    def enter(self, timeout: float) -> bool:
        """Wait in line until a caller may go on, at most so many seconds, and return whether it may; after True, call `leave`."""
        with self._lock:
            if not self._waiting and not self._delay():
                self.inside += 1
                self.admitted += 1
                return True
            turn = threading.Condition(self._lock)
            self._waiting.append(turn)
            began = self._clock()
            try:
                while True:
                    is_next = self._waiting[0] is turn
                    delay = self._delay() if is_next else threading.TIMEOUT_MAX
                    if not delay:
                        self.inside += 1
                        self.admitted += 1
                        return True
                    left = began + timeout - self._clock()
                    if left <= 0:
                        self.refused += 1
                        return False
                    turn.wait(min(left, delay))
            finally:
                self._waiting.remove(turn)
                self.waited_seconds += self._clock() - began
                self._next()

    def _delay(self) -> float:
        """Return 0.0 where the next caller may go on, having taken its token, or the seconds after which to look again."""
        if self.inside + 1 > self.limit:
            return threading.TIMEOUT_MAX
        if self._bucket is not None:
            if delay := self._bucket.delay():
                return delay
            self._bucket.take()
        return 0.0

    def leave(self, entered_at: float, *, overloaded: bool | None) -> None:
        """Let the next caller through, and adapt the limit.

        Args:
            entered_at: when the caller went on, by the clock of the gate.
            overloaded: what it met is a sign of overload; None if it met nothing.
        """
        with self._lock:
            if overloaded:
                if entered_at >= self._decreased_at:
                    self.limit = max(1.0, self.limit * DECREASE)
                    self._decreased_at = self._clock()
            elif overloaded is False and self.limit < self._max_limit and 2 * self.inside >= self.limit:
                # A limit that nobody reaches says nothing about how many the other side could take.
                self.limit = min(float(self._max_limit), self.limit + 1 / self.limit)
            self.inside -= 1
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._waiting[0].notify()
