"""What of an open database is shared by the views of a store, with a lock that no fork finds taken."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from truthstore.backends.database.rows import Rows

__all__ = ["Opened"]


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
