"""Where the memory store keeps its records: as they are, or as documents in blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import json

from truthstore.documents import read_document, write_document
from truthstore.errors import StoreNotFoundError
from truthstore.objects import FORMAT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truthstore.blobs import Blobs
    from truthstore.collection import Collection
    from truthstore.objects import Format
    from truthstore.record import Record

__all__ = ["Documents", "Records"]


class Records:
    """Records as they are, for a store that nobody else opens."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def open(self, form: Format) -> None:
        """Nothing to compare with: the store is new."""

    def get(self, key: str, collection: Collection[Any]) -> Record | None:
        """The record of a key, or None."""
        return self._records.get(key)

    def put(self, key: str, record: Record, collection: Collection[Any]) -> None:
        """Keeps a record."""
        self._records[key] = record

    def delete(self, key: str) -> bool:
        """Forgets a record."""
        return self._records.pop(key, None) is not None

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with a prefix."""
        return iter([key for key in self._records if key.startswith(prefix)])

    def close(self) -> None:
        """Forgets every record."""
        self._records.clear()


class Documents:
    """Records as documents in blobs, which another store may open after this one.

    Args:
        blobs: where they lie.
        root: what their keys start with.
        compress: what is done to a document on its way down.
        decompress: and on its way up.
    """

    def __init__(
        self, blobs: Blobs, root: str, compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]
    ) -> None:
        self._blobs = blobs
        self._root = root
        self._compress = compress
        self._decompress = decompress

    def open(self, form: Format) -> None:
        """Compares with the format in the blobs, or writes it."""
        try:
            stored, _ = self._blobs.get(self._root + FORMAT_KEY)
        except StoreNotFoundError:
            self._blobs.put(self._root + FORMAT_KEY, json.encode(form))
        else:
            form.check(stored, "this memory")

    def get(self, key: str, collection: Collection[Any]) -> Record | None:
        """The record of a key, or None."""
        try:
            data, _ = self._blobs.get(self._root + key)
        except StoreNotFoundError:
            return None
        return read_document(self._decompress(data), collection)

    def put(self, key: str, record: Record, collection: Collection[Any]) -> None:
        """Keeps a record."""
        self._blobs.put(self._root + key, self._compress(write_document(record, collection)))

    def delete(self, key: str) -> bool:
        """Removes a record."""
        return self._blobs.delete(self._root + key)

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with a prefix."""
        start = len(self._root)
        return (key[start:] for key in self._blobs.list(self._root + prefix))

    def close(self) -> None:
        """Closes the blobs."""
        self._blobs.close()
