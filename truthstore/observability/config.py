"""Options of metrics and traces, and of all that an observable store observes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from truthstore.errors import StoreConfigError, one_of
from truthstore.observability.audit.config import AuditConfig, AuditLogLevel

__all__ = ["AuditConfig", "AuditLogLevel", "MetricsConfig", "ObservabilityConfig", "TracingConfig"]

EXPORTERS: Final = ("prometheus", "opentelemetry", "both")
BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Options of metrics.

    Attributes:
        enabled: False for none.
        exporter: ``prometheus``, ``opentelemetry`` or ``both``.
        store_name: the label ``store``; by default the name of the backend.
        registry: a registry of prometheus_client; by default its global one.
        meter_provider: a provider of OpenTelemetry; by default its global one.
        histogram_buckets: upper bounds of the histogram, in seconds.

    Raises:
        StoreConfigError: an unknown exporter.
    """

    enabled: bool = True
    exporter: Literal["prometheus", "opentelemetry", "both"] = "prometheus"
    store_name: str | None = None
    registry: Any = None
    meter_provider: Any = None
    histogram_buckets: Sequence[float] = BUCKETS

    def __post_init__(self) -> None:
        if self.exporter not in EXPORTERS:
            raise StoreConfigError(one_of("exporter", self.exporter, EXPORTERS))
        _check_has("registry", self.registry, "register")
        _check_has("meter_provider", self.meter_provider, "get_meter")


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Options of traces. Sampling and export are set up with OpenTelemetry's SDK, as for the rest of the program.

    Attributes:
        enabled: False for none.
        tracer_provider: a provider of OpenTelemetry; by default its global one.
        attributes: added to every span.
    """

    enabled: bool = True
    tracer_provider: Any = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_has("tracer_provider", self.tracer_provider, "get_tracer")


def _check_has(option: str, value: object, method: str) -> None:
    if value is not None and not hasattr(value, method):
        raise TypeError(f"{option} is an object with a method {method}(), not {type(value).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilityConfig:
    """Options of an observable store.

    Attributes:
        audit: the audit trail, on by default.
        metrics: metrics, off by default.
        tracing: traces, off by default.
        correlation_id_header: the header from which `ObservableStore.correlate` takes the correlation id.
        environment: named in every event and span.
    """

    audit: AuditConfig = field(default_factory=AuditConfig)
    metrics: MetricsConfig = field(default_factory=lambda: MetricsConfig(enabled=False))
    tracing: TracingConfig = field(default_factory=lambda: TracingConfig(enabled=False))
    correlation_id_header: str = "X-Correlation-ID"
    environment: str = "development"

    def __post_init__(self) -> None:
        for name, kind in (("audit", AuditConfig), ("metrics", MetricsConfig), ("tracing", TracingConfig)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is a {kind.__name__}, not {type(getattr(self, name)).__name__}")

    @classmethod
    def production(cls) -> ObservabilityConfig:
        """Build the options for an audit of writes and failures, metrics for Prometheus, and traces."""
        return cls(metrics=MetricsConfig(), tracing=TracingConfig(), environment="production")

    @classmethod
    def minimal(cls) -> ObservabilityConfig:
        """Build the options for an audit of writes, and metrics for Prometheus."""
        return cls(audit=AuditConfig(level=AuditLogLevel.MINIMAL), metrics=MetricsConfig())

    @classmethod
    def disabled(cls) -> ObservabilityConfig:
        """Build the options for nothing of all that."""
        return cls(audit=AuditConfig(enabled=False))
