"""Named bytes in a dict: the blobs under a log store or an object store in tests."""

from __future__ import annotations

import threading
from bisect import bisect_right
from typing import TYPE_CHECKING

from truthstore.errors import StoreNotFoundError
from truthstore.model.record import ABSENT, ANY, new_revision
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["MemoryBlobs"]


class MemoryBlobs:
    """Keep named bytes in a dict."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, Tag]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their tag."""
        try:
            return self._objects[key]
        except KeyError:
            raise StoreNotFoundError("object", key, backend="memory") from None

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes and return their tag."""
        tag = new_revision()
        with self._lock:
            self._check(key, expect)
            self._objects[key] = (data, tag)
        return tag

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key; return False if it is not there."""
        with self._lock:
            if key in self._objects:
                self._check(key, expect)
            return self._objects.pop(key, None) is not None

    def _check(self, key: str, expect: BlobExpect) -> None:
        stored = self._objects.get(key)
        actual = None if stored is None else stored[1]
        if (actual is not None) if expect is ABSENT else (expect is not ANY and actual != expect):
            raise conflict(key, expect, actual, backend="memory", collection="object")

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Iterate over the keys with a prefix, in ascending order."""
        keys = sorted(key for key in self._objects.copy() if key.startswith(prefix))
        return iter(keys if after is None else keys[bisect_right(keys, after) :])

    def close(self) -> None:
        """Keep everything: another store may be opened over the same object."""
