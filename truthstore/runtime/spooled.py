"""A list of values in a temporary file, so that a million of them need no memory."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

__all__ = ["SpooledList"]

T = TypeVar("T", bound=msgspec.Struct)

MEMORY: Final = 256 * 1_024
CHUNK: Final = 64 * 1_024


class SpooledList(Generic[T]):
    """Values in a temporary file, in order.

    All are added before the first is read. They can be iterated over any number of times, until the file is deleted.

    Args:
        kind: class of the values.
    """

    def __init__(self, kind: type[T]) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=dict).encode  # a mapping that is no dict
        self._decode = msgspec.json.Decoder(kind).decode
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115  # closed with the list
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, self._file.close)

    def append(self, value: T) -> None:
        """Write one value."""
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
