"""Observability: an audit trail that shows when it was tampered with, metrics, and traces."""

from __future__ import annotations

from truthstore.observability import audit
from truthstore.observability.audit import *  # noqa: F403  # one list of its names
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
    "AuditConfig",
    "AuditLogLevel",
    "MetricsConfig",
    "ObservabilityConfig",
    "ObservableStore",
    "TracingConfig",
    "acting_as",
    "correlation",
    "current_actor",
    "current_correlation_id",
]
__all__ += audit.__all__
