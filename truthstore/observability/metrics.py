"""Figures for Prometheus and OpenTelemetry, under the same names."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from truthstore.errors import StoreConfigError
from truthstore.runtime.forks import Rank, watch_forks

if TYPE_CHECKING:
    from truthstore.caching.base import CacheMetrics
    from truthstore.observability.config import MetricsConfig

__all__ = ["Metrics", "OpenTelemetryMetrics", "PrometheusMetrics", "metrics_of"]

CacheFigures = Callable[[], "CacheMetrics"]


class Metrics(Protocol):
    """Where figures are counted."""

    def count(self, operation: str, error_type: str | None, seconds: float, read: int, written: int) -> None:
        """One operation ended."""
        ...

    def opened(self, change: int) -> None:
        """A store was opened (1) or closed (-1)."""
        ...


class _Caches:
    """Hits and misses of the caches of all stores with one name. They are read when somebody asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[str, list[weakref.ref[Any]]] = {}
        self._gone: dict[str, tuple[int, int]] = {}

    def add(self, store: str, cached: Any) -> None:
        with self._lock:
            known = self._stores.setdefault(store, [])
            if not any(reference() is cached.cache for reference in known):
                known.append(weakref.ref(cached.cache))

    def figures(self) -> Iterator[tuple[str, int, int]]:
        with self._lock:
            known = {store: [reference() for reference in references] for store, references in self._stores.items()}
        for store, caches in known.items():
            figures = [cache.metrics for cache in caches if cache is not None]
            hits, misses = sum(one.hits for one in figures), sum(one.misses for one in figures)
            # A cache that is gone takes its figures with it, and a counter never goes back.
            most = self._gone.get(store, (0, 0))
            self._gone[store] = (max(hits, most[0]), max(misses, most[1]))
            yield store, *self._gone[store]


class _Instruments:
    """The instruments of one Prometheus registry; a registry takes each name once."""

    def __init__(self, registry: Any, buckets: Iterable[float]) -> None:
        from prometheus_client import Counter, Gauge, Histogram
        from prometheus_client.core import CounterMetricFamily

        labels = ["store", "operation", "status"]
        self.operations = Counter("store_operations_total", "Operations of stores", labels, registry=registry)
        self.duration = Histogram(
            "store_operation_duration_seconds",
            "How long operations of stores take",
            labels[:2],
            registry=registry,
            buckets=tuple(buckets),
        )
        self.read = Counter("store_bytes_read_total", "Bytes of items read", ["store"], registry=registry)
        self.written = Counter("store_bytes_written_total", "Bytes of items written", ["store"], registry=registry)
        self.connections = Gauge("store_connections_active", "Stores that are open", ["store"], registry=registry)
        self.errors = Counter("store_errors_total", "Errors of stores", ["store", "error_type"], registry=registry)
        self.caches = caches = _Caches()

        class Collector:
            def describe(self) -> list[Any]:
                return []

            def collect(self) -> Iterator[Any]:
                hits = CounterMetricFamily("store_cache_hits_total", "Reads that a cache answered", labels=["store"])
                misses = CounterMetricFamily(
                    "store_cache_misses_total", "Reads that a cache did not answer", labels=["store"]
                )
                for store, hit, missed in caches.figures():
                    hits.add_metric([store], hit)
                    misses.add_metric([store], missed)
                yield hits
                yield misses

        registry.register(Collector())


_instruments: Final[weakref.WeakKeyDictionary[Any, _Instruments]] = weakref.WeakKeyDictionary()
_lock: Final = threading.Lock()


class PrometheusMetrics:
    """Counts in a registry of prometheus_client.

    Args:
        store: the label ``store``.
        config: registry and buckets.
        caches: the layers that have a cache.

    Raises:
        StoreConfigError: the package prometheus-client is not installed.
    """

    def __init__(self, store: str, config: MetricsConfig, caches: Iterable[Any] = ()) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise StoreConfigError("metrics need the extra 'metrics': pip install 'truthstore[metrics]'") from error
        registry = config.registry or prometheus_client.REGISTRY
        with _lock:
            if registry not in _instruments:
                _instruments[registry] = _Instruments(registry, config.histogram_buckets)
            self._all = _instruments[registry]
        self._store = store
        self._read = self._all.read.labels(store)
        self._written = self._all.written.labels(store)
        self._known: dict[tuple[str, str | None], tuple[Any, Any, Any]] = {}
        for cached in caches:
            self._all.caches.add(store, cached)

    def count(self, operation: str, error_type: str | None, seconds: float, read: int, written: int) -> None:
        """One operation ended."""
        known = self._known.get((operation, error_type))
        if known is None:
            known = self._known[operation, error_type] = self._children(operation, error_type)
        operations, duration, errors = known
        operations.inc()
        duration.observe(seconds)
        if errors is not None:
            errors.inc()
        if read:
            self._read.inc(read)
        if written:
            self._written.inc(written)

    def _children(self, operation: str, error_type: str | None) -> tuple[Any, Any, Any]:
        status = "success" if error_type is None else "error"
        return (
            self._all.operations.labels(self._store, operation, status),
            self._all.duration.labels(self._store, operation),
            None if error_type is None else self._all.errors.labels(self._store, error_type),
        )

    def opened(self, change: int) -> None:
        """A store was opened (1) or closed (-1)."""
        self._all.connections.labels(self._store).inc(change)


class _Counts:
    """Counters of one meter provider, by name and attributes; OpenTelemetry reads them when it collects.

    A dict entry under a lock costs a tenth of a call of a synchronous instrument.
    """

    def __init__(self, observation: Callable[[int, dict[str, str]], Any]) -> None:
        self._observation = observation
        self._anew()
        watch_forks(self, Rank.FIGURES)

    def _anew(self) -> None:
        self.lock = threading.Lock()

    def make(self, meter: Any, name: str, labels: str, **told: str) -> dict[tuple[str, ...], int]:
        """A counter, to be counted in under the lock.

        Args:
            meter: makes the instrument.
            name: its name.
            labels: names of the attributes whose values are the keys, separated by spaces.
            told: unit and description.
        """
        names = tuple(labels.split())
        counts: dict[tuple[str, ...], int] = {}

        def observe(_: Any) -> list[Any]:
            with self.lock:
                known = list(counts.items())
            return [self._observation(count, dict(zip(names, key, strict=True))) for key, count in known]

        meter.create_observable_counter(name, [observe], **told)
        return counts

    def before_fork(self) -> None:
        """Waits until no thread is counting."""
        self.lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """A child goes on from where its parent was, as the instruments of the SDK do."""
        if child:
            self._anew()
        else:
            self.lock.release()


class _Meters:
    """The instruments of one meter provider of OpenTelemetry."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import metrics

        meter = metrics.get_meter("truthstore", meter_provider=provider)
        self.counts = counts = _Counts(metrics.Observation)
        self.operations = counts.make(
            meter, "store_operations_total", labels="store operation status", description="Operations of stores"
        )
        self.duration = meter.create_histogram(
            "store_operation_duration_seconds", unit="s", description="How long operations of stores take"
        )
        self.read = counts.make(
            meter, "store_bytes_read_total", labels="store", unit="By", description="Bytes of items read"
        )
        self.written = counts.make(
            meter, "store_bytes_written_total", labels="store", unit="By", description="Bytes of items written"
        )
        self.connections = meter.create_up_down_counter("store_connections_active", description="Stores that are open")
        self.errors = counts.make(
            meter, "store_errors_total", labels="store error_type", description="Errors of stores"
        )
        self.caches = caches = _Caches()

        def hits(_: Any) -> list[Any]:
            return [metrics.Observation(hit, {"store": store}) for store, hit, _ in caches.figures()]

        def misses(_: Any) -> list[Any]:
            return [metrics.Observation(missed, {"store": store}) for store, _, missed in caches.figures()]

        meter.create_observable_counter("store_cache_hits_total", [hits], description="Reads that a cache answered")
        meter.create_observable_counter(
            "store_cache_misses_total", [misses], description="Reads that a cache did not answer"
        )

    def count(self, operation: tuple[str, str, str], error_type: str | None, read: int, written: int) -> None:
        """Adds what one operation adds to the counters."""
        store = operation[:1]
        with self.counts.lock:
            self.operations[operation] = self.operations.get(operation, 0) + 1
            if read:
                self.read[store] = self.read.get(store, 0) + read
            if written:
                self.written[store] = self.written.get(store, 0) + written
            if error_type is not None:
                key = (operation[0], error_type)
                self.errors[key] = self.errors.get(key, 0) + 1


_meters: Final[weakref.WeakKeyDictionary[Any, _Meters]] = weakref.WeakKeyDictionary()


class OpenTelemetryMetrics:
    """Counts with OpenTelemetry.

    Args:
        store: the attribute ``store``.
        config: the provider.
        caches: the layers that have a cache.

    Raises:
        StoreConfigError: the package opentelemetry-api is not installed.
    """

    def __init__(self, store: str, config: MetricsConfig, caches: Iterable[Any] = ()) -> None:
        try:
            from opentelemetry import metrics
        except ImportError as error:
            raise StoreConfigError("metrics need the extra 'metrics': pip install 'truthstore[metrics]'") from error
        provider = config.meter_provider or metrics.get_meter_provider()
        with _lock:
            if provider not in _meters:
                _meters[provider] = _Meters(provider)
            self._all = _meters[provider]
        self._store = store
        self._own = {"store": store}
        self._known: dict[tuple[str, str | None], tuple[tuple[str, str, str], dict[str, str]]] = {}
        for cached in caches:
            self._all.caches.add(store, cached)

    def count(self, operation: str, error_type: str | None, seconds: float, read: int, written: int) -> None:
        """One operation ended."""
        known = self._known.get((operation, error_type))
        if known is None:
            counted = (self._store, operation, "success" if error_type is None else "error")
            known = (counted, {"store": self._store, "operation": operation})
            self._known[operation, error_type] = known
        self._all.count(known[0], error_type, read, written)
        self._all.duration.record(seconds, known[1])

    def opened(self, change: int) -> None:
        """A store was opened (1) or closed (-1)."""
        self._all.connections.add(change, self._own)


def metrics_of(store: str, config: MetricsConfig, caches: Iterable[Any]) -> list[Metrics]:
    """Where a configuration wants figures counted."""
    if not config.enabled:
        return []
    found: list[Metrics] = []
    caches = list(caches)
    if config.exporter in {"prometheus", "both"}:
        found.append(PrometheusMetrics(store, config, caches))
    if config.exporter in {"opentelemetry", "both"}:
        found.append(OpenTelemetryMetrics(store, config, caches))
    return found
