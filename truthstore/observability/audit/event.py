"""What the audit trail is made of."""

from __future__ import annotations

import enum
import hashlib
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

__all__ = ["AuditEvent", "AuditEventType", "AuditStatus"]


class AuditEventType(enum.StrEnum):
    """What was done. `SAVE` creates or overwrites; `CREATE` and `UPDATE` are saves that said which of the two."""

    SAVE = "save"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    READ = "read"
    QUERY = "query"
    OPEN = "open"
    CLOSE = "close"


class AuditStatus(enum.StrEnum):
    """How it went."""

    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One entry of the audit trail.

    Attributes:
        event_type: what was done.
        operation: the operation of the store.
        timestamp: when it ended.
        status: how it went.
        store: name of the backend.
        collection: name of the collection.
        item: id of the item, if it was one.
        items: ids of the items, if they were many.
        count: how many items it was about.
        actor: who did it.
        correlation_id: on whose behalf.
        trace_id: the trace that it belongs to.
        duration_ms: how long it took.
        error_type: class of the error.
        error_message: its message.
        environment: where.
        metadata: more.
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
        """Its name in the trail."""
        return f"{self.chain}-{self.sequence}"

    def sealed(self) -> AuditEvent:
        """The event with its hash."""
        return msgspec.structs.replace(self, hash=self.digest())

    def digest(self) -> str:
        """What its hash must be."""
        return hashlib.sha256(encode_event(msgspec.structs.replace(self, hash="") if self.hash else self)).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Everything that is set, ready for JSON."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return told

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AuditEvent:
        """The inverse of `to_dict`."""
        return msgspec.convert(data, cls)


encode_event: Final = msgspec.json.Encoder().encode
decode_event: Final = msgspec.json.Decoder(AuditEvent).decode

TEXTS: Final = (
    *("operation", "store", "collection", "item", "actor", "correlation_id", "trace_id", "error_type"),
    *("error_message", "environment"),
)
DAMAGED: Final = "damaged"
"""The chain of what stands for events that cannot be read."""


def encodable(event: AuditEvent, error: Exception) -> AuditEvent:
    """What is told instead of an event that cannot be encoded: the same as far as possible, and why it was altered."""
    try:
        encode_event(event.metadata)
        metadata = event.metadata
    except Exception:  # noqa: BLE001  # whatever it holds
        metadata = {}
    changes: dict[str, Any] = {name: _escaped(getattr(event, name)) for name in TEXTS}
    changes["items"] = tuple(_escaped(str(item)) for item in event.items)
    changes["metadata"] = {**metadata, "altered": _escaped(f"{type(error).__name__}: {error}")}
    return msgspec.structs.replace(event, **changes)


def without_texts(event: AuditEvent, error: Exception) -> AuditEvent:
    """What is told instead of an event that cannot be redacted: nothing that might be sensitive, and why."""
    return msgspec.structs.replace(
        event,
        item=None,
        items=(),
        actor=None,
        correlation_id=None,
        error_message=None,
        metadata={"altered": f"it could not be redacted: {type(error).__name__}"},
    )


def damaged(name: str, error: Exception) -> AuditEvent:
    """What stands for events that cannot be read: no verification lets it pass.

    Args:
        name: of the line or the record.
        error: why it cannot be read.
    """
    return AuditEvent(
        event_type=AuditEventType.READ,
        operation=DAMAGED,
        timestamp=datetime.fromtimestamp(0, UTC),
        status=AuditStatus.FAILURE,
        item=name,
        error_type=type(error).__name__,
        error_message=_escaped(str(error)),
        chain=DAMAGED,
    )


def _escaped(text: object) -> str | None:
    return None if text is None else str(text).encode(errors="backslashreplace").decode()
