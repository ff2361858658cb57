"""Events, sinks and stores that the tests of observability share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from truthstore import StoreWriteError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore
from truthstore.observability.audit import (
    AsyncAuditBackend,
    AuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    ChainVerification,
    CompositeAuditBackend,
    FileAuditBackend,
    InMemoryAuditBackend,
    JsonAuditBackend,
    StoreAuditBackend,
)
from truthstore.testing import SAMPLES, Sample


def event(item: str = "a", **values: Any) -> AuditEvent:
    """Build an event of a save."""
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item, collection="samples", **values)


def saved(sink: AuditBackend) -> list[str | None]:
    """Return the items of the saves in a trail, in its order, each event once."""
    found = {e.event_id: e.item for e in sink.read() if e.event_type is AuditEventType.SAVE}
    return list(found.values())


def run(sink: AuditBackend, *items: str, mode: Any = "batch") -> None:
    """Write the chain of one process."""
    logger = AuditLogger(sink, AuditConfig(mode=mode))
    for item in items:
        logger.log(event(item))
    logger.close()


def linked(*items: str) -> list[AuditEvent]:
    """Build the events of one chain."""
    sink = InMemoryAuditBackend()
    run(sink, *items)
    return sink.events


def observed(sink: AuditBackend | None, base: Any = None, **audit: Any) -> ObservableStore[Sample]:
    """Build a store with an audit trail."""
    config = ObservabilityConfig(audit=AuditConfig(backend=sink, **audit))
    return ObservableStore(base or MemoryStore(collection=SAMPLES), config)


def verify_events(events: Sequence[AuditEvent], *, in_order: bool = False) -> ChainVerification:
    """Verify events as a sink that holds just them would."""
    sink = InMemoryAuditBackend()
    sink.in_order = in_order
    sink.write(events)
    return sink.verify_chain()


def make_sink(kind: str, folder: str | os.PathLike[str]) -> AuditBackend:
    """Build a sink of a kind."""
    path = os.path.join(folder, "logs", "audit.jsonl")
    makers: dict[str, Callable[[], AuditBackend]] = {
        "memory": InMemoryAuditBackend,
        "file": lambda: FileAuditBackend(path),
        "rotating": lambda: FileAuditBackend(path, max_bytes=2_000),
        "json": lambda: JsonAuditBackend(path, durability="fsync"),
        "store": lambda: StoreAuditBackend(MemoryStore()),
        "stored": lambda: StoreAuditBackend(FileSystemStore(base_path=os.path.join(folder, "s"), durability="os")),
        "own": Own,
        "composite": lambda: CompositeAuditBackend([FileAuditBackend(path), Own()]),
        "async": lambda: AsyncAuditBackend(FileAuditBackend(path)),
    }
    return makers[kind]()


class Own(AuditBackend):
    """A sink of a user, who wrote two methods; its events come in any order."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def write(self, events: Sequence[AuditEvent]) -> None:
        self.events.extend(events)

    def read(self) -> Iterator[AuditEvent]:
        return iter(reversed(self.events))


class Flaky(FileAuditBackend):
    """A file sink that fails so many times; behind the write, if `is_late`."""

    def __init__(self, path: str = "audit.jsonl", error: type[Exception] = StoreWriteError) -> None:
        super().__init__(path)
        self.fails = 0
        self.is_late = False
        self.error = error

    def write(self, events: Sequence[AuditEvent]) -> None:
        fails = self.fails > 0
        if self.is_late or not fails:
            super().write(events)
        if fails:
            self.fails -= 1
            raise self.error("the sink is down")


class Gated(FileAuditBackend):
    """A file sink that waits for `go_on` inside a write."""

    def __init__(self, path: str = "audit.jsonl") -> None:
        super().__init__(path)
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def write(self, events: Sequence[AuditEvent]) -> None:
        self.inside.set()
        self.go_on.wait(60)
        super().write(events)
