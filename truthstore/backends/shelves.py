"""Where the memory store keeps its records: as they are, or as documents in blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import json

from truthstore.errors import StoreNotFoundError
from truthstore.storage.objects.document import read_document, write_document
from truthstore.storage.objects.object_store import FORMAT_KEY, folder_of, object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.storage.objects.blobs import Blobs
    from truthstore.storage.objects.object_store import Format

__all__ = ["Documents", "Records"]


class Records:
    """Records as they are, for a store that nobody else opens."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}

    def open(self, form: Format) -> None:
        """Nothing to compare with: the store is new."""

    def get(self, id: str, collection: Collection[Any]) -> Record | None:
        """The record of an id, or None."""
        return self._records.get((collection.name, id))

    def put(self, record: Record, collection: Collection[Any]) -> None:
        """Keeps a record."""
        self._records[collection.name, record.meta.id] = record

    def delete(self, id: str, collection: Collection[Any]) -> None:
        """Forgets a record."""
        self._records.pop((collection.name, id), None)

    def all(self, collection: Collection[Any]) -> Iterator[Record]:
        """Every record of a collection."""
        return iter([record for (name, _), record in self._records.items() if name == collection.name])

    def close(self) -> None:
        """Forgets every record."""
        self._records.clear()


class Documents:
    """Records as documents in blobs, which another store may open after this one.

    Args:
        blobs: where they lie.
        root: what their keys start with.
        extension: what their keys end with.
        compress: what is done to a document on its way down.
        decompress: and on its way up.
    """

    def __init__(
        self,
        blobs: Blobs,
        root: str,
        extension: str,
        compress: Callable[[bytes], bytes],
        decompress: Callable[[bytes], bytes],
    ) -> None:
        self._blobs = blobs
        self._root = root
        self._extension = extension
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

    def _key(self, id: str, collection: Collection[Any]) -> str:
        return self._root + object_key(collection.name, id, self._extension)

    def get(self, id: str, collection: Collection[Any]) -> Record | None:
        """The record of an id, or None."""
        return self._read(self._key(id, collection), collection)

    def _read(self, key: str, collection: Collection[Any]) -> Record | None:
        try:
            data, _ = self._blobs.get(key)
        except StoreNotFoundError:
            return None
        return read_document(self._decompress(data), collection)

    def put(self, record: Record, collection: Collection[Any]) -> None:
        """Keeps a record."""
        self._blobs.put(self._key(record.id, collection), self._compress(write_document(record, collection)))

    def delete(self, id: str, collection: Collection[Any]) -> None:
        """Removes a record."""
        self._blobs.delete(self._key(id, collection))

    def all(self, collection: Collection[Any]) -> Iterator[Record]:
        """Every record of a collection."""
        folder = self._root + folder_of(collection.name)
        for key in self._blobs.list(folder):
            name = key[len(folder) :]
            if "/" not in name and name.endswith(self._extension) and not name.startswith("_"):
                record = self._read(key, collection)
                if record is not None:
                    yield record

    def close(self) -> None:
        """Closes the blobs."""
        self._blobs.close()
