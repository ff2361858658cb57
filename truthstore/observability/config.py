"""Options of the audit trail, of metrics and of traces."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from truthstore.errors import StoreConfigError
from truthstore.observability.audit.redaction import SENSITIVE, DataRedactor, to_builtins
from truthstore.observability.context import check_actor

if TYPE_CHECKING:
    import os

    from truthstore.observability.audit.sinks import AuditBackend

__all__ = ["AuditConfig", "AuditLogLevel", "MetricsConfig", "ObservabilityConfig", "TracingConfig"]

BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class AuditLogLevel(enum.StrEnum):
    """Amounts of auditing: writes; failures too; reads too."""

    MINIMAL = "minimal"
    STANDARD = "standard"
    VERBOSE = "verbose"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Options of the audit trail.

    Attributes:
        enabled: False for none.
        level: the amount of auditing.
        backend: the place for events: a sink, ``store`` (the collection ``store.audit`` of the store below), ``memory``, or
            ``json`` (`file_path`). None means ``json`` if there is a `file_path`, else ``store``.
        file_path: a file of JSON lines.
        actor: the actor outside of `acting_as`; by default the user of the operating system.
        mode: ``batch`` writes events together; ``sync`` writes each before the operation returns, so that none is
            missing after a kill.
        batch_size: a batch has at most so many events.
        flush_interval_seconds: no event waits longer.
        on_error: the policy for a sink that fails: ``spool`` or ``queue`` keeps events in a local queue until it works
            again, ``raise`` fails the operation (which is done by then), ``drop`` gives them up. Each is counted.
        spool_path: the file of the local queue; several stores may share it.
        redact_sensitive: True to replace values of sensitive names and patterns before anything is written.
        sensitive_fields: the names, as `DataRedactor` takes them.
        redactor: a redactor to use instead.
        extra_context: added to the metadata of every event; objects in it become dicts of their fields.

    Raises:
        StoreConfigError: an unknown level, mode, backend or policy.
        ValueError: a number that is not positive; an actor or `extra_context` that UTF-8 cannot encode.
        TypeError: an actor that is not a string; `extra_context` holds something that JSON cannot.
    """

    enabled: bool = True
    level: AuditLogLevel | str = AuditLogLevel.STANDARD
    backend: AuditBackend | str | None = None
    file_path: str | os.PathLike[str] | None = None
    actor: str | None = None
    mode: Literal["batch", "sync"] = "batch"
    batch_size: int = 100
    flush_interval_seconds: float = 1.0
    on_error: Literal["raise", "spool", "queue", "drop"] = "spool"
    spool_path: str = ".truthstore/spool/audit.db"
    redact_sensitive: bool = True
    sensitive_fields: Sequence[str] = SENSITIVE
    redactor: DataRedactor | None = None
    extra_context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "level", AuditLogLevel(self.level))
        except ValueError as error:
            raise StoreConfigError(f"level: {error}: use minimal, standard or verbose") from error
        for name, choices in (("mode", ("batch", "sync")), ("on_error", ("raise", "spool", "queue", "drop"))):
            if getattr(self, name) not in choices:
                raise StoreConfigError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if isinstance(self.backend, str) and self.backend not in {"store", "memory", "json", "file"}:
            raise StoreConfigError(f"backend is a sink, 'store', 'memory' or 'json', not {self.backend!r}")
        if self.backend in {"json", "file"} and self.file_path is None:
            raise StoreConfigError(f"backend={self.backend!r} needs a file_path")
        if self.batch_size < 1 or self.flush_interval_seconds <= 0:
            raise ValueError("batch_size and flush_interval_seconds must be positive")
        if self.actor is not None:
            check_actor(self.actor)
        try:
            context = to_builtins(dict(self.extra_context))
            msgspec.json.encode(context)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"extra_context cannot be written as JSON: {error}") from error
        object.__setattr__(self, "extra_context", context)

    def make_redactor(self) -> DataRedactor | None:
        """Return the redactor, or None if nothing is redacted."""
        if not self.redact_sensitive:
            return None
        return self.redactor or DataRedactor(fields_to_redact=self.sensitive_fields)


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
        if self.exporter not in {"prometheus", "opentelemetry", "both"}:
            raise StoreConfigError(f"exporter is 'prometheus', 'opentelemetry' or 'both', not {self.exporter!r}")


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
