"""What may not cross a fork(2) is put in order before it and taken up again after it.

SQLite keeps its locks in the memory of the process and in the kernel. A fork copies the memory but not the locks: a child
that opens a file which its parent had open trusts locks that it does not have, and others then remove the write-ahead
log under it. And a lock of flock(2) belongs to the open file, which a child shares. So connections are closed before a
fork, and the child closes what it inherited. A lock that another thread holds would stay locked in the child for ever:
so locks are taken before a fork, in the order of `Rank`.
"""

from __future__ import annotations

import enum
import itertools
import logging  # its own hooks must be registered before those below: whoever is waited for may be logging
import os
import threading
import weakref
from typing import Final, Protocol

__all__ = ["Forkable", "Gate", "Rank", "watch_forks"]

log: Final = logging.getLogger("truthstore")


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
_numbers: Final = itertools.count()
_resting: Final[list[Forkable]] = []
_turn: Final = threading.RLock()


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
    _turn.acquire()
    for thing in _in_order():
        try:
            thing.before_fork()
        except Exception:  # the fork takes place all the same: the others must be at rest
            log.exception("a %s did not come to rest before a fork", type(thing).__name__)
        _resting.append(thing)


def _after(*, child: bool) -> None:
    try:
        while _resting:
            thing = _resting.pop()
            try:
                thing.after_fork(child=child)
            except Exception:  # the others must not stay locked
                log.exception("a %s cannot be used any more after a fork", type(thing).__name__)
    finally:
        _turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(child=False),
        after_in_child=lambda: _after(child=True),
    )


class Gate:
    """Lets threads through, any number at a time, but none while it is closed; closing waits for those inside."""

    __slots__ = ("_condition", "_inside", "_is_closed")

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}
        self.anew()

    def anew(self) -> None:
        """Forgets threads that a fork did not copy."""
        me = threading.get_ident()
        self._condition = threading.Condition()
        self._inside = {me: self._inside[me]} if me in self._inside else {}
        self._is_closed = False

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._condition:
            while self._is_closed and me not in self._inside:
                self._condition.wait()
            self._inside[me] = self._inside.get(me, 0) + 1

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        with self._condition:
            left = self._inside.pop(me) - 1
            if left:
                self._inside[me] = left
            elif self._is_closed:
                self._condition.notify_all()

    def close(self) -> None:
        """Waits until no other thread is inside, and lets none in."""
        me = threading.get_ident()
        with self._condition:
            self._is_closed = True
            self._condition.wait_for(lambda: not self._inside.keys() - {me})

    def open(self) -> None:
        """Lets threads in again."""
        with self._condition:
            self._is_closed = False
            self._condition.notify_all()
