"""The audit trail and processes: workers that end, children that are forked, processes that are killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from tests.observability.doubles import Gated, event, make_sink, observed, saved
from truthstore import StoreWriteError, get_store
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.observability import AuditConfig, MetricsConfig, ObservabilityConfig, ObservableStore
from truthstore.observability.audit import (
    AsyncAuditBackend,
    AuditBackend,
    AuditEvent,
    AuditLogger,
    CompositeAuditBackend,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
)
from truthstore.results import ValidationResult
from truthstore.storage.queue.queue import DurableQueue
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child

METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]


def exit_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def mortal(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        signal.alarm(60)  # kills a child that hangs
        work()

    return run


def save_one(folder: str) -> None:
    """Save, and never close: the work of a worker process."""
    store = ObservableStore(get_store("filesystem", base_path=folder))
    store.save(
        ValidationResult.from_dict(
            {"run_id": "a", "run_time": "2026-05-04T12:00:00Z", "data_asset": "orders", "status": "success"}
        )
    )


@pytest.mark.parametrize("kind", ["process", "pool", "executor"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.usefixtures("importable_tests")
def test_the_events_of_a_worker_that_ends_normally_are_in_the_trail(tmp_path, method, kind):
    folder = str(tmp_path / "s")
    context: Any = multiprocessing.get_context(method)
    if kind == "process":
        process = context.Process(target=save_one, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0
    elif kind == "pool":
        pool = context.Pool(1)
        pool.map_async(save_one, [folder]).get(60)
        pool.close()
        pool.join()
    else:
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            list(executor.map(save_one, [folder]))
    with get_store("filesystem", base_path=folder) as base:
        sink = StoreAuditBackend(base)
        assert [e.operation for e in sink.query(ascending=True)] == ["open", "save", "close"]
        assert sink.verify_chain().unclosed == ()


@pytest.mark.parametrize("kind", ["rotating", "stored"])
def test_many_processes_have_a_chain_each(tmp_path, kind):
    first = AuditLogger(make_sink(kind, tmp_path), AuditConfig(batch_size=7))
    first.log(event("before"))

    def work() -> None:
        first.log(event("inherited"))  # a fork begins a chain of its own
        first.close()
        logger = AuditLogger(make_sink(kind, tmp_path), AuditConfig(batch_size=7))
        for number in range(20):
            logger.log(event(f"s{number}"))
        logger.close()

    children = [start_child(work) for _ in range(3)]
    assert [exit_of(child) for child in children] == [0, 0, 0]
    first.close()
    sink = make_sink(kind, tmp_path)
    found = sink.verify_chain()
    assert found, found.problems
    assert (found.chains, found.unclosed, found.repeated) == (7, (), 0)
    assert len(sink.query(event_type="save")) == 64


@pytest.mark.parametrize(("mode", "least"), [("sync", 250), ("batch", 200)])
def test_a_killed_process_leaves_what_was_promised(tmp_path, mode, least):
    def work() -> None:
        base = FileSystemStore(base_path=tmp_path / "s", durability="os", collection=SAMPLES)
        store = observed(None, base, mode=mode, flush_interval_seconds=60)
        for number in range(250):
            store.save(Sample(f"s{number}"))
        os.kill(os.getpid(), signal.SIGKILL)

    assert exit_of(start_child(work)) == -signal.SIGKILL
    sink = StoreAuditBackend(FileSystemStore(base_path=tmp_path / "s", durability="os"))
    assert len(sink.query(event_type="save")) == least
    assert sink.verify_chain()
    assert len(sink.verify_chain().unclosed) == 1


def test_sync_promises_every_event_behind_a_thread_too(tmp_path):
    def work() -> None:
        base = FileSystemStore(base_path=tmp_path / "s", durability="os", collection=SAMPLES)
        sink = Gated()
        threading.Timer(0.1, sink.go_on.set).start()
        store = observed(AsyncAuditBackend(sink), base, mode="sync")
        for number in range(5):
            store.save(Sample(f"s{number}"))
        os.kill(os.getpid(), signal.SIGKILL)

    assert exit_of(start_child(work)) == -signal.SIGKILL
    assert len(saved(FileAuditBackend("audit.jsonl"))) == 5


@pytest.mark.parametrize("kind", ["file", "stored", "composite", "async"])
def test_a_kill_between_a_delivery_and_its_end_changes_nothing(tmp_path, monkeypatch, kind):
    def run() -> None:
        def down(_: object) -> None:
            raise StoreWriteError("down")

        sink: Any = make_sink(kind, tmp_path)
        sink.write = down
        logger = AuditLogger(sink, AuditConfig(mode="sync"))
        logger.log(event("a"))
        logger.log(event("b"))
        del sink.write
        monkeypatch.setattr(DurableQueue, "_finish", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        logger.recover()

    assert exit_of(start_child(run)) == -signal.SIGKILL
    sink = make_sink(kind, tmp_path)
    assert AuditLogger(sink).recover() == 3
    found = sink.verify_chain()
    assert (found.ok, found.checked - found.repeated) == (True, 3)
    assert saved(sink) == ["a", "b"]
    assert len(sink.query()) == 3
    sink.close()


def test_what_a_killed_process_queued_is_written_by_the_next_one():
    def run(*, is_down: bool) -> None:
        sink: Any = FileAuditBackend("b.jsonl")
        if is_down:
            sink.write = lambda _: (_ for _ in ()).throw(StoreWriteError("down"))
        logger = AuditLogger(CompositeAuditBackend([FileAuditBackend("a.jsonl"), sink]), AuditConfig(mode="sync"))
        logger.log(event("down" if is_down else "up"))
        if is_down:
            os.kill(os.getpid(), signal.SIGKILL)
        logger.recover()
        logger.close()

    for is_down, end in ((True, -signal.SIGKILL), (False, 0)):
        assert exit_of(start_child(partial(run, is_down=is_down))) == end
    for path in ("a.jsonl", "b.jsonl"):
        sink = FileAuditBackend(path)
        assert sorted(map(str, saved(sink))) == ["down", "up"]
        assert sink.verify_chain().ok


@pytest.mark.parametrize("kind", ["file", "async", "composite"])
def test_a_fork_while_a_thread_writes_holds_up_neither(kind):
    file = Gated()
    sinks: dict[str, Callable[[], AuditBackend]] = {
        "file": lambda: file,
        "async": lambda: AsyncAuditBackend(file),
        "composite": lambda: CompositeAuditBackend([InMemoryAuditBackend(), file]),
    }
    logger = AuditLogger(sinks[kind](), AuditConfig(mode="sync"))
    writer = threading.Thread(target=logger.log, args=(event("parent"),))
    writer.start()
    assert file.inside.wait(60)

    def work() -> None:
        file.go_on = threading.Event()
        file.go_on.set()
        logger.log(event("child"))
        logger.close()

    assert exit_of(start_child(mortal(work))) == 0
    file.go_on.set()
    writer.join(60)
    assert not writer.is_alive()
    logger.close()
    assert sorted(map(str, saved(file))) == ["child", "parent"]
    found = file.verify_chain()
    assert (found.ok, found.chains) == (True, 2)
    logger.backend.close()


def test_a_child_that_lives_does_not_hold_up_its_parent():
    file, inside, go_on = FileAuditBackend("audit.jsonl"), threading.Event(), threading.Event()
    append = file._append

    def slowly(data: bytes) -> None:
        inside.set()
        go_on.wait(60)
        append(data)

    file._append = slowly  # type: ignore[method-assign]
    writer = threading.Thread(target=file.write, args=([event("a").sealed()],))
    writer.start()
    assert inside.wait(60)
    wait, end = os.pipe()

    def live() -> None:
        os.close(end)
        os.read(wait, 1)

    child = start_child(live)
    os.close(wait)
    go_on.set()
    writer.join(60)
    other = threading.Thread(target=FileAuditBackend("audit.jsonl").write, args=([event("b").sealed()],), daemon=True)
    other.start()
    other.join(60)
    held = other.is_alive()
    os.close(end)
    assert exit_of(child) == 0
    assert not held, "the child has the lock of the file"


def test_a_fork_leaves_to_the_parent_what_the_parent_has():
    sink = AsyncAuditBackend(FileAuditBackend("audit.jsonl"))
    logger = AuditLogger(sink)
    logger.log(event("a"))

    def work() -> None:
        logger.log(event("b"))
        logger.close()
        sink.flush()

    assert exit_of(start_child(work)) == 0
    logger.log(event("c"))
    logger.close()
    sink.close()
    assert saved(sink) == ["b", "a", "c"]
    found = sink.verify_chain()
    assert (found.ok, found.chains, found.repeated) == (True, 2, 0)


def test_threads_that_write_and_forks_never_wait_for_each_other():
    class Down(FileAuditBackend):
        """Every third write fails, so that the queue takes part."""

        count = 0

        def write(self, events: Sequence[AuditEvent]) -> None:
            self.count += 1
            if self.count % 3 == 0:
                raise OSError("down")
            super().write(events)

    sink = CompositeAuditBackend([AsyncAuditBackend(FileAuditBackend("a.jsonl")), Down("b.jsonl")])
    loggers = [AuditLogger(sink, AuditConfig(batch_size=2)) for _ in range(2)]
    stop = threading.Event()

    def write(logger: AuditLogger) -> None:
        while not stop.is_set():
            logger.log(event())

    threads = [threading.Thread(target=write, args=(logger,), daemon=True) for logger in loggers]
    for thread in threads:
        thread.start()

    def forks() -> None:
        for _ in range(5):
            assert exit_of(start_child(mortal(lambda: loggers[0].log(event("child"))))) == 0

    forking = threading.Thread(target=forks, daemon=True)
    forking.start()
    forking.join(60)
    stop.set()
    assert not forking.is_alive()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for logger in loggers:
        with contextlib.suppress(StoreWriteError):
            logger.close()
    sink.close()


@pytest.mark.parametrize("exporter", ["prometheus", "opentelemetry"])
def test_a_forked_child_that_closes_what_it_inherited_counts_no_store(exporter):
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    config = MetricsConfig(
        registry=registry, exporter=exporter, meter_provider=MeterProvider([reader]), store_name="main"
    )
    store = ObservableStore(
        MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=AuditConfig(enabled=False), metrics=config)
    )

    def number_open() -> float | None:
        if exporter == "prometheus":
            return registry.get_sample_value("store_connections_active", {"store": "main"})
        data: Any = reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        (value,) = (m.data.data_points[0].value for m in metrics if m.name == "store_connections_active")
        return float(value)

    def work() -> None:
        store.close()
        assert number_open() == 1

    assert exit_of(start_child(mortal(work))) == 0
    assert number_open() == 1
    store.close()
    assert number_open() == 0


def test_a_forked_store_goes_on_in_the_child(tmp_path):
    config = ObservabilityConfig(audit=AuditConfig(mode="sync"))
    store = ObservableStore(FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os"), config)
    store.save(Sample("parent"))

    def work() -> None:
        store.save(Sample("child"))
        store.close()

    assert exit_of(start_child(mortal(work))) == 0
    assert {e.item for e in store.audit.query(event_type="save")} == {"parent", "child"}
    assert store.audit.verify_chain().chains == 2
    store.close()
