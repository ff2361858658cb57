"""Where audit events go: memory, files, several places. `store_sink` has the store itself, `async_sink` a thread."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from truthstore.errors import StoreConnectionError, StoreError, StoreWriteError
from truthstore.fields import to_microseconds
from truthstore.observability.chain import ChainVerification, verify_events
from truthstore.observability.events import AuditEvent, AuditEventType, AuditStatus, damaged, decode_event, encode_event

# Without it, on Windows, several processes must not share a file.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

__all__ = [
    "AuditBackend",
    "CompositeAuditBackend",
    "FileAuditBackend",
    "InMemoryAuditBackend",
    "JsonAuditBackend",
    "as_store_error",
]

KNOWN: Final = 1_000


class AuditBackend(ABC):
    """A place for audit events. To make one, write `write` and `read`."""

    in_order = False
    """Whether `read` gives events in the order in which they were written."""

    @property
    def identity(self) -> str:
        """Where events go, the same in every process: what waits in a local queue waits for this sink only.

        By default the name of the class. A class with sinks for several places tells them apart here; no secrets.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def write(self, events: Sequence[AuditEvent]) -> None:
        """Keeps events, all or none.

        Raises:
            StoreError: it could not.
        """

    def take_back(self, chain: str) -> list[AuditEvent]:
        """The events of a chain that `write` took and that could not be written then: they are the caller's again.

        Only a sink that writes later has any.
        """
        return []

    @abstractmethod
    def read(self) -> Iterator[AuditEvent]:
        """Every event."""

    def log(self, event: AuditEvent) -> None:
        """Keeps one event."""
        self.write([event])

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events since a time; more may come along."""
        return self.read()

    def heads(self) -> dict[str, str]:
        """The newest hash of each chain."""
        newest: dict[str, AuditEvent] = {}
        for event in self.read():
            known = newest.get(event.chain)
            if known is None or event.sequence > known.sequence:
                newest[event.chain] = event
        return {chain: event.hash for chain, event in newest.items()}

    def query(
        self,
        *,
        event_type: AuditEventType | str | None = None,
        status: AuditStatus | str | None = None,
        operation: str | None = None,
        collection: str | None = None,
        item: str | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int | None = None,
        ascending: bool = False,
    ) -> list[AuditEvent]:
        """The events that fulfil every condition, newest first unless `ascending`.

        Args:
            event_type: what was done.
            status: how it went.
            operation: the operation of the store.
            collection: name of the collection.
            item: id of an item, alone or among others.
            actor: who did it.
            correlation_id: on whose behalf.
            start_time: earliest, inclusive; a naive time means local time.
            end_time: latest, inclusive.
            limit: at most so many.
            ascending: oldest first.
        """
        wanted = {
            "event_type": None if event_type is None else AuditEventType(event_type),
            "status": None if status is None else AuditStatus(status),
            "operation": operation,
            "collection": collection,
            "actor": actor,
            "correlation_id": correlation_id,
        }
        conditions = {name: value for name, value in wanted.items() if value is not None}
        first = None if start_time is None else to_microseconds(start_time)
        last = None if end_time is None else to_microseconds(end_time)
        found = [
            event
            for event in self.recent(start_time)
            if all(getattr(event, name) == value for name, value in conditions.items())
            and (item is None or event.item == item or item in event.items)
            and (first is None or to_microseconds(event.timestamp) >= first)
            and (last is None or to_microseconds(event.timestamp) <= last)
        ]
        found.sort(
            key=lambda event: (to_microseconds(event.timestamp), event.chain, event.sequence), reverse=not ascending
        )
        return found if limit is None else found[:limit]

    def verify_chain(self) -> ChainVerification:
        """Whether an event was changed, removed or put elsewhere."""
        return verify_events(self.read(), in_order=self.in_order)

    def flush(self) -> None:  # noqa: B027  # most sinks have nothing that waits
        """Waits until everything is where it belongs."""

    def close(self) -> None:  # noqa: B027  # nor anything to give up
        """Gives up files and threads."""


class InMemoryAuditBackend(AuditBackend):
    """Keeps events in this process."""

    in_order = True

    def __init__(self) -> None:
        self._events: list[AuditEvent] = []
        self._name = f"memory:{secrets.token_hex(8)}"

    @property
    def identity(self) -> str:
        """This very object."""
        return self._name

    @property
    def events(self) -> list[AuditEvent]:
        """A copy of all events, oldest first."""
        return list(self._events)

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Keeps events."""
        self._events.extend(events)

    def read(self) -> Iterator[AuditEvent]:
        """Every event."""
        return iter(self.events)

    def clear(self) -> None:
        """Forgets everything."""
        self._events.clear()


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
        self._lock = threading.Lock()
        self._name = f"file:{os.path.realpath(self._path)}"

    @property
    def identity(self) -> str:
        """The file."""
        return self._name

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        with self._lock:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            handle = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Appends lines."""
        data = b"".join(encode_event(event) + b"\n" for event in events)
        try:
            with self._alone():
                self._append(data)
        except OSError as error:
            raise StoreWriteError(f"the audit trail {self._path} cannot be written: {error}") from error

    def _append(self, data: bytes) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(handle).st_size
            if size and size + len(data) > self._max_bytes:
                os.rename(self._path, f"{self._path}.{max([0, *self._numbers()]) + 1}")
                os.close(handle)
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
                size = 0
            if size and os.pread(handle, 1, size - 1) != b"\n":
                data = b"\n" + data  # a full disk left half a line
            try:
                written = os.write(handle, data)
                if written < len(data):
                    raise OSError(f"only {written} of {len(data)} bytes were taken")
            except OSError:
                os.ftruncate(handle, size)
                raise
            if self._fsync:
                os.fsync(handle)
        finally:
            os.close(handle)

    def _numbers(self) -> list[int]:
        folder, name = os.path.split(self._path)
        endings = [entry[len(name) + 1 :] for entry in os.listdir(folder or ".") if entry.startswith(f"{name}.")]
        return sorted(int(ending) for ending in endings if ending.isdecimal())

    def read(self) -> Iterator[AuditEvent]:
        """Every event, oldest file first.

        Raises:
            StoreConnectionError: a file cannot be read.
        """
        if not os.path.isdir(os.path.dirname(self._path) or "."):
            return
        for path in (*(f"{self._path}.{number}" for number in self._numbers()), self._path):
            try:
                with open(path, "rb") as lines:
                    for number, line in enumerate(lines, 1):
                        try:
                            event = decode_event(line)
                        except (ValueError, RecursionError) as error:
                            event = damaged(f"{os.path.basename(path)} line {number}", error)
                        yield event
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreConnectionError("audit", f"the audit trail {path} cannot be read: {error}") from error


class JsonAuditBackend(FileAuditBackend):
    """`FileAuditBackend` by its other name: the file holds JSON lines."""


def as_store_error(error: BaseException) -> StoreError:
    """What a sink raised, as an error that its callers expect."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreWriteError(f"the audit sink failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


class CompositeAuditBackend(AuditBackend):
    """Writes to several sinks, and reads from the first.

    Args:
        backends: the sinks.
    """

    def __init__(self, backends: Iterable[AuditBackend]) -> None:
        self._backends = tuple(backends)
        if not self._backends:
            raise ValueError("a composite sink needs at least one sink")
        self.in_order = self._backends[0].in_order
        # What each sink has of a chain, where another one failed: it is not written there twice.
        self._ahead: tuple[dict[str, int], ...] = tuple({} for _ in self._backends)

    @property
    def identity(self) -> str:
        """All sinks."""
        return f"composite:{' '.join(backend.identity for backend in self._backends)}"

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes everywhere; if a sink fails, the others are written all the same.

        The events are then to be written again, and only sinks that lack them get them.
        """
        failed: StoreError | None = None
        done: list[dict[str, int]] = []
        for backend, ahead in zip(self._backends, self._ahead, strict=True):
            lacking = [e for e in events if e.sequence > ahead.get(e.chain, -1)] if ahead else events
            try:
                if lacking:
                    backend.write(lacking)
                done.append(ahead)
            except Exception as error:  # noqa: BLE001  # whatever it is, the others are written
                failed = failed or as_store_error(error)
        if failed is None:
            self._forget(events)
            return
        for ahead in done:
            ahead.update({e.chain: max(e.sequence, ahead.get(e.chain, -1)) for e in events if e.chain})
            if len(ahead) > KNOWN:
                ahead.pop(next(iter(ahead)), None)  # chains that were given up
        raise failed

    def _forget(self, events: Sequence[AuditEvent]) -> None:
        for ahead in self._ahead:
            if ahead:
                for event in events:
                    if event.sequence >= ahead.get(event.chain, event.sequence + 1):
                        ahead.pop(event.chain, None)

    def take_back(self, chain: str) -> list[AuditEvent]:
        """What a sink could not write; the others will not get it again."""
        back = [backend.take_back(chain) for backend in self._backends]
        found = {event.sequence: event for events in back for event in events}
        if found:
            for ahead, events in zip(self._ahead, back, strict=True):
                ahead[chain] = events[0].sequence - 1 if events else max(*found, ahead.get(chain, -1))
        return [found[sequence] for sequence in sorted(found)]

    def _each(self, method: str, *arguments: Any) -> None:
        failed: StoreError | None = None
        for backend in self._backends:
            try:
                getattr(backend, method)(*arguments)
            except Exception as error:  # noqa: BLE001  # as in `write`
                failed = failed or as_store_error(error)
        if failed is not None:
            raise failed

    def read(self) -> Iterator[AuditEvent]:
        """Every event of the first sink."""
        return self._backends[0].read()

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events of the first sink since a time."""
        return self._backends[0].recent(since)

    def heads(self) -> dict[str, str]:
        """The heads in the first sink."""
        return self._backends[0].heads()

    def flush(self) -> None:
        """Flushes all sinks."""
        self._each("flush")

    def close(self) -> None:
        """Closes all sinks."""
        self._each("close")
