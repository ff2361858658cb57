"""Metrics for Prometheus and OpenTelemetry, under the same names."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from truthstore.observability.config import MetricsConfig
    from truthstore.observability.operation import Operation

__all__ = ["Metrics", "metrics_of"]

Add = Callable[[float], object]

METRICS: Final = {
    "operations": ("store_operations_total", "", "Operations of stores", ("store", "operation", "status")),
    "duration": ("store_operation_duration_seconds", "s", "Durations of operations of stores", ("store", "operation")),
    "read": ("store_bytes_read_total", "By", "Bytes of items read", ("store",)),
    "written": ("store_bytes_written_total", "By", "Bytes of items written", ("store",)),
    "errors": ("store_errors_total", "", "Errors of stores", ("store", "error_type")),
    "open": ("store_connections_active", "", "Stores that are open", ("store",)),
}
FIGURES: Final = {
    "cache_hits": ("store_cache_hits_total", "Reads that a cache answered"),
    "cache_misses": ("store_cache_misses_total", "Reads that a cache did not answer"),
}
"""By the name of a figure of a layer, the metric that sums it up."""


class _Exporter(ABC):
    """The metrics of one registry or provider, which takes each name once, and the layers that have figures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._layers: list[tuple[str, weakref.ref[Any], dict[str, int]]] = []

    @abstractmethod
    def bind(self, metric: str, *labels: str) -> Add:
        """Return the function that counts or records under some labels."""

    def add_layers(self, store: str, layers: Iterable[Any]) -> None:
        """Read the `figures` of layers at every scrape, as long as they live."""
        with self._lock:
            known = [reference() for _, reference, _ in self._layers]
            new = [layer for layer in layers if hasattr(layer, "figures") and not any(one is layer for one in known)]
            self._layers += [(store, weakref.ref(layer), {}) for layer in new]

    def sums(self, figure: str) -> dict[str, int]:
        """Sum up a figure by the label of the store; that of a layer which is gone stays, so that no sum goes back."""
        sums: dict[str, int] = {}
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
        kinds: dict[str, Any] = {"open": Gauge, "duration": partial(Histogram, buckets=tuple(buckets))}
        self._metrics = {
            key: kinds.get(key, Counter)(name, description, labels, registry=registry)
            for key, (name, _, description, labels) in METRICS.items()
        }
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

    def bind(self, metric: str, *labels: str) -> Add:
        child = self._metrics[metric].labels(*labels)
        add: Add = child.observe if metric == "duration" else child.inc
        return add


class _OpenTelemetry(_Exporter):
    """Exports to a meter provider of OpenTelemetry."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import metrics

        super().__init__()
        meter = metrics.get_meter("truthstore", meter_provider=provider)
        kinds: dict[str, Any] = {"open": meter.create_up_down_counter, "duration": meter.create_histogram}
        self._instruments: dict[str, Any] = {
            key: kinds.get(key, meter.create_counter)(name, unit, description)
            for key, (name, unit, description, _) in METRICS.items()
        }

        def observe(figure: str, _: object) -> list[Any]:
            return [metrics.Observation(count, {"store": store}) for store, count in self.sums(figure).items()]

        for figure, (name, description) in FIGURES.items():
            meter.create_observable_counter(name, [partial(observe, figure)], description=description)

    def bind(self, metric: str, *labels: str) -> Add:
        instrument, attributes = self._instruments[metric], dict(zip(METRICS[metric][3], labels, strict=True))
        return partial(instrument.record if metric == "duration" else instrument.add, attributes=attributes)


class Metrics:
    """Counts operations, errors and bytes, records durations, and counts open stores.

    Args:
        store: the label ``store``.
        exporter: the metrics.
    """

    def __init__(self, store: str, exporter: _Exporter) -> None:
        self._store, self._exporter = store, exporter
        self._read, self._written = exporter.bind("read", store), exporter.bind("written", store)
        self.opened = exporter.bind("open", store)  # counts a store that was opened (1) or closed (-1)
        self._bound: dict[tuple[str, str | None], tuple[Add, Add, Add | None]] = {}

    def __call__(self, operation: Operation) -> None:
        """Count an operation."""
        key = operation.name, operation.error_type
        count, record, fail = self._bound.get(key) or self._bound.setdefault(key, self._bind(*key))
        count(1)
        record(operation.seconds)
        if fail is not None:
            fail(1)
        if operation.read:
            self._read(operation.read)
        if operation.written:
            self._written(operation.written)

    def _bind(self, name: str, error_type: str | None) -> tuple[Add, Add, Add | None]:
        bind, status = self._exporter.bind, "success" if error_type is None else "error"
        return (
            bind("operations", self._store, name, status),
            bind("duration", self._store, name),
            None if error_type is None else bind("errors", self._store, error_type),
        )


_exporters: Final[weakref.WeakKeyDictionary[Any, _Exporter]] = weakref.WeakKeyDictionary()
_lock: Final = threading.Lock()


def metrics_of(store: str, config: MetricsConfig, layers: Iterable[Any]) -> list[Metrics]:
    """Build the hooks that a configuration asks for.

    Args:
        store: the label ``store``.
        config: exporter, registry, provider and buckets.
        layers: the layers of the store.

    Raises:
        StoreConfigError: the package prometheus-client, or opentelemetry-api, is not installed.
    """
    layers = list(layers)
    kinds = [kind for kind in ("prometheus", "opentelemetry") if config.enabled and config.exporter in {kind, "both"}]
    with _lock:
        exporters = [_exporter_of(kind, config) for kind in kinds]
    for exporter in exporters:
        exporter.add_layers(store, layers)
    return [Metrics(store, exporter) for exporter in exporters]


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
        made = _Prometheus(target, config.histogram_buckets) if kind == "prometheus" else _OpenTelemetry(target)
        _exporters[target] = made
    return _exporters[target]
