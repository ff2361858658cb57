"""The cost of observing an operation: metrics, a span, an audit event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from benchmarks.measure import Figure, race
from benchmarks.places import Places
from benchmarks.workload import result
from truthstore.backends.memory import MemoryStore
from truthstore.observability import (
    AuditConfig,
    MetricsConfig,
    ObservabilityConfig,
    ObservableStore,
    TracingConfig,
)
from truthstore.observability.audit.event import AuditEvent, AuditEventType, encode_event
from truthstore.observability.audit.logger import AuditLogger
from truthstore.observability.audit.sinks import AuditBackend

NO_AUDIT = AuditConfig(enabled=False)


class Forgetful(AuditBackend):
    """Encodes events, as every sink does, and keeps none."""

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Encode them."""
        for event in events:
            encode_event(event)

    def read(self) -> Iterator[AuditEvent]:
        """Return nothing."""
        return iter(())


class Nowhere(SpanExporter):
    """Takes spans and sends them nowhere."""

    def export(self, spans: object) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


def figures(places: Places) -> Iterator[Figure]:
    """Measure each alone, around a get."""
    spans = TracerProvider()
    spans.add_span_processor(BatchSpanProcessor(Nowhere()))
    meters = MeterProvider([InMemoryMetricReader()])
    prometheus = MetricsConfig(registry=CollectorRegistry())
    opentelemetry = MetricsConfig(exporter="opentelemetry", meter_provider=meters)
    yield _around_get(places, "metrics for Prometheus", ObservabilityConfig(audit=NO_AUDIT, metrics=prometheus), 12)
    yield _around_get(
        places, "metrics by OpenTelemetry", ObservabilityConfig(audit=NO_AUDIT, metrics=opentelemetry), 30
    )
    yield _around_get(
        places,
        "a span of OpenTelemetry's SDK",
        ObservabilityConfig(audit=NO_AUDIT, tracing=TracingConfig(tracer_provider=spans)),
        40,
    )
    spans.shutdown()
    meters.shutdown()
    yield _event(places)


def _around_get(places: Places, name: str, config: ObservabilityConfig, wanted: float) -> Figure:
    store = MemoryStore()
    observed = ObservableStore(store, config)
    one = result(1)
    store.save(one)
    found = race(
        lambda _: observed.get(one.run_id), lambda _: store.get(one.run_id), rounds=places.rounds(200), calls=200
    )
    return Figure(f"get with {name}", "get without", found.difference * 1e6, "at most", wanted, "µs more", found.detail)


def _event(places: Places) -> Figure:
    """Measure an event in a batch of 100: redacted, chained and encoded."""
    logger = AuditLogger(Forgetful(), AuditConfig(flush_interval_seconds=3_600))
    event = AuditEvent(
        event_type=AuditEventType.SAVE,
        operation="save",
        timestamp=datetime.now(UTC),
        store="memory",
        collection="results",
        item=result(1).run_id,
        count=1,
        actor="somebody",
        duration_ms=1.25,
        environment="production",
    )
    found = race(lambda _: logger.log(event), lambda _: event.sealed(), rounds=places.rounds(100), calls=200)
    logger.close()
    return Figure(
        "an audit event, chained, in a batch of 100",
        "its hash alone",
        found.ours * 1e6,
        "at most",
        10,
        "µs",
        found.detail,
    )
