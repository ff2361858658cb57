"""Where audit events go: memory, files, several places. `store_sink` has the store itself, `async_sink` a thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from truthstore.observability.audit.file import FileAuditBackend, JsonAuditBackend
from truthstore.observability.audit.sink import AuditBackend, as_store_error, marked, tips

if TYPE_CHECKING:
    from truthstore.errors import StoreError
    from truthstore.observability.audit.event import AuditEvent

__all__ = [
    "AuditBackend",
    "CompositeAuditBackend",
    "FileAuditBackend",
    "InMemoryAuditBackend",
    "JsonAuditBackend",
    "as_store_error",
]


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

    def heads(self) -> dict[str, str]:
        """The newest hashes of chains that no other chain has named."""
        return tips(marked(reversed(self._events)))

    def clear(self) -> None:
        """Forgets everything."""
        self._events.clear()


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

    @property
    def identity(self) -> str:
        """All sinks."""
        return f"composite:{' '.join(backend.identity for backend in self._backends)}"

    def _each(self, work: Callable[[AuditBackend], object]) -> None:
        """If a sink fails, the others have their turn all the same."""
        failed: StoreError | None = None
        for backend in self._backends:
            try:
                work(backend)
            except Exception as error:  # noqa: BLE001  # whatever it is
                failed = failed or as_store_error(error)
        if failed is not None:
            raise failed

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes everywhere; if a sink fails, the others are written all the same.

        The events are then to be written with `write_again`, and only sinks that lack them get them.
        """
        self._each(lambda backend: backend.write(events))

    def write_again(self, events: Sequence[AuditEvent]) -> None:
        """Writes to each sink what it lacks."""
        self._each(lambda backend: backend.write_again(events))

    def take_back(self, chain: str) -> list[AuditEvent]:
        """What a sink could not write. `write_again` spares the others."""
        found = {event.sequence: event for backend in self._backends for event in backend.take_back(chain)}
        return [found[sequence] for sequence in sorted(found)]

    def read(self) -> Iterator[AuditEvent]:
        """Every event of the first sink."""
        return self._backends[0].read()

    def recent(self, since: datetime | None = None) -> Iterator[AuditEvent]:
        """Events of the first sink since a time."""
        return self._backends[0].recent(since)

    def of_chains(self, chains: Collection[str]) -> Iterator[AuditEvent]:
        """Events of some chains in the first sink."""
        return self._backends[0].of_chains(chains)

    def last(self, chain: str) -> int:
        """The place of the newest event that all sinks have."""
        return min(backend.last(chain) for backend in self._backends)

    def heads(self) -> dict[str, str]:
        """The heads in the first sink."""
        return self._backends[0].heads()

    def flush(self) -> None:
        """Flushes all sinks."""
        self._each(lambda backend: backend.flush())

    def close(self) -> None:
        """Closes all sinks."""
        self._each(lambda backend: backend.close())
