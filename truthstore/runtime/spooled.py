"""Values in a temporary file, so that a million of them need no memory: a list, and a plan of what would be done."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import msgspec

from truthstore.errors import StoreClosedError

__all__ = ["SpooledList", "SpooledPlan"]

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


class SpooledPlan(Generic[T]):
    """What would be done with some items; it can be iterated over any number of times, until it is closed.

    Args:
        kind: class of the items.
    """

    def __init__(self, kind: type[T]) -> None:
        self._items = SpooledList(kind)

    def __bool__(self) -> bool:
        return True  # a plan, even if nothing is to be done

    def __iter__(self) -> Iterator[T]:
        if not self._items.close.alive:
            raise StoreClosedError("this plan was closed: apply it within its `with` block")
        return iter(self._items)

    def close(self) -> None:
        """Delete the temporary file."""
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
