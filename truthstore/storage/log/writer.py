"""Writing to a store whose index is a log: one item or many, with the same steps.

A new id: its body if absent, then an entry that confirms it. An id that exists: a look at its body, an entry with the
intent, the new body if the tag is unchanged, and an entry that confirms it; without that last one readers look at the
body. A condition that did not hold, or a request without an answer, is never taken for an answer: a look at the body, its
write id and the write ids of its predecessors shows if the write took place.
"""

from __future__ import annotations

import enum
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
from truthstore.storage.log.entry import Confirmed, Intent, confirmed_of
from truthstore.storage.log.objects import HISTORY, BodyObject, tombstone
from truthstore.storage.objects.document import Lineage
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from truthstore.storage.log.compact import Source
    from truthstore.storage.log.log import Log

__all__ = ["LogWriter", "Write"]

ATTEMPTS: Final = 5
ROUNDS: Final = 100
PATIENT_ROUNDS: Final = 3


class Step(enum.Enum):
    """The next step of a write."""

    LOOK = enum.auto()
    SEND = enum.auto()
    DONE = enum.auto()


@dataclass(slots=True)
class Write:
    """One item to write or to delete, and its progress.

    Attributes:
        id: the item's id.
        record: the record to write, with its write id; None to delete.
        revision: the write id.
        expect: the condition.
        known: there probably is a body already, so that looking first is cheaper.
        step: the next step.
        error: the reason for a failure; None if it succeeded.
        changed: it changed the store.
        was_live: it replaced an item.
        confirmed: the row that is certain of the id now.
        confirm: the log should hold that row.
        in_doubt: there may be a body that the log does not confirm.
        blind: the first attempt takes place without a look.
        rounds: attempts that were begun, with those of which the intent failed.
        attempts: bodies that were sent.
        failures: bodies that were sent without an answer.
        seen: the body at the last look.
        tried: the write id that the last attempt was to replace.
        refused: the condition of the last attempt did not hold.
        created: the attempt makes a body where no document was, which queries find only once it is confirmed.
        stamp: the stamp of the last attempt.
        first_stamp: the stamp of the first attempt.
        sent_at: the time of the last attempt, in milliseconds.
        failure: the error of the last attempt.
    """

    id: str
    record: Record | None
    revision: Revision
    expect: Expect = ANY
    known: bool = False
    step: Step = Step.LOOK
    error: Exception | None = None
    changed: bool = False
    was_live: bool = False
    confirmed: Confirmed | None = None
    confirm: bool = False
    in_doubt: bool = False
    blind: bool = False
    rounds: int = 0
    attempts: int = 0
    failures: int = 0
    seen: BodyObject | None = None
    tried: Revision | None = None
    refused: bool = False
    created: bool = False
    stamp: int = 0
    first_stamp: int = 0
    sent_at: int = 0
    failure: StoreError | None = field(default=None, repr=False)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.error = error
        self.step = Step.DONE

    def succeed(self) -> None:
        """End well."""
        self.changed = True
        self.was_live = self.seen is not None and self.replaces and not self.seen.record.meta.deleted
        self.step = Step.DONE

    @property
    def replaces(self) -> bool:
        """True if there is a document to replace."""
        return self.seen is not None and not self.seen.removed

    @property
    def body(self) -> Record:
        """The record to store: the document, or a tombstone."""
        return self.record if self.record is not None else tombstone(self.id, self.revision)


class LogWriter:
    """Writes some items of one collection.

    Args:
        log: the log that confirms them.
        backend: name of the backend, for messages.
        creating: called with the writes that will make a body before any entry confirms it.
    """

    def __init__(self, log: Log, *, backend: str, creating: Callable[[Sequence[Write]], object]) -> None:
        self._log = log
        self._objects = log.objects
        self._backend = backend
        self._creating = creating
        self.entries: list[Source] = []
        """The entries that were written."""

    def run(self, writes: Sequence[Write]) -> None:
        """Write; afterwards each write holds its result."""
        for write in writes:
            if write.record is not None and isinstance(write.expect, Condition) and not write.known:
                write.blind = True
                write.step = Step.SEND
        announced: set[Revision] = set()
        waiting = list(writes)
        while waiting:
            self._log.parallel(self._look, [write for write in waiting if write.step is Step.LOOK])
            sending = [write for write in waiting if write.step is Step.SEND]
            for write in sending:
                self._prepare(write)
            self._intend([write for write in sending if write.replaces])
            sending = [write for write in sending if write.step is Step.SEND]
            creating = [write for write in sending if write.created and write.revision not in announced]
            if creating:
                self._creating(creating)
                announced.update(write.revision for write in creating)
            self._log.parallel(self._send, sending)
            waiting = [write for write in waiting if write.step is not Step.DONE]
        self._confirm([write for write in writes if write.confirm])

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
        if not self._allows(write, seen):
            actual = seen.revision if seen is not None and write.replaces else None
            collection = self._log.collection.name
            write.fail(conflict(write.id, write.expect, actual, backend=self._backend, collection=collection))
        elif write.record is None and not write.replaces:
            write.step = Step.DONE
        elif write.failure is not None and not write.failure.retryable:
            write.fail(self._named(write.failure, write))
        elif write.failures >= ATTEMPTS or write.rounds >= ROUNDS:
            write.fail(self._in_doubt(write, write.failure) if write.failures else self._crowded_out(write))
        else:
            write.step = Step.SEND

    def _allows(self, write: Write, seen: BodyObject | None) -> bool:
        """Check `expect`. A tombstone that a layer keeps is a document here, and no item to `ABSENT`."""
        live = seen is not None and not seen.removed
        if write.expect is ABSENT:
            return not live or (seen is not None and seen.record.meta.deleted)
        if isinstance(write.expect, Condition):
            return True
        return live and seen is not None and seen.revision == write.expect

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
        stamp = seen.stamp
        now = self._log.now()
        if write.created and not seen.lineage.predecessors and now - stamp > self._log.timing.slow:
            # A tombstone may have come and gone since the stamp was made: give the same body a new stamp.
            lineage = seen.restamped(max(stamp + 1, now))
            write.rounds += 1
            try:
                self._objects.put(write.body, lineage, expect=seen.tag)
            except StoreConflictError:
                return
            except StoreError as error:
                write.failures += 1
                if write.failures >= ATTEMPTS or not error.retryable:
                    write.fail(self._in_doubt(write, error))
                return
            stamp = lineage.stamp
        write.stamp = stamp
        self._finish(write, confirm=True)

    def _prepare(self, write: Write) -> None:
        """Make the stamp of the next attempt."""
        seen = write.seen
        now = self._log.now()
        write.rounds += 1
        if write.rounds > PATIENT_ROUNDS:
            time.sleep(random.random() * min(0.05, 0.002 * write.rounds))  # noqa: S311  # others want to write, too
        write.stamp = now if seen is None else max(seen.stamp + 1, now)
        write.first_stamp = write.first_stamp or write.stamp
        write.sent_at = now
        write.created = not write.replaces

    def _intend(self, writes: Sequence[Write]) -> None:
        """Add the entry with the intents to replace bodies."""
        intents = [
            Intent(write.id, write.seen.stamp, write.stamp, write.revision, write.record is not None)
            for write in writes
            if write.seen is not None
        ]
        if not intents:
            return
        try:
            self.entries.append(self._log.add((), intents))
        except StoreError as error:
            for write in writes:
                self._give_up(write, error)

    def _send(self, write: Write) -> None:
        """Write the body."""
        seen = write.seen
        write.tried = seen.revision if seen is not None else None
        write.attempts += 1
        write.step = Step.LOOK
        write.failure = None
        write.refused = False
        removed = write.record is None
        lineage = (
            Lineage(write.stamp, removed=removed) if seen is None else seen.successor(write.stamp, removed=removed)
        )
        try:
            self._objects.put(write.body, lineage, expect=ABSENT if seen is None else seen.tag)
        except StoreConflictError:
            write.refused = True
            return
        except StoreError as error:
            if isinstance(error, StoreConnectionError) and not error.retryable and not write.failures:
                write.fail(self._named(error, write))  # no bucket, no permission: nothing was written
                return
            write.failure = error
            write.failures += 1
            return
        if seen is None and self._log.now() - write.stamp > self._log.timing.slow:
            return
        # After an attempt that met an id which exists, four requests are enough: readers look at the body.
        self._finish(write, confirm=write.created or not (write.blind and write.rounds > 1))

    def _finish(self, write: Write, *, confirm: bool) -> None:
        write.succeed()
        if write.record is None:
            write.confirmed = Confirmed(write.id, write.stamp, write.revision, None)
        else:
            write.confirmed = confirmed_of(write.record, write.stamp, self._log.collection)
        write.confirm = confirm

    def _confirm(self, writes: Sequence[Write]) -> None:
        """Add the entry that confirms the writes; without it, created bodies would not be found."""
        confirmed = [write.confirmed for write in writes if write.confirmed is not None]
        if not confirmed:
            return
        created = [write for write in writes if write.created]
        try:
            self.entries.append(self._log.add(confirmed, attempts=3 if created else 1))
        except StoreError as error:
            for write in created:
                write.in_doubt = True
                reason = f"was written, but not entered in the index, so that queries may not find it: save it again ({error})"
                write.error = self._error(write, reason, retryable=error.retryable)

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
        write.in_doubt = True
        detail = error if error is not None else "an answer came late"
        reason = f"may or may not have been {_done(write)}: read it to find out ({detail})"
        return self._error(write, reason, cause=error, store_unavailable=True)


def _done(write: Write) -> str:
    return "deleted" if write.record is None else "written"
