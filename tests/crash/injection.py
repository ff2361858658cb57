"""System calls that fail: strace attached to a forked process that waits, so that a fault costs a tenth of a second.

The process says how it went through `sendto`, which is never made to fail.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import CI
from truthstore.errors import StoreError
from truthstore.testing.suite.concurrency import start_child

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

CALLS = (
    "openat", "close", "read", "pread64", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync", "syncfs", "mmap",
    "flock", "fcntl", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "rmdir", "link", "symlink",
    "newfstatat", "stat", "lstat", "fstat", "statx", "lseek", "getdents64",
)  # fmt: skip
"""Every call with which the store and SQLite touch files. Those that a machine does not know are left out."""

WRITING = frozenset(
    {"openat", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync", "syncfs", "mkdir", "rename", "mmap"}
)
"""The calls that a full disk fails."""

# Files and folders may be synced at any later time, as long as the log of the index keeps what is in them.
_SYNC = re.compile(r"(?:fsync|fdatasync)\(\d+<[^>]*-wal>\) .*")
_CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\(", re.MULTILINE)


class Fault(NamedTuple):
    """The `number`-th call of its kind fails with an error, or the process dies there.

    Attributes:
        call: the system call.
        number: which one, from 1; 0 means no fault at all.
        how: ``EIO``, ``ENOSPC`` or ``KILL``; with a ``+`` behind it every later call of the kind fails too.
    """

    call: str = ""
    number: int = 0
    how: str = ""

    @property
    def options(self) -> list[str]:
        """What to tell strace."""
        if not self.number:
            return ["-e", f"trace={','.join(f'?{call}' for call in CALLS)}"]
        error = self.how.removesuffix("+")
        what = "signal=KILL" if error == "KILL" else f"error={error}"
        when = f"{self.number}{'+' if self.how.endswith('+') else ''}"
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:{what}:when={when}"]

    def __str__(self) -> str:
        return f"{self.how} at {self.call} number {self.number}"


NO_FAULT = Fault()


class Outcome(NamedTuple):
    """How an operation went: what it returned, or the error that it raised, or neither if its process was killed."""

    killed: bool
    returned: Any
    error: StoreError | None
    calls: Counter[str]
    """How often each call was made."""
    threads: int
    """How many threads made them."""
    struck: bool
    """Whether the fault happened."""
    unsynced: bool
    """Whether the log of the index could not be brought to the disk: not at the first time, nor when that was repeated."""


class Strace:
    """Runs operations with faults.

    Args:
        program: the path of strace.
        folder: where it may keep its log.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._log = folder / "strace.log"

    def run(self, prepare: Callable[[], Callable[[], Any]], fault: Fault = NO_FAULT) -> Outcome:
        """Runs an operation in a process of its own.

        Args:
            prepare: called before strace is attached; gives the operation.
            fault: what goes wrong.
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(300)

        def work() -> None:
            ours.close()
            operation = prepare()
            theirs.send(b"ready")
            theirs.recv(1)
            theirs.sendall(_outcome(operation))
            os.kill(os.getpid(), signal.SIGTERM)

        child = start_child(work)
        theirs.close()
        assert ours.recv(5) == b"ready"
        command = [self._program, "-f", "-y", "-o", str(self._log), *fault.options, "-p", str(child)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            attached = strace.stderr.readline()
            if "attached" not in attached:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise RuntimeError(f"strace cannot attach to a process: {attached}{strace.stderr.read()}")
            ours.send(b"x")
            said = b"".join(iter(lambda: ours.recv(1 << 20), b""))
            _, status = os.waitpid(child, 0)
        ours.close()
        log = self._log.read_text(errors="replace")
        calls = Counter(_CALL.findall(log))
        threads = len({line.partition(" ")[0] for line in log.splitlines()})
        if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
            return Outcome(True, None, None, calls, threads, struck=True, unsynced=False)
        returned, error = pickle.loads(said)
        assert error is None or isinstance(error, StoreError), f"{fault}: not a StoreError but\n{error}"
        syncs = _SYNC.findall(log)
        unsynced = bool(syncs) and all("(INJECTED)" in sync for sync in syncs)
        return Outcome(False, returned, error, calls, threads, "(INJECTED)" in log, unsynced)

    def points(self, prepare: Callable[[], Callable[[], Any]], how: str) -> list[Fault]:
        """Every fault of one sort that an operation can meet: one for each call that it makes, and one beyond them."""
        calls, threads = self.run(prepare)[3:5]
        assert calls["pwrite64"], "the operation writes nothing, or strace sees nothing"
        return [
            Fault(call, number, how)
            for call, count in sorted(calls.items())
            if call in WRITING or how in {"EIO", "KILL"}
            # Of a thread whose stack cannot be had Python never hears again: it waits for it for ever.
            if call != "mmap" or threads == 1 or how == "KILL"
            # SQLite asks for a lock that fails again and again, for up to a minute.
            if NIGHTLY or (call, how) != ("fcntl", "EIO")
            for number in range(1, count + 2)
        ]


def _outcome(operation: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((operation(), None))
    except StoreError as error:
        return pickle.dumps((None, error))
    except BaseException:
        return pickle.dumps((None, traceback.format_exc()))


def find_strace() -> str:
    """The path of strace; without it the tests are skipped, in CI they fail."""
    if path := shutil.which("strace"):
        return path
    if CI:
        pytest.fail("strace is not installed (on Debian: apt-get install strace)", pytrace=False)
    pytest.skip("strace is not installed (on Debian: apt-get install strace)")
