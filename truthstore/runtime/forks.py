"""Fork safety of files: no connection to a SQLite file and no lock of a folder crosses a fork(2).

SQLite keeps its locks in the memory of the process and in the kernel. A fork copies the memory but not the locks: a child
that opens a file which its parent had open trusts locks that it does not have, and other processes then remove the
write-ahead log under it (sqlite.org/howtocorrupt.html). So threads use SQLite inside `fork_gate`, for which a fork waits,
and connections are closed before it; parent and child open them again at the next use. A lock of flock(2) belongs to the
open file, which a child shares: the child closes it at once.

Everything else looks at `os.getpid()` where it makes a connection or a client.
"""

from __future__ import annotations

import enum
import itertools
import logging  # imported first: its own hooks must run outside those below, for a thread that is waited for may log
import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Gate", "Rank", "before_fork", "fork_gate", "in_child", "watch_forks"]

log: Final = logging.getLogger("truthstore")


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
    _before()
    fork_gate.close()
    _call(_before_fork)


def _go_on() -> None:
    fork_gate.open()
    _after(child=False)
    _turn.release()


def _begin_child() -> None:
    fork_gate.anew()
    _turn.release()
    _call(_in_child)
    _after(child=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_prepare, after_in_parent=_go_on, after_in_child=_begin_child)


# Until all rooms are ported, from here to the end: things that come to rest before a fork, in the order of `Rank`.


class Rank(enum.IntEnum):
    """The order in which things come to rest: whoever holds the lock of one may wait for a later one, never the reverse.

    Within one rank the youngest is first, for a layer is made after what it stands on.
    """

    AUDIT_LOG = 10
    """Loggers of the audit trail: they write to sinks while they hold their lock."""
    AUDIT_SINK = 20
    """Sinks with a thread of their own: they write to stores, files and queues."""
    WRITE_BEHIND = 30
    """Delivers what waits in its queue."""
    SPOOL = 40
    """Queues: they are delivered to stores, which announce what was stored."""
    COHERENCE = 50
    """Accounts of loads and writes: their lock is held while a record is put into a cache."""
    CACHE = 60
    """Caches, also shared ones, whose operations end first."""
    STORE = 70
    """Locks of folders: held while files are written and the catalog is told."""
    CONNECTION = 80
    """Connections of catalogs and databases."""
    FIGURES = 90
    """Counters and circuit breakers: nobody waits for anything while holding their locks."""


class Forkable(Protocol):
    """Something that is told of forks."""

    def before_fork(self) -> None:
        """Comes to rest: until `after_fork` no other thread may use it. That is called even if this raised."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """May be used again."""
        ...


_watching: Final[dict[int, tuple[Rank, weakref.ref[Forkable]]]] = {}
_resting: Final[list[Forkable]] = []


def watch_forks(thing: Forkable, rank: Rank = Rank.CONNECTION) -> None:
    """Tells an object of every fork for as long as it lives.

    Args:
        thing: the object.
        rank: before and after whom it comes to rest.
    """
    number = next(_numbers)

    def forget(_: object) -> None:
        _watching.pop(number, None)

    # Without a lock: whoever makes an object may hold one for which a thread that forks is waiting.
    _watching[number] = (rank, weakref.ref(thing, forget))


def _in_order() -> list[Forkable]:
    """All that is alive, outer locks before inner ones."""
    watching = _watching.copy()
    numbers = sorted(watching, key=lambda number: (watching[number][0], -number))
    return [thing for number in numbers if (thing := watching[number][1]()) is not None]


def _before() -> None:
    for thing in _in_order():
        try:
            thing.before_fork()
        except Exception:  # the fork takes place all the same: the others must be at rest
            log.exception("a %s did not come to rest before a fork", type(thing).__name__)
        _resting.append(thing)


def _after(*, child: bool) -> None:
    while _resting:
        thing = _resting.pop()
        try:
            thing.after_fork(child=child)
        except Exception:  # the others must not stay locked
            log.exception("a %s cannot be used any more after a fork", type(thing).__name__)
