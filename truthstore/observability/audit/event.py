"""Events of the audit trail, and their form in files and records."""

from __future__ import annotations

import enum
import hashlib
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreError

__all__ = ["AuditEvent", "AuditEventType", "AuditStatus", "Stored", "decode_event", "encode_event"]


class AuditEventType(enum.StrEnum):
    """Kinds of events. `SAVE` creates or overwrites; `CREATE` and `UPDATE` are saves that said which of the two."""

    SAVE = "save"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    READ = "read"
    QUERY = "query"
    OPEN = "open"
    CLOSE = "close"


class AuditStatus(enum.StrEnum):
    """Outcomes of operations."""

    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One entry of the audit trail.

    Attributes:
        timestamp: the end of the operation, in UTC.
        store: name of the backend.
        item: id of the item, if it was one.
        items: ids of the items, if they were many.
        count: number of items.
        actor: the person or program that did it.
        correlation_id: the request that it belongs to.
        trace_id: the trace that it belongs to.
        duration_ms: its duration in milliseconds.
        environment: such as ``production``.
        metadata: anything else.
        chain: the chain of one process.
        sequence: place in the chain, from 0.
        previous: hash of the event before it in the chain.
        hash: SHA-256 of all of the above.
    """

    event_type: AuditEventType
    operation: str = ""
    timestamp: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    status: AuditStatus = AuditStatus.SUCCESS
    store: str = ""
    collection: str = ""
    item: str | None = None
    items: tuple[str, ...] = ()
    count: int = 0
    actor: str | None = None
    correlation_id: str | None = None
    trace_id: str | None = None
    duration_ms: float = 0.0
    error_type: str | None = None
    error_message: str | None = None
    environment: str = ""
    metadata: dict[str, Any] = {}
    chain: str = ""
    sequence: int = 0
    previous: str = ""
    hash: str = ""

    @property
    def event_id(self) -> str:
        """The chain and the place in it."""
        return f"{self.chain}-{self.sequence}"

    def sealed(self) -> AuditEvent:
        """Return the event with its hash."""
        bare = msgspec.structs.replace(self, hash="") if self.hash else self
        return msgspec.structs.replace(self, hash=hashlib.sha256(encode_event(bare)).hexdigest())

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is set, ready for JSON."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AuditEvent:
        """Build an event from the result of `to_dict`."""
        return msgspec.convert(data, cls)


encode_event: Final = msgspec.json.Encoder().encode
decode_event: Final = msgspec.json.Decoder(AuditEvent).decode

SEAL: Final = b',"hash":"'
SEAL_SIZE: Final = len(SEAL) + hashlib.sha256().digest_size * 2 + len(b'"}')
OPERATIONS: Final = (
    *("save", "save_many", "get", "get_many", "head", "delete", "delete_many", "query", "entries", "list_ids"),
    *("count", "aggregate", "open", "close"),
)
DAMAGED: Final = "damaged"
"""The operation and the chain of events that stand for unreadable ones."""
ALTERED: Final = "altered"
"""In the metadata of an event that could not be written as it was."""


class Stored(NamedTuple):
    """An event as it lies in a file or a record.

    Attributes:
        name: of the line or the record.
        data: its bytes, without the end of the line.
        error: the reason why it cannot be read, if it is known before decoding.
    """

    name: str
    data: bytes
    error: ValueError | RecursionError | StoreError | None = None

    def decode(self) -> AuditEvent:
        """Decode the event; if it is damaged, return a failed event that says so, which no verification accepts."""
        try:
            if self.error is not None:
                raise self.error
            return decode_event(self.data)
        except (ValueError, RecursionError, StoreError) as error:
            return AuditEvent(
                event_type=AuditEventType.READ,
                operation=DAMAGED,
                timestamp=datetime.fromtimestamp(0, UTC),
                status=AuditStatus.FAILURE,
                item=self.name,
                error_type=type(error).__name__,
                error_message=str(error).encode(errors="backslashreplace").decode(),
                chain=DAMAGED,
            )

    def digest(self) -> str:
        """Compute the hash from the bytes themselves, so that any change of them shows; empty if they carry none."""
        body, seal = self.data[:-SEAL_SIZE], self.data[-SEAL_SIZE:]
        return hashlib.sha256(body + b"}").hexdigest() if seal.startswith(SEAL) else ""


def reduced(event: AuditEvent, why: str) -> AuditEvent:
    """Leave out every text that comes from without, and say why in the metadata."""
    empty = dict.fromkeys(("item", "actor", "correlation_id", "error_message"))
    return msgspec.structs.replace(event, items=(), metadata={ALTERED: why}, **empty)
