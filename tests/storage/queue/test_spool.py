"""The durable queue: what it took is there after any death, in order, until it was delivered."""

from __future__ import annotations

import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from truthstore import StoreClosedError, StoreConnectionError, StoreWriteError
from truthstore.storage.queue.spool import Entry, Spool
from truthstore.testing.suite.concurrency import start_child


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "folder" / "queue.db", durability="os")
    yield spool
    spool.close()


def test_nothing_is_made_before_it_is_needed(spool):
    assert (len(spool), spool.find("t", "a"), spool.waiting("t")) == (0, None, [])
    assert spool.deliver("t", lambda entries: {}) == {}
    assert not os.path.exists(spool.path)
    assert spool


def test_what_was_put_in_comes_out_in_order(spool):
    spool.append("t", [("a", b"1"), ("b", b"2")])
    spool.append("other", [("a", b"3")])
    spool.append("t", [("a", b"4")])
    assert spool.find("t", "a") == Entry(4, "t", "a", b"4")
    assert (len(spool), spool.count("t")) == (4, 3)
    sent: list[bytes] = []

    def send(entries):
        sent.extend(entry.payload for entry in entries)
        return {}

    assert spool.deliver("t", send, batch=2) == {}
    assert sent == [b"1", b"2", b"4"]
    assert (len(spool), spool.count("t")) == (1, 0)
    assert spool.remove([3]) == 1


def test_what_fails_holds_up_its_own_key_only(spool):
    spool.append("t", [("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4")])
    error = ValueError("no")
    sent: list[bytes] = []

    def send(entries):
        sent.extend(entry.payload for entry in entries)
        return {entry.number: error for entry in entries if entry.payload == b"1"}

    assert spool.deliver("t", send, batch=2) == {1: error, 3: error}
    assert sent == [b"1", b"2", b"4"]
    assert [entry.payload for entry in spool.waiting("t")] == [b"1", b"3"]
    assert [entry.tried for entry in spool.waiting("t")] == [1, 0]


def test_a_delivery_does_not_begin_another(spool):
    spool.append("t", [("a", b"1")])
    assert spool.deliver("t", lambda entries: spool.deliver("t", lambda _: pytest.fail("again"))) == {}
    assert len(spool) == 0


def test_a_closed_or_broken_queue_says_so(spool, tmp_path):
    spool.close()
    with pytest.raises(StoreClosedError):
        spool.append("t", [("a", b"1")])
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreConnectionError, match="file"):
        Spool(tmp_path / "file" / "queue.db").append("t", [("a", b"1")])
    full = Spool(tmp_path / "full.db")
    full.append("t", [("a", b"1")])
    full._open().execute("PRAGMA max_page_count=8")
    with pytest.raises(StoreWriteError, match="full"):
        full.append("t", [("b", b"x" * 100_000)])
    assert [entry.key for entry in full.waiting("t")] == ["a"]
    full.close()


def test_it_survives_kills_and_forks(spool):
    spool.append("t", [("parent", b"")])

    def work():
        for number in range(5):
            spool.append("t", [(f"child {number}", b"")])
        spool.deliver("t", lambda entries: os.kill(os.getpid(), signal.SIGKILL))

    _, status = os.waitpid(start_child(work), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    entries = spool.waiting("t")
    assert [entry.key for entry in entries] == ["parent", *(f"child {number}" for number in range(5))]
    assert all(entry.tried for entry in entries)
    sent: list[str] = []

    def send(entries):
        sent.extend(entry.key for entry in entries)
        return {}

    spool.deliver("t", send)
    assert len(sent) == 6
    with sqlite3.connect(spool.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_entries_may_take_the_place_of_others(spool):
    first, second = spool.append("t", [("", b"2"), ("", b"3")])
    spool.append("t", [("", b"1"), ("", b"2")], instead_of=[first])
    assert [entry.payload for entry in spool.waiting("t")] == [b"3", b"1", b"2"]
    spool._open().execute("CREATE TRIGGER no DELETE ON queue BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreWriteError):
        spool.append("t", [("", b"4")], instead_of=[second])
    assert spool.count("t") == 3


def test_an_interrupt_during_a_delivery_holds_up_nobody(spool, monkeypatch):
    spool.append("t", [("a", b"1")])

    def interrupted() -> None:
        raise KeyboardInterrupt

    for name in ("_lock_file", "_deliver", "_unlock_file"):  # the last one leaves the file open and locked
        with monkeypatch.context() as patch:
            patch.setattr(spool, name, lambda *_: interrupted())
            with pytest.raises(KeyboardInterrupt):
                spool.deliver("t", lambda entries: {entry.number: ValueError("later") for entry in entries})
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(spool.deliver, "t", lambda entries: {}).result(5) == {}
    assert len(spool) == 0
