"""A store that is asked no faster than it answers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from truthstore.backpressure.base import BackpressureConfig
from truthstore.backpressure.gate import AdmissionGate, TokenBucket
from truthstore.backpressure.signals import memory_above, pending_above
from truthstore.errors import StoreBulkError, StoreConnectionError, StoreError, StoreOverloadedError
from truthstore.model.record import NONE, Options, Record
from truthstore.runtime.circuit import CircuitBreaker
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.store.store import BaseStore

__all__ = ["BackpressureStore"]

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")


def _admitted(operation: F, *, saves: bool = False) -> F:
    """Build the form of an operation that waits for its turn."""
    name = operation.__name__

    @functools.wraps(operation)
    def admitted(self: Any, /, *arguments: Any, **options: Any) -> Any:
        return self._in_turn(getattr(self._base, name), arguments, options, saves=saves)

    return cast("F", admitted)


class BackpressureStore(WrapperStore[T], Generic[T]):
    """Ask the store below only as often, and with as many operations at a time, as it can take; others wait in turn.

    The operations of one call by the same thread, such as those of a callback, take one turn. A query takes its turn for its
    first record; what follows is read as its reader goes on.

    Args:
        base: the store below.
        config: the options, or
        options: the same as keywords.

    Raises:
        StoreConfigError: `max_pending` without a batching layer below, or `max_memory_mb` without psutil.
    """

    name: ClassVar[str] = "backpressure"

    def __init__(self, base: BaseStore[T], config: BackpressureConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self._settings = settings = configure(BackpressureConfig, config, options, "BackpressureStore")
        rate = settings.rate_per_second
        bucket = None if rate is None else TokenBucket(rate, settings.burst or max(1, int(rate)))
        self._gate = AdmissionGate(settings.max_concurrency, bucket)
        self._circuit = None if settings.circuit is None else CircuitBreaker(settings.circuit)
        self._signals = dict(settings.signals)
        if settings.max_memory_mb is not None:
            self._signals["memory"] = memory_above(settings.max_memory_mb)
        if settings.max_pending is not None:
            self._signals["pending"] = pending_above(settings.max_pending, base)
        self._own = threading.local()

    @property
    def config(self) -> BackpressureConfig:
        """The configuration."""
        return self._settings

    put_record = _admitted(WrapperStore.put_record, saves=True)
    put_records = _admitted(WrapperStore.put_records, saves=True)
    get_record = _admitted(WrapperStore.get_record)
    get_records = _admitted(WrapperStore.get_records)
    head_record = _admitted(WrapperStore.head_record)
    delete_record = _admitted(WrapperStore.delete_record)
    delete_records = _admitted(WrapperStore.delete_records)
    scan_ids = _admitted(WrapperStore.scan_ids)
    digest_records = _admitted(WrapperStore.digest_records)
    revision_records = _admitted(WrapperStore.revision_records)
    count_records = _admitted(WrapperStore.count_records)
    aggregate_records = _admitted(WrapperStore.aggregate_records)
    aggregate_rows = _admitted(WrapperStore.aggregate_rows)
    latest_rows = _admitted(WrapperStore.latest_rows)
    newest_rows = _admitted(WrapperStore.newest_rows)
    definitely_absent = WrapperStore.definitely_absent

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Query records, in turn for the first one."""
        return self._first(self._base.scan(query, collection=collection, bodies=bodies, options=options))

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Query rows, in turn for the first one."""
        return self._first(self._base.scan_rows(query, collection=collection, options=options))

    def _first(self, records: Iterator[Record]) -> Iterator[Record]:
        first = self._in_turn(next, (records, None))
        if first is not None:
            yield first
            yield from records

    def _in_turn(
        self,
        call: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: Mapping[str, Any] = NONE,
        *,
        saves: bool = False,
    ) -> Any:
        """Wait for a turn, make a call, and take its outcome as a sign of how the store below does.

        Raises:
            StoreOverloadedError: there was no turn within `timeout_seconds`, or the circuit is open.
        """
        own, gate, circuit = self._own, self._gate, self._circuit
        if getattr(own, "has_turn", False):
            return call(*arguments, **options)
        left = self._settings.timeout_seconds
        if saves and self._signals:
            left = gate.wait_while(self._held_back, left)
        if left < 0 or not gate.enter(left):
            raise self._overloaded()
        entered_at = monotonic()
        failed: bool | None = None  # nothing is known of a call that was not made, or was interrupted
        slow = False
        own.has_turn = True
        try:
            if circuit is not None and not circuit.allow():
                raise StoreOverloadedError(
                    f"the store failed too often, and is not asked again for {circuit.retry_after:.0f} s",
                    backend=self.name,
                )
            try:
                result = call(*arguments, **options)
            except StoreError as error:
                failed = _says_overload(error)
                raise
            failed = False
            target = self._settings.latency_target_seconds
            slow = target is not None and monotonic() - entered_at > target
        finally:
            own.has_turn = False
            gate.leave(entered_at, overloaded=None if failed is None else failed or slow)
            if circuit is not None and failed is not None:
                circuit.failed() if failed else circuit.succeeded()
        return result

    def _held_back(self) -> bool:
        return any(signal() for signal in self._signals.values())

    def _overloaded(self) -> StoreOverloadedError:
        """Return the error of a caller that had no turn, with what held it back."""
        waited = f"no turn within {self._settings.timeout_seconds:g} s"
        if signs := [name for name, signal in self._signals.items() if signal()]:
            return StoreOverloadedError(f"{waited}: held back by {', '.join(signs)}", backend=self.name)
        return StoreOverloadedError(
            f"{waited}: {self._gate.inside} operations run, of {int(self._gate.limit)} at a time, and "
            f"{self._gate.waiting} more wait",
            backend=self.name,
        )

    def figures(self) -> dict[str, float]:
        """Return the operations that had no turn in time, and the seconds that all waited."""
        return {"backpressure_refused": self._gate.refused, "backpressure_waited_seconds": self._gate.waited_seconds}

    def stats(self) -> dict[str, Any]:
        """Return figures about the store below, and under ``backpressure`` what is going on here."""
        gate, circuit = self._gate, self._circuit
        own = {
            "limit": int(gate.limit),
            "running": gate.inside,
            "waiting": gate.waiting,
            "admitted": gate.admitted,
            "refused": gate.refused,
            "waited_seconds": gate.waited_seconds,
            "circuit": None if circuit is None else circuit.state.value,
        }
        return {**super().stats(), "backpressure": own}


def _says_overload(error: StoreError) -> bool:
    """Return whether an error is a sign that the store is overloaded or down: what it answered about an item is none."""
    if isinstance(error, StoreBulkError):
        return any(isinstance(one, StoreError) and _says_overload(one) for one in error.failed.values())
    return isinstance(error, StoreConnectionError | StoreOverloadedError)
