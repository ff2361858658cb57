"""The audit logger: batches, the policies for a sink that fails, events that cannot be written as they are."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.observability.doubles import Flaky, event, make_sink, observed, saved
from truthstore import StoreConflictError, StoreWriteError
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchConfig, BatchedStore
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore, acting_as
from truthstore.observability.audit import (
    AsyncAuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    AuditStatus,
    CompositeAuditBackend,
    DataRedactor,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
)
from truthstore.runtime import exits
from truthstore.testing import SAMPLES, FaultyStore, Sample


def wait_for(condition: Any) -> None:
    for _ in range(6_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def test_a_batch_is_written_when_its_time_has_come():
    sink = InMemoryAuditBackend()
    logger = AuditLogger(sink, AuditConfig(flush_interval_seconds=0.01))
    logger.log(event())
    wait_for(lambda: len(sink.events) == 2)
    logger.log(event())
    exits._run()
    assert sink.events[-1].event_type is AuditEventType.CLOSE


@pytest.mark.parametrize("at_exit", [False, True])
def test_a_store_that_is_let_go_leaves_its_events(at_exit):
    config = AuditConfig(file_path="audit.jsonl", flush_interval_seconds=60 if at_exit else 0.2)
    store: Any = ObservableStore(MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=config))
    store.save(Sample("a"))
    del store
    gc.collect()
    if at_exit:
        exits._run()
    else:
        wait_for(lambda: os.path.exists("audit.jsonl"))
    assert saved(FileAuditBackend("audit.jsonl")) == ["a"]


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("error", [StoreWriteError, RuntimeError])
@pytest.mark.parametrize("policy", ["spool", "queue", "raise", "drop"])
def test_any_error_of_a_sink_is_a_matter_of_the_policy(policy, error, thread):
    flaky = Flaky(error=error)
    sink = AsyncAuditBackend(flaky) if thread else flaky
    store = observed(sink, mode="sync", on_error=policy)
    store.save(Sample("a"))
    flaky.fails = 1
    if policy == "raise":
        with pytest.raises(
            StoreWriteError, match=f"is done.*{'RuntimeError: ' * (error is RuntimeError)}the sink is down"
        ):
            store.save(Sample("b"))
    else:
        store.save(Sample("b"))
    store.save(Sample("c"))
    store.maintain()
    assert saved(flaky) == (["a", "c"] if policy == "drop" else ["a", "b", "c"])
    stats = store.audit.stats
    assert stats["failed"] >= 1
    assert (stats["queued"] > 0, stats["dropped"] > 0) == (policy in {"spool", "queue"}, policy == "drop")
    assert store.audit.verify_chain().ok
    store.close()
    sink.close()


def test_queued_events_are_written_in_order_when_the_sink_works_again():
    flaky = Flaky()
    logger = AuditLogger(flaky, AuditConfig(mode="sync"))
    logger.log(event("before"))
    flaky.fails = 3
    for item in "ab":
        logger.log(event(item))
    assert saved(flaky) == ["before"]
    flaky.fails = 0
    logger.log(event("c"))
    assert saved(flaky) == ["before", "a", "b", "c"]
    found = logger.verify_chain()
    assert (found.ok, found.repeated) == (True, 0)
    assert AuditLogger(flaky).recover() == 0
    logger.log(event("d"))
    assert logger.stats["queued"] == 3, "the queue is left as soon as it is empty"
    logger.close()


def test_another_process_may_deliver_what_is_queued():
    flaky = Flaky()
    logger = AuditLogger(flaky, AuditConfig(mode="sync"))
    logger.log(event("before"))
    flaky.fails = 1
    logger.log(event("a"))
    other = AuditLogger(FileAuditBackend("audit.jsonl"))
    assert other.recover() == 1
    assert other.recover() == 0
    logger.log(event("b"))
    logger.close()
    assert saved(flaky) == ["before", "a", "b"]
    assert flaky.verify_chain().ok


@pytest.mark.parametrize("kind", ["memory", "file", "stored", "composite", "async"])
def test_what_is_queued_goes_to_its_own_sink(tmp_path, kind):
    mine, other = make_sink(kind, tmp_path / "mine"), make_sink(kind, tmp_path / "other")
    named: Any = mine

    def down(_: object) -> None:
        raise StoreWriteError("down")

    named.write = down
    store, beside = observed(mine, mode="sync"), observed(other, mode="sync")
    store.save(Sample("a"))
    beside.save(Sample("b"))
    assert beside.maintain()["audit_events_recovered"] == 0
    assert saved(other) == ["b"]
    del named.write
    again = mine if kind == "memory" else make_sink(kind, tmp_path / "mine")
    assert AuditLogger(again).recover() == 2
    assert saved(again) == ["a"]
    assert AuditLogger(again).recover() == 0
    for one in (store, beside, mine, other, again):
        one.close()


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("policy", ["queue", "raise"])
def test_an_error_that_comes_after_the_write_loses_nothing(policy, thread):
    flaky = Flaky("a.jsonl")
    flaky.is_late = True
    sink = AsyncAuditBackend(flaky) if thread else flaky
    logger = AuditLogger(sink, AuditConfig(mode="sync", on_error=policy))
    for number, item in enumerate("abcd"):
        flaky.fails = int(number in {0, 2})
        with contextlib.suppress(StoreWriteError):
            logger.log(event(item))
    logger.close()
    logger.recover()
    assert saved(flaky) == [*"abcd"]
    found = flaky.verify_chain()
    assert (found.ok, found.unclosed) == (True, ())
    assert found.repeated > 0
    sink.close()


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("policy", ["queue", "raise"])
def test_a_sink_that_failed_once_gets_what_it_lacks(policy, thread):
    flaky, file = Flaky("flaky.jsonl"), FileAuditBackend("file.jsonl")
    sink = CompositeAuditBackend([file, AsyncAuditBackend(flaky) if thread else flaky])
    store = observed(sink, mode="sync", on_error=policy)
    store.save(Sample("i0"))
    flaky.fails = 1
    for number in range(1, 5):
        with contextlib.suppress(StoreWriteError):
            store.save(Sample(f"i{number}"))
    store.maintain()
    for one in (file, flaky):
        assert saved(one) == [f"i{number}" for number in range(5)]
        assert one.verify_chain().ok
    store.close()
    sink.close()


def test_two_loggers_of_one_sink_lose_nothing():
    flaky = Flaky()
    sink = AsyncAuditBackend(flaky)
    first, second = (AuditLogger(sink, AuditConfig(mode="sync")) for _ in range(2))
    flaky.fails = 1
    for number in range(3):
        first.log(event(f"a{number}"))
        second.log(event(f"b{number}"))
    first.recover()
    assert sorted(map(str, saved(flaky))) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    first.close()
    second.close()
    assert sink.verify_chain().ok
    sink.close()


def test_a_trail_and_the_batches_above_it_may_share_a_queue():
    """The delivery of a batch makes the logger below it deliver: neither waits for the other."""
    flaky = Flaky()
    base = observed(flaky, mode="sync", spool_path="queue.db")
    store = BatchedStore(base, BatchConfig(durable=True, path="queue.db", flush_interval_seconds=None))
    flaky.fails = 1
    store.save(Sample("a"))
    store.flush()
    flaky.fails = 0

    def second() -> None:
        store.save(Sample("b"))
        store.flush()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len([e for e in base.audit.query() if e.operation.startswith("save")]) == 2
    store.close()


def test_a_failing_sink_raises_later_when_events_are_batched():
    flaky = Flaky()
    logger = AuditLogger(flaky, AuditConfig(on_error="raise"))
    flaky.fails = 1
    logger.log(event("a"))
    logger.write_later()
    with pytest.raises(StoreWriteError, match="is kept"):
        logger.log(event("b"))
    logger.flush()
    assert saved(flaky) == ["a", "b"]
    logger.close()


def test_dropped_events_leave_no_gap():
    flaky = Flaky()
    logger = AuditLogger(flaky, AuditConfig(on_error="drop", mode="sync"))
    logger.log(event("before"))
    flaky.fails = 1
    logger.log(event("a"))
    logger.log(event("b"))
    assert saved(flaky) == ["before", "b"]
    assert logger.stats == {"written": 4, "failed": 1, "queued": 0, "dropped": 1, "altered": 0}
    found = logger.verify_chain()
    assert (found.ok, found.chains) == (True, 2)
    logger.close()


def test_an_operation_that_fails_keeps_its_own_error():
    faulty = FaultyStore(MemoryStore[Any]())
    store = observed(StoreAuditBackend(faulty), on_error="raise", mode="sync")
    store.save(Sample("a"))
    faulty.plan.arm(1, "before")
    with pytest.raises(StoreConflictError) as caught:
        store.save(Sample("a"), expect="nothing")
    assert "audit" in caught.value.__notes__[0]


@pytest.mark.parametrize("mode", ["sync", "batch"])
@pytest.mark.parametrize("at_exit", [False, True])
def test_a_close_that_failed_can_be_called_again_and_is_at_exit(mode, at_exit):
    flaky = Flaky("a.jsonl")
    logger = AuditLogger(flaky, AuditConfig(on_error="raise", mode=mode))
    logger.log(event("a"))
    flaky.fails = 2
    for _ in range(2):
        with pytest.raises(StoreWriteError, match="is kept"):
            logger.close()
    if at_exit:
        exits._run()
    else:
        logger.close()
        logger.close()
    assert saved(flaky) == ["a"]
    assert flaky.verify_chain().unclosed == ()


@pytest.mark.parametrize("kind", ["file", "store"])
def test_a_chain_that_begins_after_a_close_that_failed_is_kept_apart(tmp_path, kind):
    sink: Any = make_sink(kind, tmp_path)
    write = sink.write
    fails: list[bool] = [False, True, True]

    def sometimes(events: Sequence[AuditEvent]) -> None:
        if fails and fails.pop(0):
            raise StoreWriteError("down")
        write(events)

    sink.write = sometimes
    logger = AuditLogger(sink, AuditConfig(on_error="raise", mode="sync"))
    logger.log(event("a"))
    with pytest.raises(StoreWriteError):
        logger.close()
    with pytest.raises(StoreWriteError):
        logger.log(event("b"))
    logger.log(event("c"))
    logger.close()
    assert sorted(map(str, saved(sink))) == ["a", "b", "c"]
    found = sink.verify_chain()
    assert (found.ok, found.chains, found.unclosed) == (True, 2, ())


def test_an_event_that_cannot_be_encoded_says_so_and_takes_no_other_with_it():
    logger = AuditLogger(FileAuditBackend("audit.jsonl"))
    logger.log(event("a"))
    logger.flush()
    logger.log(event("b"))
    logger.log(event("c\udce9", actor="bob\udce9", error_message="no \udce9", items=("\udce9",)))
    logger.log(event("d", metadata={"o": object()}))
    logger.log(event("e"))
    logger.flush()
    logger.log(event("f"))
    found = logger.query(event_type="save", ascending=True)
    assert [e.item for e in found] == ["a", "b", None, None, "e", "f"]
    assert "could not be encoded: TypeError" in found[3].metadata["altered"]
    assert logger.stats["altered"] == 2
    assert logger.verify_chain().ok
    logger.close()


def test_an_event_that_cannot_be_redacted_is_written_without_its_texts():
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
    logger.close()


def test_what_can_never_be_encoded_is_refused():
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


def test_events_are_redacted_before_they_are_written():
    own = DataRedactor(patterns=[r"\bcustomer-\d+"], replacement="*", fields_to_redact=["email"])
    logger = AuditLogger(InMemoryAuditBackend(), AuditConfig(redactor=own))
    logger.log(
        event("customer-17", items=("customer-1", "b"), error_message="customer-2 is gone", status=AuditStatus.FAILURE)
    )
    (found,) = logger.query(event_type="save")
    assert (found.item, found.items, found.error_message) == ("*", ("*", "b"), "* is gone")
    plain = AuditLogger(InMemoryAuditBackend(), AuditConfig(redact_sensitive=False))
    plain.log(event("password=x"))
    assert plain.query(event_type="save")[0].item == "password=x"
    for one in (logger, plain):
        one.close()


def test_a_redactor_can_be_copied():
    redactor = DataRedactor(patterns=[r"\d+"], fields_to_redact=["email"])
    redactor.redact_event(event(actor="me 5"))
    for one in (pickle.loads(pickle.dumps(redactor)), copy.deepcopy(redactor)):
        assert one.redact({"email": "x", "n": "17"}) == {"email": "[REDACTED]", "n": "[REDACTED]"}
        assert one.redact_event(event(actor="me 5")).actor == "me [REDACTED]"
    assert b"me 5" not in pickle.dumps(redactor)
