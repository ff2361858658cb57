"""What is delivered again is not there twice, and what is kept is not lost: queues, threads, several sinks."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from truthstore import StoreWriteError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore
from truthstore.observability.audit import (
    AsyncAuditBackend,
    AuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    CompositeAuditBackend,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
)
from truthstore.observability.audit.event import decode_event
from truthstore.observability.audit.logger import _close_all
from truthstore.storage.queue.spool import Spool
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def event(item: str = "a") -> AuditEvent:
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item)


def saved(sink: AuditBackend) -> list[str | None]:
    return [e.item for e in sink.read() if e.event_type is AuditEventType.SAVE]


def linked(*items: str) -> list[AuditEvent]:
    """Events of one chain."""
    sink = InMemoryAuditBackend()
    logger = AuditLogger(sink)
    for item in items:
        logger.log(event(item))
    logger.close()
    return sink.events


class Broken(FileAuditBackend):
    """A file that cannot be written as long as `is_down`, and writes what it is given before it says so, if `is_late`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.is_down = self.is_late = False

    def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_late or not self.is_down:
            super().write(events)
        if self.is_down:
            raise StoreWriteError("down")


class Own(AuditBackend):
    """A sink of somebody who wrote two methods."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def write(self, events: Sequence[AuditEvent]) -> None:
        self.events.extend(events)

    def read(self) -> Iterator[AuditEvent]:
        return iter(reversed(self.events))


@pytest.mark.parametrize("kind", ["file", "rotating", "store", "stored", "memory", "own", "composite", "async"])
def test_a_sink_takes_again_only_what_it_lacks(tmp_path, kind):
    sink: AuditBackend = {
        "file": lambda: FileAuditBackend("a.jsonl"),
        "rotating": lambda: FileAuditBackend("a.jsonl", max_bytes=500),
        "store": lambda: StoreAuditBackend(MemoryStore()),
        "stored": lambda: StoreAuditBackend(FileSystemStore(base_path=tmp_path / "s", durability="os")),
        "memory": InMemoryAuditBackend,
        "own": Own,
        "composite": lambda: CompositeAuditBackend([FileAuditBackend("a.jsonl"), Own()]),
        "async": lambda: AsyncAuditBackend(FileAuditBackend("a.jsonl")),
    }[kind]()
    events, others = linked("a", "b", "c"), linked("x")
    assert sink.last(events[0].chain) == -1
    sink.write(others)
    for first, last in ((0, 2), (0, 2), (1, 4), (0, 5)):
        sink.write_again(events[first:last])
        sink.flush()
        assert sink.last(events[0].chain) == last - 1
    sink.write_again(others)
    sink.flush()
    assert sorted(map(str, saved(sink))) == ["a", "b", "c", "x"]
    found = sink.verify_chain()
    assert (found.ok, found.checked, found.repeated) == (True, 8, 0)
    sink.close()


def test_half_a_line_has_not_arrived():
    sink = FileAuditBackend("a.jsonl")
    events = linked("a", "b")
    sink.write(events[:3])
    os.truncate("a.jsonl", os.path.getsize("a.jsonl") - 10)
    assert sink.last(events[0].chain) == 1
    assert sink.last('"') == -1


@pytest.mark.parametrize("repeated", [0, 1])
def test_a_query_gives_once_what_was_delivered_twice(repeated):
    sink = InMemoryAuditBackend()
    events = linked("a", "b")
    sink.write([*events, *events[1:3] * repeated])
    for ascending in (True, False):
        assert len(sink.query(ascending=ascending)) == len(events)
    assert (sink.verify_chain().ok, sink.verify_chain().repeated) == (True, 2 * repeated)


def test_events_without_a_chain_are_never_the_same():
    sink = InMemoryAuditBackend()
    one = event("a")
    sink.write_again([one])
    sink.write_again([one])
    assert len(sink.query()) == 2


def test_a_sink_that_works_again_in_another_process_is_the_only_one_that_gets_the_events():
    first = FileAuditBackend("a.jsonl")

    def run(*, is_down: bool) -> None:
        broken = Broken("b.jsonl")
        broken.is_down = is_down
        logger = AuditLogger(CompositeAuditBackend([first, broken]), AuditConfig(mode="sync"))
        logger.log(event("a"))
        logger.close()
        if not is_down:
            logger.recover()

    for is_down in (True, False):
        assert os.waitpid(start_child(partial(run, is_down=is_down)), 0)[1] == 0
    for sink in (first, FileAuditBackend("b.jsonl")):
        found = sink.verify_chain()
        assert (found.ok, found.repeated, found.checked) == (True, 0, 6)


@pytest.mark.parametrize("kind", ["file", "store", "composite", "async"])
def test_a_kill_between_a_delivery_and_its_end_repeats_nothing(tmp_path, monkeypatch, kind):
    def make() -> AuditBackend:
        if kind == "store":
            return StoreAuditBackend(FileSystemStore(base_path=tmp_path / "s", durability="os"))
        file = FileAuditBackend("a.jsonl")
        return {"file": file, "async": AsyncAuditBackend(file), "composite": CompositeAuditBackend([file])}[kind]

    def run() -> None:
        def broken(_: object) -> None:
            raise StoreWriteError("down")

        sink: Any = make()
        sink.write = sink.write_again = broken
        logger = AuditLogger(sink, AuditConfig(mode="sync"))
        logger.log(event("a"))
        logger.log(event("b"))
        del sink.write, sink.write_again
        monkeypatch.setattr(Spool, "remove", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        logger.recover()

    _, status = os.waitpid(start_child(run), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    sink = make()
    assert AuditLogger(sink).recover() == 3
    found = sink.verify_chain()
    assert (found.ok, found.repeated, found.checked) == (True, 0, 3)
    assert len(saved(sink)) == 2
    sink.close()


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_write_that_failed_at_its_end_left_nothing(monkeypatch, call):
    sink = FileAuditBackend("a.jsonl", durability="fsync")
    logger = AuditLogger(sink, AuditConfig(mode="sync"))
    logger.log(event("a"))
    size = os.path.getsize("a.jsonl")
    real: Any = getattr(os, call)

    def fail(*args: Any) -> None:
        if call == "write":
            real(args[0], args[1][:-1])
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreWriteError):
        sink.write([event("x").sealed()])
    assert os.path.getsize("a.jsonl") == size
    monkeypatch.setattr(os, call, real)
    logger.close()
    assert sink.verify_chain().ok


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("policy", ["spool", "raise"])
def test_an_error_that_comes_after_the_write_repeats_nothing(policy, thread):
    broken = Broken("a.jsonl")
    sink = AsyncAuditBackend(broken) if thread else broken
    logger = AuditLogger(sink, AuditConfig(mode="sync", on_error=policy))
    for number, item in enumerate("abcd"):
        broken.is_down = broken.is_late = number in {0, 2}
        with contextlib.suppress(StoreWriteError):
            logger.log(event(item))
    logger.recover()
    logger.close()
    assert saved(broken) == [*"abcd"]
    assert broken.verify_chain().ok
    sink.close()


def test_what_is_spooled_again_is_spooled_once():
    broken = Broken("a.jsonl")
    logger = AuditLogger(broken, AuditConfig(mode="sync"))
    broken.is_down = True
    for item in "abc":
        logger.log(event(item))
    logger._put_aside(spooled_by(logger)[1:3])
    assert [e.sequence for e in spooled_by(logger)] == [0, 1, 2, 3]
    broken.is_down = False
    assert logger.recover() == 4
    logger.close()
    assert saved(broken) == [*"abc"]


def spooled_by(logger: AuditLogger) -> list[AuditEvent]:
    spool = logger._spool()
    (topic,) = spool.topics()
    return [decode_event(entry.payload) for entry in spool.waiting(topic)]


@pytest.mark.parametrize("policy", ["spool", "raise"])
def test_a_kill_after_an_overload_leaves_no_gap(policy):
    """Older events that wait in memory are spooled before newer ones."""

    class Stuck(FileAuditBackend):
        def write(self, events: Sequence[AuditEvent]) -> None:
            if any(e.item == "s1" for e in events):
                signal.pause()
            super().write(events)

    def run() -> None:
        sink = AsyncAuditBackend(Stuck("a.jsonl"), max_waiting=3, timeout_seconds=0.01)
        logger = AuditLogger(sink, AuditConfig(batch_size=1, on_error=policy))
        for number in range(8):
            with contextlib.suppress(StoreWriteError):
                logger.log(event(f"s{number}"))
        if policy == "spool":
            assert logger.stats["spooled"] >= 7
        os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(start_child(run), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    sink = FileAuditBackend("a.jsonl")
    AuditLogger(sink).recover()
    assert sink.verify_chain().ok
    assert saved(sink) == ([f"s{number}" for number in range(8)] if policy == "spool" else ["s0"])


def test_what_is_being_written_may_be_taken_back_and_is_not_there_twice():
    go_on = threading.Event()

    class Slow(FileAuditBackend):
        def write(self, events: Sequence[AuditEvent]) -> None:
            go_on.wait(5)
            super().write(events)

    sink = AsyncAuditBackend(Slow("a.jsonl"), max_waiting=2, timeout_seconds=0.01)
    logger = AuditLogger(sink, AuditConfig(batch_size=1))
    for number in range(6):
        logger.log(event(f"s{number}"))
    assert logger.stats["spooled"] >= 6
    go_on.set()
    logger.log(event("s6"))
    logger.close()
    assert saved(sink) == [f"s{number}" for number in range(7)]
    found = sink.verify_chain()
    assert (found.ok, found.repeated, found.unclosed) == (True, 0, ())
    sink.close()


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_a_close_that_failed_can_be_called_again(mode):
    broken = Broken("a.jsonl")
    logger = AuditLogger(broken, AuditConfig(on_error="raise", mode=mode))
    logger.log(event("a"))
    broken.is_down = True
    for _ in range(2):
        with pytest.raises(StoreWriteError, match="is kept"):
            logger.close()
    broken.is_down = False
    logger.close()
    logger.close()
    assert saved(broken) == ["a"]
    assert broken.verify_chain().unclosed == ()


def test_a_close_that_failed_is_tried_again_at_exit():
    broken = Broken("a.jsonl")
    logger = AuditLogger(broken, AuditConfig(on_error="raise"))
    logger.log(event("a"))
    broken.is_down = True
    with pytest.raises(StoreWriteError, match="is kept"):
        logger.close()
    broken.is_down = False
    _close_all()
    assert saved(broken) == ["a"]
    assert broken.verify_chain().unclosed == ()


@pytest.mark.parametrize("kind", ["file", "store"])
def test_a_chain_that_begins_after_a_close_that_failed_is_kept_apart(kind):
    inner: Any = Broken("a.jsonl") if kind == "file" else StoreAuditBackend(MemoryStore())
    down = itertools.count()
    write = inner.write

    def sometimes(events: Sequence[AuditEvent]) -> None:
        if next(down) in {1, 2}:
            raise StoreWriteError("down")
        write(events)

    inner.write = sometimes
    logger = AuditLogger(inner, AuditConfig(on_error="raise", mode="sync"))
    logger.log(event("a"))
    with pytest.raises(StoreWriteError):
        logger.close()
    with pytest.raises(StoreWriteError):
        logger.log(event("b"))
    logger.log(event("c"))
    logger.close()
    assert sorted(map(str, saved(inner))) == ["a", "b", "c"]
    found = inner.verify_chain()
    assert (found.ok, found.chains, found.unclosed) == (True, 2, ())


def test_a_trail_below_batches_is_delivered_when_they_are():
    """What write-behind delivers makes the logger below it deliver: neither waits for the other."""

    class Down(InMemoryAuditBackend):
        is_down = True

        def write(self, events: Sequence[AuditEvent]) -> None:
            if self.is_down:
                raise StoreWriteError("down")
            super().write(events)

    sink = Down()
    observed = ObservableStore(
        MemoryStore(collection=SAMPLES),
        ObservabilityConfig(audit=AuditConfig(mode="sync", backend=sink, spool_path="queue.db")),
    )
    store = BatchedStore(observed, durable=True, path="batches.db", flush_interval_seconds=None)
    store.save(Sample("a"))
    store.flush()
    sink.is_down = False

    def second():
        store.save(Sample("b"))
        store.flush()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(saved(sink)) == 2
    store.close()
