"""A store is asked no faster than it answers; callers wait in turn, and are refused at their deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from truthstore import WrapperStore, open_store
from truthstore.backends.memory import MemoryStore
from truthstore.backpressure import BackpressureConfig, BackpressureStore, CircuitConfig
from truthstore.batching import BatchedStore
from truthstore.errors import (
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreNotFoundError,
    StoreOverloadedError,
)
from truthstore.model.record import ABSENT
from truthstore.observability import AuditConfig, MetricsConfig, ObservableStore
from truthstore.testing import SAMPLES, FaultyStore, Sample


class Held(WrapperStore[Any]):
    """Answers a get when it is let go."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(collection=SAMPLES))
        self.base.save(Sample("a"))
        self.asked = threading.Semaphore(0)
        self.go = threading.Event()
        self.most = self.now = 0

    def get_record(self, id: str, **rest: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        self.asked.release()
        assert self.go.wait(30)
        self.now -= 1
        return self.base.get_record(id, **rest)


@contextmanager
def at_once(call: Callable[[], object], number: int) -> Iterator[list[object]]:
    """Call in several threads; the outcomes are there at the end."""
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(call())
        except StoreOverloadedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    yield outcomes
    for thread in threads:
        thread.join()


def figures(store: BackpressureStore[Any]) -> dict[str, Any]:
    found: dict[str, Any] = store.stats()["backpressure"]
    return found


def test_no_more_operations_at_a_time_than_allowed():
    base = Held()
    store = BackpressureStore(base, max_concurrency=2)
    with at_once(lambda: store.get("a"), 5) as outcomes:
        for _ in range(2):
            base.asked.acquire()
        while figures(store)["waiting"] < 3:
            pass
        assert (figures(store)["running"], base.now) == (2, 2)
        base.go.set()
    assert outcomes == [Sample("a")] * 5
    assert base.most == 2
    assert (figures(store)["running"], figures(store)["waiting"], figures(store)["refused"]) == (0, 0, 0)


def test_whoever_has_no_turn_in_time_is_told_why_and_nothing_was_asked():
    base = Held()
    store = BackpressureStore(base, max_concurrency=1, timeout_seconds=0.01)
    with at_once(lambda: store.get("a"), 1):
        base.asked.acquire()
        with pytest.raises(
            StoreOverloadedError, match=r"no turn within 0\.01 s: 1 operations run, of 1 at a time"
        ) as told:
            store.save(Sample("b"))
        assert told.value.retryable
        base.go.set()
    assert not store.exists("b")
    assert figures(store)["refused"] == 1


def test_the_limit_falls_where_the_store_fails_and_not_where_it_answers():
    faulty = FaultyStore(MemoryStore(collection=SAMPLES))
    store = BackpressureStore(faulty, max_concurrency=10, circuit=None)
    store.save(Sample("a"))
    for _ in range(20):
        with pytest.raises(StoreNotFoundError):
            store.get("b")
        with pytest.raises(StoreConflictError):
            store.save(Sample("a"), expect=ABSENT)
    assert figures(store)["limit"] == 10
    faulty.plan.arm(1, times=1_000)
    with pytest.raises(StoreConnectionError):
        store.get("a")
    assert figures(store)["limit"] == 9


def test_an_answer_that_takes_longer_than_the_target_is_a_sign_of_overload(monkeypatch: pytest.MonkeyPatch):
    seconds = iter(range(100))
    monkeypatch.setattr("truthstore.backpressure.store.monotonic", lambda: float(next(seconds)))
    slow = BackpressureStore(MemoryStore(collection=SAMPLES), max_concurrency=10, latency_target_seconds=0.5)
    slow.save(Sample("a"))
    assert figures(slow)["limit"] == 9
    assert figures(slow)["circuit"] == "closed"
    quick = BackpressureStore(MemoryStore(collection=SAMPLES), max_concurrency=10, latency_target_seconds=2)
    quick.save(Sample("a"))
    assert figures(quick)["limit"] == 10


def test_a_store_that_failed_too_often_is_not_asked():
    faulty = FaultyStore(MemoryStore(collection=SAMPLES))
    store = BackpressureStore(faulty, circuit=CircuitConfig(failure_threshold=2, recovery_timeout=1_000))
    faulty.plan.arm(1, times=1_000)
    for _ in range(2):
        with pytest.raises(StoreConnectionError):
            store.save(Sample("a"))
    asked = len(faulty.plan.calls)
    with pytest.raises(StoreOverloadedError, match="failed too often, and is not asked again for 1000 s"):
        store.save(Sample("a"))
    assert len(faulty.plan.calls) == asked
    assert figures(store)["circuit"] == "open"


def test_no_save_begins_while_too_many_wait_below():
    queue = BatchedStore(MemoryStore(collection=SAMPLES), flush_interval_seconds=None)
    store = BackpressureStore(queue, max_pending=2, timeout_seconds=0.01)
    for id in "abc":
        store.save(Sample(id))
    with pytest.raises(StoreOverloadedError, match="held back by pending"):
        store.save(Sample("d"))
    assert store.get("a") == Sample("a")  # what reads does not add to what waits
    queue.flush()
    store.save(Sample("d"))


def test_a_save_goes_on_as_soon_as_nothing_holds_it_back():
    full = [True, True, False]
    store = BackpressureStore(MemoryStore(collection=SAMPLES), signals={"disk": lambda: full.pop(0)})
    store.save(Sample("a"))
    assert full == []


def test_no_save_begins_while_the_process_uses_too_much_memory():
    store = BackpressureStore(MemoryStore(collection=SAMPLES), max_memory_mb=1, timeout_seconds=0)
    with pytest.raises(StoreOverloadedError, match="held back by memory"):
        store.save(Sample("a"))
    BackpressureStore(MemoryStore(collection=SAMPLES), max_memory_mb=1_000_000, timeout_seconds=0).save(Sample("a"))


def test_a_rate_holds_back_what_comes_too_fast():
    store = BackpressureStore(MemoryStore(collection=SAMPLES), rate_per_second=0.001, burst=2, timeout_seconds=0.01)
    store.save(Sample("a"))
    store.get("a")
    with pytest.raises(StoreOverloadedError):
        store.get("a")


def test_who_has_a_turn_may_ask_again_in_it():
    store = BackpressureStore(MemoryStore(collection=SAMPLES), max_concurrency=1, timeout_seconds=0)
    seen: list[Sample] = []

    def look(changes: Any) -> None:
        seen.extend(store.get(change.id) for change in changes)

    store.subscribe(look)
    store.save(Sample("a"))
    assert seen == [Sample("a")]


def test_a_reader_of_a_query_does_not_hold_others_up():
    store = BackpressureStore(MemoryStore(collection=SAMPLES), max_concurrency=1, timeout_seconds=0)
    store.save_many(Sample(id) for id in "abc")
    for sample in store.iter_query(batch_size=1):
        assert store.get(sample.id) == sample
    assert figures(store)["running"] == 0


def test_its_figures_are_metrics():
    registry = CollectorRegistry()
    pressed = BackpressureStore(MemoryStore(collection=SAMPLES), rate_per_second=0.001, burst=1, timeout_seconds=0)
    store = ObservableStore(pressed, audit=AuditConfig(enabled=False), metrics=MetricsConfig(registry=registry))
    store.save(Sample("a"))
    with pytest.raises(StoreOverloadedError):
        store.get("a")
    assert registry.get_sample_value("store_backpressure_refused_total", {"store": "memory"}) == 1
    assert registry.get_sample_value("store_backpressure_waited_seconds_total", {"store": "memory"}) is not None


def test_it_has_a_short_name(tmp_path: Path):
    path = tmp_path / "truthstore.yaml"
    path.write_text("backend: memory\nlayers:\n  - {layer: backpressure, max_concurrency: 3}\n")
    assert open_store(path).layer(BackpressureStore).config == BackpressureConfig(max_concurrency=3)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"max_concurrency": 0}, ValueError, "max_concurrency is at least 1 and finite, not 0"),
        ({"max_concurrency": 2.5}, TypeError, "max_concurrency of BackpressureStore is int"),
        ({"timeout_seconds": None}, TypeError, "timeout_seconds of BackpressureStore is float"),
        ({"timeout_seconds": float("inf")}, ValueError, "finite"),
        ({"rate_per_second": 0}, ValueError, "rate_per_second is more than 0"),
        ({"burst": 3}, ValueError, "burst belongs to rate_per_second"),
        ({"max_memory_mb": "much"}, TypeError, "max_memory_mb of BackpressureStore is float"),
        ({"max_pending": 3}, StoreConfigError, "there is none"),
        ({"signals": [print]}, TypeError, "functions by name"),
        ({"circuit": True}, TypeError, "circuit is a CircuitConfig or None"),
        ({"max_concurency": 3}, TypeError, "did you mean 'max_concurrency'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception], told: str):
    with pytest.raises(error, match=told):
        BackpressureStore(MemoryStore(), **options)
