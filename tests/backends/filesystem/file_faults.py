"""Makes the filesystem store's own calls to the operating system and to SQLite fail, one after the other."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import truthstore.backends
from truthstore.testing import SimulatedCrashError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truthstore.backends.filesystem import FileSystemStore
    from truthstore.testing.faults import FaultKind

CALLS = ("open", "write", "fsync", "rename", "unlink", "makedirs", "scandir", "read")


def _patch(module: Any) -> None:
    """Puts something in the place of `os` in every module of the store."""
    for name, loaded in list(sys.modules.items()):
        if name.startswith(truthstore.backends.__name__) and hasattr(loaded, "os"):
            loaded.os = module  # type: ignore[attr-defined]


class _FaultyOs:
    """The module `os` as the store sees it while a fault is armed."""

    def __init__(self, faults: FileFaults) -> None:
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*args: Any, **options: Any) -> Any:
            return self._faults.call(name, lambda: real(*args, **options))

        return call


class FileFaults:
    """Fails the k-th call of one store: an error of the operating system, or of SQLite at COMMIT, or the death of the
    process. While it is armed no other store may be used: the modules that it patches are shared."""

    def __init__(self, store: FileSystemStore[Any]) -> None:
        self._catalog = store._catalog
        self._transaction = store._catalog.transaction
        self._left = 0
        self._kind: FaultKind = "before"
        self._only = ""
        self._armed = False
        self._times = 1
        self.crashed = False
        self.calls: list[str] = []

    def arm(self, fail_at: int, kind: FaultKind = "before", only: str = "", *, times: int = 1) -> None:
        self._left, self._kind, self._only, self._armed, self._times = fail_at, kind, only, True, times
        _patch(_FaultyOs(self))
        self._catalog.transaction = self._faulty_transaction  # type: ignore[method-assign, assignment]

    def disarm(self) -> bool:
        waiting, self._armed = self._armed, False
        _patch(os)
        if not self.crashed:
            self._catalog.transaction = self._transaction  # type: ignore[method-assign]
        return waiting

    @contextmanager
    def _faulty_transaction(self) -> Iterator[sqlite3.Connection]:
        with ExitStack() as transaction:
            connection = transaction.enter_context(self._transaction())
            yield connection
            self.call("commit", transaction.close)

    def call(self, name: str, real: Any) -> Any:
        if self.crashed:
            raise SimulatedCrashError(f"{name} after the crash")
        self.calls.append(name)
        self._left -= self._armed and self._only in {"", name}
        if not self._armed or self._left or self._only not in {"", name}:
            return real()
        kind = self._kind
        self._times -= 1
        self._armed, self._left, self._kind = self._times > 0, 1, "before"
        if kind.endswith("after"):
            # Only what changes something can fail afterwards; opened descriptors would leak.
            if name in {"open", "scandir", "read"}:
                return real()
            real()
        if kind.startswith("crash"):
            self.crashed = True
            raise SimulatedCrashError(f"{kind} {name}")
        if name == "commit":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        raise OSError(errno.EIO, "Input/output error")
