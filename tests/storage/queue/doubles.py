"""A receiver that keeps payloads, and fails those that a test names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from truthstore.storage.queue import Entry
from truthstore.testing.suite.concurrency import start_child


class Receiver:
    """Take payloads; fail those for which `fails` holds an error."""

    def __init__(self) -> None:
        self.took: list[bytes] = []
        self.fails: dict[bytes, Exception] = {}

    def __call__(self, entries: Sequence[Entry]) -> Mapping[int, Exception]:
        """Take entries, in order, none behind one of its key that failed."""
        errors: dict[int, Exception] = {}
        held: set[str] = set()
        for entry in entries:
            if entry.payload in self.fails:
                errors[entry.number] = self.fails[entry.payload]
                held.add(entry.key)
            elif entry.key not in held:
                self.took.append(entry.payload)
        return errors


def in_child(work: Callable[[], object]) -> int:
    """Run some work in a forked process and return its exit status, negative for a signal."""
    _, status = os.waitpid(start_child(work), 0)
    return os.waitstatus_to_exitcode(status)
