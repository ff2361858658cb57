"""The clock of this process, set back or forward, as administrators, virtual machines and the network's time do."""

from __future__ import annotations

import time
from unittest.mock import patch

__all__ = ["SkewedClock"]


class SkewedClock:
    """Shows the time of the machine until it jumps; `stop` must follow."""

    def __init__(self) -> None:
        self._offset = 0
        self._is_running = False
        seconds, nanoseconds = time.time, time.time_ns
        shifted = lambda: nanoseconds() + self._offset * 1_000_000_000  # noqa: E731
        self._patches = (
            patch("time.time", lambda: seconds() + self._offset),
            patch("time.time_ns", shifted),
            patch("truthstore.model.collection.time_ns", shifted),  # which is faster with a name of its own
        )

    def jump(self, seconds: int) -> None:
        """Set the clock forward by so many seconds, or back by as many below zero."""
        self._offset += seconds
        if not self._is_running:
            self._is_running = True
            for one in self._patches:
                one.start()

    def stop(self) -> None:
        """Show the right time again."""
        if self._is_running:
            self._is_running = False
            for one in self._patches:
                one.stop()
