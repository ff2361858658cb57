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
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Gate", "before_fork", "fork_gate", "in_child"]

log: Final = logging.getLogger("truthstore.runtime")


class Gate:
    """Let threads through, any number at a time, but none while it is closed; closing waits for those inside.

    A thread that is inside may enter again, closed or not. Inside the gate, never wait for a thread that is outside.
    """

    __slots__ = ("_changed", "_inside", "_is_closed", "_lock")

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}
        self.anew()

    def anew(self) -> None:
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

_Callbacks = dict[int, weakref.WeakMethod["Callable[[], None]"]]
_before_fork: Final[_Callbacks] = {}
_in_child: Final[_Callbacks] = {}
_numbers: Final = itertools.count()
_turn: Final = threading.RLock()


def before_fork(method: Callable[[], None]) -> None:
    """Call a bound method before every fork, while no other thread is inside `fork_gate`, as long as its object lives."""
    _register(_before_fork, method)


def in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every forked child, as long as its object lives.

    It gives up what the child shares with its parent, and makes new locks: a thread that was not copied may hold the old.
    """
    _register(_in_child, method)


def _register(callbacks: _Callbacks, method: Callable[[], None]) -> None:
    number = next(_numbers)

    def forget(_: object) -> None:
        callbacks.pop(number, None)

    callbacks[number] = weakref.WeakMethod(method, forget)


def _call(callbacks: _Callbacks) -> None:
    for reference in callbacks.copy().values():
        method = reference()
        if method is None:
            continue
        try:
            method()
        except Exception:  # the fork takes place all the same, and the others must be ready for it
            log.exception("%s failed at a fork", method.__qualname__)


def _prepare() -> None:
    _turn.acquire()
    fork_gate.close()
    _call(_before_fork)


def _go_on() -> None:
    fork_gate.open()
    _turn.release()


def _begin_child() -> None:
    fork_gate.anew()
    _turn.release()
    _call(_in_child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_prepare, after_in_parent=_go_on, after_in_child=_begin_child)
