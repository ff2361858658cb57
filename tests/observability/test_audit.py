"""The audit trail: every sink, tamper evidence, redaction, and what happens when a sink fails or a process dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from truthstore import StoreConfigError, StoreConflictError, StoreOverloadedError, StoreQuery, StoreWriteError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore
from truthstore.observability.audit import (
    AUDIT,
    AsyncAuditBackend,
    AuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    AuditStatus,
    CompositeAuditBackend,
    DataRedactor,
    FileAuditBackend,
    InMemoryAuditBackend,
    JsonAuditBackend,
    StoreAuditBackend,
    verify_events,
)
from truthstore.observability.audit.event import encode_event
from truthstore.observability.audit.logger import _close_all
from truthstore.retention import CountBasedPolicy, RetentionStore
from truthstore.testing import SAMPLES, FaultyBlobs, Sample
from truthstore.testing.suite.concurrency import start_child
from truthstore.versioning import VersionedStore


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["memory", "file", "json", "store", "other store", "composite", "async"])
def sink(request, tmp_path):
    kind = request.param
    made: AuditBackend = {
        "memory": InMemoryAuditBackend,
        "file": lambda: FileAuditBackend(tmp_path / "logs" / "audit.jsonl", max_bytes=2_000),
        "json": lambda: JsonAuditBackend(tmp_path / "audit.jsonl", durability="fsync"),
        "store": lambda: StoreAuditBackend(MemoryStore()),
        "other store": lambda: StoreAuditBackend(FileSystemStore(base_path=tmp_path / "s", durability="os")),
        "composite": lambda: CompositeAuditBackend([InMemoryAuditBackend(), FileAuditBackend("audit.jsonl")]),
        "async": lambda: AsyncAuditBackend(InMemoryAuditBackend()),
    }[kind]()
    yield made
    made.close()


def event(item: str = "a", **values: Any) -> AuditEvent:
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item, collection="samples", **values)


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
    found = logger.verify_chain()
    assert found
    assert (found.checked, found.chains) == (26, 1)
    assert len(found.unclosed) == 1
    logger.close()
    assert sink.verify_chain().unclosed == ()
    assert sink.query(limit=1)[0].event_type is AuditEventType.CLOSE
    again = AuditLogger(sink)
    again.log(event("later"))
    again.close()
    assert sink.verify_chain().chains == 2
    logger.close()


def chained() -> list[AuditEvent]:
    sink = InMemoryAuditBackend()
    for number in range(2):
        logger = AuditLogger(sink)
        for item in range(3):
            logger.log(event(f"{number}-{item}"))
        logger.close()
    return sink.events


def problems(events: Sequence[AuditEvent], *, in_order: bool = False) -> str:
    return "; ".join(verify_events(events, in_order=in_order).problems)


def test_every_kind_of_tampering_is_found():
    events = chained()
    assert not problems(events, in_order=True)
    changed = [*events]
    told = events[2].to_dict()
    changed[2] = AuditEvent.from_dict({**told, "actor": "somebody else"})
    assert "was changed" in problems(changed)
    changed[2] = changed[2].sealed()  # with a hash that fits
    assert "does not follow" in problems(changed)
    for gone in range(len(events)):
        rest = [*events[:gone], *events[gone + 1 :]]
        assert problems(rest) or verify_events(rest).unclosed
    assert "head" in problems(events[5:])  # the whole first chain
    assert "head" in problems([*events[:3], *events[5:]])  # its end
    swapped = [events[1], events[0], *events[2:]]
    assert not problems(swapped)
    assert "not in its place" in problems(swapped, in_order=True)
    other = AuditEvent.from_dict({**events[1].to_dict(), "actor": "somebody else"})
    for again in (other, other.sealed()):  # another body in the same place
        assert "twice" in problems([*events, again])
        assert "twice" in problems([events[0], again, *events[1:]])
    found = verify_events([*events, events[1]], in_order=True)  # the same body: it was delivered twice
    assert found
    assert (found.repeated, found.checked) == (1, len(events) + 1)
    forged = AuditEvent.from_dict({**events[1].to_dict(), "actor": "somebody else"})
    assert "was changed" in problems([forged, forged])  # what is there twice is not genuine for that


def test_a_line_that_was_damaged_is_found(tmp_path):
    path = tmp_path / "audit.jsonl"
    logger = AuditLogger(FileAuditBackend(path))
    for number in range(5):
        logger.log(event(f"s{number}"))
    logger.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"event_ty', *lines[3:]]))
    assert not FileAuditBackend(path).verify_chain()
    path.write_bytes(b"".join([*lines, b'{"half a li']))
    FileAuditBackend(path).write([event().sealed()])
    assert path.read_bytes().splitlines()[-1] == encode_event(
        event(timestamp=FileAuditBackend(path).query(limit=1)[0].timestamp).sealed()
    )


def test_files_rotate_and_are_read_in_order(tmp_path):
    path = tmp_path / "audit.jsonl"
    logger = AuditLogger(FileAuditBackend(path, max_bytes=1_000), AuditConfig(mode="sync"))
    for number in range(30):
        logger.log(event(f"s{number}"))
    assert len(list(tmp_path.glob("audit.jsonl.*"))) > 10
    assert [e.item for e in logger.query(event_type="save", ascending=True)] == [f"s{n}" for n in range(30)]
    assert logger.verify_chain()
    wrong: Any
    for wrong in ({"max_bytes": 0}, {"durability": "none"}):
        with pytest.raises(ValueError):
            FileAuditBackend(path, **wrong)


@pytest.mark.parametrize("kind", ["file", "store"])
def test_many_processes_have_a_chain_each(tmp_path, kind):
    def make() -> AuditBackend:
        if kind == "file":
            return FileAuditBackend(tmp_path / "audit.jsonl", max_bytes=5_000)
        return StoreAuditBackend(FileSystemStore(base_path=tmp_path / "s", durability="os"))

    first = AuditLogger(make(), AuditConfig(batch_size=7))
    first.log(event("before"))

    def work() -> None:
        first.log(event("inherited"))  # a fork begins a chain of its own
        first.close()
        logger = AuditLogger(make(), AuditConfig(batch_size=7))
        for number in range(20):
            logger.log(event(f"s{number}"))
        logger.close()

    children = [start_child(work) for _ in range(3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    first.close()
    found = make().verify_chain()
    assert found, found.problems
    assert found.chains == 7
    assert found.unclosed == ()
    assert len(make().query(event_type="save")) == 64


@pytest.mark.parametrize(("mode", "least"), [("sync", 250), ("batch", 200)])
def test_a_killed_process_leaves_what_was_promised(tmp_path, mode, least):
    def work() -> None:
        base = FileSystemStore(base_path=tmp_path / "s", durability="os", collection=SAMPLES)
        config = AuditConfig(mode=mode, flush_interval_seconds=60)
        store = ObservableStore(base, ObservabilityConfig(audit=config))
        for number in range(250):
            store.save(Sample(f"s{number}"))
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(start_child(work), 0)
    sink = StoreAuditBackend(FileSystemStore(base_path=tmp_path / "s", durability="os"))
    assert len(sink.query(event_type="save")) == least
    assert sink.verify_chain()
    assert len(sink.verify_chain().unclosed) == 1


def failing(policy: Any, mode: Any = "sync") -> tuple[FaultyBlobs, AuditLogger]:
    blobs = FaultyBlobs(MemoryBlobs())
    sink = StoreAuditBackend(MemoryStore(blobs=blobs))
    logger = AuditLogger(sink, AuditConfig(on_error=policy, mode=mode))
    logger.log(event("before"))
    logger.flush()
    return blobs, logger


def test_a_failing_sink_raises():
    blobs, logger = failing("raise")
    blobs.arm(1, "before")
    with pytest.raises(StoreWriteError, match="is done"):
        logger.log(event("a"))
    blobs.disarm()
    logger.log(event("b"))
    assert [e.item for e in logger.query(event_type="save", ascending=True)] == ["before", "a", "b"]
    assert logger.verify_chain()
    assert logger.stats == {"written": 4, "failed": 1, "spooled": 0, "dropped": 0, "altered": 0}


def test_a_failing_sink_raises_later_when_events_are_batched():
    blobs, logger = failing("raise", "batch")
    blobs.arm(1, "before")
    logger.log(event("a"))
    logger.write_later()
    blobs.disarm()
    with pytest.raises(StoreWriteError):
        logger.log(event("b"))
    logger.flush()
    assert len(logger.query(event_type="save")) == 3
    logger.close()


def test_what_a_failing_sink_did_not_take_is_spooled():
    blobs, logger = failing("spool")
    blobs.arm(1, "before")
    logger.log(event("a"))
    blobs.disarm()
    assert logger.stats["spooled"] == 1
    logger.log(event("b"))
    assert [e.item for e in logger.query(event_type="save", ascending=True)] == ["before", "a", "b"]
    assert logger.verify_chain()
    blobs.arm(1, "before")
    logger.log(event("c"))
    blobs.disarm()
    other = AuditLogger(logger.backend)  # of another process
    assert other.recover() == 1
    assert other.recover() == 0
    assert logger.verify_chain().ok


def test_what_a_failing_sink_did_not_take_is_dropped():
    blobs, logger = failing("drop")
    blobs.arm(1, "before")
    logger.log(event("a"))
    blobs.disarm()
    logger.log(event("b"))
    assert [e.item for e in logger.query(event_type="save", ascending=True)] == ["before", "b"]
    assert logger.stats["dropped"] == 1
    assert logger.verify_chain()


def test_an_operation_that_fails_keeps_its_own_error():
    blobs = FaultyBlobs(MemoryBlobs())
    config = AuditConfig(on_error="raise", mode="sync", backend=StoreAuditBackend(MemoryStore(blobs=blobs)))
    store = ObservableStore(MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=config))
    store.save(Sample("a"))
    blobs.arm(1, "before")
    with pytest.raises(StoreConflictError) as caught:
        store.save(Sample("a"), expect="nothing")
    assert "audit" in caught.value.__notes__[0]


class Slow(InMemoryAuditBackend):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, events: Sequence[AuditEvent]) -> None:
        self.go_on.wait(10)
        super().write(events)


def test_a_slow_sink_holds_writers_up_and_then_says_so():
    slow = Slow()
    sink = AsyncAuditBackend(slow, max_waiting=1, timeout_seconds=0.01)
    with pytest.raises(StoreOverloadedError):
        list(map(sink.write, [[event()]] * 3))
    slow.go_on.set()
    sink.flush()
    assert len(slow.events) == 2
    sink.close()


def test_a_sink_that_fails_in_its_thread_is_heard_of():
    blobs = FaultyBlobs(MemoryBlobs())
    inner = StoreAuditBackend(MemoryStore(blobs=blobs))
    sink = AsyncAuditBackend(inner)
    sink.write([event().sealed()])
    sink.flush()
    blobs.arm(1, "before")
    sink.write([event().sealed()])
    with pytest.raises(StoreWriteError):
        sink.flush()
    assert sink.errors == 1
    assert len(list(sink.read())) == 1
    assert list(sink.heads()) == [""]
    sink.close()


def test_a_composite_writes_where_it_can():
    blobs = FaultyBlobs(MemoryBlobs())
    memory = InMemoryAuditBackend()
    broken = StoreAuditBackend(MemoryStore(blobs=blobs))
    broken.log(event())
    sink = CompositeAuditBackend([broken, memory])
    blobs.arm(1, "before")
    with pytest.raises(StoreWriteError):
        sink.log(event())
    assert len(memory.events) == 1
    memory.clear()
    assert list(memory.read()) == []
    with pytest.raises(ValueError, match="at least one"):
        CompositeAuditBackend([])


def test_a_batch_is_written_when_its_time_has_come():
    sink = InMemoryAuditBackend()
    logger = AuditLogger(sink, AuditConfig(flush_interval_seconds=0.01))
    logger.log(event())
    for _ in range(1_000):
        if sink.events:
            break
        threading.Event().wait(0.01)
    assert len(sink.events) == 2
    logger.log(event())
    _close_all()
    assert sink.events[-1].event_type is AuditEventType.CLOSE


def test_nothing_sensitive_leaves():
    redactor = DataRedactor()
    assert redactor.redact(
        {"password": "x", "inner": [{"API_KEY": 1, "note": "card 4111 1111 1111 1111"}], "n": 5}
    ) == {
        "password": "[REDACTED]",
        "inner": [{"API_KEY": "[REDACTED]", "note": "card [REDACTED]"}],
        "n": 5,
    }
    for text, kept in (
        ("postgresql://me:hunter2@host/db", "postgresql://[REDACTED]@host/db"),
        ("password=hunter2 failed", "password=[REDACTED] failed"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: [REDACTED]"),
        ("run_20240501_120000_f9c713b1", "run_20240501_120000_f9c713b1"),
        ("20261120201545", "20261120201545"),
    ):
        assert redactor.redact_text(text) == kept
    own = DataRedactor(patterns=[r"\bcustomer-\d+"], replacement="*", fields_to_redact=["email"])
    assert own.redact({"email": "a@b", "who": "customer-17", "password": "x"}) == {
        "email": "*",
        "who": "*",
        "password": "x",
    }
    assert DataRedactor(patterns=[], fields_to_redact=[]).redact_text("password=x") == "password=x"
    with pytest.raises(StoreConfigError, match="regular expression"):
        DataRedactor(patterns=["("])
    sink = InMemoryAuditBackend()
    logger = AuditLogger(sink, AuditConfig(redactor=own))
    logger.log(
        event("customer-17", items=("customer-1", "b"), error_message="customer-2 is gone", status=AuditStatus.FAILURE)
    )
    (told,) = logger.query(event_type="save")
    assert (told.item, told.items, told.error_message) == ("*", ("*", "b"), "* is gone")
    plain = AuditLogger(InMemoryAuditBackend(), AuditConfig(redact_sensitive=False))
    plain.log(event("password=x"))
    assert plain.query(event_type="save")[0].item == "password=x"
    for one in (logger, plain):
        one.close()


def test_the_trail_lies_beside_what_it_tells_of(tmp_path):
    with ObservableStore(FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os")) as store:
        store.save(Sample("a"))
        assert store.stats()["audit"]["failed"] == 0
        assert store.maintain()["audit_events_recovered"] == 0
        assert len(store.audit.query(item="a")) == 1
    with FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os") as base:
        assert base.count() == 1
        sink = StoreAuditBackend(base)
        assert [e.operation for e in sink.query(ascending=True)] == ["open", "save", "close"]
        (record,) = (
            r for r in base.scan(StoreQuery(), collection=AUDIT, bodies=True) if b'"item":"a"' in (r.body or b"")
        )
        base.put_record(
            type(record)(record.meta, (record.body or b"").replace(b'"item":"a"', b'"item":"b"')), collection=AUDIT
        )
        assert "was changed" in sink.verify_chain().problems[0]


def test_a_layer_above_the_backend_sees_what_the_layers_above_it_do():
    """The outer layer does not see a rollback through `layer`, nor what retention removes: this one does."""
    sink = InMemoryAuditBackend()
    lower = ObservableStore(
        MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=AuditConfig(backend=sink, mode="sync"))
    )
    store = ObservableStore(RetentionStore(VersionedStore(lower), CountBasedPolicy(1), preserve_latest=False))
    store.save_many([Sample("a", count=1), Sample("b")])
    store.save(Sample("a", count=2))
    store.layer(VersionedStore).rollback("a", 1)
    store.layer(RetentionStore).run_cleanup()
    (kept,) = store.list_ids()
    (removed,) = {"a", "b"} - {kept}
    events = [(event.event_type, event.item) for event in sink.query() if event.status == "success"]
    assert events.count((AuditEventType.UPDATE, "a")) >= 2, "a save, and a rollback"
    assert (AuditEventType.DELETE, removed) in events
