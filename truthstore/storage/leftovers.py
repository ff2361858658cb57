"""What lies beside a SQLite file that somebody removed."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["remove_leftovers"]


def remove_leftovers(path: str) -> None:
    """Remove the log and the shared memory of a SQLite file that is gone, before another one is made in its place.

    Processes that still have it open keep its shared memory in use, and SQLite would look there for pages of the new file.

    Raises:
        OSError: they cannot be removed.
    """
    left = [path + suffix for suffix in ("-wal", "-shm") if os.path.exists(path + suffix)]
    if not left or os.path.exists(path):
        return
    try:
        import fcntl
    except ImportError:  # on Windows nobody can remove a file that is open
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not os.path.exists(path):
            for leftover in left:
                with suppress(FileNotFoundError):
                    os.unlink(leftover)
            open(path, "ab").close()  # from now on what lies beside it is its own
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)  # a forked child may have the same open file
        os.close(folder)
