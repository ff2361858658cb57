"""The audit trail as rotating files of JSON lines, which several processes may share."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from typing import IO, Any, Final

from truthstore.errors import StoreConfigError, StoreConnectionError, StoreCorruptError, StoreWriteError, one_of
from truthstore.observability.audit.chain import newest_heads
from truthstore.observability.audit.event import AuditEvent, Stored, encode_event
from truthstore.observability.audit.sinks import AuditBackend

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

__all__ = ["FileAuditBackend", "JsonAuditBackend"]

TAIL: Final = 1 << 20
"""The search for heads looks at most so many bytes back."""


class FileAuditBackend(AuditBackend):
    """Keeps events in a file of JSON lines, which several processes may share.

    Args:
        path: the file. A full one is renamed to ``<path>.1``, ``<path>.2``, … in the order of time, and kept.
        max_bytes: a file is full at this size.
        durability: ``fsync``: a written event survives a power cut; ``os``: the death of the process.

    Raises:
        ValueError: `max_bytes` is not positive, or an unknown durability.
        StoreConfigError: the system has no flock(2).
    """

    in_order = True

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 100_000_000, durability: str = "os") -> None:
        if fcntl is None:
            raise StoreConfigError(
                f"{type(self).__name__} needs flock(2), which this system lacks: use StoreAuditBackend"
            )
        if max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        if durability not in {"fsync", "os"}:
            raise ValueError(one_of("durability", durability, ("fsync", "os")))
        self._path = os.path.expanduser(path)
        self._max_bytes = max_bytes
        self._fsync = durability == "fsync"

    @property
    def identity(self) -> str:
        """The file."""
        return f"file:{os.path.realpath(self._path)}"

    @contextlib.contextmanager
    def _alone(self, *, reads: bool = False) -> Generator[None]:
        """Keep other threads and processes from writing: flock(2) holds between any two opens of a file."""
        try:
            handle = os.open(f"{self._path}.lock", os.O_RDONLY if reads else os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            if not reads:
                raise
            yield  # a copy of a trail, or one of another user: it can be read all the same
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_SH if reads else fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # first, for a forked child may have the same open file
            os.close(handle)

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Append lines, all or none."""
        data = b"".join(encode_event(event) + b"\n" for event in events)
        try:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            with self._alone():
                self._append(data)
        except OSError as error:
            raise StoreWriteError(f"the audit trail {self._path} cannot be written: {error}") from error

    def _append(self, data: bytes) -> None:
        handle = self._open()
        try:
            size = os.fstat(handle).st_size
            if size and size + len(data) > self._max_bytes:
                os.rename(self._path, f"{self._path}.{max([0, *self._numbers()]) + 1}")
                full, handle = handle, self._open()
                os.close(full)
                size = 0
            if size and os.pread(handle, 1, size - 1) != b"\n":
                data = b"\n" + data  # a power cut left half a line
            try:
                written = os.write(handle, data)
                if written < len(data):
                    raise OSError(f"only {written} of {len(data)} bytes were taken")
                if self._fsync:
                    os.fsync(handle)
            except BaseException:  # an interrupt too must leave all or none
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def _numbers(self) -> list[int]:
        folder, name = os.path.split(self._path)
        try:
            entries = os.listdir(folder or ".")
        except FileNotFoundError:
            return []
        endings = [entry[len(name) + 1 :] for entry in entries if entry.startswith(f"{name}.")]
        return sorted(int(ending) for ending in endings if ending.isdecimal())

    @contextlib.contextmanager
    def _opened(self) -> Generator[list[tuple[IO[bytes], int]]]:
        """Open the files, oldest first, with their sizes: these bytes are the trail of this moment.

        Raises:
            StoreConnectionError: a file cannot be read.
        """
        with contextlib.ExitStack() as stack:
            try:
                with self._alone(reads=True):
                    files: list[tuple[IO[bytes], int]] = []
                    for path in (*(f"{self._path}.{number}" for number in self._numbers()), self._path):
                        with contextlib.suppress(FileNotFoundError):  # there is none yet, or it was cleared away
                            file = stack.enter_context(open(path, "rb"))
                            files.append((file, os.fstat(file.fileno()).st_size))
                yield files
            except OSError as error:
                raise StoreConnectionError("audit", f"the audit trail {self._path} cannot be read: {error}") from error

    def stored(self, since: datetime | None = None) -> Iterator[Stored]:
        """Read every line, oldest file first, of the files as they are at the beginning.

        Raises:
            StoreConnectionError: a file cannot be read.
        """
        with self._opened() as files:
            for file, size in files:
                for number, line in enumerate(file, 1):
                    size -= len(line)  # noqa: PLW2901  # what is left
                    if size < 0:
                        break
                    error = None if line.endswith(b"\n") else StoreCorruptError("its end is missing")
                    yield Stored(f"{os.path.basename(file.name)} line {number}", line.removesuffix(b"\n"), error)

    def heads(self) -> dict[str, str]:
        """Read the newest hashes of the chains that wrote last, as far as the last megabyte tells."""
        with self._opened() as files:
            return newest_heads(Stored("", line).decode() for line in _tail(files))


JsonAuditBackend = FileAuditBackend
"""Its other name: the file holds JSON lines."""


def _tail(files: list[tuple[IO[bytes], int]]) -> Iterator[bytes]:
    """Read the lines of the last megabyte, newest first."""
    rest = TAIL
    for file, size in reversed(files):
        start = max(0, size - rest)
        file.seek(start)
        lines = file.read(size - start).split(b"\n")
        yield from filter(None, reversed(lines[1:] if start else lines))
        rest -= size - start
        if rest <= 0:
            return
