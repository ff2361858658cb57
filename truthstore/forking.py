"""What may not cross a fork(2) is put in order before it and taken up again after it.

SQLite keeps its locks in the memory of the process and in the kernel. A fork copies the memory but not the locks: a child
that opens a file which its parent had open trusts locks that it does not have, and others then remove the write-ahead
log under it. And a lock of flock(2) belongs to the open file, which a child shares. So connections are closed before a
fork, and the child closes what it inherited.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol

__all__ = ["Forkable", "watch_forks"]


class Forkable(Protocol):
    """Something that is told of forks."""

    def before_fork(self) -> None:
        """Comes to rest: until `after_fork` no other thread may use it."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """May be used again."""
        ...


_watching: Final[weakref.WeakSet[Forkable]] = weakref.WeakSet()
_resting: Final[list[Forkable]] = []
_turn: Final = threading.RLock()


def watch_forks(thing: Forkable) -> None:
    """Tells an object of every fork for as long as it lives."""
    _watching.add(thing)


def _before() -> None:
    _turn.acquire()
    for thing in list(_watching):
        thing.before_fork()
        _resting.append(thing)


def _after(*, child: bool) -> None:
    while _resting:
        _resting.pop().after_fork(child=child)
    _turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(child=False),
        after_in_child=lambda: _after(child=True),
    )
