"""Writing to a store whose index is a log: one item or many, with the same steps.

An entry with the intent, the body if the one before is unchanged, and a row that confirms it in the next entry of this
process; until then readers look at the body. A writer that dies in between leaves an item that is wholly there or wholly
absent. What probably exists is looked at first. A condition that did not hold, or a request without an answer, is never
taken for an answer: the write id of the body, and those of its predecessors, show if the write took place.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from truthstore.errors import (
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreReadError,
    StoreWriteError,
    shown,
)
from truthstore.model.record import ABSENT, ANY, Condition, Expect, Record, Revision
from truthstore.storage.log.entry import ANY_BODY, NO_BODY, Confirmed, Intent, confirmed_of
from truthstore.storage.log.objects import HISTORY, BodyObject, tombstone
from truthstore.storage.objects.document import Lineage
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from truthstore.storage.log.compact import Source
    from truthstore.storage.log.log import Log

__all__ = ["LogWriter", "Write"]

ATTEMPTS: Final = 5
ROUNDS: Final = 100
PATIENT_ROUNDS: Final = 3


@dataclass(slots=True)
class Write:
    """One item to write or to delete, and its progress.

    Attributes:
        record: the record to write, with its write id; None to delete.
        known: there probably is a body already, so that looking first is cheaper.
        is_ready: it can be sent; otherwise the body is looked at.
        error: the reason for a failure; None if it succeeded.
        was_live: it replaced an item.
        rounds: attempts that were begun; some did not come as far as sending a body, or got no answer (`failures`).
        seen: the body at the last look.
        tried: the write id that the last attempt was to replace.
        refused: the condition of the last attempt did not hold.
        announced: the stamp of an intent to replace any body.
        sent_at: the time of the last attempt, in milliseconds.
        failure: the error of the last attempt.
    """

    id: str
    record: Record | None
    revision: Revision
    expect: Expect = ANY
    known: bool = False
    is_ready: bool = False
    is_done: bool = False
    error: Exception | None = None
    changed: bool = False
    was_live: bool = False
    confirmed: Confirmed | None = None
    rounds: int = 0
    attempts: int = 0
    failures: int = 0
    seen: BodyObject | None = None
    tried: Revision | None = None
    refused: bool = False
    stamp: int = 0
    first_stamp: int = 0
    announced: int = 0
    sent_at: int = 0
    failure: StoreError | None = field(default=None, repr=False)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.error = error
        self.is_done = True

    def succeed(self) -> None:
        """End well."""
        self.changed = True
        self.was_live = self.replaces is not None and not self.replaces.record.meta.deleted
        self.is_done = True

    @property
    def replaces(self) -> BodyObject | None:
        """The document to replace, if there is one."""
        return self.seen if self.seen is not None and not self.seen.removed else None

    @property
    def body(self) -> Record:
        """The record to store: the document, or a tombstone."""
        return self.record if self.record is not None else tombstone(self.id, self.revision)


class LogWriter:
    """Writes some items of one collection."""

    def __init__(self, log: Log, *, backend: str) -> None:
        self._log = log
        self._objects = log.objects
        self._backend = backend
        self.entries: list[Source] = []
        """The entries that were written."""

    def run(self, writes: Sequence[Write]) -> None:
        """Write; afterwards each write holds its result."""
        for write in writes:
            write.is_ready = write.record is not None and isinstance(write.expect, Condition) and not write.known
        waiting = list(writes)
        while waiting:
            self._log.parallel(self._look, [write for write in waiting if not write.is_ready])
            sending = [write for write in waiting if write.is_ready]
            self._intend([(write, intent) for write in sending if (intent := self._prepare(write))])
            self._log.parallel(self._send, [write for write in sending if not write.is_done])
            waiting = [write for write in waiting if not write.is_done]
        self._log.confirm_later(write.confirmed for write in writes if write.confirmed is not None)
        if len(writes) > 1 and (entry := self._log.confirm_now()):
            self.entries.append(entry)

    # One round: look, intend, send.

    def _look(self, write: Write) -> None:
        """Look at the body and decide on the next step."""
        try:
            seen = self._objects.get(write.id)
        except StoreCorruptError as error:
            if write.attempts or write.expect is not ANY:
                write.fail(self._in_doubt(write, error) if write.attempts else error)
                return
            seen = self._objects.stand_in(write.id, self._log.now())
        except StoreError as error:
            self._give_up(write, error)
            return
        # The same write may have been sent before, in this call or in an earlier one that got no answer.
        if seen is not None and seen.revision == write.revision:
            self._landed(write, seen)
            return
        if seen is not None and seen.descends_from(write.revision):
            write.succeed()  # it landed, and the writer that replaced it confirms that
            return
        if write.attempts and not self._is_lost(write, seen):
            write.fail(self._in_doubt(write, write.failure))
            return
        write.seen = seen
        if not self._allows(write):
            actual = write.replaces.revision if write.replaces is not None else None
            collection = self._log.collection.name
            write.fail(conflict(write.id, write.expect, actual, backend=self._backend, collection=collection))
        elif write.record is None and write.replaces is None:
            write.is_done = True
        elif write.failure is not None and not write.failure.retryable:
            write.fail(self._named(write.failure, write))
        elif write.failures >= ATTEMPTS or write.rounds >= ROUNDS:
            write.fail(self._in_doubt(write, write.failure) if write.failures else self._crowded_out(write))
        else:
            write.is_ready = True

    def _allows(self, write: Write) -> bool:
        """Check `expect`. A tombstone that a layer keeps is a document here, and no item to `ABSENT`."""
        document = write.replaces
        if write.expect is ABSENT:
            return document is None or document.record.meta.deleted
        return isinstance(write.expect, Condition) or (document is not None and document.revision == write.expect)

    def _is_lost(self, write: Write, seen: BodyObject | None) -> bool:
        """Return True if the last attempt, which left no trace in the body, did certainly not take place."""
        if write.tried is not None and seen is not None and seen.descends_from(write.tried):
            return True
        if (
            seen is not None
            and len(seen.lineage.predecessors) >= HISTORY
            and seen.lineage.stamps[-1:] > (write.first_stamp,)
        ):
            # It may be older than the oldest predecessor that is kept. Every attempt was answered, though, and a driver
            # reports a conflict only of a request that was sent once.
            return write.refused and not write.failures
        return self._log.now() - write.sent_at <= self._log.timing.slow

    def _landed(self, write: Write, seen: BodyObject) -> None:
        """Go on after a look that showed the body that was sent."""
        now = self._log.now()
        write.stamp = seen.stamp
        if write.attempts and not seen.lineage.predecessors and now - seen.stamp > self._log.timing.slow:
            # A tombstone may have come and gone since the stamp was made: give the same body a new stamp.
            write.rounds += 1
            write.stamp = max(seen.stamp + 1, now)
            intent = Intent(write.id, seen.stamp, write.stamp, write.revision)
            try:
                self.entries.append(self._log.add((), [intent]))
                if self._log.fence(seen, write.stamp) is None:
                    return
            except StoreError as error:
                write.failures += 1
                if write.failures >= ATTEMPTS or not error.retryable:
                    write.fail(self._in_doubt(write, error))
                return
        self._finish(write)

    def _prepare(self, write: Write) -> Intent | None:
        """Make the stamp of the next attempt; return the intent, unless the log holds one that says as much."""
        seen = write.seen
        now = self._log.now()
        write.rounds += 1
        if write.rounds > PATIENT_ROUNDS:
            time.sleep(random.random() * min(0.05, 0.002 * write.rounds))  # noqa: S311  # others want to write, too
        if seen is not None and seen.stamp < write.announced and now - write.announced <= self._log.timing.slow:
            write.stamp = write.announced
            return None
        write.stamp = now if seen is None else max(seen.stamp + 1, now)
        write.first_stamp = write.first_stamp or write.stamp
        if seen is not None:
            base = seen.stamp
        else:
            base = ANY_BODY if write.expect is ANY else NO_BODY
            write.announced = write.stamp if write.expect is ANY else 0
        return Intent(write.id, base, write.stamp, write.revision)

    def _intend(self, intents: Sequence[tuple[Write, Intent]]) -> None:
        """Add the entry with the intents of writes."""
        if not intents:
            return
        try:
            self.entries.append(self._log.add((), [intent for _, intent in intents]))
        except StoreError as error:
            for write, _ in intents:
                self._give_up(write, error)

    def _send(self, write: Write) -> None:
        """Write the body."""
        seen = write.seen
        write.tried = seen.revision if seen is not None else None
        write.attempts += 1
        write.is_ready = False
        write.failure = None
        write.refused = False
        write.sent_at = self._log.now()
        removed = write.record is None
        lineage = (
            Lineage(write.stamp, removed=removed) if seen is None else seen.successor(write.stamp, removed=removed)
        )
        try:
            self._objects.put(write.body, lineage, expect=ABSENT if seen is None else seen.tag)
        except StoreConflictError:
            write.refused = True
        except StoreError as error:
            if isinstance(error, StoreConnectionError) and not error.retryable and not write.failures:
                write.fail(self._named(error, write))  # no bucket, no permission: nothing was written
                return
            write.failure = error
            write.failures += 1
        else:
            if seen is not None or self._log.now() - write.stamp <= self._log.timing.slow:
                self._finish(write)

    def _finish(self, write: Write) -> None:
        write.succeed()
        if write.record is None:
            write.confirmed = Confirmed(write.id, write.stamp, write.revision, None)
        else:
            write.confirmed = confirmed_of(write.record, write.stamp, self._log.collection)

    # Errors.

    def _error(self, write: Write, reason: str, *, cause: StoreError | None = None, **facts: bool) -> StoreWriteError:
        collection = self._log.collection.name
        message = f"{collection} {shown(write.id)} {reason}"
        made = StoreWriteError(message, backend=self._backend, collection=collection, identifier=write.id, **facts)
        made.__cause__ = cause
        return made

    def _give_up(self, write: Write, error: StoreError) -> None:
        """End with the error of a request beside the write itself."""
        write.fail(self._in_doubt(write, error) if write.attempts else self._named(error, write))

    def _named(self, error: StoreError, write: Write) -> StoreError:
        """Return an error of the storage with the item that it kept from being written."""
        if not isinstance(error, StoreReadError):
            error.collection = self._log.collection.name
            error.identifier = write.id
            return error
        return self._error(write, f"was not {_done(write)}: {error}", cause=error, retryable=error.retryable)

    def _crowded_out(self, write: Write) -> StoreWriteError:
        reason = f"was not {_done(write)}: others wrote it first, {write.rounds} times: try again"
        return self._error(write, reason, retryable=True)

    def _in_doubt(self, write: Write, error: StoreError | None) -> StoreWriteError:
        detail = error if error is not None else "an answer came late"
        reason = f"may or may not have been {_done(write)}: read it to find out ({detail})"
        return self._error(write, reason, cause=error, store_unavailable=True)


def _done(write: Write) -> str:
    return "deleted" if write.record is None else "written"
