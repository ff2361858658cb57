"""The mark of a folder: whether files may differ from what was committed."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["CLEAR", "DOUBTFUL", "UNSYNCED", "Mark"]

CLEAR: Final = b"0"
"""All files are as they were committed, or as they were edited since."""
DOUBTFUL: Final = b"1"
"""A commit has begun whose files may not be written."""
UNSYNCED: Final = b"2"
"""Files that show what was committed may all the same not be on the disk."""

_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_BOOT: Final = "/proc/sys/kernel/random/boot_id"


class Mark:
    """A byte in a file, set before a commit and cleared when the files are written, and the boot of the machine after it.

    While it is clear a reader needs no index. All but reading is done under the folder's lock: where a writer finds it set,
    the last one died or failed in between. What was written under another boot may have been lost with it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the file that is there now, or make it; it is set unless it was cleared since the machine started.

        Raises:
            OSError: it cannot be opened.
        """
        descriptor = os.open(self._path, _FLAGS, 0o666)
        if self._descriptor is None:
            self._descriptor = descriptor
        else:
            os.dup2(descriptor, self._descriptor, inheritable=False)  # other threads may be reading
            os.close(descriptor)
        boot = _boot()
        if not boot or os.pread(self._descriptor, 100, 1) != boot:
            self.set(DOUBTFUL)
            os.pwrite(self._descriptor, boot, 1)

    def get(self) -> bytes:
        """Return its value; it counts as set if it cannot be read."""
        try:
            return DOUBTFUL if self._descriptor is None else os.pread(self._descriptor, 1, 0)
        except OSError:
            return DOUBTFUL

    def set(self, value: bytes) -> None:
        """Set or clear it."""
        assert self._descriptor is not None
        os.pwrite(self._descriptor, value, 0)

    def close(self) -> None:
        """Close the file. It then counts as set."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _boot() -> bytes:
    try:
        with open(_BOOT, "rb") as file:
            return file.read().strip()
    except OSError:
        return b""  # of other systems it is not known
