"""Which runs are under way: each holds one byte of a file locked, and the kernel gives the lock up with its process.

These are POSIX record locks. A forked child does not inherit them; and closing any handle of the file gives up all locks
of the process, so there is one handle for each file, which is closed when nothing is held there.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from truthstore.runtime.forks import fork_gate

__all__ = ["claim", "release"]

_handles: Final[dict[str, int]] = {}
_held: Final[set[tuple[str, int]]] = set()
_lock: Final = threading.Lock()  # only inside the gate, so that no fork finds it taken


def claim(path: str, place: int) -> bool:
    """Hold a byte of a file until `release` or the death of this process; return False if someone else does.

    Raises:
        OSError: the file cannot be made, or lies where there are no locks.
    """
    import fcntl

    with fork_gate, _lock:
        if (path, place) in _held:
            return False
        if path not in _handles:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _handles[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(_handles[path], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # by POSIX it is either
            return False
        _held.add((path, place))
        return True


def release(path: str, place: int) -> None:
    """Give up a byte that this process holds."""
    import fcntl

    with fork_gate, _lock:
        _held.discard((path, place))
        fcntl.lockf(_handles[path], fcntl.LOCK_UN, 1, place)
        if not any(held == path for held, _ in _held):
            os.close(_handles.pop(path))
