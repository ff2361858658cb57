"""A bell that wakes a thread, and may be rung anywhere."""

from __future__ import annotations

import contextlib
import queue

__all__ = ["Bell"]


class Bell:
    """Wakes the thread that waits; unlike an event also from a finalizer, which may run in that thread while it holds the lock."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """End a wait, or the next one."""
        self._rings.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until it rings, but no longer than this."""
        with contextlib.suppress(queue.Empty):
            self._rings.get(timeout=seconds)

    def clear(self) -> None:
        """Forget that it rang."""
        while not self._rings.empty():
            with contextlib.suppress(queue.Empty):
                self._rings.get_nowait()
