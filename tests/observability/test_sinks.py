"""Sinks: each keeps, finds, verifies and forgives; files rotate; threads and several sinks report their failures."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.observability.doubles import Flaky, Gated, Own, event, linked, make_sink, observed, run, saved
from truthstore import StoreQuery, StoreWriteError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.observability import AuditConfig
from truthstore.observability.audit import (
    AUDIT,
    AsyncAuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    CompositeAuditBackend,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
)
from truthstore.observability.audit.event import encode_event
from truthstore.testing import Sample

KINDS = ["memory", "file", "rotating", "json", "store", "stored", "own", "composite", "async"]


@pytest.fixture(params=KINDS)
def sink(request, tmp_path):
    made = make_sink(request.param, tmp_path)
    yield made
    made.close()


def test_what_is_logged_can_be_asked_for(sink):
    logger = AuditLogger(sink)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(25):
        logger.log(event(f"s{number}", timestamp=start + timedelta(hours=number), actor="me" if number % 2 else "you"))
    assert [e.item for e in logger.query(actor="me", limit=2)] == ["s23", "s21"]
    assert [e.item for e in logger.query(item="s3")] == ["s3"]
    between = {"start_time": start + timedelta(hours=3), "end_time": start + timedelta(hours=5)}
    assert [e.item for e in logger.query(**between, ascending=True)] == ["s3", "s4", "s5"]
    assert len(logger.query(event_type="save", status="success", operation="save", collection="samples")) == 25
    assert logger.query(correlation_id="nobody") == []
    for wrong, right in (
        ({"status": "sucess"}, "failure, partial, success"),
        ({"event_type": "sav"}, "close, create, delete"),
        ({"operation": "sav"}, "query, save, save_many"),
    ):
        with pytest.raises(ValueError, match=f"{right}.*, not '{next(iter(wrong.values()))}'"):
            logger.query(**wrong)
    assert logger.query(operation="delete") == []
    with pytest.raises(TypeError, match=r"no opration: use .*operation"):
        logger.query(opration="save")
    found = logger.verify_chain()
    assert found
    assert (found.checked, found.chains) == (26, 1)
    assert len(found.unclosed) == 1
    logger.close()
    assert sink.verify_chain().unclosed == ()
    assert sink.query(limit=1)[0].event_type is AuditEventType.CLOSE
    run(sink, "later")
    assert sink.verify_chain().chains == 2
    logger.close()


def test_writing_events_again_is_harmless(sink):
    events, others = linked("a", "b", "c"), linked("x")
    sink.write(others)
    for first, last in ((0, 2), (0, 2), (0, 5), (0, 5)):
        sink.write(events[first:last])
        sink.flush()
    sink.write(others)
    sink.flush()
    assert sorted(map(str, saved(sink))) == ["a", "b", "c", "x"]
    for ascending in (True, False):
        assert len(sink.query(ascending=ascending)) == 8
    found = sink.verify_chain()
    assert (found.ok, found.checked - found.repeated, found.chains) == (True, 8, 2)


def test_a_store_keeps_a_batch_that_is_written_again_once():
    sink = StoreAuditBackend(MemoryStore())
    events = linked("a", "b")
    for _ in range(2):
        sink.write(events)
    assert (sink.verify_chain().checked, sink.verify_chain().repeated) == (4, 0)


def test_events_without_a_chain_are_never_the_same():
    sink = InMemoryAuditBackend()
    one = event("a")
    sink.log(one)
    sink.log(one)
    assert len(sink.query()) == 2


def test_a_file_begins_a_new_line_behind_half_a_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    run(FileAuditBackend(path), "a")
    with open(path, "ab") as file:
        file.write(b'{"half a li')
    one = event("b").sealed()
    FileAuditBackend(path).write([one])
    assert path.read_bytes().splitlines()[-1] == encode_event(one)


def test_files_rotate_and_are_read_in_order(tmp_path):
    path = tmp_path / "audit.jsonl"
    logger = AuditLogger(FileAuditBackend(path, max_bytes=1_000), AuditConfig(mode="sync"))
    for number in range(30):
        logger.log(event(f"s{number}"))
    assert len(list(tmp_path.glob("audit.jsonl.*"))) > 10
    assert saved(logger.backend) == [f"s{n}" for n in range(30)]
    assert logger.verify_chain()
    wrong: Any
    for wrong in ({"max_bytes": 0}, {"durability": "none"}):
        with pytest.raises(ValueError):
            FileAuditBackend(path, **wrong)


def test_a_copy_of_a_trail_can_be_verified_by_a_reader_who_may_not_write(tmp_path):
    run(FileAuditBackend("a.jsonl"), "a")
    os.unlink("a.jsonl.lock")
    copy = FileAuditBackend(tmp_path / "a.jsonl")
    assert copy.verify_chain().checked == 3
    assert copy.heads()
    assert not os.path.exists("a.jsonl.lock")
    nowhere = FileAuditBackend(tmp_path / "none" / "a.jsonl")
    assert (list(nowhere.read()), nowhere.heads()) == ([], {})
    assert not os.path.exists(tmp_path / "none")


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
    with pytest.raises(StoreWriteError, match="Input/output error"):
        sink.write([event("x").sealed()])
    assert os.path.getsize("a.jsonl") == size
    monkeypatch.setattr(os, call, real)
    logger.close()
    assert sink.verify_chain().ok


def test_an_interrupt_in_the_midst_of_a_line_leaves_none_of_it(monkeypatch):
    sink = FileAuditBackend("audit.jsonl")
    sink.write([event("a").sealed()])
    real = os.write

    def half(handle: int, data: bytes) -> int:
        real(handle, data[:20])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(KeyboardInterrupt):
            sink.write([event("b").sealed()])
    sink.write([event("c").sealed()])
    assert [e.item for e in sink.read()] == ["a", "c"]


@pytest.mark.parametrize("beside", [False, True])
def test_operations_do_not_wait_for_a_sink_in_a_thread_until_too_many_events_wait(beside):
    slow = Gated()
    sink: Any = AsyncAuditBackend(slow, max_waiting=5)
    logger = AuditLogger(
        CompositeAuditBackend([InMemoryAuditBackend(), sink]) if beside else sink,
        AuditConfig(batch_size=1, flush_interval_seconds=0.01),
    )
    for number in range(3):
        logger.log(event(str(number)))
        assert slow.inside.wait(60)

    def work() -> None:
        for number in range(3, 7):
            logger.log(event(str(number)))

    writer = threading.Thread(target=work)
    writer.start()
    writer.join(0.1)
    assert writer.is_alive(), "the fifth that waits is held up"
    slow.go_on.set()
    writer.join(60)
    assert not writer.is_alive()
    logger.close()
    assert saved(slow) == [*map(str, range(7))]
    found = slow.verify_chain()
    assert (found.ok, found.repeated, found.unclosed) == (True, 0, ())


def test_a_composite_writes_where_it_can():
    flaky, memory = Flaky(error=RuntimeError), InMemoryAuditBackend()
    sink = CompositeAuditBackend([flaky, memory])
    flaky.fails = 1
    with pytest.raises(StoreWriteError, match="RuntimeError"):
        sink.log(event().sealed())
    assert len(memory.events) == 1
    memory.clear()
    assert list(memory.read()) == []
    with pytest.raises(ValueError, match="at least one"):
        CompositeAuditBackend([])


def test_a_sink_of_ones_own_is_known_by_its_class():
    assert Own().identity == Own().identity
    assert Own().identity.endswith("Own")
    assert InMemoryAuditBackend().identity != InMemoryAuditBackend().identity


def test_the_trail_lies_beside_what_it_is_about(tmp_path):
    with FileSystemStore(base_path=tmp_path / "s", durability="os") as base:
        sink = StoreAuditBackend(base)
        run(sink, "a")
        assert [e.operation for e in sink.query(ascending=True)] == ["open", "save", "close"]
        (record,) = base.scan(StoreQuery(), collection=AUDIT, bodies=True)
        body = (record.body or b"").replace(b'"item":"a"', b'"item":"b"')
        base.put_record(type(record)(record.meta, body), collection=AUDIT)
        assert "was changed" in sink.verify_chain().problems[0]
        base.put_record(type(record)(record.meta, b" " + (record.body or b"")), collection=AUDIT)
        assert "more than its events" in sink.verify_chain().problems[0]


class Interrupting(InMemoryAuditBackend):
    """A sink in whose write a signal handler comes."""

    logger: AuditLogger

    def write(self, events: Sequence[AuditEvent]) -> None:
        if events[-1].item == "a":
            self.logger.log(event("handler"))
        super().write(events)


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_what_a_signal_handler_adds_in_the_midst_of_a_write_waits_its_turn(mode):
    sink = Interrupting()
    sink.logger = logger = AuditLogger(sink, AuditConfig(mode=mode, batch_size=1))
    logger.log(event("a"))
    logger.log(event("b"))
    logger.close()
    assert saved(sink) == ["a", "handler", "b"]
    found = sink.verify_chain()
    assert (found.ok, found.repeated, found.unclosed) == (True, 0, ())


@pytest.mark.parametrize("kind", ["memory", "file", "store"])
def test_an_interrupt_behind_a_write_loses_nothing(tmp_path, kind):
    sink: Any = make_sink(kind, tmp_path)
    logger = AuditLogger(sink, AuditConfig(mode="sync"))
    logger.log(event("a"))
    write = sink.write

    def interrupted(events: Sequence[AuditEvent]) -> None:
        write(events)
        raise KeyboardInterrupt

    sink.write = interrupted
    with pytest.raises(KeyboardInterrupt):
        logger.log(event("b"))
    sink.write = write
    logger.log(event("c"))
    logger.close()
    assert saved(sink) == ["a", "b", "c"]
    assert sink.verify_chain().ok


def test_a_sink_that_buffers_is_flushed_behind_every_write():
    class Buffering(InMemoryAuditBackend):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    for wrapped in (False, True):
        sink = Buffering()
        logger = AuditLogger(CompositeAuditBackend([sink]) if wrapped else sink, AuditConfig())
        logger.log(event())
        logger.flush()
        assert sink.flushed >= 1
        logger.close()


class Connected(InMemoryAuditBackend):
    """A sink that holds something open, as one with a connection does."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.closed: list[int] = []
        self.broken = broken

    def close(self) -> None:
        self.closed.append(len(self.events))
        if self.broken:
            raise OSError("it is stuck")


def test_a_store_that_is_closed_closes_its_sink_once_when_all_is_written():
    first, second = Connected(), Connected()
    store = observed(CompositeAuditBackend([AsyncAuditBackend(first), second]))
    store.save(Sample("a"))
    assert first.closed == []
    store.close()
    store.close()
    assert first.closed == second.closed == [3]  # it began, saved and ended
    with observed(first) as other:
        other.save(Sample("b"))
    assert first.closed == [3, 6]


def test_a_sink_is_closed_also_where_nothing_was_written_and_behind_one_that_fails():
    first, second = Connected(), Connected(broken=True)
    observed(CompositeAuditBackend([first, second])).close()
    assert first.closed == second.closed == [0]


def test_a_sink_that_cannot_be_closed_is_told_by_the_policy(caplog: pytest.LogCaptureFixture):
    observed(Connected(broken=True)).close()
    assert "the audit sink could not be closed: it is stuck" in caplog.text
    sink = Connected(broken=True)
    store = observed(sink, on_error="raise")
    with pytest.raises(StoreWriteError, match="its sink could not be closed: it is stuck"):
        store.close()
    sink.broken = False
    store.close()
    assert sink.closed == [0, 0]


def test_a_forked_child_leaves_a_sink_open_to_which_it_writes_nothing():
    sink = Connected()
    with observed(sink) as store:
        store.save(Sample("a"))
        child = os.fork()
        if child == 0:
            store.close()
            os._exit(len(sink.closed))
        assert os.waitpid(child, 0)[1] == 0
