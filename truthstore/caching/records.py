"""Records in a cache: as they are in one of this process, as bytes in one that is shared."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from truthstore.caching.backends.shared import SharedCache
from truthstore.errors import StoreCorruptError
from truthstore.model.meta_codec import pack, unpack
from truthstore.model.record import Meta, Record, new_revision

if TYPE_CHECKING:
    from truthstore.caching.base import BaseCache
    from truthstore.store.store import BaseStore

__all__ = ["MISSING", "RecordCache"]

MISSING: Final = Record(Meta("missing", fields={}, tags={}, text="", deleted=True))
"""Stands in a cache for an id that does not exist; in a shared one, empty bytes do."""

_numbers: Final = itertools.count(1)
log: Final = logging.getLogger("truthstore.caching")


class RecordCache:
    """Records of one store in a cache, which other stores may use too.

    Args:
        cache: the cache.
        store: the store, whose layers and place are part of the keys of a shared cache: layers change what is stored. A
            store without a place shares its entries with no other process.
        negative_ttl: seconds for which a missing id is remembered; 0 means not at all.
    """

    def __init__(self, cache: BaseCache[Any], store: BaseStore[Any], negative_ttl: float) -> None:
        self.cache = cache
        self._store = store
        self._is_shared = isinstance(cache, SharedCache)
        self._negative_ttl = negative_ttl
        self._number = next(_numbers)
        place = " ".join([*(layer.name for layer in store.layers()), store.identity or new_revision()])
        self._place = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()

    def key(self, collection: str, id: str) -> Hashable:
        """Return the key of an item."""
        return f"{self._place}:{collection}:{id}" if self._is_shared else (self._number, collection, id)

    def get(self, key: Hashable) -> Record | None:
        """Return the record, `MISSING`, or None if the cache does not have it."""
        return self.get_many([key]).get(key) if self._is_shared else self.cache.get(key)

    def get_many(self, keys: Sequence[Hashable]) -> dict[Hashable, Record]:
        """Return the records, or `MISSING`, of those keys that the cache has."""
        found = self.cache.get_many(keys)
        if not self._is_shared:
            return found
        records: dict[Hashable, Record] = {}
        for key, data in found.items():
            try:
                records[key] = self._store.opened(unpack(data), _collection(key)) if data else MISSING
            except StoreCorruptError as error:
                log.warning("a damaged entry of the %s cache is removed: %s", self.cache.name, error)
                self.cache.delete(key)
        return records

    def keep(self, records: Mapping[Hashable, Record], *, replace: bool) -> None:
        """Keep records, where keys hold something only with `replace`."""
        present: dict[Hashable, Any] = {}
        missing: dict[Hashable, Any] = {}
        for key, record in records.items():
            if record is MISSING:
                missing[key] = b"" if self._is_shared else MISSING
            elif self._is_shared:
                with suppress(StoreCorruptError):  # which decoding it says, not caching it
                    present[key] = pack(self._store.sealed(record, _collection(key)))
            else:
                present[key] = record
        if present:
            self.cache.set_many(present, replace=replace)
        if missing and self._negative_ttl > 0:
            self.cache.set_many(missing, self._negative_ttl, replace=replace)


def _collection(key: Hashable) -> str:
    """Return the collection that a key of a shared cache names; no name holds a colon."""
    return str(key).split(":", 2)[1]
