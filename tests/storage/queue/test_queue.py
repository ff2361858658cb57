"""The durable queue: order, failures, rejected entries, turns, and clear errors."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.storage.queue.doubles import Receiver
from truthstore.errors import (
    StoreClosedError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.runtime import exits
from truthstore.storage.queue import Delivery, DurableQueue, Entry, is_item_error

DOWN = StoreConnectionError("s3", "no route to host")
BUSY = StoreWriteError("slow down", retryable=True)
NEVER = StoreWriteError("too large")


def test_nothing_is_made_before_it_is_needed(queue, path):
    assert (queue.count(), queue.size("t"), queue.pending("t"), queue.rejected("t")) == (0, 0, [], [])
    assert queue.deliver("t", lambda _: pytest.fail("nothing to send")) == Delivery(0, 0, 0, {})
    assert (queue.retry_rejected("t"), queue.discard_rejected("t")) == (0, 0)
    queue.supersede("t", ["a"])
    assert not path.parent.exists()
    queue.append("t", [])
    assert queue.path == os.path.abspath(path)


def test_what_is_queued_under_a_key_is_replaced_by_an_entry_of_another_topic(queue):
    queue.append("runs", [("a", b"1"), ("b", b"2")])
    queue.append("checks", [("a", b"3")])
    assert queue.replace(("runs", "checks"), "a", "t", b"4", queued_only=True)
    assert [(entry.topic, entry.key, entry.payload) for entry in queue.pending("t")] == [("t", "a", b"4")]
    assert (queue.pending("runs"), queue.pending("checks")) == ([Entry(2, "runs", "b", b"2")], [])
    assert not queue.replace(("runs", "checks"), "a", "t", b"5", queued_only=True)
    assert queue.count("t") == 1
    assert queue.replace(("runs", "checks"), "a", "t", b"5")
    assert queue.count("t") == 2


def test_entries_are_delivered_in_order_and_removed(queue):
    assert queue.append("t", [("a", b"1"), ("b", b"2")]) == [1, 2]
    queue.append("other", [("a", b"three")])
    queue.append("t", [("a", b"4")])
    assert queue.pending("t", key="a") == [Entry(1, "t", "a", b"1"), Entry(4, "t", "a", b"4")]
    assert [entry.number for entry in queue.pending("t", after=1, limit=1)] == [2]
    assert (queue.count(), queue.count("t"), queue.size(), queue.size("t")) == (4, 3, 8, 3)
    receiver = Receiver()
    assert queue.deliver("t", receiver, batch=2) == Delivery(3, 0, 0, {})
    assert receiver.took == [b"1", b"2", b"4"]
    assert [entry.payload for entry in queue.pending("other")] == [b"three"]


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_an_entry_that_failed_holds_up_its_own_key_only(queue, batch):
    queue.append("t", [("a", b"0"), ("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4")])
    receiver = Receiver()
    receiver.fails[b"1"] = BUSY
    assert queue.deliver("t", receiver, batch=batch) == Delivery(3, 2, 0, {2: BUSY})
    assert receiver.took == [b"0", b"2", b"4"]
    receiver.fails.clear()
    assert queue.deliver("t", receiver, batch=batch) == Delivery(2, 0, 0, {})
    assert receiver.took == [b"0", b"2", b"4", b"1", b"3"]


@pytest.mark.parametrize("error", [DOWN, BUSY, ValueError("unforeseen"), StoreReadError("the head cannot be read")])
def test_an_error_that_does_not_judge_the_item_keeps_it_queued(queue, error):
    queue.append("t", [("a", b"1"), ("b", b"2")])

    def send(entries):
        raise error

    assert queue.deliver("t", send) == Delivery(0, 2, 0, {1: error, 2: error})
    assert queue.rejected("t") == []
    assert not is_item_error(error)


def test_the_cause_of_an_error_may_say_that_it_passes():
    error = StoreWriteError("cannot be stored")
    assert is_item_error(error)
    error.__cause__ = OSError(28, "No space left on device")
    assert not is_item_error(error)
    assert is_item_error(StoreConflictError("exists"))


def test_a_receiver_that_cannot_be_reached_is_asked_once(queue):
    queue.append("t", [(str(n), b"") for n in range(10)])
    calls: list[int] = []

    def send(entries):
        calls.append(len(entries))
        raise DOWN

    assert queue.deliver("t", send, batch=3).waiting == 10
    assert calls == [3]


def test_a_delivery_sends_what_was_there_when_it_began(queue):
    queue.append("t", [("a", b"1")])
    calls: list[bytes] = []

    def send(entries):
        calls.extend(entry.payload for entry in entries)
        queue.append("t", [("a", b"again")])
        return {}

    assert queue.deliver("t", send, batch=1) == Delivery(1, 1, 0, {})
    assert calls == [b"1"]


def test_what_its_receiver_judged_is_rejected_and_holds_up_nothing(queue):
    queue.append("t", [("a", b"1"), ("b", b"2")])
    receiver = Receiver()
    receiver.fails[b"1"] = NEVER
    assert queue.deliver("t", receiver) == Delivery(1, 0, 1, {1: NEVER})
    ((entry, error),) = queue.rejected("t")
    assert (entry, error) == (Entry(1, "t", "a", b"1"), "StoreWriteError: too large")
    assert (queue.count(), queue.size(), queue.rejected("other")) == (0, 0, [])
    receiver.fails.clear()
    queue.append("t", [("c", b"3")])
    assert queue.retry_rejected("t") == 1
    assert queue.deliver("t", receiver) == Delivery(2, 0, 0, {})
    assert receiver.took == [b"2", b"3", b"1"]


def reject(queue, *entries):
    receiver = Receiver()
    receiver.fails = {payload: NEVER for _, payload in entries}
    queue.append("t", entries)
    assert queue.deliver("t", receiver).rejected == len(entries)


def test_a_retry_never_undoes_what_came_later(queue):
    reject(queue, ("queued", b"1"), ("delivered", b"2"), ("elsewhere", b"3"), ("free", b"4"))
    queue.append("t", [("delivered", b"5")])
    queue.deliver("t", Receiver())
    queue.append("t", [("queued", b"6")])
    queue.supersede("t", ["elsewhere"])
    assert queue.retry_rejected("t") == 1
    assert [entry.payload for entry in queue.pending("t")] == [b"6", b"4"]
    assert [rejected.entry.payload for rejected in queue.rejected("t")] == [b"1", b"2", b"3"]
    assert queue.discard_rejected("t", [1, 99]) == 1
    assert queue.discard_rejected("t") == 2
    assert queue.count("t") == 2


def test_several_rejected_entries_of_one_key_return_in_order(queue):
    reject(queue, ("a", b"1"), ("a", b"2"), ("b", b"3"))
    assert queue.retry_rejected("t", [1]) == 0, "the later one would be lost behind it"
    assert queue.retry_rejected("t", [2]) == 1
    assert queue.retry_rejected("t") == 1, "now a later one is queued"
    assert [entry.payload for entry in queue.pending("t")] == [b"2", b"3"]
    receiver = Receiver()
    queue.deliver("t", receiver)
    reject(queue, ("c", b"4"), ("c", b"5"))
    assert queue.retry_rejected("t") == 2
    queue.deliver("t", receiver)
    assert receiver.took == [b"2", b"3", b"4", b"5"]


def test_one_thread_delivers_a_topic_at_a_time(queue, path):
    queue.append("t", [(str(n), b"%d" % n) for n in range(20)])
    other = DurableQueue(path)
    sending, go_on = threading.Event(), threading.Event()
    receiver = Receiver()

    def send(entries):
        sending.set()
        assert go_on.wait(60)
        return receiver(entries)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.deliver, "t", send, batch=5)
        assert sending.wait(60)
        for waiting in (0, 0.01):
            assert other.deliver("t", receiver, wait=waiting) == Delivery(0, 20, 0, {})
        other.append("another", [("x", b"x")])
        assert other.deliver("another", lambda _: {}).delivered == 1, "topics do not wait for each other"
        second = pool.submit(other.deliver, "t", receiver, wait=None)
        go_on.set()
        assert first.result(60).delivered == 20
        assert second.result(60).delivered == 0
    assert receiver.took == [b"%d" % n for n in range(20)]
    other.close()


def test_a_delivery_within_a_delivery_leaves_it_alone(queue):
    queue.append("t", [("a", b"1")])

    def send(entries):
        assert queue.deliver("t", lambda _: pytest.fail("sent twice"), wait=None) == Delivery(0, 1, 0, {})
        return {}

    assert queue.deliver("t", send).delivered == 1


def test_an_interrupt_during_a_delivery_holds_up_nothing(queue):
    queue.append("t", [("a", b"1")])

    def send(entries):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.deliver("t", send)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(queue.deliver, "t", Receiver()).result(60).delivered == 1


def test_threads_append_side_by_side(queue):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: queue.append("t", [(f"{n}", b"x")] * 3), range(50)))
    assert all(last - first == 2 for first, _, last in numbers)
    assert sorted(number for call in numbers for number in call) == [entry.number for entry in queue.pending("t")]
    assert queue.count() == 150


def test_a_payload_that_cannot_be_kept_leaves_nothing_of_its_call(queue):
    with pytest.raises(StoreWriteError):
        queue.append("t", [("a", b"1"), ("b", object())])
    assert queue.count() == 0
    queue.append("t", [("a", b"2")])
    assert queue.count() == 1


def test_a_closed_queue_says_so(queue):
    queue.append("t", [("a", b"1")])
    queue.close()
    queue.close()
    for use in (lambda: queue.append("t", [("a", b"1")]), queue.count, lambda: queue.deliver("t", Receiver())):
        with pytest.raises(StoreClosedError, match="closed"):
            use()


def test_wrong_settings_and_wrong_files_are_refused(tmp_path, queue):
    with pytest.raises(StoreConfigError, match="durability"):
        DurableQueue(tmp_path / "q.db", durability="none")  # type: ignore[arg-type]
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreConnectionError, match="file"):
        DurableQueue(tmp_path / "file" / "queue.db").append("t", [("a", b"1")])
    (tmp_path / "garbage.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    garbage = DurableQueue(tmp_path / "garbage.db")
    for use in (garbage.count, lambda: garbage.append("t", [("a", b"1")])):
        with pytest.raises(StoreConnectionError, match=r"garbage\.db could not be opened.*recover"):
            use()
    with queue._file.writing("change") as connection:
        connection.execute("PRAGMA user_version = 99")
    queue.close()
    with pytest.raises(StoreConfigError, match="format 99"):
        DurableQueue(queue.path).count()


def test_a_file_that_is_damaged_while_it_is_used_says_so(queue, path):
    queue.append("t", [(f"{n}", b"x" * 3000) for n in range(50)])
    queue.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    again = DurableQueue(path)
    with pytest.raises(StoreError, match="recover") as caught:
        again.pending("t")
    assert isinstance(caught.value, StoreCorruptError | StoreConnectionError)
    with pytest.raises(StoreError, match="recover"):
        again.append("t", [("a", b"1")])
    again.close()


@pytest.mark.parametrize("path", ["queue.db", None])
@pytest.mark.parametrize("end", ["dropped", "process"])
def test_what_nobody_closes_is_closed(tmp_path, path, end):
    """Python 3.13 warns of a connection that is left open, and not only under pytest."""
    queue = DurableQueue(path and tmp_path / path)
    queue.append("topic", [("a", b"x")])
    connection: Any = queue._file._connection
    if end == "process":
        exits._run()
    else:
        del queue
        gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
