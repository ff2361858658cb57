"""Observable stores: the suite, and what is seen of each operation."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from tests.smoke import SMOKE
from truthstore import (
    ABSENT,
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
    StoreQueryError,
    StoreWriteError,
    get_store,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.batching import BatchConfig, BatchedStore
from truthstore.caching import CachedStore
from truthstore.observability import (
    AuditConfig,
    AuditEventType,
    AuditStatus,
    MetricsConfig,
    ObservabilityConfig,
    ObservableStore,
    TracingConfig,
    acting_as,
    correlation,
)
from truthstore.observability.audit import AuditEvent, InMemoryAuditBackend, StoreAuditBackend
from truthstore.observability.config import BUCKETS
from truthstore.observability.context import system_user
from truthstore.observability.metrics import CONVENTION_BUCKETS
from truthstore.retention import CountBasedPolicy, RetentionStore
from truthstore.testing import SAMPLES, FaultyStore, Sample, WrapperSuite, make_samples, store_machine
from truthstore.versioning import VersionedStore

VERBOSE = AuditConfig(level="verbose", backend="memory")


def everything_on() -> ObservabilityConfig:
    return ObservabilityConfig(
        audit=AuditConfig(level="verbose"),
        metrics=MetricsConfig(registry=CollectorRegistry(), exporter="both", meter_provider=MeterProvider()),
        tracing=TracingConfig(tracer_provider=TracerProvider()),
    )


class TestEverything(WrapperSuite):
    def wrap(self, base):
        return ObservableStore(base, everything_on())


class TestDisabled(WrapperSuite):
    smoke = SMOKE

    def wrap(self, base):
        return ObservableStore(base, ObservabilityConfig.disabled())


def make_faulty(location: MemoryData):
    faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
    config = ObservabilityConfig(audit=AuditConfig(backend="memory", level="verbose"))
    return ObservableStore(faulty, config), faulty.plan


TestMachine = store_machine(
    lambda location: ObservableStore(MemoryStore(collection=SAMPLES, data=location)),
    make_location=MemoryData,
    make_faulty=make_faulty,
    effort=0.2,
)


def observed(base: Any = None, **parts: Any) -> ObservableStore[Sample]:
    parts.setdefault("audit", AuditConfig(enabled=False))
    return ObservableStore(base or MemoryStore(collection=SAMPLES), ObservabilityConfig(**parts))


def do_everything(store: ObservableStore[Sample]) -> None:
    store.save(Sample("a"))
    store.save(Sample("b"), expect=ABSENT)
    store.save(Sample("b"), expect=store.head("b").revision)
    store.save_many([Sample("c"), Sample("d")])
    store.get("a")
    store.get_many(["a", "c"])
    assert not store.exists("nothing")
    store.query(StoreQuery(limit=2))
    store.list_ids()
    store.count()
    store.aggregate(metrics="count")
    store.delete("a")
    store.delete_many(["b", "c"])
    with pytest.raises(StoreNotFoundError):
        store.get("nothing")
    with pytest.raises(StoreConflictError):
        store.save(Sample("d"), expect=ABSENT)


OPERATIONS = {
    "minimal": ["save", "save", "save", "save_many", "delete", "delete_many"],
    "standard": ["save", "save", "save", "save_many", "delete", "delete_many", "get", "save"],
    "verbose": [
        *["save", "save", "head", "save", "save_many", "get", "get_many", "head", "query", "list_ids", "count"],
        *["aggregate", "delete", "delete_many", "get", "save"],
    ],
}


@pytest.mark.parametrize("level", OPERATIONS)
def test_each_level_has_its_events(level):
    store = observed(audit=AuditConfig(level=level, actor="nightly", extra_context={"pipeline": "p", "token": "t"}))
    with store.correlate({"x-correlation-id": "c-1"}) as id, acting_as("me"):
        assert id == "c-1"
        do_everything(store)
    events = [event for event in store.audit.query(ascending=True) if event.event_type is not AuditEventType.OPEN]
    assert [event.operation for event in events] == OPERATIONS[level]
    assert {event.correlation_id for event in events} == {"c-1"}
    assert {event.actor for event in events} == {"me"}
    assert all(
        event.duration_ms >= 0 and event.metadata == {"pipeline": "p", "token": "[REDACTED]"} for event in events
    )
    assert [event.event_type for event in events if event.operation == "save"][:3] == ["save", "create", "update"]
    (many,) = (event for event in events if event.operation == "save_many")
    assert (many.item, many.items, many.count) == (None, ("c", "d"), 2)
    if level != "minimal":
        assert [(e.error_type, e.item) for e in events if e.status is AuditStatus.FAILURE] == [
            ("StoreNotFoundError", "nothing"),
            ("StoreConflictError", "d"),
        ]
    assert store.audit.verify_chain()
    assert len(store.audit.query(item="c")) >= 1
    store.save(Sample("x"))
    (last,) = store.audit.query(limit=1)
    assert (last.actor, last.correlation_id, last.item) == ("nightly", None, "x")


def test_a_partial_failure_says_so():
    faulty = FaultyStore(MemoryStore(collection=SAMPLES))
    store = observed(faulty, audit=AuditConfig(backend="memory"))
    store.save(Sample("z"))
    faulty.plan.arm(2, "before")
    with pytest.raises(StoreBulkError):
        store.save_many([Sample("a"), Sample("b"), Sample("c")])
    (event,) = store.audit.query(status="partial")
    assert event.error_type == "StoreBulkError"


def test_prometheus_has_the_figures():
    registry = CollectorRegistry()
    cached = CachedStore(MemoryStore(collection=SAMPLES))
    store = observed(cached, metrics=MetricsConfig(registry=registry, store_name="main"))
    observed(cached, metrics=MetricsConfig(registry=registry, store_name="main"))
    do_everything(store)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"store": "main", **labels})

    assert value("store_operations_total", operation="save", status="success") == 3
    assert value("store_operations_total", operation="save", status="error") == 1
    assert value("store_operation_duration_seconds_count", operation="get") == 2
    assert value("store_errors_total", error_type="StoreConflictError") == 1
    assert (value("store_bytes_read_total") or 0) > 100
    assert (value("store_bytes_written_total") or 0) > 500
    assert value("store_connections_active") == 2
    assert cached.metrics.hits > 0
    assert value("store_cache_hits_total") == cached.metrics.hits
    assert value("store_cache_misses_total") == cached.metrics.misses
    store.close()
    store.close()
    assert value("store_connections_active") == 1


def test_hits_of_a_cache_that_is_gone_stay_counted():
    registry = CollectorRegistry()

    def hits() -> float | None:
        return registry.get_sample_value("store_cache_hits_total", {"store": "main"})

    for expected in (1, 2):
        store = observed(
            CachedStore(MemoryStore(collection=SAMPLES)), metrics=MetricsConfig(registry=registry, store_name="main")
        )
        store.save(Sample("a"))
        store.get("a")
        assert hits() == expected
        store.close()
        del store
        gc.collect()
        assert hits() == expected


def test_opentelemetry_has_the_figures():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    store = observed(
        CachedStore(MemoryStore(collection=SAMPLES)),
        metrics=MetricsConfig(exporter="opentelemetry", meter_provider=provider),
    )
    do_everything(store)
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, Any] = {
        metric.name: metric.data.data_points
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert set(found) == {
        "store_operations_total",
        "store_operation_duration_seconds",
        "store_bytes_read_total",
        "store_bytes_written_total",
        "store_connections_active",
        "store_cache_hits_total",
        "store_cache_misses_total",
        "store_errors_total",
        "db.client.operation.duration",
    }
    for name, buckets in (
        ("db.client.operation.duration", CONVENTION_BUCKETS),
        ("store_operation_duration_seconds", BUCKETS),
    ):
        assert found[name][0].explicit_bounds == buckets
    durations = [p for p in found["db.client.operation.duration"] if p.attributes["db.operation.name"] == "save"]
    assert sorted((point.count, point.attributes.get("error.type")) for point in durations) == [
        (1, "truthstore.errors.StoreConflictError"),
        (3, None),
    ]
    assert all(
        point.attributes["db.system.name"] == "truthstore.memory"
        and point.attributes["db.collection.name"] == "samples"
        for point in durations
    )
    saves = [p for p in found["store_operations_total"] if (p.attributes or {}).get("operation") == "save"]
    assert sorted(point.value for point in saves) == [1, 3]
    provider.shutdown()


def test_stores_of_one_name_and_provider_count_together_and_never_go_back():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    config = MetricsConfig(exporter="opentelemetry", meter_provider=provider, store_name="shared")

    def counted(name: str) -> dict[str, float]:
        data = reader.get_metrics_data()
        assert data is not None
        return {
            str((point.attributes or {}).get("error_type", (point.attributes or {})["store"])): point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint)
        }

    first, second = (observed(MemoryStore(collection=SAMPLES), metrics=config) for _ in range(2))
    sizes = 0
    for number, store in enumerate((first, second, second)):
        sizes += store.head(store.save(Sample(str(number)))).meta.size
    with pytest.raises(StoreNotFoundError):
        first.get("no")
    assert counted("store_bytes_written_total") == {"shared": sizes}
    assert counted("store_errors_total") == {"StoreNotFoundError": 1}
    first.close()
    second.close()
    observed(MemoryStore(collection=SAMPLES), metrics=config).save(Sample("0"))
    assert counted("store_bytes_written_total")["shared"] > sizes
    provider.shutdown()


def test_spans_follow_the_conventions(spans):
    provider: Any = spans.config.tracer_provider
    store = observed(tracing=spans.config, audit=VERBOSE, environment="test")
    with provider.get_tracer("caller").start_as_current_span("outer") as outer, correlation("c-2"):
        store.save(Sample("a"))
        assert [sample.id for sample in store.query()] == ["a"]
        with pytest.raises(StoreNotFoundError):
            store.get("b")
    save, query, get, _ = spans.get_finished_spans()
    assert save.name == "save samples"
    assert dict(save.attributes) == {
        "db.system.name": "truthstore.memory",
        "db.operation.name": "save",
        "db.collection.name": "samples",
        "deployment.environment.name": "test",
        "truthstore.item.id": "a",
        "truthstore.correlation_id": "c-2",
    }
    assert {span.parent.span_id for span in (save, query, get)} == {outer.get_span_context().span_id}
    assert query.attributes["db.response.returned_rows"] == 1
    assert get.status.is_ok is False
    assert get.attributes["error.type"] == "truthstore.errors.StoreNotFoundError"
    assert get.events[0].name == "exception"
    (event,) = store.audit.query(operation="save")
    assert event.trace_id == format(save.context.trace_id, "032x")


def test_a_query_that_fails_or_is_left_is_told(spans):
    faulty = FaultyStore(MemoryStore(collection=SAMPLES))
    store = observed(faulty, tracing=spans.config, audit=VERBOSE)
    store.save_many(make_samples(5))
    rest = store.scan(StoreQuery(), collection=SAMPLES, bodies=True)
    next(rest)
    del rest
    faulty.plan.arm(1, "before")
    with pytest.raises(Exception, match="on purpose"):
        store.query()
    _, left, failed = spans.get_finished_spans()
    assert left.attributes["db.response.returned_rows"] == 1
    assert failed.events[0].name == "exception"
    assert [event.status for event in store.audit.query(operation="query", ascending=True)] == ["success", "failure"]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("operation", ["query", "entries"])
def test_a_query_that_fails_at_once_is_told(spans, traced, operation):
    registry = CollectorRegistry()
    store = observed(
        tracing=spans.config if traced else TracingConfig(enabled=False),
        audit=VERBOSE,
        metrics=MetricsConfig(registry=registry, store_name="main"),
    )
    wrong = StoreQuery(where={"nope": 1})
    with pytest.raises(StoreQueryError, match="nope"):
        # At once: not only when somebody reads.
        store.scan(wrong, collection=SAMPLES, bodies=operation == "query")
    (event,) = store.audit.query(operation=operation)
    assert (event.status, event.error_type, event.count) == ("failure", "StoreQueryError", 0)
    failed = {"store": "main", "operation": operation, "status": "error"}
    assert registry.get_sample_value("store_operations_total", failed) == 1
    errors = {"store": "main", "error_type": "StoreQueryError"}
    assert registry.get_sample_value("store_errors_total", errors) == 1
    if traced:
        (span,) = spans.get_finished_spans()
        assert (span.name, span.status.is_ok, span.attributes["error.type"]) == (
            f"{operation} samples",
            False,
            "truthstore.errors.StoreQueryError",
        )
        assert event.trace_id == format(span.context.trace_id, "032x")
    with pytest.raises(StoreQueryError):
        store.query(wrong)
    store.close()


def test_what_a_query_does_at_once_is_within_its_span_and_its_time(spans):
    provider: Any = spans.config.tracer_provider

    class Eager(MemoryStore[Any]):
        def scan(self, *args: Any, **options: Any) -> Any:
            with provider.get_tracer("below").start_as_current_span("below"):
                time.sleep(0.02)
                return iter(list(super().scan(*args, **options)))

    store = observed(Eager(collection=SAMPLES), tracing=spans.config, audit=VERBOSE)
    assert store.query() == []
    below, query = spans.get_finished_spans()
    assert below.parent.span_id == query.context.span_id
    (event,) = store.audit.query(operation="query")
    assert event.duration_ms >= 20
    store.close()


class Down(InMemoryAuditBackend):
    """Fails so many times."""

    fails = 0

    def write(self, events: Sequence[AuditEvent]) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreWriteError("no space left")
        super().write(events)


def test_a_stack_whose_audit_trail_could_not_be_ended_stays_open_and_can_be_closed_again(monkeypatch):
    registry = CollectorRegistry()
    base = MemoryStore(collection=SAMPLES)
    sink = Down()
    monkeypatch.setattr("truthstore.observability.store.InMemoryAuditBackend", lambda: sink)
    store = observed(
        base,
        audit=AuditConfig(backend="memory", on_error="raise", flush_interval_seconds=60),
        metrics=MetricsConfig(registry=registry, store_name="main"),
    )
    store.save(Sample("a"))
    sink.fails = 2
    for _ in range(2):
        with pytest.raises(StoreWriteError, match="no space left"):
            store.close()
        assert store.count() == 1
    for view in (store.collection(SAMPLES), store, store):
        view.close()
    with pytest.raises(StoreError, match="closed"):
        base.count()
    assert [event.item for event in sink.events if event.item] == ["a"]
    assert sink.verify_chain().ok
    assert registry.get_sample_value("store_connections_active", {"store": "main"}) == 0


@pytest.mark.parametrize("redact", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
def test_spans_are_redacted_as_events_are(spans, redact, enabled):
    config = AuditConfig(enabled=enabled, backend="memory", redact_sensitive=redact)
    store = observed(audit=config, tracing=spans.config)
    with store.correlate({"x-correlation-id": "token=hunter2"}), pytest.raises(StoreNotFoundError):
        store.get("token=hunter2 4111-1111-1111-1111")
    (span,) = spans.get_finished_spans()
    assert span.status.description.startswith("truthstore.errors.StoreNotFoundError: ")
    assert span.events[0].attributes["exception.type"] == "truthstore.errors.StoreNotFoundError"
    assert "in get" in span.events[0].attributes["exception.stacktrace"]
    texts = f"{dict(span.attributes)} {span.status.description} {dict(span.events[0].attributes)}"
    assert ("hunter2" in texts) is not redact
    assert ("4111" in texts) is not redact


@pytest.mark.parametrize("signal", ["", "logs", "logs/dup", "unknown"])
def test_exceptions_are_events_of_spans_or_logs_as_the_convention_has_it(spans, monkeypatch, signal):
    monkeypatch.setenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", signal)
    logs: list[Any] = []
    logger: Any = SimpleNamespace(emit=logs.append)
    monkeypatch.setattr("opentelemetry._logs.get_logger", lambda _: logger)
    with pytest.raises(StoreNotFoundError):
        observed(tracing=spans.config).get("token=hunter2")
    (span,) = spans.get_finished_spans()
    assert [event.name for event in span.events] == ([] if signal == "logs" else ["exception"])
    assert len(logs) == int(signal.startswith("logs"))
    for record in logs:
        assert trace.get_current_span(record.context).get_span_context() == span.context
        assert record.severity_text == "ERROR"
        assert record.attributes["exception.type"] == "truthstore.errors.StoreNotFoundError"
        assert "in get" in record.attributes["exception.stacktrace"]
        assert "hunter2" not in f"{record.body} {record.attributes}"


def test_an_item_that_is_not_there_is_no_failed_span(spans):
    assert not observed(tracing=spans.config).exists("a")
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code.name, span.events, "error.type" in span.attributes) == ("UNSET", (), False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_while_records_are_read_ends_the_span_as_failed(spans, error):
    class Interrupted(MemoryStore[Any]):
        def scan(self, *args: Any, **options: Any) -> Any:
            yield from super().scan(*args, **options)
            raise error

    store = observed(Interrupted(collection=SAMPLES), tracing=spans.config)
    store.save(Sample("a"))
    with pytest.raises(error):
        store.query()
    _, span = spans.get_finished_spans()
    assert (span.status.is_ok, span.attributes["error.type"]) == (False, error.__name__)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_operation_is_observed(spans, error, traced):
    base: Any = MemoryStore(collection=SAMPLES)
    store = observed(base, audit=VERBOSE, tracing=spans.config if traced else TracingConfig(enabled=False))

    def interrupted(method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            method(*args, **options)
            raise error

        return call

    for name in ("put_record", "get_record", "delete_record"):
        setattr(base, name, interrupted(getattr(base, name)))
    for call in (lambda: store.save(Sample("a")), lambda: store.get("a"), lambda: store.delete("a")):
        with pytest.raises(error):
            call()
    found = [(e.operation, e.item, e.error_type) for e in store.audit.query(ascending=True) if e.item]
    assert found == [(name, "a", error.__name__) for name in ("save", "get", "delete")]
    if traced:
        assert {span.status.is_ok for span in spans.get_finished_spans()} == {False}
    store.close()


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_a_subscriber_that_reads_does_not_make_events_without_end(mode):
    base = MemoryStore(collection=SAMPLES)
    store = observed(base, audit=AuditConfig(level="verbose", mode=mode, flush_interval_seconds=60))
    base.subscribe(lambda changes: [store.exists(change.id) for change in changes])
    store.save(Sample("a"))
    store.close()
    assert store.audit.stats["written"] < 20


def test_the_trail_lies_in_the_store_by_default(tmp_path):
    with ObservableStore(FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os")) as store:
        store.save(Sample("a"))
        assert store.stats()["audit"]["failed"] == 0
        assert store.maintain()["audit_events_recovered"] == 0
        assert len(store.audit.query(item="a")) == 1
    with FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os") as base:
        assert base.count() == 1
        sink = StoreAuditBackend(base)
        assert [e.operation for e in sink.query(ascending=True)] == ["open", "save", "close"]


@pytest.mark.parametrize("kind", ["memory", "filesystem", "log", "database", "a queue"])
def test_the_outermost_trail_has_what_layers_do_by_themselves(tmp_path, kind):
    bases: dict[str, Any] = {
        "memory": lambda: MemoryStore(collection=SAMPLES),
        "filesystem": lambda: FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os"),
        "log": lambda: get_store("filesystem", base_path=tmp_path / "s", collection=SAMPLES, index="log"),
        "database": lambda: get_store(f"sqlite:///{tmp_path / 'x.db'}", collection=SAMPLES),
    }
    base = bases.get(kind, bases["memory"])()
    layers = RetentionStore(VersionedStore(base), CountBasedPolicy(1), preserve_latest=False)
    above: Any = BatchedStore(layers, flush_interval_seconds=None) if kind == "a queue" else CachedStore(layers)
    store: Any = ObservableStore(above).collection(SAMPLES)
    store.save_many([Sample("a", count=1), Sample("b"), Sample("c")])
    store.save(Sample("a", count=2))
    if kind == "a queue":
        above.flush()
    store.layer(VersionedStore).rollback("a", 1)
    store.layer(RetentionStore).run_cleanup()
    (kept,) = store.list_ids()
    store.delete(kept)
    told = [
        (e.operation, e.item, e.items, e.actor == system_user()) for e in store.audit.query(ascending=True) if e.count
    ]
    removed = {"a", "b", "c"} - {kept}
    assert told[:3] == [("save_many", None, ("a", "b", "c"), True), ("save", "a", (), True), ("save", "a", (), True)]
    assert {id for _, item, items, _ in told[3:-1] for id in (item, *items) if id} == removed
    assert {operation for operation, *_ in told[3:-1]} <= {"delete", "delete_many"}
    assert told[-1] == ("delete", kept, (), True)
    assert store.audit.verify_chain()
    store.close()


def test_what_a_layer_removes_during_a_save_is_an_event_of_its_own():
    store = observed(MemoryStore(collection=SAMPLES, max_items=1), audit=AuditConfig(backend="memory"))
    store.save(Sample("a"))
    store.save(Sample("b"))
    assert [(e.operation, e.item) for e in store.audit.query(ascending=True) if e.item] == [
        ("save", "a"),
        ("delete", "a"),
        ("save", "b"),
    ]


def test_a_save_that_a_queue_delivers_later_is_one_event():
    queue = BatchedStore(MemoryStore(collection=SAMPLES), BatchConfig(flush_interval_seconds=None))
    store = observed(queue, audit=AuditConfig(backend="memory"))
    store.save(Sample("a"))
    store.save(Sample("b"))
    queue.flush()
    assert [e.item for e in store.audit.query(event_type="save")] == ["b", "a"]
    store.close()


def test_a_store_that_is_dropped_is_freed_and_its_events_are_written_soon():
    base, sink = MemoryStore(collection=SAMPLES), InMemoryAuditBackend()
    store = observed(base, audit=AuditConfig(backend=sink, flush_interval_seconds=3_600))
    store.save(Sample("a"))
    assert sink.query() == []
    freed = weakref.ref(store)
    gc.disable()
    try:
        del store
        assert freed() is None
    finally:
        gc.enable()
    deadline = time.monotonic() + 10
    while not sink.query():
        assert time.monotonic() < deadline, "they wait for their time"
        time.sleep(0.01)


def test_the_presets():
    production = ObservabilityConfig.production()
    assert (production.audit.enabled, production.metrics.enabled, production.tracing.enabled) == (True, True, True)
    minimal = ObservabilityConfig.minimal()
    assert (minimal.audit.level, minimal.metrics.enabled, minimal.tracing.enabled) == ("minimal", True, False)
    off = ObservabilityConfig.disabled()
    assert (off.audit.enabled, off.metrics.enabled, off.tracing.enabled) == (False, False, False)
    with pytest.raises(StoreConfigError, match="off"):
        _ = ObservableStore(MemoryStore(collection=SAMPLES), off).audit


@pytest.mark.parametrize(
    ("part", "module", "extra"),
    [
        ({"metrics": MetricsConfig()}, "prometheus_client", "metrics"),
        ({"metrics": MetricsConfig(exporter="opentelemetry")}, "opentelemetry", "metrics"),
        ({"tracing": TracingConfig()}, "opentelemetry", "tracing"),
    ],
)
def test_a_missing_package_is_named(part, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StoreConfigError, match=rf"truthstore\[{extra}\]"):
        observed(**part)


def test_a_bad_setting_is_refused():
    wrong: Any = "wrong"
    for make in (
        lambda: AuditConfig(level="all"),
        lambda: AuditConfig(mode=wrong),
        lambda: AuditConfig(on_error=wrong),
        lambda: AuditConfig(backend="kafka"),
        lambda: AuditConfig(backend="json"),
        lambda: MetricsConfig(exporter=wrong),
    ):
        with pytest.raises(StoreConfigError):
            make()
    with pytest.raises(ValueError):
        AuditConfig(batch_size=0)
    with pytest.raises(TypeError):
        ObservabilityConfig(audit=wrong)
    with pytest.raises(TypeError):
        ObservableStore(MemoryStore(collection=SAMPLES), wrong)
