"""One queue and one store: takes what waits out of the one and into the other, and tells what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.caching.refused import Refused, is_refusal
from truthstore.errors import shown

if TYPE_CHECKING:
    from truthstore.caching.coherence import Key
    from truthstore.caching.sending import Sender
    from truthstore.model.collection import Collection
    from truthstore.storage.queue.spool import Entry, Spool

__all__ = ["Delivery"]

log: Final = logging.getLogger("truthstore.caching")


class Delivery:
    """Delivers what waits.

    Args:
        spool: the queue.
        sender: stores it.
        refused: keeps what is refused.
        changed: told of keys of which something else is found from now on.

    Attributes:
        errors: how often a write was not stored.
        superseded: how many writes were not stored because somebody else saved their items later.
    """

    def __init__(
        self,
        spool: Callable[[], Spool],
        sender: Sender,
        refused: Refused,
        changed: Callable[[Sequence[Key]], None],
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._refused = refused
        self._changed = changed
        self.errors = 0
        self.superseded = 0

    def deliver(self, topic: str, collection: Collection[Any]) -> dict[str, Exception]:
        """Stores what waits in a collection; the errors of what still waits then, by id."""
        spool = self._spool()
        while True:
            done = _Round()

            def send(entries: Sequence[Entry], done: _Round = done) -> Mapping[int, Exception]:
                self._announce(done, collection)  # the batch before has left the queue
                return self._send(entries, done, topic, collection)

            try:
                failed = spool.deliver(topic, send)
            finally:
                # Only now: a reader who was told earlier would find what waited once more, and keep it.
                self._announce(done, collection)
            if not done.refused:
                self.errors += len(failed)
                return {done.ids.get(number, ""): error for number, error in failed.items()}
            self._complain(done, collection)
            # Writes behind a refused one no longer wait for it.

    def _send(
        self, entries: Sequence[Entry], done: _Round, topic: str, collection: Collection[Any]
    ) -> Mapping[int, Exception]:
        done.ids.update((entry.number, entry.key) for entry in entries)
        done.batch = list(dict.fromkeys(entry.key for entry in entries))
        sent = self._sender.send(entries, collection)
        refused = {number: error for number, error in sent.failed.items() if is_refusal(error)}
        if refused:
            self._refused.set_aside(refused, topic)
            done.refused.update(refused)
        self._refused.outdate_before(topic, sent.stored)
        if sent.superseded:
            self.superseded += len(sent.superseded)
            log.info(
                "write-behind: %s writes of %s were not stored, for somebody else saved these items later; first: %s",
                len(sent.superseded),
                collection.name,
                shown(done.ids[min(sent.superseded)]),
            )
        return sent.failed

    def _announce(self, done: _Round, collection: Collection[Any]) -> None:
        batch, done.batch = done.batch, []
        if batch:
            self._changed([(collection.name, id) for id in batch])

    def _complain(self, done: _Round, collection: Collection[Any]) -> None:
        self.errors += len(done.refused)
        errors = {done.ids[number]: error for number, error in done.refused.items()}
        self._refused.tell({(collection.name, id): error for id, error in errors.items()})
        id, error = next(iter(errors.items()))
        log.error(
            "write-behind: %s writes of %s were taken and are refused by the store; they are kept in %s; first: %s: %s",
            len(done.refused),
            collection.name,
            self._spool().path,
            shown(id),
            error,
        )


class _Round:
    """What became of one round so far."""

    __slots__ = ("batch", "ids", "refused")

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}
        self.refused: dict[int, Exception] = {}
        self.batch: list[str] = []
        """Ids of what was sent last, and may still be in the queue."""
