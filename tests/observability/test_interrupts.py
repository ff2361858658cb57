"""The audit trail when an interrupt comes: between any two steps of the logger, and in the midst of a sink."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from truthstore import StoreOverloadedError, StoreWriteError
from truthstore.backends.memory import MemoryStore
from truthstore.observability import AuditConfig
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
    async_sink,
    chain,
    file as file_sink,
    logger as logger_module,
    sinks,
)
from truthstore.storage.queue import spool

NUMBERS = itertools.count()
STEPS = {module.__file__ for module in (async_sink, chain, file_sink, logger_module, sinks, spool)}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def event(item: str = "a") -> AuditEvent:
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item)


@contextlib.contextmanager
def interrupted(step: int) -> Iterator[list[int]]:
    """An interrupt comes where Python lets one come: when a function begins, or a call has ended; how many there were."""
    places = [0]

    def profile(frame: Any, what: str, _: object) -> None:
        if what in {"call", "c_return"} and frame.f_code.co_filename in STEPS:
            places[0] += 1
            if places[0] == step:
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield places
    finally:
        sys.setprofile(before)


def told(sink: AuditBackend) -> Counter[str]:
    return Counter(str(e.item) for e in sink.read() if e.event_type is AuditEventType.SAVE)


def check(sink: AuditBackend, acknowledged: Sequence[str], begun: Sequence[str]) -> None:
    found = sink.verify_chain()
    assert found.ok, found.problems
    assert found.repeated == 0
    assert found.unclosed == ()
    trail = told(sink)
    assert set(acknowledged) <= set(trail) <= set(begun)
    assert set(trail.values()) <= {1}


class Down(InMemoryAuditBackend):
    """Every third time it fails."""

    count = 0

    def write(self, events: Sequence[AuditEvent]) -> None:
        self.count += 1
        if self.count % 3 == 2:
            raise StoreWriteError("down")
        super().write(events)


SINKS: dict[str, Callable[[], AuditBackend]] = {
    "memory": InMemoryAuditBackend,
    "store": lambda: StoreAuditBackend(MemoryStore()),
    "async": lambda: AsyncAuditBackend(InMemoryAuditBackend()),
    "composite": lambda: CompositeAuditBackend([InMemoryAuditBackend(), InMemoryAuditBackend()]),
    "file": lambda: FileAuditBackend(f"{next(NUMBERS)}/audit.jsonl"),
    "down": Down,
    "down, spooled": Down,
}


@pytest.mark.parametrize("mode", ["sync", "batch"])
@pytest.mark.parametrize("kind", SINKS)
def test_an_interrupt_anywhere_leaves_a_whole_trail(kind, mode):
    """Also where the work goes on after it, as in a notebook."""
    policy: Any = "raise" if kind == "down" else "spool"
    reached = 0
    for step in itertools.count(1, 5 if kind == "down, spooled" else 1):  # that one writes to disk
        sink = SINKS[kind]()
        logger = AuditLogger(sink, AuditConfig(mode=mode, batch_size=2, on_error=policy))
        items = [f"{number}" for number in range(4)]
        acknowledged: list[str] = []
        with contextlib.suppress(KeyboardInterrupt), interrupted(step) as places:
            for item in items:
                with contextlib.suppress(StoreWriteError):  # the event is kept
                    logger.log(event(item))
                acknowledged.append(item)
            with contextlib.suppress(StoreWriteError):
                logger.close()
        with contextlib.suppress(StoreWriteError):
            logger.log(event("later"))
        for _ in range(3):
            with contextlib.suppress(StoreWriteError):
                logger.close()
            logger.recover()
        check(sink, [*acknowledged, "later"], [*items, "later"])
        sink.close()
        reached = places[0]
        if reached < step:
            break
    assert reached > 50


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_an_interrupt_within_a_file_sink_leaves_a_whole_trail(monkeypatch, call, error, mode):
    for step in range(1, 6):
        sink = FileAuditBackend(f"{step}.jsonl", durability="fsync")
        logger = AuditLogger(sink, AuditConfig(mode=mode, batch_size=2))
        real, calls = getattr(os, call), itertools.count(1)

        def done(*args: Any, real: Any = real, calls: Any = calls, step: int = step) -> Any:
            result = real(*args)
            if next(calls) == step:
                raise error
            return result

        acknowledged: list[str] = []
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt, SystemExit):
            patch.setattr(os, call, done)
            for item in ("a", "b", "c"):
                logger.log(event(item))
                acknowledged.append(item)
        logger.log(event("later"))
        logger.close()
        check(sink, [*acknowledged, "later"], ["a", "b", "c", "later"])


def test_a_file_sink_that_was_interrupted_in_the_midst_of_a_line_keeps_none_of_it(monkeypatch):
    sink = FileAuditBackend("audit.jsonl")
    sink.write([event("a").sealed()])
    real = os.write

    def half(handle: int, data: bytes) -> int:
        real(handle, data[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(KeyboardInterrupt):
        sink.write([event("b").sealed()])
    monkeypatch.setattr(os, "write", real)
    sink.write([event("c").sealed()])
    assert [e.item for e in sink.read()] == ["a", "c"]


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_what_a_signal_handler_does_in_the_midst_of_a_write_waits_its_turn(mode):
    class Interrupted(FileAuditBackend):
        def write(self, events: Sequence[AuditEvent]) -> None:
            if events[-1].item == "a":
                logger.log(event("handler"))
                logger.close()
            super().write(events)

    sink = Interrupted("audit.jsonl")
    logger = AuditLogger(sink, AuditConfig(mode=mode, batch_size=1))
    logger.log(event("a"))
    logger.log(event("b"))
    logger.close()
    check(sink, ["a", "handler", "b"], ["a", "handler", "b"])


def test_a_file_sink_does_not_wait_for_itself(monkeypatch):
    sink = FileAuditBackend("audit.jsonl")
    real, calls = os.write, itertools.count()

    def handled(handle: int, data: bytes) -> int:
        if not next(calls):
            with pytest.raises(StoreOverloadedError, match="signal"):
                sink.write([event("handler").sealed()])
        return real(handle, data)

    monkeypatch.setattr(os, "write", handled)
    sink.write([event("a").sealed()])
    assert told(sink) == {"a": 1}


def test_a_finalizer_may_add_an_event_while_one_is_added():
    logger = AuditLogger(InMemoryAuditBackend(), AuditConfig(batch_size=10))

    class Left:
        def __del__(self) -> None:
            logger.log(event("left"))

    class Collecting(list[Any]):
        def append(self, thing: Any, /) -> None:
            super().append(thing)
            gc.collect()

    logger._waiting = Collecting()
    left = Left()
    left.me = left  # type: ignore[attr-defined]
    del left
    logger.log(event("a"))
    logger.close()
    check(logger.backend, ["a", "left"], ["a", "left"])
