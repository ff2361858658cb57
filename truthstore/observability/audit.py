"""Everything about the audit trail: events, redaction, sinks, the logger."""

from __future__ import annotations

from truthstore.observability.async_sink import AsyncAuditBackend
from truthstore.observability.chain import ChainVerification, verify_events
from truthstore.observability.events import AuditEvent, AuditEventType, AuditStatus
from truthstore.observability.logger import AuditLogger
from truthstore.observability.redaction import DataRedactor
from truthstore.observability.sinks import (
    AuditBackend,
    CompositeAuditBackend,
    FileAuditBackend,
    InMemoryAuditBackend,
    JsonAuditBackend,
)
from truthstore.observability.store_sink import AUDIT, StoreAuditBackend

__all__ = [
    "AUDIT",
    "AsyncAuditBackend",
    "AuditBackend",
    "AuditEvent",
    "AuditEventType",
    "AuditLogger",
    "AuditStatus",
    "ChainVerification",
    "CompositeAuditBackend",
    "DataRedactor",
    "FileAuditBackend",
    "InMemoryAuditBackend",
    "JsonAuditBackend",
    "StoreAuditBackend",
    "verify_events",
]
