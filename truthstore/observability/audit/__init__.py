"""Everything about the audit trail: events, redaction, sinks, the logger."""

from __future__ import annotations

from truthstore.observability.audit.async_sink import AsyncAuditBackend
from truthstore.observability.audit.chain import ChainVerification, verify_events
from truthstore.observability.audit.event import AuditEvent, AuditEventType, AuditStatus
from truthstore.observability.audit.logger import AuditLogger
from truthstore.observability.audit.redaction import DataRedactor
from truthstore.observability.audit.sinks import (
    AuditBackend,
    CompositeAuditBackend,
    FileAuditBackend,
    InMemoryAuditBackend,
    JsonAuditBackend,
)
from truthstore.observability.audit.store import AUDIT, StoreAuditBackend

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
