"""The audit trail as records of a store: a record holds the events of one batch."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreCorruptError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.fields import to_microseconds
from truthstore.model.query import StoreQuery
from truthstore.model.record import FieldValue, Meta, Record, Revision
from truthstore.observability.audit.event import AuditEvent, Stored, encode_event
from truthstore.observability.audit.sinks import AuditBackend

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["AUDIT", "StoreAuditBackend"]

AUDIT: Final = Collection.of_records(
    "store.audit",
    index={"chain": str, "first": int, "last": int, "hash": str, "start": datetime, "end": datetime},
    time="end",
    lookups=[["chain"]],
)
NEWEST: Final = 50
"""The search for heads looks at so many records,"""
BEGUN: Final = 16
"""and at so many chains that began last."""

_decode: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class StoreAuditBackend(AuditBackend):
    """Keeps events in a store, in the collection ``store.audit``.

    Args:
        store: the store: that which is observed, or another one.
    """

    def __init__(self, store: BaseStore[Any]) -> None:
        self._store = store
        *_, base = store.layers()
        self._name = f"store:{base!r}"
        if base.name == "memory" or ":memory:" in self._name:
            self._name += secrets.token_hex(8)  # all of these look the same

    @property
    def identity(self) -> str:
        """The store behind all layers, as it shows itself."""
        return self._name

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Save events, those of one chain as one record; the same record again changes nothing."""
        for chain, group in groupby(events, key=attrgetter("chain")):
            batch = list(group)
            times = [to_microseconds(event.timestamp) for event in batch]
            first, last, end = batch[0], batch[-1], max(times)
            body = b"[" + b",".join(map(encode_event, batch)) + b"]"
            fields: dict[str, FieldValue] = {
                "chain": chain,
                "first": first.sequence,
                "last": last.sequence,
                "hash": last.hash,
                "start": min(times),
                "end": end,
            }
            id = f"{chain}-{first.sequence:012d}"
            meta = Meta(id, fields=fields, tags={}, text="", size=len(body), stored_at=end)
            self._store.put_record(Record(meta, body, Revision(last.hash[:24])), collection=AUDIT)

    def stored(self, since: datetime | None = None) -> Iterator[Stored]:
        """Read the bytes of every event since a time, in the order of their chains."""
        query = StoreQuery(start_time=since, order_by="id", ascending=True)
        last = ""
        try:
            for record in self._store.scan(query, collection=AUDIT, bodies=True):
                last = record.id
                yield from _split(record.id, record.body or b"")
        except StoreCorruptError:
            # One by one: a damaged record must not hide the others.
            for id in self._store.scan_ids(query, collection=AUDIT):
                if id > last:
                    yield from self._one(id)

    def _one(self, id: str) -> Iterator[Stored]:
        try:
            return _split(id, self._store.get_record(id, collection=AUDIT).body or b"")
        except (StoreCorruptError, StoreNotFoundError) as error:
            return iter([Stored(id, b"", error)])

    def heads(self) -> dict[str, str]:
        """Read the newest hashes of the chains that wrote or began last, from the index."""
        found = [head.meta.fields for head in self._heads(NEWEST)]
        known = {fields["chain"] for fields in found}
        # Chains that write much must not hide those that wrote little.
        began = {str(head.meta.fields["chain"]) for head in self._heads(BEGUN, first=0)}
        found += [head.meta.fields for chain in began - known for head in self._heads(1, chain=chain)]
        found.sort(key=lambda fields: int(fields["last"] or 0))
        return {str(fields["chain"]): str(fields["hash"]) for fields in found}

    def _heads(self, limit: int, **where: str | int) -> Iterator[Record]:
        return self._store.scan(StoreQuery(where=where, limit=limit), collection=AUDIT)


def _split(id: str, body: bytes) -> Iterator[Stored]:
    try:
        events = list(map(bytes, _decode(body)))
    except (ValueError, RecursionError) as error:
        yield Stored(id, b"", error)
        return
    for event in events:
        yield Stored(id, event)
    if body != b"[" + b",".join(events) + b"]":
        yield Stored(id, b"", StoreCorruptError("it holds more than its events"))
