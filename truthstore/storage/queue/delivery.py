"""A thread that delivers in the background, at intervals and when there is much to do."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Final

from truthstore.errors import StoreError
from truthstore.runtime.bell import Bell
from truthstore.runtime.forks import in_child

__all__ = ["DeliveryLoop"]

log: Final = logging.getLogger("truthstore.storage")


class DeliveryLoop:
    """Call a function again and again in a daemon thread, which `start` or `wake` starts, also in a forked child.

    An error is logged when it comes up, not again while it stays the same, and is kept in `error` until a call succeeds.

    Args:
        work: the function. The object of a bound method is held weakly: the thread ends when it is gone.
        interval: seconds between two calls; None for no thread.
        name: of the thread, and in the log.
    """

    def __init__(self, work: Callable[[], object], *, interval: float | None, name: str) -> None:
        self._work: Callable[[], Callable[[], object] | None] = (
            weakref.WeakMethod(work) if isinstance(work, MethodType) else lambda: work
        )
        self._interval = interval
        self._name = name
        self._closed = False
        self.error: Exception | None = None
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        # A child has none of its parent's threads, and perhaps copies of locks that they held.
        self._lock = threading.Lock()
        self._wake = Bell()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See to it that the thread runs."""
        if self._interval is None or (self._thread is not None and self._thread.is_alive()):
            return
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            thread = threading.Thread(target=self._run, args=(self._interval,), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter ends, or there can be no more threads
                self.note(error)
            else:
                self._thread = thread

    def wake(self) -> None:
        """Call the function soon, unless its last call failed: then after the interval."""
        self.start()
        self._wake.ring()

    def hurry(self) -> None:
        """Call the function soon if the thread runs. A finalizer may do this."""
        self._wake.ring()

    def _run(self, interval: float) -> None:
        while self._work() is not None:
            (self._wake if self.error is None else self._stop).wait(interval)
            self._wake.clear()
            work = self._work()
            if work is None or self._stop.is_set():
                return
            try:
                work()
            except Exception as error:  # noqa: BLE001  # kept, logged, and tried again
                self.note(error)
            else:
                self.error = None
            del work

    def note(self, error: Exception) -> None:
        """Keep an error, and log it if it is another one than the last."""
        if self.error is None or (type(error), str(error)) != (type(self.error), str(self.error)):
            unforeseen = None if isinstance(error, StoreError) else error
            log.error("%s: %s: %s", self._name, type(error).__name__, error, exc_info=unforeseen)
        self.error = error

    def close(self) -> None:
        """End the thread, when its call has returned."""
        self._closed = True
        with self._lock:
            self._stop.set()
            self._wake.ring()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
