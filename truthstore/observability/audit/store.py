"""The audit trail as records of a store: a record holds the events of one batch."""

from __future__ import annotations

import secrets
from collections.abc import Collection as Several, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreCorruptError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.fields import to_microseconds
from truthstore.model.query import StoreQuery
from truthstore.model.record import FieldValue, Meta, Record
from truthstore.observability.audit.event import AuditEvent, damaged, encode_event
from truthstore.observability.audit.sink import AuditBackend

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
"""Who opens a chain looks at the heads of so many records for chains that others write."""
BEGUN: Final = 16
"""And at so many chains that began last."""
AT_ONCE: Final = 500
"""A query names at most so many chains."""

_time: Final = attrgetter("timestamp")
_decode: Final = msgspec.json.Decoder(list[AuditEvent]).decode


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
        """Saves events of one chain as one record."""
        first, last = events[0], events[-1]
        body = b"[" + b",".join(map(encode_event, events)) + b"]"
        end = to_microseconds(max(map(_time, events)))
        fields: dict[str, FieldValue] = {
            "chain": last.chain,
            "first": first.sequence,
            "last": last.sequence,
            "hash": last.hash,
            "start": to_microseconds(min(map(_time, events))),
            "end": end,
        }
        meta = Meta(
            f"{last.chain}-{first.sequence:012d}", fields=fields, tags={}, text="", size=len(body), stored_at=end
        )
        self._store.put_record(Record(meta, body), collection=AUDIT)

    def read(self) -> Iterator[AuditEvent]:
        """Every event."""
        return self.recent()

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events since a time, in the order of their chains; for a damaged record an event that says so."""
        return self._found(StoreQuery(start_time=since, order_by="id", ascending=True))

    def of_chains(self, chains: Several[str]) -> Iterator[AuditEvent]:
        """The events of some chains."""
        names = sorted(chains)
        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            yield from self._found(StoreQuery(where={"chain": ("in", some)}, order_by="id", ascending=True))

    def _found(self, query: StoreQuery) -> Iterator[AuditEvent]:
        last = ""
        try:
            for record in self._store.scan(query, collection=AUDIT, bodies=True):
                last = record.id
                yield from _events(record.id, record.body)
        except StoreCorruptError:
            # One by one: a damaged record must not hide the others.
            for id in self._store.scan_ids(query, collection=AUDIT):
                if id > last:
                    yield from self._one(id)

    def _one(self, id: str) -> list[AuditEvent]:
        try:
            return _events(id, self._store.get_record(id, collection=AUDIT).body)
        except (StoreCorruptError, StoreNotFoundError) as error:
            return [damaged(id, error)]

    def _newest(self, limit: int, **where: str | int) -> Iterator[Record]:
        return self._store.scan(StoreQuery(where=where, limit=limit), collection=AUDIT)

    def last(self, chain: str) -> int:
        """The place of the newest event of a chain, from the index."""
        query = StoreQuery(where={"chain": chain}, order_by="id", limit=1)
        return max(
            (int(head.meta.fields["last"] or 0) for head in self._store.scan(query, collection=AUDIT)), default=-1
        )

    def heads(self) -> dict[str, str]:
        """The newest hashes of the chains that wrote or began last, from the index."""
        newest: dict[str, tuple[int, str]] = {}
        for head in self._newest(NEWEST):
            _keep_newest(newest, head)
        # Those that write much must not hide those that wrote little.
        began = [str(head.meta.fields["chain"]) for head in self._newest(BEGUN, first=0)]
        for chain in [chain for chain in began if chain not in newest]:
            for head in self._newest(1, chain=chain):
                _keep_newest(newest, head)
        return {chain: hash for chain, (_, hash) in newest.items()}


def _keep_newest(newest: dict[str, tuple[int, str]], head: Record) -> None:
    fields = head.meta.fields
    chain, last, hash = str(fields["chain"]), int(fields["last"] or 0), str(fields["hash"])
    newest[chain] = max(newest.get(chain, (-1, "")), (last, hash))


def _events(id: str, body: bytes | None) -> list[AuditEvent]:
    try:
        return _decode(body or b"")
    except (ValueError, RecursionError) as error:
        return [damaged(id, error)]
