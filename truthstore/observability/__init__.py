"""Observability: an audit trail that shows when it was tampered with, metrics, and traces."""

from __future__ import annotations

from truthstore.observability.audit import (
    AsyncAuditBackend,
    AuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    AuditStatus,
    ChainVerification,
    CompositeAuditBackend,
    DataRedactor,
    FileAuditBackend,
    InMemoryAuditBackend,
    JsonAuditBackend,
    StoreAuditBackend,
)
from truthstore.observability.config import (
    AuditConfig,
    AuditLogLevel,
    MetricsConfig,
    ObservabilityConfig,
    TracingConfig,
)
from truthstore.observability.context import acting_as, correlation, current_actor, current_correlation_id
from truthstore.observability.store import ObservableStore

__all__ = [
    "AsyncAuditBackend",
    "AuditBackend",
    "AuditConfig",
    "AuditEvent",
    "AuditEventType",
    "AuditLogLevel",
    "AuditLogger",
    "AuditStatus",
    "ChainVerification",
    "CompositeAuditBackend",
    "DataRedactor",
    "FileAuditBackend",
    "InMemoryAuditBackend",
    "JsonAuditBackend",
    "MetricsConfig",
    "ObservabilityConfig",
    "ObservableStore",
    "StoreAuditBackend",
    "TracingConfig",
    "acting_as",
    "correlation",
    "current_actor",
    "current_correlation_id",
]
