"""What is known of the items beside their placement, in a collection of the default tier: reads, and the last move."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import Meta, Record
from truthstore.tiering.base import TierInfo, TierMetadataStore, accessed

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["FULL", "AccessCounts", "StoredTierMetadata"]

FULL: Final = 1_000
"""So many reads are written together."""
_decode: Final = msgspec.json.Decoder(TierInfo).decode


class StoredTierMetadata(TierMetadataStore):
    """Keeps it in the store itself, for all processes.

    Args:
        store: the default tier.
        collection: the collection of the items.
    """

    def __init__(self, store: BaseStore[Any], collection: Collection[Any]) -> None:
        self._store = store
        self._collection = Collection.of_records(collection.derived("tiers"), index={"tier": str}, lookups=())

    def __iter__(self) -> Iterator[TierInfo]:
        for record in self._store.scan(EVERYTHING, collection=self._collection, bodies=True):
            yield _decode(record.body or b"")

    def save_info(self, info: TierInfo) -> None:
        """Keep what is known of an item."""
        self.save_infos([info])

    def save_infos(self, infos: Sequence[TierInfo]) -> None:
        """Keep what is known of many items."""
        records: list[Record] = []
        for info in infos:
            body = msgspec.json.encode(info, enc_hook=dict)
            fields = {"tier": info.current_tier}
            records.append(Record(Meta(info.item_id, fields=fields, tags={}, text="", size=len(body)), body))
        self._store.put_records(records, collection=self._collection)

    def get_info(self, item_id: str) -> TierInfo | None:
        """Return what is known of an item."""
        try:
            return _decode(self._store.get_record(item_id, collection=self._collection).body or b"")
        except StoreNotFoundError:
            return None

    def list_by_tier(self, tier: str) -> list[TierInfo]:
        """Return what is known of the items of a tier."""
        query = StoreQuery(where={"tier": tier})
        return [_decode(r.body or b"") for r in self._store.scan(query, collection=self._collection, bodies=True)]

    def update_access(self, item_id: str, count: int = 1, at: datetime | None = None) -> None:
        """Add reads to an item."""
        if (info := self.get_info(item_id)) is not None:
            self.save_info(accessed(info, count, at))

    def update_accesses(self, counts: Mapping[str, int], at: datetime) -> None:
        """Add reads to many items: one read and one write of the store."""
        found = self._store.get_records(list(counts), collection=self._collection)
        known = {id: _decode(record.body or b"") for id, record in found.items()}
        infos = [known.get(id) or TierInfo(item_id=id, current_tier="") for id in counts]
        self.save_infos([accessed(info, counts[info.item_id], at) for info in infos])

    def delete_info(self, item_id: str) -> bool:
        """Forget an item."""
        return self._store.delete_record(item_id, collection=self._collection)


class AccessCounts:
    """Write reads that were counted in memory together.

    Args:
        metadata: returns the metadata store of a collection.

    Attributes:
        reads: the collection and id of each read; any thread appends to it.
    """

    def __init__(self, metadata: Callable[[Collection[Any]], TierMetadataStore]) -> None:
        self._metadata = metadata
        self.reads: deque[tuple[Collection[Any], str]] = deque()
        self._lock = threading.Lock()

    def flush(self) -> None:
        """Write the reads that were counted."""
        with self._lock:
            reads = [self.reads.popleft() for _ in range(len(self.reads))]
            counts: dict[str, tuple[Collection[Any], Counter[str]]] = {}
            for collection, id in reads:
                if collection.name not in counts:
                    counts[collection.name] = collection, Counter()
                counts[collection.name][1][id] += 1
            for collection, of_items in counts.values():
                self._metadata(collection).update_accesses(of_items, datetime.now(UTC))
