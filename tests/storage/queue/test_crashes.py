"""Processes that die, fork and deliver side by side; disks that are full or read-only: what was acknowledged is kept."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.crash.processes import Child, Gate
from tests.storage.queue.doubles import Receiver, in_child
from truthstore.errors import StoreConnectionError, StoreError, StoreKeyError, StoreWriteError
from truthstore.storage.queue import DurableQueue
from truthstore.storage.queue.file import QueueFile
from truthstore.testing.suite.concurrency import start_child, wait_for_child

NOBODY = 65_534


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def say(path, *words):
    """Append lines to a file in one write, which outlives the process."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, "".join(f"{word}\n" for word in words).encode())
    os.close(handle)


def die_at(step, monkeypatch):
    """Kill this process before the SQL statement of this number."""
    steps = iter(range(step))
    prepare = QueueFile._prepare

    def count(_):
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(self, connection):
        connection.set_trace_callback(count)
        prepare(self, connection)

    monkeypatch.setattr(QueueFile, "_prepare", traced)


def test_a_kill_between_any_two_steps_loses_and_disorders_nothing(tmp_path, monkeypatch):
    for step in range(200):
        path, acknowledged, arrived = (tmp_path / f"{step}.{name}" for name in ("db", "acknowledged", "arrived"))

        def work(step=step, path=path, acknowledged=acknowledged, arrived=arrived):
            with monkeypatch.context() as patch:
                die_at(step, patch)
                queue = DurableQueue(path)
                for number in (1, 2, 3):
                    queue.append("t", [("a", b"%da" % number), ("b", b"%db" % number)])
                    say(acknowledged, f"{number}a", f"{number}b")

                def send(entries):
                    failed = {entry.number: StoreWriteError("never") for entry in entries if entry.payload == b"2b"}
                    say(arrived, *(entry.payload.decode() for entry in entries if entry.number not in failed))
                    return failed

                queue.deliver("t", send, batch=2)
                queue.retry_rejected("t")
                queue.close()

        status = in_child(work)
        queue = DurableQueue(path)
        receiver = Receiver()
        queue.retry_rejected("t")
        assert queue.deliver("t", receiver).waiting == 0
        rest = [payload.decode() for payload in receiver.took]
        left = [rejected.entry.payload.decode() for rejected in queue.rejected("t")]
        before = lines(arrived)
        assert set(before) | set(rest) | set(left) >= set(lines(acknowledged))
        for key in "ab":
            first_seen = list(dict.fromkeys(word for word in before + rest if word.endswith(key) and word != "2b"))
            assert first_seen == sorted(first_seen)
        queue.close()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        if status == 0:
            assert step > 20
            return
        assert status == -signal.SIGKILL
    pytest.fail("it takes more than 200 statements")


def test_a_kill_while_sending_delivers_again(queue):
    queue.append("t", [("parent", b"1")])

    def work():
        for number in range(5):
            queue.append("t", [("child", b"%d" % number)])
        queue.deliver("t", lambda _: os.kill(os.getpid(), signal.SIGKILL))

    assert in_child(work) == -signal.SIGKILL
    receiver = Receiver()
    assert queue.deliver("t", receiver).delivered == 6
    assert receiver.took == [b"1", b"0", b"1", b"2", b"3", b"4"]


def test_processes_append_and_deliver_side_by_side(path, tmp_path):
    arrived = tmp_path / "arrived"

    def work(name):
        queue = DurableQueue(path, durability="os")

        def send(entries):
            say(arrived, *(f"{entry.key} {entry.payload.decode()}" for entry in entries))
            return {}

        for number in range(30):
            queue.append("t", [(name, b"%d" % number)])
            queue.deliver("t", send, batch=4)
        queue.deliver("t", send, wait=None)
        queue.close()

    for child in [start_child(lambda name=name: work(name)) for name in "abc"]:  # type: ignore[misc]
        wait_for_child(child)
    words = [line.split() for line in lines(arrived)]
    for name in "abc":
        assert [int(number) for key, number in words if key == name] == list(range(30))


def test_a_file_that_another_process_is_making_is_waited_for(path, monkeypatch):
    prepare, calls = QueueFile._prepare, []

    def busy(self, connection):
        calls.append(1)
        if len(calls) < 4:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        prepare(self, connection)

    monkeypatch.setattr(QueueFile, "_prepare", busy)
    queue = DurableQueue(path)
    assert queue.append("topic", [("a", b"1")]) == [1]
    queue.close()


def test_a_fork_during_a_delivery_neither_delivers_nor_keeps_the_turn(queue, path):
    """The child lives on after its parent's delivery: the turn is free all the same."""
    queue.append("t", [("a", b"1")])
    reader, writer = os.pipe()
    children: list[int] = []

    def child():
        os.close(writer)
        os.read(reader, 1)
        assert queue.deliver("t", Receiver()).delivered == 1
        queue.append("t", [("a", b"child")])

    def send(entries):
        children.append(start_child(child))
        return {}

    assert queue.deliver("t", send).delivered == 1
    queue.append("t", [("a", b"2")])
    other = DurableQueue(path)
    assert other.deliver("t", lambda entries: {entries[0].number: OSError("not yet")}).waiting == 1
    other.close()
    os.close(writer)
    os.close(reader)
    wait_for_child(children[0])
    assert [entry.payload for entry in queue.pending("t")] == [b"child"]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_reported_and_loses_nothing(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    queue = DurableQueue(small_disk / "queue.db")
    kept: list[bytes] = []

    def fill(size):
        while True:
            payload = os.urandom(size)
            queue.append("t", [("a", payload)])
            kept.append(payload)

    for size in (40_000, 4_000, 10):
        with pytest.raises(StoreWriteError, match="full") as caught:
            fill(size)
        assert caught.value.retryable
        assert [entry.payload for entry in queue.pending("t")] == kept
    receiver = Receiver()
    with pytest.raises(StoreWriteError, match=r"could not remove what was delivered: .*full"):
        queue.deliver("t", receiver)
    assert [entry.payload for entry in queue.pending("t")] == kept, "it will be delivered again"
    queue.close()
    ballast.unlink()
    queue = DurableQueue(small_disk / "queue.db")
    receiver = Receiver()
    assert queue.deliver("t", receiver, batch=10).waiting == 0
    assert receiver.took == kept
    queue.append("t", [("a", b"1")])
    queue.close()


@pytest.mark.parametrize("left", [["-shm"], ["-wal", "-shm"]])
def test_a_file_that_is_removed_without_what_lies_beside_it_while_another_process_has_it_open(left, path):
    gate = Gate()

    def work(say):
        queue = DurableQueue(path)
        queue.append("t", [("a", b"old")])
        say(queue.count())
        gate.wait()
        queue.append("t", [("a", b"theirs")])
        return [entry.payload for entry in queue.pending("t")]

    child = Child(work)
    assert child.hear() == 1
    for suffix in {"", "-wal", "-shm"}.difference(left):
        os.unlink(f"{path}{suffix}")
    queue = DurableQueue(path)
    queue.append("t", [("a", b"mine")])
    gate.open()
    assert child.result() == [entry.payload for entry in queue.pending("t")] == [b"mine", b"theirs"]
    queue.close()


def test_a_queue_whose_folder_is_removed_keeps_what_comes_then(queue, path):
    queue.append("t", [("a", b"1")])
    shutil.rmtree(path.parent)
    queue.append("t", [("a", b"2")])
    other = DurableQueue(path)
    assert [entry.payload for entry in other.pending("t")] == [b"2"]
    other.append("t", [("a", b"3")])
    assert [entry.payload for entry in queue.pending("t")] == [b"2", b"3"]
    queue.close()
    assert other.deliver("t", Receiver()).delivered == 2
    other.close()


@pytest.mark.parametrize("error", [None, StoreKeyError("no good id")], ids=["delivered", "rejected"])
def test_what_comes_after_its_file_was_removed_in_a_delivery_is_kept(queue, path, error):
    queue.append("t", [("a", b"1")])

    def send(entries):
        shutil.rmtree(path.parent)
        queue.append("t", [("a", b"2")])
        return {} if error is None else {entry.number: error for entry in entries}

    queue.deliver("t", send)
    assert [entry.payload for entry in queue.pending("t")] == [b"2"]
    receiver = Receiver()
    receiver.fails[b"2"] = StoreKeyError("no good id")
    assert queue.deliver("t", receiver).rejected == 1


def test_a_queue_that_cannot_be_seen_is_not_an_empty_one(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("two users are needed, and only root may become another")
    queue = DurableQueue(tmp_path / "closed" / "queue.db")
    queue.append("t", [("a", b"1")])
    (tmp_path / "closed").chmod(0o700)

    def work():
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with pytest.raises(StoreConnectionError, match="could not be opened"):
            DurableQueue(queue.path).pending("t")

    assert in_child(work) == 0
    queue.close()


def test_a_queue_that_can_only_be_read_takes_nothing(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("two users are needed, and only root may become another")
    folder = tmp_path / "queue"
    queue = DurableQueue(folder / "queue.db")
    queue.append("t", [("a", b"1")])
    queue.close()
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o444)

    def work():
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        reader = DurableQueue(queue.path)
        for use in (lambda: reader.append("t", [("a", b"2")]), lambda: reader.deliver("t", Receiver())):
            with pytest.raises(StoreError, match="readonly"):
                use()

    for mode in (0o777, 0o555):
        folder.chmod(mode)
        assert in_child(work) == 0
    folder.chmod(0o777)
    again = DurableQueue(queue.path)
    assert [entry.payload for entry in again.pending("t")] == [b"1"]
    again.close()
