"""The audit trail and forks: a child is never born while a thread holds what it would wait for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

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
)
from truthstore.testing.suite.concurrency import start_child


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def event(item: str = "a") -> AuditEvent:
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item)


def exit_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def held_up(sink: Any, seconds: float = 0.1):
    """Whoever writes to a file sink stays inside for a while; an event tells when somebody is inside."""
    inside, append = threading.Event(), sink._append

    def slowly(data: bytes) -> None:
        inside.set()
        threading.Event().wait(seconds)
        append(data)

    sink._append = slowly
    yield inside
    sink._append = append


def mortal(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        signal.alarm(1)  # kills a child that hangs
        work()

    return run


@pytest.mark.parametrize("kind", ["file", "async", "composite"])
def test_a_fork_waits_until_no_thread_is_writing(kind):
    file = FileAuditBackend("audit.jsonl")
    sinks: dict[str, Callable[[], AuditBackend]] = {
        "file": lambda: file,
        "async": lambda: AsyncAuditBackend(file),
        "composite": lambda: CompositeAuditBackend([InMemoryAuditBackend(), file]),
    }
    logger = AuditLogger(sinks[kind](), AuditConfig(mode="sync"))
    with held_up(file) as inside:
        writer = threading.Thread(target=logger.log, args=(event("parent"),))
        writer.start()
        assert inside.wait(5)

        def work() -> None:
            logger.log(event("child"))
            logger.close()

        assert exit_of(start_child(mortal(work))) == 0
        writer.join(5)
        assert not writer.is_alive()
    logger.close()
    assert sorted(str(e.item) for e in file.read() if e.item) == ["child", "parent"]
    assert file.verify_chain().ok
    assert file.verify_chain().chains == 2
    logger.backend.close()


def test_a_child_that_lives_does_not_hold_up_its_parent():
    file = FileAuditBackend("audit.jsonl")
    logger = AuditLogger(file, AuditConfig(mode="sync"))
    wait, go_on = os.pipe()
    with held_up(file) as inside:
        writer = threading.Thread(target=logger.log, args=(event("a"),))
        writer.start()
        assert inside.wait(5)

        def live() -> None:
            os.close(go_on)
            os.read(wait, 1)

        child = start_child(live)
        writer.join(5)
    os.close(wait)
    other = threading.Thread(target=FileAuditBackend("audit.jsonl").write, args=([event("b").sealed()],), daemon=True)
    other.start()
    other.join(1)
    held = other.is_alive()
    os.close(go_on)
    assert exit_of(child) == 0
    assert not held, "the child has the lock of the file"
    logger.close()


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
    forking.join(10)
    stop.set()
    assert not forking.is_alive()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    for _ in range(3):  # one of them meets a sink that works
        with contextlib.suppress(OSError):
            loggers[0].recover()
    for logger in loggers:
        logger.close()
    sink.close()
