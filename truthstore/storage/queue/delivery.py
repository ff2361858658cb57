"""A thread that delivers in the background, at intervals and when there is much to do."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Final

from truthstore.errors import StoreError

__all__ = ["DeliveryLoop"]

log: Final = logging.getLogger("truthstore.storage")


class _Thread:
    """The thread of one process, and the events that it waits for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None


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
        self._threads: dict[int, _Thread] = {}
        self._closed = False
        self.error: Exception | None = None

    def _here(self) -> _Thread:
        # A child has none of its parent's threads, and perhaps copies of locks that they held.
        return self._threads.setdefault(os.getpid(), _Thread())

    def start(self) -> None:
        """See to it that the thread runs."""
        here = self._here()
        if self._interval is None or self._closed or (here.thread is not None and here.thread.is_alive()):
            return
        with here.lock:
            if self._closed or (here.thread is not None and here.thread.is_alive()):
                return
            thread = threading.Thread(target=self._run, args=(here, self._interval), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter ends, or there can be no more threads
                self.note(error)
            else:
                here.thread = thread

    def wake(self) -> None:
        """Call the function soon, unless its last call failed: then after the interval."""
        self.start()
        self._here().wake.set()

    def _run(self, here: _Thread, interval: float) -> None:
        while True:
            (here.wake if self.error is None else here.stop).wait(interval)
            here.wake.clear()
            work = self._work()
            if work is None or here.stop.is_set():
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
        here = self._here()
        with here.lock:
            here.stop.set()
            here.wake.set()
            thread = here.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
