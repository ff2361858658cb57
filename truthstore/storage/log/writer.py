"""Writing to a store whose index is a log: one item or many, with the same steps.

A new id: its body if absent, then an entry that confirms it. An id that exists: its body is looked at, an entry says what
is intended, the body is replaced if its tag is unchanged, and an entry confirms it; without that last one readers look
at the body. A condition that did not hold, or a request that nobody answered, is never taken for an answer: the body is
looked at, and its write id and the write ids of its predecessors tell whether the write took place.
"""

from __future__ import annotations

import enum
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

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
from truthstore.storage.log.entry import Fact, Intent, fact_of
from truthstore.storage.log.objects import HISTORY, Body, marker
from truthstore.storage.objects.document import Lineage
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from truthstore.model.collection import Collection
    from truthstore.runtime.parallel import SideBySide
    from truthstore.storage.log.compact import Source
    from truthstore.storage.log.log import Log, Timing
    from truthstore.storage.log.objects import Bodies

__all__ = ["Write", "Writing"]

ATTEMPTS: Final = 5
ROUNDS: Final = 100
PATIENT_ROUNDS: Final = 3


class Step(enum.Enum):
    """What is to be done next for a write."""

    LOOK = enum.auto()
    SEND = enum.auto()
    DONE = enum.auto()


@dataclass(slots=True)
class Write:
    """One item to write or to delete, and how far that has come.

    Attributes:
        id: the item's id.
        record: what to write, with its write id; None to delete.
        revision: the write id.
        expect: the condition.
        known: whether there probably is a body already, so that looking first is cheaper.
        step: what is to be done next.
        error: why it failed; None if it did not.
        changed: whether the store is another one now.
        was_live: whether it replaced an item.
        fact: what is certain of the id now.
        tell: whether the log should be told of it.
        must_tell: whether it must, or the item would not be found.
        in_doubt: whether there may be a body that the log does not tell of.
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
    fact: Fact | None = None
    tell: bool = False
    must_tell: bool = False
    in_doubt: bool = False
    blind: bool = False
    rounds: int = 0
    attempts: int = 0
    failures: int = 0
    seen: Body | None = None
    tried: Revision | None = None
    refused: bool = False
    created: bool = False
    stamp: int = 0
    first_stamp: int = 0
    sent_at: int = 0
    trouble: StoreError | None = field(default=None, repr=False)

    def fail(self, error: Exception) -> None:
        """Ends with an error."""
        self.error = error
        self.step = Step.DONE

    def succeed(self) -> None:
        """Ends well."""
        self.changed = True
        self.was_live = self.seen is not None and self.replaces and not self.seen.record.meta.deleted
        self.step = Step.DONE

    @property
    def replaces(self) -> bool:
        """Whether there is a document that is to be replaced."""
        return self.seen is not None and not self.seen.removed


class Writing:
    """Writes some items of one collection.

    Args:
        bodies: their bodies.
        log: tells of them.
        side_by_side: runs requests.
        now: this machine's clock, in milliseconds.
        timing: the periods of the protocol.
        backend: name of the backend, for messages.
        creating: is told of the writes that will make a body before any entry tells of it.
    """

    def __init__(
        self,
        bodies: Bodies,
        log: Log,
        side_by_side: SideBySide,
        now: Callable[[], int],
        timing: Timing,
        *,
        backend: str,
        creating: Callable[[Sequence[Write]], object],
    ) -> None:
        self._bodies = bodies
        self._log = log
        self._side_by_side = side_by_side
        self._now = now
        self._timing = timing
        self._backend = backend
        self._creating = creating
        self.entries: list[Source] = []
        """The entries that were written."""

    @property
    def _collection(self) -> Collection[Any]:
        return self._bodies.collection

    def run(self, writes: Sequence[Write]) -> None:
        """Writes; afterwards each write says how it ended."""
        for write in writes:
            if write.record is not None and isinstance(write.expect, Condition) and not write.known:
                write.blind = True
                write.step = Step.SEND
        announced: set[Revision] = set()
        waiting = list(writes)
        while waiting:
            self._side_by_side(self._look, [write for write in waiting if write.step is Step.LOOK])
            sending = [write for write in waiting if write.step is Step.SEND]
            for write in sending:
                self._prepare(write)
            self._intend([write for write in sending if write.replaces])
            sending = [write for write in sending if write.step is Step.SEND]
            creating = [write for write in sending if write.created and write.revision not in announced]
            if creating:
                self._creating(creating)
                announced.update(write.revision for write in creating)
            self._side_by_side(self._send, sending)
            waiting = [write for write in waiting if write.step is not Step.DONE]
        self._tell(writes)

    # One round: look, intend, send.

    def _look(self, write: Write) -> None:
        """Looks at the body and decides what follows."""
        try:
            seen = self._bodies.get(write.id)
        except StoreCorruptError as error:
            if write.attempts or write.expect is not ANY:
                write.fail(self._in_doubt(write, error) if write.attempts else error)
                return
            seen = self._damaged(write)
        except StoreError as error:
            write.fail(self._in_doubt(write, error) if write.attempts else self._named(error, write))
            return
        # The same write may have been sent before, in this call or in an earlier one that nobody answered.
        if seen is not None and seen.revision == write.revision:
            self._landed(write, seen)
            return
        if seen is not None and seen.descends_from(write.revision):
            write.succeed()  # it landed, and whoever replaced it told of that
            return
        if write.attempts and not self._is_lost(write, seen):
            write.fail(self._in_doubt(write, write.trouble))
            return
        write.seen = seen
        live = seen is not None and not seen.removed
        if not self._allows(write, seen):
            actual = seen.revision if seen is not None and live else None
            write.fail(
                conflict(write.id, write.expect, actual, backend=self._backend, collection=self._collection.name)
            )
        elif write.record is None and not live:
            write.step = Step.DONE
        elif write.trouble is not None and not write.trouble.retryable:
            write.fail(self._named(write.trouble, write))
        elif write.failures >= ATTEMPTS or write.rounds >= ROUNDS:
            write.fail(self._in_doubt(write, write.trouble) if write.failures else self._crowded_out(write))
        else:
            write.step = Step.SEND

    def _damaged(self, write: Write) -> Body | None:
        """A body that cannot be read, and that somebody wants to overwrite or delete whatever it is."""
        tag = self._bodies.tag(write.id)
        if tag is None:
            return None
        return Body(marker(write.id, ""), Lineage(self._now()), tag)

    def _allows(self, write: Write, seen: Body | None) -> bool:
        """Whether `expect` holds. A tombstone that a layer keeps is a document here, and no item to `ABSENT`."""
        live = seen is not None and not seen.removed
        if write.expect is ABSENT:
            return not live or (seen is not None and seen.record.meta.deleted)
        if isinstance(write.expect, Condition):
            return True
        return live and seen is not None and seen.revision == write.expect

    def _is_lost(self, write: Write, seen: Body | None) -> bool:
        """Whether the last attempt, which left no trace in the body, did certainly not take place."""
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
        return self._now() - write.sent_at <= self._timing.slow

    def _landed(self, write: Write, seen: Body) -> None:
        """The body is the one that was sent."""
        stamp = seen.stamp
        now = self._now()
        if write.created and not seen.lineage.predecessors and now - stamp > self._timing.slow:
            # A marker may have come and gone since the stamp was made: stamp the same body anew.
            lineage = seen.restamped(max(stamp + 1, now))
            write.rounds += 1
            try:
                self._bodies.put(self._body_of(write), lineage, expect=seen.tag)
            except StoreConflictError:
                return
            except StoreError as error:
                write.failures += 1
                if write.failures >= ATTEMPTS or not error.retryable:
                    write.fail(self._in_doubt(write, error))
                return
            stamp = lineage.stamp
        write.stamp = stamp
        self._finish(write, tell=True, must=write.created)

    def _prepare(self, write: Write) -> None:
        """Makes the stamp of the next attempt."""
        seen = write.seen
        now = self._now()
        write.rounds += 1
        if write.rounds > PATIENT_ROUNDS:
            time.sleep(random.random() * min(0.05, 0.002 * write.rounds))  # noqa: S311  # others want to write, too
        write.stamp = now if seen is None else max(seen.stamp + 1, now)
        write.first_stamp = write.first_stamp or write.stamp
        write.sent_at = now
        write.created = not write.replaces

    def _intend(self, writes: Sequence[Write]) -> None:
        """Tells which bodies are about to be replaced."""
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
                write.fail(self._in_doubt(write, error) if write.attempts else self._named(error, write))

    def _send(self, write: Write) -> None:
        """Writes the body."""
        seen = write.seen
        write.tried = seen.revision if seen is not None else None
        write.attempts += 1
        write.step = Step.LOOK
        write.trouble = None
        write.refused = False
        removed = write.record is None
        lineage = (
            Lineage(write.stamp, removed=removed) if seen is None else seen.successor(write.stamp, removed=removed)
        )
        try:
            self._bodies.put(self._body_of(write), lineage, expect=ABSENT if seen is None else seen.tag)
        except StoreConflictError:
            write.refused = True
            return
        except StoreError as error:
            if isinstance(error, StoreConnectionError) and not error.retryable and not write.failures:
                write.fail(self._named(error, write))  # no bucket, no permission: nothing was written
                return
            write.trouble = error
            write.failures += 1
            return
        if seen is None and self._now() - write.stamp > self._timing.slow:
            return
        # After an attempt that met an id which exists, four requests are enough: readers look at the body.
        self._finish(write, tell=write.created or not (write.blind and write.rounds > 1), must=write.created)

    def _body_of(self, write: Write) -> Record:
        return write.record if write.record is not None else marker(write.id, write.revision)

    def _finish(self, write: Write, *, tell: bool, must: bool) -> None:
        write.succeed()
        record = write.record
        write.fact = (
            Fact(write.id, write.stamp, write.revision, None)
            if record is None
            else fact_of(record, write.stamp, self._collection)
        )
        write.tell = tell
        write.must_tell = must

    def _tell(self, writes: Sequence[Write]) -> None:
        """Adds the entry that confirms what was written."""
        told = [write for write in writes if write.tell]
        facts = [write.fact for write in told if write.fact is not None]
        if not facts:
            return
        needed = any(write.must_tell for write in told)
        try:
            self.entries.append(self._log.add(facts, attempts=3 if needed else 1))
        except StoreError as error:
            for write in told:
                if write.must_tell:
                    write.in_doubt = True
                    write.error = StoreWriteError(
                        f"{self._what(write)} was written, but the index could not be told, so that queries "
                        f"may not find it: save it again ({error})",
                        backend=self._backend,
                        collection=self._collection.name,
                        identifier=write.id,
                        retryable=error.retryable,
                    )

    def _what(self, write: Write) -> str:
        return f"{self._collection.name} {shown(write.id)}"

    def _named(self, error: StoreError, write: Write) -> StoreError:
        """An error of the storage, with the item that it kept from being written."""
        if not isinstance(error, StoreReadError):
            error.collection = self._collection.name
            error.identifier = write.id
            return error
        made = StoreWriteError(
            f"{self._what(write)} was not {_done(write)}: {error}",
            backend=self._backend,
            collection=self._collection.name,
            identifier=write.id,
            retryable=error.retryable,
        )
        made.__cause__ = error
        return made

    def _crowded_out(self, write: Write) -> StoreWriteError:
        return StoreWriteError(
            f"{self._what(write)} was not {_done(write)}: others wrote it first, {write.rounds} times: try again",
            backend=self._backend,
            collection=self._collection.name,
            identifier=write.id,
            retryable=True,
        )

    def _in_doubt(self, write: Write, error: StoreError | None) -> StoreWriteError:
        write.in_doubt = True
        reason = error if error is not None else "an answer came late"
        made = StoreWriteError(
            f"{self._what(write)} may or may not have been {_done(write)}: read it to find out ({reason})",
            backend=self._backend,
            collection=self._collection.name,
            identifier=write.id,
            store_trouble=True,
        )
        made.__cause__ = error
        return made


def _done(write: Write) -> str:
    return "deleted" if write.record is None else "written"
