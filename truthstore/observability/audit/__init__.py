"""The audit trail: events, redaction, chains, sinks, the logger."""

from truthstore.observability.audit.chain import ChainVerification
from truthstore.observability.audit.event import AuditEvent, AuditEventType, AuditStatus, Stored
from truthstore.observability.audit.file import FileAuditBackend, JsonAuditBackend
from truthstore.observability.audit.logger import AuditLogger
from truthstore.observability.audit.redaction import DataRedactor
from truthstore.observability.audit.sinks import (
    AsyncAuditBackend,
    AuditBackend,
    CompositeAuditBackend,
    InMemoryAuditBackend,
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
    "Stored",
]
