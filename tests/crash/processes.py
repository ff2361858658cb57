"""Work in forked processes: started together, watched, and killed."""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable
from typing import Any

from truthstore.testing.suite.concurrency import start_child


class Child:
    """A forked process that says things through a pipe, each a pickled object in a line of its own.

    Args:
        work: what it does, given a function that says something. What it returns is said last.
        gate: if given, the child starts its work when the parent has opened the gate.
    """

    def __init__(self, work: Callable[[Callable[[Any], None]], Any], gate: Gate | None = None) -> None:
        reader, writer = os.pipe()

        def run() -> None:
            os.close(reader)

            def say(said: Any) -> None:
                os.write(writer, pickle.dumps(said).hex().encode() + b"\n")

            try:
                if gate is not None:
                    gate.wait()
                say(("returned", work(lambda said: say(("said", said)))))
            except BaseException:
                say(("raised", traceback.format_exc()))

        self.pid = start_child(run)
        os.close(writer)
        self._lines = os.fdopen(reader, "rb")
        self._ended = False

    def hear(self) -> Any:
        """What the child says next; None when it has died or returned. Fails if its work raised."""
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            return None
        kind, said = pickle.loads(bytes.fromhex(line[:-1].decode()))
        if kind == "raised":
            self.wait()
            raise AssertionError(f"in the forked process:\n{said}")
        if kind == "returned":
            self._ended = True
            self.returned = said
            return None
        return said

    def hear_all(self) -> list[Any]:
        """Everything the child still says, to its end."""
        said: list[Any] = []
        while (one := self.hear()) is not None:
            said.append(one)
        return said

    def hear_within(self, seconds: float) -> bool:
        """Whether the child says something or ends in time; it is killed if not."""
        if select.select([self._lines], [], [], seconds)[0]:
            self.hear_all()
            return True
        os.kill(self.pid, signal.SIGKILL)
        return False

    def kill(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit status, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        self._lines.close()
        return os.waitstatus_to_exitcode(status)

    def result(self) -> Any:
        """What the work returned."""
        self.hear_all()
        assert self.wait() == 0
        assert self._ended, "the forked process ended without a word"
        return self.returned


class Gate:
    """Keeps forked processes waiting until it is opened."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def wait(self) -> None:
        """In a child: waits."""
        os.close(self._writer)
        os.read(self._reader, 1)
        os.close(self._reader)

    def open(self) -> None:
        """In the parent: lets all of them go at once."""
        os.close(self._writer)
        os.close(self._reader)


def at_once(work: Callable[[int], Any], number: int) -> list[Any]:
    """Runs some work in so many forked processes that start together, and returns what they returned."""
    gate = Gate()
    children = [Child(lambda _, n=n: work(n), gate) for n in range(number)]  # type: ignore[misc]
    gate.open()
    return [child.result() for child in children]
