"""The index of one collection as this machine sees it: following the log, and keeping the log short.

Whoever reads takes in what is new, and looks at the bodies that the log leaves in doubt. Whoever meets many entries, or
has written many, folds a bounded amount; `maintain` does all of it, and what needs the whole log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreError, StoreReadError
from truthstore.storage.log.compact import Source
from truthstore.storage.log.entry import LogObject, is_segment, rows_of, split_name
from truthstore.storage.log.log import Log, Timing
from truthstore.storage.log.replica import Unlisted

if TYPE_CHECKING:
    from truthstore.runtime.parallel import SideBySide
    from truthstore.storage.log.entry import Fact
    from truthstore.storage.log.objects import Bodies
    from truthstore.storage.log.replica import Replica
    from truthstore.storage.log.writer import Write
    from truthstore.storage.objects.blobs import Blobs

__all__ = ["LogIndex"]

OWN_ENTRIES: Final = 64
FEW_ROWS: Final = 20_000
MANY_SEGMENTS: Final = 24
FEW_SEGMENTS: Final = 12
SMALL_LOG: Final = 5_000
DEAD_SHARE: Final = 0.25
PATIENCE: Final = 600_000
READ_ROUNDS: Final = 100
logger: Final = logging.getLogger("truthstore")

_writing: Final[set[str]] = set()
"""Write ids that a thread of this process is writing now, through whichever store."""


class LogIndex:
    """The log of a collection, and this machine's replica of it.

    Args:
        blobs: where the log lies.
        bodies: the bodies that it tells of.
        replica: this machine's copy.
        side_by_side: runs requests.
        now: this machine's clock, in milliseconds.
        timing: the periods of the protocol.
        fold_at: whoever queries past so many entries folds them.
    """

    def __init__(
        self,
        blobs: Blobs,
        bodies: Bodies,
        replica: Replica,
        side_by_side: SideBySide,
        now: Callable[[], int],
        timing: Timing,
        *,
        fold_at: int,
    ) -> None:
        self.bodies = bodies
        self.log = Log(blobs, bodies, side_by_side, now, timing)
        self._collection = bodies.collection
        self._replica = replica
        self._side_by_side = side_by_side
        self._now = now
        self._fold_at = fold_at
        self._lock = threading.Lock()
        self._own: list[Source] = []
        self._may_fold = True

    def follow(self) -> list[str]:
        """Takes in what is new; the names that the log holds.

        Raises:
            sqlite3.Error: the replica is damaged.
            StoreError: a request failed.
        """
        names = self._read_log()
        self._tell_of_what_was_cut_short()
        doubtful = self._replica.open_intents(self._collection)
        if doubtful:
            found = self._side_by_side(self.bodies.get, doubtful)
            self._replica.believe(
                self._collection,
                {
                    id: self.bodies.fact(body) if body is not None else None
                    for id, body in zip(doubtful, found, strict=True)
                },
            )
        segments = sum(map(is_segment, names))
        if len(names) - segments > self._fold_at or segments > MANY_SEGMENTS:
            self._fold_a_little(names)
        return names

    def _read_log(self) -> list[str]:
        before = self._replica.applied(self._collection)
        for _ in range(READ_ROUNDS):
            applied = self._replica.applied(self._collection)
            names = self.log.names()
            new = [name for name in reversed(names) if name not in applied]
            segments = [name for name in new if is_segment(name)]
            sources = self.log.read_all(segments)
            covered = frozenset[str]().union(*(source.content.coverage for source in sources))
            entries = [name for name in new if not is_segment(name) and name not in covered]
            sources.extend(self.log.read_all(entries))
            gone = before.difference(names)
            if sources or gone:
                self._replica.apply(self._collection, sources, gone=gone)
            if len(sources) == len(segments) + len(entries):
                return names
            # What is gone was folded meanwhile: the segment is in the next list.
        raise StoreReadError(
            "the index is being folded faster than it can be read: try again",
            collection=self._collection.name,
            retryable=True,
        )

    def creating(self, writes: Sequence[Write]) -> None:
        """Remembers bodies that are about to be created, for the case that this process dies before an entry tells."""
        at = self._now()
        self._replica.creating(self._collection, [Unlisted(write.id, write.revision, at) for write in writes])

    def _tell_of_what_was_cut_short(self) -> None:
        """Tells the log of bodies that a writer on this machine created before it died or failed."""
        waiting = [one for one in self._replica.unlisted(self._collection) if one.revision not in _writing]
        if not waiting:
            return
        facts: list[Fact] = []
        done: list[tuple[str, str]] = []
        for one, body in zip(waiting, self._side_by_side(lambda one: self.bodies.get(one.id), waiting), strict=True):
            if body is not None and body.descends_from(one.revision):
                fact = self.log.late_fact(body) if body.revision == one.revision else None
                facts.extend([fact] if fact is not None else [])
                done.append((one.id, one.revision))
            elif self._now() - one.at > PATIENCE:
                done.append((one.id, one.revision))
        if not done:
            return
        try:
            sources = [self.log.add(facts)] if facts else []
        except StoreError as error:
            logger.warning("the log could not be told of %d items: the next query tries again (%s)", len(facts), error)
            self._replica.believe(self._collection, {fact.id: fact for fact in facts})
            return
        self._replica.apply(self._collection, sources, created=done)

    def learn(self, writes: Sequence[Write], entries: Sequence[Source], created: Sequence[Write]) -> None:
        """Takes in what this process has written."""
        facts = LogObject(tuple(write.fact for write in writes if write.fact is not None))
        told = [(write.id, write.revision) for write in created if not write.in_doubt]
        self._replica.apply(self._collection, [*entries, Source("", facts)], created=told)

    def _fold_a_little(self, names: Sequence[str]) -> None:
        """Folds a bounded amount; a reader that may not write leaves that to others."""
        if not self._may_fold:
            return
        try:
            if sum(not is_segment(name) for name in names) > self._fold_at:
                self.log.fold_some(names, rows=FEW_ROWS)
            self.log.merge_some(names, rows=FEW_ROWS)
        except StoreError as error:
            self._could_not_fold(error)

    def fold_own(self, entries: Sequence[Source]) -> None:
        """Folds what this process has written, once that is much: nothing of it has to be read for that."""
        with self._lock:
            self._own.extend(entries)
            if len(self._own) < OWN_ENTRIES or not self._may_fold:
                del self._own[:-OWN_ENTRIES]
                return
            some, self._own = self._own, []
        if sum(rows_of(source.name) for source in some) > FEW_ROWS:
            return  # too much for a writer to do in passing
        try:
            _, name = self.log.replace(some)
        except StoreError as error:
            self._could_not_fold(error)
            return
        if name is not None:
            content = LogObject(coverage=frozenset(source.name for source in some))
            self._replica.apply(self._collection, [Source(name, content)])

    def _could_not_fold(self, error: StoreError) -> None:
        if not error.retryable:
            self._may_fold = False
        logger.info("the log of %s could not be folded: %s", self._collection.name, error)

    def maintain(self, in_time: Callable[[], bool]) -> dict[str, int]:
        """Folds and merges, settles old intents, and forgets old deletes, for as long as there is time."""
        done = {"folded": 0, "merged": 0, "settled": 0, "markers": 0}
        for what, step in (("folded", self.log.fold_some), ("merged", self.log.merge_some)):
            while in_time():
                number, _ = step(self.log.names())
                done[what] += number
                if not number:
                    break
        if in_time():
            self._tidy(done)
        return done

    def _tidy(self, done: dict[str, int]) -> None:
        """What needs all of the log; its names tell whether that is worth it."""
        segments = [split_name(name) for name in self.log.names() if is_segment(name)]
        rows = sum(segment.rows for segment in segments)
        dead = sum(segment.tombstones for segment in segments)
        many_dead = dead > DEAD_SHARE * rows or (dead > 0 and rows <= SMALL_LOG)
        if any(segment.intents for segment in segments):
            done["settled"] += self.log.settle(self.log.load()[1])
        if not (done["settled"] or many_dead or len(segments) > FEW_SEGMENTS):
            return
        sources, joined = self.log.load()
        self.log.remove_covered(sources)
        if many_dead:
            done["markers"] += self.log.remove_markers(joined)
        sources, _ = self.log.load()
        number, _ = self.log.replace(sources, forget_before=self.log.forget_before())
        done["merged"] += number


class Active:
    """Marks writes as going on in this process: a `with` block."""

    __slots__ = ("_revisions",)

    def __init__(self, writes: Sequence[Write]) -> None:
        self._revisions = {write.revision for write in writes}

    def __enter__(self) -> None:
        _writing.update(self._revisions)

    def __exit__(self, *_: object) -> None:
        _writing.difference_update(self._revisions)
