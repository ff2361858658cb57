"""The state that all views of one store share: its subscribers, and the flag that it is closed."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import BuiltinMethodType, MethodType
from typing import Final

from truthstore.model.record import Change

__all__ = ["Callback", "Lifecycle", "delivering"]

Callback = Callable[[Sequence[Change]], object]
log: Final = logging.getLogger("truthstore.store")

delivering: Final[ContextVar[bool]] = ContextVar("truthstore_delivering", default=False)
"""True while saves are stored that a layer acknowledged before: whoever saw that has seen them."""


class Lifecycle:
    """What all views of one store share: its subscribers, whether it is closed, how many damaged items queries skipped.

    Attributes:
        covered: a layer stands above it.
    """

    __slots__ = ("closed", "covered", "lock", "skipped", "subscribers")

    def __init__(self) -> None:
        self.closed = False
        self.covered = False
        self.skipped = 0
        self.lock = threading.Lock()
        self.subscribers: tuple[Callable[[], Callback | None], ...] = ()

    def subscribe(self, callback: Callback) -> None:
        """Keep a weak reference to a callback.

        Raises:
            TypeError: it is a method of a built-in object, which would be gone at once.
        """
        if isinstance(callback, BuiltinMethodType):
            raise TypeError("a callback is held weakly, and a method of a built-in object lives for one call: wrap it")
        reference = _weak_method(callback) if isinstance(callback, MethodType) else weakref.ref(callback)
        with self.lock:
            alive = tuple(known for known in self.subscribers if known() is not None)
            self.subscribers = (*alive, reference)

    def announce(self, store: str, changes: Sequence[Change]) -> None:
        """Call the subscribers, each of which may fail: what they are told of is durable."""
        for reference in self.subscribers:
            try:
                if (callback := reference()) is not None:
                    callback(changes)
            except Exception:
                log.exception("a subscriber of %s failed", store)


def _weak_method(method: MethodType) -> Callable[[], Callback | None]:
    """Return what gives the method as long as its object lives; a `WeakMethod` says things when the interpreter ends."""
    owner, function = weakref.ref(method.__self__), method.__func__

    def reference() -> Callback | None:
        alive = owner()
        return None if alive is None else MethodType(function, alive)

    return reference
