"""The audit trail as rotating files of JSON lines, which several processes may share."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from truthstore.errors import StoreConnectionError, StoreOverloadedError, StoreWriteError
from truthstore.observability.audit.chain import HEADS, MARKS
from truthstore.observability.audit.event import AuditEvent, damaged, decode_event, encode_event
from truthstore.observability.audit.sink import AuditBackend, tips
from truthstore.runtime.forks import Rank, watch_forks

# Without it, on Windows, several processes must not share a file.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

__all__ = ["FileAuditBackend", "JsonAuditBackend"]

T = TypeVar("T")

TAIL: Final = 1 << 20
"""Who opens a chain looks at most so many bytes back for the heads of others."""
CHUNK: Final = 1 << 14


class FileAuditBackend(AuditBackend):
    """Keeps events in a file of JSON lines, which several processes may share.

    Args:
        path: the file. What is full is renamed to ``<path>.1``, ``<path>.2``, … in the order of time, and kept.
        max_bytes: a file is full at this size.
        durability: ``fsync``: what was written survives a power cut; ``os``: the death of the process.
    """

    in_order = True

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 100_000_000, durability: str = "os") -> None:
        if max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        if durability not in {"fsync", "os"}:
            raise ValueError(f"durability is 'fsync' or 'os', not {durability!r}")
        self._path = os.fspath(path)
        self._max_bytes = max_bytes
        self._fsync = durability == "fsync"
        self._lock = threading.RLock()
        self._handle: int | None = None
        self._name = f"file:{os.path.realpath(self._path)}"
        watch_forks(self, Rank.AUDIT_SINK)

    @property
    def identity(self) -> str:
        """The file."""
        return self._name

    def _alone(self, work: Callable[[], T], *, reads: bool = False) -> T:
        """Does something while no other thread or process writes; readers may be there together."""
        with self._lock:
            if self._handle is not None:
                raise StoreOverloadedError(f"a signal handler came while its thread was busy with {self._path}")
            handle = self._open_lock(reads=reads)
            if handle is None:
                return work()
            self._handle = handle
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_SH if reads else fcntl.LOCK_EX)
                return work()
            finally:
                self._handle = None
                os.close(handle)

    def _open_lock(self, *, reads: bool) -> int | None:
        if not reads:
            return os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            return os.open(f"{self._path}.lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None  # a copy of a trail, or one that others keep: it can be read all the same

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Appends lines."""
        data = b"".join(encode_event(event) + b"\n" for event in events)
        try:
            try:
                self._alone(lambda: self._append(data))
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
                self._alone(lambda: self._append(data))
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
                data = b"\n" + data  # a full disk left half a line
            try:
                written = os.write(handle, data)
                if written < len(data):
                    raise OSError(f"only {written} of {len(data)} bytes were taken")
                if self._fsync:
                    os.fsync(handle)
            except BaseException:  # all or none, whatever came between
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def _numbers(self) -> list[int]:
        folder, name = os.path.split(self._path)
        endings = [entry[len(name) + 1 :] for entry in os.listdir(folder or ".") if entry.startswith(f"{name}.")]
        return sorted(int(ending) for ending in endings if ending.isdecimal())

    def _look(self) -> tuple[list[int], int | None, int]:
        """The full files, the current one, open, and its size: what they hold now is the trail of this moment.

        A full file keeps its name, so it may be opened later.
        """

        def look() -> tuple[list[int], int | None, int]:
            numbers = self._numbers()
            try:
                handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return numbers, None, 0
            return numbers, handle, os.fstat(handle).st_size

        try:
            return self._alone(look, reads=True)
        except FileNotFoundError:
            return [], None, 0  # there is no folder yet
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> StoreConnectionError:
        return StoreConnectionError("audit", f"the audit trail {self._path} cannot be read: {error}")

    def read(self) -> Iterator[AuditEvent]:
        """Every event, oldest file first, as they are when it begins.

        Raises:
            StoreConnectionError: a file cannot be read.
        """
        numbers, handle, size = self._look()
        try:
            for number in numbers:
                path = f"{self._path}.{number}"
                try:
                    with open(path, "rb") as file:
                        yield from _decoded(file, os.path.basename(path))
                except FileNotFoundError:
                    continue  # somebody cleared up
            if handle is not None:
                with open(handle, "rb", closefd=False) as file:
                    yield from _decoded(_until(file, size), os.path.basename(self._path))
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            if handle is not None:
                os.close(handle)

    def _backwards(self, most: int | None = None) -> Iterator[bytes]:
        """Lines, the newest first, of the last so many bytes."""
        numbers, handle, size = self._look()
        try:
            if handle is not None:
                yield from _lines_backwards(handle, size, most)
                most = None if most is None else most - size
            for number in reversed(numbers):
                if most is not None and most <= 0:
                    return
                try:
                    with open(f"{self._path}.{number}", "rb", buffering=0) as older:
                        size = os.fstat(older.fileno()).st_size
                        yield from _lines_backwards(older.fileno(), size, most)
                except FileNotFoundError:
                    continue  # somebody cleared up
                most = None if most is None else most - size
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            if handle is not None:
                os.close(handle)

    def last(self, chain: str) -> int:
        """The place of the newest event of a chain, sought from the end of the trail."""
        name = msgspec.json.encode(chain)[1:-1]
        for line in self._backwards():
            if name in line:
                try:
                    event = decode_event(line)
                except (ValueError, RecursionError):
                    continue  # half a line is not there
                if event.chain == chain:
                    return event.sequence
        return -1

    def heads(self) -> dict[str, str]:
        """The newest hashes of chains that no other chain has named, as far as the end of the trail tells."""
        return tips(_marked(self._backwards(TAIL)))

    def before_fork(self) -> None:
        """Waits until no thread writes or looks: a child would inherit the lock of a thread that it does not have.

        This lock is the last one that anybody takes: whoever holds it waits for no other, neither that of a logger or a
        thread of sinks nor that of a queue. So a fork, which holds all of them, gets it whatever the others do.
        """
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Goes on. No lock of the file was held, so a child has none to give up."""
        self._lock.release()
        if child:
            self._lock = threading.RLock()


class JsonAuditBackend(FileAuditBackend):
    """`FileAuditBackend` by its other name: the file holds JSON lines."""


class _Mark(msgspec.Struct):
    """What the search for heads asks of a line."""

    event_type: str = ""
    chain: str = ""
    hash: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_decode_mark: Final = msgspec.json.Decoder(_Mark).decode
_decode_metadata: Final = msgspec.json.Decoder(dict[str, Any]).decode


def _marked(lines: Iterator[bytes]) -> Iterator[tuple[str, str, Any]]:
    for line in lines:
        try:
            mark = _decode_mark(line)
            heads = _decode_metadata(mark.metadata).get(HEADS) if mark.event_type in MARKS else None
        except (ValueError, RecursionError):
            continue  # a verification tells of it
        yield mark.chain, mark.hash, heads


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[AuditEvent]:
    for number, line in enumerate(lines, 1):
        try:
            event = decode_event(line)
        except (ValueError, RecursionError) as error:
            event = damaged(f"{name} line {number}", error)
        yield event


def _until(lines: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Lines of the first so many bytes."""
    for line in lines:
        size -= len(line)
        if size < 0:
            return
        yield line


def _lines_backwards(handle: int, size: int, most: int | None) -> Iterator[bytes]:
    """Lines, the last first, in pieces that grow; the first line is left out if it is not wholly within `most` bytes."""
    first = 0 if most is None else max(0, size - most)
    step, rest = CHUNK, b""
    while size > first:
        start = max(first, size - step)
        lines = (os.pread(handle, size - start, start) + rest).split(b"\n")
        rest = lines[0]
        for line in reversed(lines[1:]):
            if line:
                yield line
        size, step = start, min(step * 2, TAIL)
    if rest and not first:
        yield rest
