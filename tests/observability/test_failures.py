"""The audit trail when sinks fail, events cannot be written down, processes die, and somebody tampers."""

from __future__ import annotations

import contextlib
import copy
import gc
import glob
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from truthstore import StoreNotFoundError, StoreWriteError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore, TracingConfig, acting_as
from truthstore.observability.audit import (
    AsyncAuditBackend,
    AuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    CompositeAuditBackend,
    DataRedactor,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
)
from truthstore.observability.audit.logger import _close_all
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Flaky(FileAuditBackend):
    """Fails when told to."""

    def __init__(self, path: str = "audit.jsonl", error: type[Exception] = StoreWriteError) -> None:
        super().__init__(path)
        self.fails = 0
        self.error = error

    def write(self, events: Sequence[AuditEvent]) -> None:
        if self.fails:
            self.fails -= 1
            raise self.error("the sink is down")
        super().write(events)


def event(item: str = "a", **values: Any) -> AuditEvent:
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item, collection="samples", **values)


def saved(sink: AuditBackend) -> list[str | None]:
    return [e.item for e in sink.read() if e.event_type is AuditEventType.SAVE]


def within(seconds: float, work: Any) -> None:
    """Does something that must not hang."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if raised:
        raise raised[0]


def observed(sink: AuditBackend | None, base: Any = None, **audit: Any) -> ObservableStore[Sample]:
    config = ObservabilityConfig(audit=AuditConfig(backend=sink, **audit))
    return ObservableStore(base or MemoryStore(collection=SAMPLES), config)


@pytest.mark.parametrize("mode", ["sync", "batch"])
@pytest.mark.parametrize("error", [StoreWriteError, RuntimeError])
@pytest.mark.parametrize("policy", ["spool", "raise", "drop"])
def test_what_fails_in_the_thread_of_a_sink_is_a_matter_of_the_policy(policy, error, mode):
    flaky = Flaky(error=error)
    logger = AuditLogger(AsyncAuditBackend(flaky), AuditConfig(on_error=policy, mode=mode, batch_size=2))
    items = [f"s{number}" for number in range(7)]
    for number, item in enumerate(items):
        if number == 2:
            logger.flush()
            flaky.fails = 2
        try:
            logger.log(event(item))
        except StoreWriteError:
            assert policy == "raise"
    for _ in range(3):
        with contextlib.suppress(StoreWriteError):
            within(10, logger.flush)
    for _ in range(2):
        logger.recover()
    if policy == "drop":
        assert {"s0", "s1"} <= set(saved(flaky)) < set(items)
        assert logger.stats["dropped"] >= 7 - len(saved(flaky))  # and the events that open a chain
    else:
        assert saved(flaky) == items
    assert logger.verify_chain().ok
    within(10, logger.close)


def test_two_loggers_of_one_sink_get_back_what_is_theirs():
    flaky = Flaky()
    sink = AsyncAuditBackend(flaky)
    first, second = (AuditLogger(sink, AuditConfig(mode="sync", on_error="spool")) for _ in range(2))
    flaky.fails = 1
    for number in range(3):
        first.log(event(f"a{number}"))
        second.log(event(f"b{number}"))
    first.recover()
    assert sorted(map(str, saved(flaky))) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert second.verify_chain().ok
    first.close()
    second.close()


def test_a_sink_that_fails_in_its_thread_may_be_tried_again():
    flaky = Flaky(error=RuntimeError)
    sink = AsyncAuditBackend(flaky)
    flaky.fails = 2
    sink.write([event().sealed()])
    with pytest.raises(StoreWriteError, match="RuntimeError"):
        within(10, sink.flush)
    with contextlib.suppress(StoreWriteError):  # as soon as it failed twice
        within(10, sink.flush)
    within(10, sink.flush)
    assert len(saved(flaky)) == 1
    assert sink.errors == 2
    within(10, sink.close)


def test_what_comes_back_late_goes_before_what_was_spooled_meanwhile():
    go_on = threading.Event()

    class Stuck(Flaky):
        def write(self, events: Sequence[AuditEvent]) -> None:
            go_on.wait(10)
            super().write(events)

    flaky = Stuck()
    sink = AsyncAuditBackend(flaky, max_waiting=1, timeout_seconds=0.01)
    logger = AuditLogger(sink, AuditConfig(batch_size=1))
    flaky.fails = 1
    for number in range(5):  # the sink takes two of them, and is too slow for the others
        logger.log(event(f"s{number}"))
    assert logger.stats["spooled"] >= 2
    go_on.set()
    logger.flush()
    assert logger.recover()
    assert saved(flaky) == [f"s{number}" for number in range(5)]
    assert logger.verify_chain().ok
    logger.close()
    sink.close()


def test_a_fork_leaves_to_the_parent_what_the_parent_has():
    sink = AsyncAuditBackend(FileAuditBackend("audit.jsonl"))
    logger = AuditLogger(sink, AuditConfig(mode="sync"))
    logger.log(event("a"))

    def work() -> None:
        logger.log(event("b"))
        logger.close()

    assert os.waitstatus_to_exitcode(os.waitpid(start_child(work), 0)[1]) == 0
    logger.log(event("c"))
    logger.close()
    sink.close()
    assert saved(sink) == ["a", "b", "c"]
    assert sink.verify_chain().chains == 2
    assert sink.verify_chain().ok


def test_a_sink_whose_thread_cannot_start_at_exit_writes_without(monkeypatch):
    logger = AuditLogger(AsyncAuditBackend(FileAuditBackend("audit.jsonl")), AuditConfig(on_error="drop"))
    logger.log(event("a"))

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refused)
    _close_all()
    assert saved(FileAuditBackend("audit.jsonl")) == ["a"]


def test_sync_promises_every_event_behind_a_thread_too(tmp_path):
    class Slow(FileAuditBackend):
        def write(self, events: Sequence[AuditEvent]) -> None:
            threading.Event().wait(0.05)
            super().write(events)

    def work() -> None:
        base = FileSystemStore(base_path=tmp_path / "s", durability="os", collection=SAMPLES)
        store = observed(AsyncAuditBackend(Slow("audit.jsonl")), base, mode="sync")
        for number in range(5):
            store.save(Sample(f"s{number}"))
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(start_child(work), 0)
    assert len(saved(FileAuditBackend("audit.jsonl"))) == 5


@pytest.mark.parametrize("policy", ["spool", "raise", "drop"])
def test_any_error_of_a_sink_is_a_matter_of_the_policy(policy):
    flaky = Flaky(error=RuntimeError)
    store = observed(flaky, mode="sync", on_error=policy)
    store.save(Sample("a"))
    flaky.fails = 1
    if policy == "raise":
        with pytest.raises(StoreWriteError, match="RuntimeError: the sink is down"):
            store.save(Sample("b"))
    else:
        store.save(Sample("b"))
    store.save(Sample("c"))
    assert saved(flaky) == (["a", "c"] if policy == "drop" else ["a", "b", "c"])
    assert store.audit.stats["failed"] == 1
    store.close()


def test_an_error_of_one_sink_leaves_the_others_their_events():
    flaky, memory = Flaky(error=RuntimeError), InMemoryAuditBackend()
    flaky.fails = 1
    with pytest.raises(StoreWriteError, match="RuntimeError"):
        CompositeAuditBackend([flaky, memory]).write([event().sealed()])
    assert len(memory.events) == 1


def test_an_event_that_cannot_be_written_down_says_so_and_takes_no_other_with_it():
    sink = FileAuditBackend("audit.jsonl")
    logger = AuditLogger(sink)
    logger.log(event("a"))
    logger.flush()
    logger.log(event("b"))
    logger.log(event("c\udce9", actor="bob\udce9", error_message="no \udce9", items=("\udce9",)))
    logger.log(event("d", metadata={"o": object()}))
    logger.log(event("e"))
    logger.flush()
    logger.log(event("f"))
    told = logger.query(event_type="save", ascending=True)
    assert [e.item for e in told] == ["a", "b", r"c\udce9", "d", "e", "f"]
    assert (told[2].actor, told[2].error_message, told[2].items) == (r"bob\udce9", r"no \udce9", (r"\udce9",))
    assert "object" in told[3].metadata["altered"]
    assert logger.stats["altered"] == 2
    assert logger.verify_chain().ok


def test_an_event_that_cannot_be_redacted_is_told_without_its_words():
    class Broken(DataRedactor):
        def redact_text(self, text: str) -> str:
            if text == "bad":
                raise RuntimeError(text)
            return super().redact_text(text)

    logger = AuditLogger(InMemoryAuditBackend(), AuditConfig(redactor=Broken()))
    for item in ("a", "bad", "c"):
        logger.log(event(item))
    assert [e.item for e in logger.query(event_type="save", ascending=True)] == ["a", None, "c"]
    assert logger.stats["altered"] == 1
    assert logger.verify_chain().ok


def test_what_can_never_be_written_down_is_refused():
    wrong: Any = 5
    with pytest.raises(TypeError, match="extra_context"):
        AuditConfig(extra_context={"o": object()})
    for make in (lambda: AuditConfig(extra_context={"o": "\udce9"}), lambda: AuditConfig(actor="bob\udce9")):
        with pytest.raises(ValueError, match=r"extra_context|actor"):
            make()
    with pytest.raises(TypeError, match="actor"):
        AuditConfig(actor=wrong)
    with pytest.raises(ValueError, match="actor"), acting_as("bob\udce9"):
        pass
    with pytest.raises(TypeError, match="actor"), acting_as(wrong):
        pass


@pytest.mark.parametrize("kind", ["file", "store", "memory", "composite", "async"])
def test_what_was_spooled_goes_to_its_own_sink(tmp_path, kind):
    def make(name: str) -> Any:
        if kind == "memory":
            return InMemoryAuditBackend()
        if kind == "store":
            return StoreAuditBackend(FileSystemStore(base_path=tmp_path / name, durability="os"))
        file = FileAuditBackend(f"{name}.jsonl")
        return {"file": file, "composite": CompositeAuditBackend([file]), "async": AsyncAuditBackend(file)}[kind]

    mine, other = make("mine"), make("other")

    def broken(_: object) -> None:
        raise StoreWriteError("down")

    work = mine.write
    mine.write = broken
    store, beside = observed(mine, mode="sync"), observed(other, mode="sync")
    store.save(Sample("a"))
    beside.save(Sample("b"))
    assert beside.maintain()["audit_events_recovered"] == 0
    assert saved(other) == ["b"]
    again = mine if kind == "memory" else make("mine")
    mine.write = work
    assert AuditLogger(again).recover() == 2
    assert saved(again) == ["a"]
    assert AuditLogger(again).recover() == 0
    for one in (store, beside):
        one.close()
    for sink in (mine, other, again):
        sink.close()


def test_a_sink_of_ones_own_is_known_by_its_class():
    class Own(AuditBackend):
        def write(self, events: Sequence[AuditEvent]) -> None:
            raise NotImplementedError

        def read(self) -> Iterator[AuditEvent]:
            return iter(())

    assert Own().identity == Own().identity
    assert Own().identity.endswith("Own")


def test_a_store_that_is_let_go_leaves_its_events():
    config = AuditConfig(file_path="audit.jsonl", flush_interval_seconds=0.2)
    store: Any = ObservableStore(MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=config))
    store.save(Sample("a"))
    del store
    gc.collect()
    for _ in range(500):
        if os.path.exists("audit.jsonl"):
            break
        threading.Event().wait(0.01)
    assert saved(FileAuditBackend("audit.jsonl")) == ["a"]


def test_a_store_that_is_let_go_leaves_its_events_at_exit():
    config = AuditConfig(file_path="audit.jsonl", flush_interval_seconds=60)
    store: Any = ObservableStore(MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=config))
    store.save(Sample("a"))
    del store
    gc.collect()
    _close_all()
    assert saved(FileAuditBackend("audit.jsonl")) == ["a"]


def test_a_redactor_can_be_copied():
    redactor = DataRedactor(patterns=[r"\d+"], fields_to_redact=["email"])
    redactor.redact_event(event(actor="me 5"))
    for one in (pickle.loads(pickle.dumps(redactor)), copy.deepcopy(redactor)):
        assert one.redact({"email": "x", "n": "17"}) == {"email": "[REDACTED]", "n": "[REDACTED]"}
        assert one.redact_event(event(actor="me 5")).actor == "me [REDACTED]"
    assert b"me 5" not in pickle.dumps(redactor)


@pytest.fixture
def lines():
    logger = AuditLogger(FileAuditBackend("audit.jsonl"), AuditConfig(mode="sync"))
    for number in range(5):
        logger.log(event(f"i{number}"))
    logger.close()
    with open("audit.jsonl", "rb") as file:
        return file.read().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("line", "old", "new", "problem"),
    [
        (2, b'"i1"', b'"\xff\xfe"', "line 3"),
        (2, b"{", b"x", "line 3"),
        (2, b"{", b'{"metadata":[],', "line 3"),
        (0, b'"heads":{}', b'"heads":["x"]', "-0"),
        (0, b'"heads":{}', b'"heads":"x"', "-0"),
        (0, b'"heads":{}', b'"heads":{"c":["x"]}', "-0"),
        (2, b'Z"', b'"', "-2"),  # a naive time
        (2, b"{", b'{"metadata":{"n":' + b"[" * 900 + b"]" * 900 + b"},", "-2"),
    ],
)
def test_whatever_was_done_to_a_file_is_reported(lines, line, old, new, problem):
    lines[line] = lines[line].replace(old, new, 1)
    with open("audit.jsonl", "wb") as file:
        file.writelines(lines)
    sink = FileAuditBackend("audit.jsonl")
    found = sink.verify_chain()
    assert any(problem in one for one in found.problems), found
    assert [e.item for e in sink.query(item="i3")] == ["i3"]
    assert len(sink.query()) == 7
    assert sink.heads()


def removed(path: str, data: bytes) -> None:
    os.unlink(path)


def written(change: Any) -> Any:
    def write(path: str, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(change(data))

    return write


@pytest.mark.parametrize(
    "tamper",
    [written(lambda data: data.replace(b"i1", b"i9")), written(lambda data: data[:40]), removed],
    ids=["edited", "truncated", "removed"],
)
def test_whatever_was_done_to_a_record_is_reported(tmp_path, tamper):
    def opened() -> FileSystemStore[Sample]:
        return FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os")

    with observed(None, opened(), mode="sync") as store:
        for number in range(3):
            store.save(Sample(f"i{number}"))
    path = next(
        path
        for path in sorted(glob.glob(str(tmp_path / "s" / "**" / "*"), recursive=True))
        if "audit" in path and path.endswith("000000000002.json")
    )
    with open(path, "rb") as file:
        data = file.read()
    tamper(path, data)
    sink = StoreAuditBackend(opened())
    found = sink.verify_chain()
    assert any("-000000000002" in one for one in found.problems), found
    assert found.checked == 5
    assert [e.item for e in sink.query(item="i0")] == ["i0"]
    with observed(None, opened(), mode="sync") as store:
        store.save(Sample("later"))
        assert [e.item for e in store.audit.query(item="i2")] == ["i2"]


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("policy", ["spool", "raise"])
def test_a_sink_that_failed_once_gets_what_it_lacks_and_the_others_nothing_twice(policy, thread):
    flaky, file = Flaky("flaky.jsonl"), FileAuditBackend("file.jsonl")
    sink = CompositeAuditBackend([file, AsyncAuditBackend(flaky) if thread else flaky])
    store = observed(sink, mode="sync", on_error=policy)
    store.save(Sample("i0"))
    flaky.fails = 1
    for number in range(1, 5):
        try:
            store.save(Sample(f"i{number}"))
        except StoreWriteError:
            assert policy == "raise"
    store.maintain()
    for one in (file, flaky):
        assert saved(one) == [f"i{number}" for number in range(5)]
        assert one.verify_chain().ok
    store.close()
    sink.close()


@pytest.fixture
def spans() -> Iterator[Any]:
    exporter: Any = InMemorySpanExporter()
    exporter.provider = TracerProvider()
    exporter.provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.provider.shutdown()


@pytest.mark.parametrize("redact", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
def test_spans_are_redacted_as_events_are(spans, redact, enabled):
    config = ObservabilityConfig(
        audit=AuditConfig(enabled=enabled, backend="memory", redact_sensitive=redact),
        tracing=TracingConfig(tracer_provider=spans.provider),
    )
    store = ObservableStore(MemoryStore(collection=SAMPLES), config)
    with store.correlate({"x-correlation-id": "token=hunter2"}), pytest.raises(StoreNotFoundError):
        store.get("token=hunter2 4111-1111-1111-1111")
    (span,) = spans.get_finished_spans()
    assert span.status.description.startswith("StoreNotFoundError: ")
    assert span.events[0].attributes["exception.type"] == "truthstore.errors.StoreNotFoundError"
    assert "in get" in span.events[0].attributes["exception.stacktrace"]
    told = f"{dict(span.attributes)} {span.status.description} {dict(span.events[0].attributes)}"
    assert ("hunter2" in told) is not redact
    assert ("4111" in told) is not redact


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_was_interrupted_is_told(spans, error, traced):
    base = MemoryStore(collection=SAMPLES)
    config = ObservabilityConfig(
        audit=AuditConfig(backend="memory", level="verbose"),
        tracing=TracingConfig(tracer_provider=spans.provider, enabled=traced),
    )
    store = ObservableStore(base, config)

    def interrupted(method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            method(*args, **options)
            raise error

        return call

    named: Any = base
    for name in ("put_record", "get_record", "delete_record"):
        setattr(named, name, interrupted(getattr(base, name)))
    for call in (lambda: store.save(Sample("a")), lambda: store.get("a"), lambda: store.delete("a")):
        with pytest.raises(error):
            call()
    told = [(e.operation, e.item, e.error_type) for e in store.audit.query(ascending=True) if e.item]
    assert told == [(name, "a", error.__name__) for name in ("save", "get", "delete")]
    if traced:
        assert {span.status.is_ok for span in spans.get_finished_spans()} == {False}
    store.close()
