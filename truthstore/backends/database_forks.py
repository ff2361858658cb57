"""What a fork must not find in use: SQLite's connections, and locks that a thread holds which is not copied."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from truthstore.backends.database_rows import Rows

__all__ = ["Gate", "Opened"]


class Gate:
    """Lets threads through, any number at a time, but none while it is closed; closing waits for those inside."""

    __slots__ = ("_condition", "_inside", "_is_closed")

    def __init__(self) -> None:
        self.anew()

    def anew(self) -> None:
        """Forgets threads that a fork did not copy."""
        self._condition = threading.Condition()
        self._inside: dict[int, int] = {}
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


class Opened:
    """The rows of the collections that are ready, by name and declaration: shared by all views of one store."""

    __slots__ = ("_locks", "rows")

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Rows] = {}
        self._locks: dict[int, threading.RLock] = {}

    @property
    def lock(self) -> threading.RLock:
        """This process's lock: a fork copies the parent's as it was, perhaps held by a thread that was not copied."""
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.RLock())
