"""Metrics for Prometheus and OpenTelemetry, under the same names."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError
from truthstore.observability.operation import Operation, full_name

if TYPE_CHECKING:
    from truthstore.observability.config import MetricsConfig

__all__ = ["Metrics", "metrics_of"]

Add = Callable[[float], object]

COUNTERS: Final = {
    "operations": ("store_operations_total", "", "Operations of stores", ("store", "operation", "status")),
    "read": ("store_bytes_read_total", "By", "Bytes of items read", ("store",)),
    "written": ("store_bytes_written_total", "By", "Bytes of items written", ("store",)),
    "errors": ("store_errors_total", "", "Errors of stores", ("store", "error_type")),
}
DURATION: Final = ("store_operation_duration_seconds", "s", "Durations of operations of stores", ("store", "operation"))
OPEN: Final = ("store_connections_active", "", "Stores that are open", ("store",))
FIGURES: Final = {
    "cache_hits": ("store_cache_hits_total", "Reads that a cache answered"),
    "cache_misses": ("store_cache_misses_total", "Reads that a cache did not answer"),
    "backpressure_refused": ("store_backpressure_refused_total", "Operations that had no turn in time"),
    "backpressure_waited_seconds": (
        "store_backpressure_waited_seconds_total",
        "Time that operations waited for a turn",
    ),
}
"""By the name of a figure of a layer, the metric that sums it up."""

# https://opentelemetry.io/docs/specs/semconv/database/database-metrics/
CONVENTION: Final = ("db.client.operation.duration", "s", "Duration of database client operations.")
CONVENTION_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)


class _Exporter(ABC):
    """The metrics of one registry or provider, which takes each name once, and the layers that have figures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._layers: list[tuple[str, weakref.ref[Any], dict[str, float]]] = []

    @abstractmethod
    def count(self, counter: str, *labels: str) -> Add:
        """Return the function that adds to a counter under some labels."""

    @abstractmethod
    def opened(self, store: str) -> Add:
        """Return the function that counts stores that are opened (1) and closed (-1)."""

    @abstractmethod
    def durations(self, store: str, system: str, operation: Operation) -> list[Add]:
        """Return the functions that record durations of operations like this one."""

    def add_layers(self, store: str, layers: Iterable[Any]) -> None:
        """Read the `figures` of layers at every scrape, as long as they live."""
        with self._lock:
            known = [reference() for _, reference, _ in self._layers]
            new = [
                layer for layer in layers if hasattr(type(layer), "figures") and not any(one is layer for one in known)
            ]
            self._layers += [(store, weakref.ref(layer), {}) for layer in new]

    def sums(self, figure: str) -> dict[str, float]:
        """Sum up a figure by the label of the store; that of a layer which is gone stays, so that no sum goes back."""
        sums: dict[str, float] = {}
        with self._lock:
            for store, reference, latest in self._layers:
                if (layer := reference()) is not None:
                    latest.update(layer.figures())
                if figure in latest:
                    sums[store] = sums.get(store, 0) + latest[figure]
        return sums


class _Prometheus(_Exporter):
    """Exports to a registry of prometheus_client."""

    def __init__(self, registry: Any, buckets: Iterable[float]) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        super().__init__()

        def make(kind: Any, name: str, _: str, description: str, labels: tuple[str, ...], **options: Any) -> Any:
            return kind(name, description, labels, registry=registry, **options)

        self._counters = {key: make(Counter, *described) for key, described in COUNTERS.items()}
        self._duration = make(Histogram, *DURATION, buckets=tuple(buckets))
        self._open = make(Gauge, *OPEN)
        registry.register(self)

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        for figure, described in FIGURES.items():
            family = CounterMetricFamily(*described, labels=["store"])
            for store, count in self.sums(figure).items():
                family.add_metric([store], count)
            yield family

    def count(self, counter: str, *labels: str) -> Add:
        add: Add = self._counters[counter].labels(*labels).inc
        return add

    def opened(self, store: str) -> Add:
        add: Add = self._open.labels(store).inc
        return add

    def durations(self, store: str, system: str, operation: Operation) -> list[Add]:
        return [self._duration.labels(store, operation.name).observe]


class _Count:
    """A count that several threads add to."""

    def __init__(self) -> None:
        self.value = 0.0
        self._lock = threading.Lock()

    def add(self, amount: float) -> None:
        with self._lock:
            self.value += amount


class _OpenTelemetry(_Exporter):
    """Exports to a meter provider of OpenTelemetry, which asks for counts when it collects: adding in it costs much more."""

    def __init__(self, provider: Any, buckets: Iterable[float]) -> None:
        from opentelemetry import metrics

        super().__init__()
        meter = metrics.get_meter("truthstore", meter_provider=provider)
        self._observation = metrics.Observation
        self._counts: dict[str, dict[tuple[str, ...], _Count]] = {key: {} for key in COUNTERS}
        for key, (name, unit, description, _) in COUNTERS.items():
            meter.create_observable_counter(name, [partial(self._counted, key)], unit, description)
        for figure, (name, description) in FIGURES.items():
            meter.create_observable_counter(name, [partial(self._summed, figure)], description=description)
        self._open = meter.create_up_down_counter(*OPEN[:3])
        histogram = partial(meter.create_histogram, explicit_bucket_boundaries_advisory=tuple(buckets))
        self._duration = histogram(*DURATION[:3])
        self._convention = histogram(*CONVENTION, explicit_bucket_boundaries_advisory=CONVENTION_BUCKETS)

    def _counted(self, counter: str, _: object) -> list[Any]:
        names, counts = COUNTERS[counter][3], list(self._counts[counter].items())
        return [self._observation(count.value, dict(zip(names, labels, strict=True))) for labels, count in counts]

    def _summed(self, figure: str, _: object) -> list[Any]:
        return [self._observation(count, {"store": store}) for store, count in self.sums(figure).items()]

    def count(self, counter: str, *labels: str) -> Add:
        return self._counts[counter].setdefault(labels, _Count()).add

    def opened(self, store: str) -> Add:
        return partial(self._open.add, attributes={"store": store})

    def durations(self, store: str, system: str, operation: Operation) -> list[Add]:
        attributes = {
            "db.system.name": system,
            "db.operation.name": operation.name,
            "db.collection.name": operation.collection,
        }
        if operation.error is not None and operation.error_type is not None:
            attributes["error.type"] = full_name(type(operation.error))
        return [
            partial(self._duration.record, attributes={"store": store, "operation": operation.name}),
            partial(self._convention.record, attributes=attributes),
        ]


class Metrics:
    """Counts operations, errors and bytes, records durations, and counts open stores.

    Args:
        store: the label ``store``.
        system: the attribute ``db.system.name``.
        exporter: the metrics.
    """

    def __init__(self, store: str, system: str, exporter: _Exporter) -> None:
        self._store, self._system, self._exporter = store, system, exporter
        self._read, self._written = exporter.count("read", store), exporter.count("written", store)
        self.opened = exporter.opened(store)
        self._bound: dict[tuple[str, str, str | None], tuple[list[Add], list[Add]]] = {}

    def __call__(self, operation: Operation) -> None:
        """Count an operation."""
        key = operation.name, operation.collection, operation.error_type
        counts, durations = self._bound.get(key) or self._bound.setdefault(key, self._bind(operation))
        for add in counts:
            add(1)
        for record in durations:
            record(operation.seconds)
        if operation.read:
            self._read(operation.read)
        if operation.written:
            self._written(operation.written)

    def _bind(self, operation: Operation) -> tuple[list[Add], list[Add]]:
        store, count, error_type = self._store, self._exporter.count, operation.error_type
        counts = [count("operations", store, operation.name, "success" if error_type is None else "error")]
        if error_type is not None:
            counts.append(count("errors", store, error_type))
        return counts, self._exporter.durations(store, self._system, operation)


_exporters: Final[weakref.WeakKeyDictionary[Any, _Exporter]] = weakref.WeakKeyDictionary()
_lock: Final = threading.Lock()


def metrics_of(backend: str, config: MetricsConfig, layers: Iterable[Any]) -> list[Metrics]:
    """Build the hooks that a configuration asks for.

    Args:
        backend: name of the backend.
        config: exporter, label, registry, provider and buckets.
        layers: the layers of the store.

    Raises:
        StoreConfigError: the package prometheus-client, or opentelemetry-api, is not installed.
    """
    store, layers = config.store_name or backend, list(layers)
    kinds = [kind for kind in ("prometheus", "opentelemetry") if config.enabled and config.exporter in {kind, "both"}]
    with _lock:
        exporters = [_exporter_of(kind, config) for kind in kinds]
    for exporter in exporters:
        exporter.add_layers(store, layers)
    return [Metrics(store, f"truthstore.{backend}", exporter) for exporter in exporters]


def _exporter_of(kind: str, config: MetricsConfig) -> _Exporter:
    try:
        if kind == "prometheus":
            import prometheus_client

            target = config.registry or prometheus_client.REGISTRY
        else:
            from opentelemetry import metrics

            target = config.meter_provider or metrics.get_meter_provider()
    except ImportError as error:
        raise StoreConfigError("metrics need the extra 'metrics': pip install 'truthstore[metrics]'") from error
    if target not in _exporters:
        exporter = _Prometheus if kind == "prometheus" else _OpenTelemetry
        _exporters[target] = exporter(target, config.histogram_buckets)
    return _exporters[target]
