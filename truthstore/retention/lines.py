"""Values in a temporary file, so that a million of them need no memory."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

__all__ = ["Lines"]

T = TypeVar("T")

MEMORY: Final = 256 * 1_024
CHUNK: Final = 64 * 1_024


class Lines(Generic[T]):
    """Values in the order in which they were added. They can be gone through any number of times, until it is closed.

    All are added before the first is read.

    Args:
        encode: makes the line of a value, which has no line break.
        decode: the inverse.
    """

    def __init__(self, encode: Callable[[T], bytes], decode: Callable[[bytes], T]) -> None:
        self._encode = encode
        self._decode = decode
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115  # closed with the lines
        self._lock = threading.Lock()
        # What nobody looks at any more need not be closed.
        self._finalizer = weakref.finalize(self, self._file.close)

    def add(self, value: T) -> None:
        """Writes down one value."""
        self._file.write(self._encode(value) + b"\n")

    def __iter__(self) -> Iterator[T]:
        position, rest = 0, b""
        while True:
            with self._lock:
                self._file.seek(position)
                chunk = self._file.read(CHUNK)
            if not chunk:
                return
            position += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(self._decode, lines)

    def close(self) -> None:
        """Removes the temporary file."""
        self._finalizer()
