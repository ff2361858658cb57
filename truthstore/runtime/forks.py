"""Fork safety of files: no connection to a SQLite file and no lock of a folder crosses a fork(2).

SQLite keeps its locks in the memory of the process and in the kernel. A fork copies the memory but not the locks: a child
that opens a file which its parent had open trusts locks that it does not have, and other processes then remove the
write-ahead log under it (sqlite.org/howtocorrupt.html). So threads use SQLite inside `fork_gate`, for which a fork waits,
and connections are closed before it; parent and child open them again at the next use. A lock of flock(2) belongs to the
open file, which a child shares: the child closes it at once.

Everything else looks at `os.getpid()` where it makes a connection or a client.
"""

from __future__ import annotations

import itertools
import logging  # imported first: its own hooks must run outside those below, for a thread that is waited for may log
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Callbacks", "Gate", "before_fork", "fork_gate", "in_child"]

log: Final = logging.getLogger("truthstore.runtime")


class Gate:
    """Let threads through, any number at a time, but none while it is closed; closing waits for those inside.

    A thread that is inside may enter again, closed or not. Inside the gate, never wait for a thread that is outside.
    """

    __slots__ = ("_changed", "_inside", "_is_closed", "_lock")

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """Forget threads that a fork did not copy, and open."""
        me = threading.get_ident()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = {me: self._inside[me]} if me in self._inside else {}
        self._is_closed = False

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._lock:
            while self._is_closed and me not in self._inside:
                self._changed.wait()
            self._inside[me] = self._inside.get(me, 0) + 1

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        with self._lock:
            left = self._inside.pop(me) - 1
            if left:
                self._inside[me] = left
            elif self._is_closed:
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread is inside, and let none in."""
        me = threading.get_ident()
        with self._lock:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._inside.keys() - {me})

    def open(self) -> None:
        """Let threads in again."""
        with self._lock:
            self._is_closed = False
            self._changed.notify_all()


fork_gate: Final = Gate()
"""While a thread is inside, no other thread of this process forks."""

_turn: Final = threading.RLock()


class Callbacks:
    """Bound methods to call on an occasion, as long as their objects live.

    Args:
        occasion: for the log, which gets what they raise.
    """

    def __init__(self, occasion: str) -> None:
        self._occasion = occasion
        self._methods: dict[int, tuple[weakref.ref[object], Callable[[Any], object]]] = {}
        self._numbers = itertools.count()

    def __call__(self, method: Callable[[], object]) -> None:
        """Call this method from now on."""
        number = next(self._numbers)

        # At the exit the interpreter may have taken the module apart: bound here, and for that reason no `WeakMethod`.
        def forget(_: object, pop: Callable[..., object] = self._methods.pop) -> None:
            pop(number, None)

        bound: Any = method
        self._methods[number] = weakref.ref(bound.__self__, forget), bound.__func__

    def run(self) -> None:
        """Call the methods, the youngest first. What one raises is logged, and the others have their turn."""
        for reference, function in reversed(list(self._methods.values())):
            owner = reference()
            if owner is not None:
                try:
                    function(owner)
                except Exception:
                    log.exception("%s failed %s", function.__qualname__, self._occasion)


before_fork: Final = Callbacks("at a fork")
"""Called before every fork, while no other thread is inside `fork_gate`."""

in_child: Final = Callbacks("at a fork")
"""Called in every forked child: to give up what the child shares with its parent, and to make new locks, for a thread that
was not copied may hold the old."""


def _prepare() -> None:
    _turn.acquire()
    fork_gate.close()
    before_fork.run()


def _go_on() -> None:
    fork_gate.open()
    _turn.release()


def _begin_child() -> None:
    fork_gate.reset()
    _turn.release()
    in_child.run()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_prepare, after_in_parent=_go_on, after_in_child=_begin_child)
