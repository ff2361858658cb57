"""What a store refused for good: set aside in the queue, so that all else goes on, until somebody decides about it.

What was refused may be tried again. That must not undo what came later, so a removal and a later write of the same item
make it outdated: it is kept and listed, and tried no more.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection as Several, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from truthstore.caching.taken import Taken, readable, superseded
from truthstore.errors import StoreConflictError, StoreCorruptError, StoreError, StoreReadError

if TYPE_CHECKING:
    from truthstore.caching.coherence import Key
    from truthstore.model.record import Record
    from truthstore.storage.queue.spool import Entry, Spool

__all__ = ["Refused", "Retried", "is_refusal"]

REFUSED: Final = "refused:"
"""Before the topic of what the store refused for good."""
OUTDATED: Final = "outdated:"
"""Before the topic of what was refused, and then removed or replaced."""


def is_refusal(error: BaseException) -> bool:
    """Whether a store has judged an item, so that it is no use to try again.

    Whatever an error was raised from counts too: a layer may say in words of its own that the disk is full.
    """
    cause: BaseException | None = error
    while cause is not None:
        if _may_pass(cause):
            return False
        cause = cause.__cause__
    return isinstance(error, StoreError)


def _may_pass(error: BaseException) -> bool:
    """Whether an error says nothing of the item: what the operating system or a file says may pass."""
    if isinstance(error, StoreError):
        return error.retryable or error.store_trouble or isinstance(error, StoreConflictError | StoreReadError)
    if isinstance(error, sqlite3.Error):
        return not isinstance(error, sqlite3.DataError | sqlite3.IntegrityError)
    return isinstance(error, OSError)


class Retried(NamedTuple):
    """What came of trying again.

    Attributes:
        ids: of what waits again.
        again: how many writes wait again.
        left: how many were outdated, and stay where they are.
    """

    ids: list[str]
    again: int
    left: int


class Refused:
    """The part of a queue in which lies what was refused.

    Args:
        spool: the queue.
    """

    def __init__(self, spool: Callable[[], Spool]) -> None:
        self._spool = spool
        self._untold: dict[Key, Exception] = {}
        self.anew()

    def anew(self) -> None:
        """After a fork: whoever held the lock is not there any more."""
        self._lock = threading.Lock()

    def set_aside(self, numbers: Several[int], topic: str) -> None:
        """These entries wait no longer."""
        self._spool().move(numbers, REFUSED + topic)

    def tell(self, errors: Mapping[Key, Exception]) -> None:
        """Has the next flush complain."""
        with self._lock:
            self._untold.update(errors)

    def told(self) -> dict[Key, Exception]:
        """What is still to be complained of; it was said then."""
        with self._lock:
            untold, self._untold = self._untold, {}
        return untold

    def _forgive(self, collection: str, ids: Several[str]) -> None:
        with self._lock:
            for id in ids:
                self._untold.pop((collection, id), None)

    def ids(self, topic: str) -> list[str]:
        """Ids of what was refused."""
        spool = self._spool()
        return sorted({*spool.keys(REFUSED + topic), *spool.keys(OUTDATED + topic)})

    def records(self, topic: str) -> list[Record]:
        """What was refused and can be read, in the order in which it was taken."""
        entries = [*self._entries(REFUSED + topic), *self._entries(OUTDATED + topic)]
        found: list[Record] = []
        for entry in sorted(entries):
            with contextlib.suppress(StoreCorruptError):
                found.append(Taken.of(entry).record)
        return found

    def _entries(self, topic: str, ids: Several[str] | None = None) -> list[Entry]:
        spool = self._spool()
        if ids is None or len(ids) > 1:
            ids = [id for id in spool.keys(topic) if ids is None or id in ids]
        return sorted(entry for id in ids for entry in spool.entries(topic, id))

    def discard(self, topic: str, collection: str, ids: Several[str] | None = None) -> int:
        """Gives up what was refused, and returns how many writes that were."""
        entries = [*self._entries(REFUSED + topic, ids), *self._entries(OUTDATED + topic, ids)]
        if entries:
            self._spool().remove([entry.number for entry in entries])
        self._forgive(collection, {entry.key for entry in entries})
        return len(entries)

    def outdate(self, topic: str, ids: Sequence[str]) -> list[int]:
        """What was refused of these items is not tried again, for they are written or removed now; its numbers."""
        numbers = [entry.number for entry in self._entries(REFUSED + topic, set(ids))]
        if numbers:
            self._spool().move(numbers, OUTDATED + topic)
        return numbers

    def restore(self, topic: str, numbers: Sequence[int]) -> None:
        """They were not written or removed after all."""
        if numbers:
            self._spool().move(numbers, REFUSED + topic)

    def outdate_before(self, topic: str, stored: Mapping[str, int]) -> None:
        """What was refused of an item before what is stored now was taken is not tried again.

        Args:
            topic: of which collection.
            stored: the numbers of what was stored, by id.
        """
        if not stored:
            return
        entries = self._entries(REFUSED + topic, stored.keys())
        numbers = [entry.number for entry in entries if entry.number < stored[entry.key]]
        if numbers:
            self._spool().move(numbers, OUTDATED + topic)

    def retry(self, topic: str, collection: str, heads: Callable[[Sequence[str]], Mapping[str, int]]) -> Retried:
        """Lets what was refused wait again, but for what was outdated since.

        Args:
            topic: of which collection.
            collection: its name.
            heads: tells when what is stored now was written, as far as that is known.
        """
        spool = self._spool()
        entries = self._entries(REFUSED + topic)
        outdated = superseded(dict(readable(entries)), heads(sorted({entry.key for entry in entries})))
        if outdated:
            spool.move(outdated, OUTDATED + topic, of=REFUSED + topic)
        again = [entry for entry in entries if entry.number not in outdated]
        ids = sorted({entry.key for entry in again})
        if again:
            # Some may have been outdated since they were read.
            spool.move([entry.number for entry in again], topic, of=REFUSED + topic)
            self._forgive(collection, ids)
        return Retried(ids, len(again), spool.count(OUTDATED + topic))
