"""The index of one collection as this machine sees it: following the log, and keeping the log short.

A reader applies the new objects, and looks at the bodies that the log leaves in doubt. A process that meets many entries,
or has written many, compacts a bounded amount; `maintain` does all of it, and the steps that need the whole log.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreCorruptError, StoreError, StoreReadError
from truthstore.storage.log.compact import Source, covered_by
from truthstore.storage.log.damage import replace_damaged
from truthstore.storage.log.entry import LogObject, is_segment, split_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from truthstore.storage.log.log import Log
    from truthstore.storage.log.replica import Replica
    from truthstore.storage.log.writer import Write

__all__ = ["LogIndex", "ReplacedError"]

OWN_ENTRIES: Final = 64
MANY_DOUBTS: Final = 16
FEW_ROWS: Final = 20_000
MANY_SEGMENTS: Final = 24
FEW_SEGMENTS: Final = 12
SMALL_LOG: Final = 5_000
DEAD_SHARE: Final = 0.25
READ_ROUNDS: Final = 100
REPAIR_LIMIT: Final = 10_000
"""A query reads at most so many bodies in the place of a damaged object."""
logger: Final = logging.getLogger("truthstore.storage")


class ReplacedError(Exception):
    """The log is not the continuation of what was read of it: the store was restored, emptied or replaced."""


class LogIndex:
    """The log of a collection, and this machine's replica of it.

    Args:
        compact_at: a query that meets more entries than this compacts them.
    """

    def __init__(self, log: Log, replica: Replica, *, compact_at: int) -> None:
        self.log = log
        self.objects = log.objects
        self.replica = replica
        self._collection = log.collection
        self._compact_at = compact_at
        self._lock = threading.Lock()
        self._own: list[Source] = []
        self._may_compact = True

    def follow(self, *, limit: int | None = REPAIR_LIMIT) -> None:
        """Apply the new objects of the log.

        Args:
            limit: if objects of the log are damaged, read at most so many bodies instead; None reads any number.

        Raises:
            StoreCorruptError: an object of the log is damaged, and there are more bodies.
            ReplacedError: the store was restored or emptied, or another one is in its place.
            sqlite3.Error: the replica is damaged.
            StoreError: a request failed.
        """
        damaged: dict[str, StoreCorruptError] = {}
        names = self._read_log(damaged)
        if damaged:
            replace_damaged(self.log, self.replica, damaged, limit=limit)
        doubtful = self.replica.open_intents(self._collection)
        if doubtful:
            found = dict(zip(doubtful, self.log.parallel(self.objects.get, doubtful), strict=True))
            rows = {id: self.objects.confirmed(body) for id, body in found.items() if body is not None}
            self.replica.believe(self._collection, rows, absent=found.keys() - rows.keys())
            if len(doubtful) > MANY_DOUBTS and self._may_compact:
                self.log.confirm_now(list(rows.values()))
        segments = sum(map(is_segment, names))
        if len(names) - segments > self._compact_at or segments > MANY_SEGMENTS:
            self._compact_a_little(names)

    def _read_log(self, damaged: dict[str, StoreCorruptError]) -> list[str]:
        """Apply what is new, but for what is damaged; return the names of all objects."""
        for _ in range(READ_ROUNDS):
            damaged.clear()
            applied = self.replica.applied(self._collection)
            names = self.log.names()
            new = [name for name in reversed(names) if name not in applied]
            segments = [name for name in new if is_segment(name)]
            sources = self.log.read_all(segments, damaged)
            covered = covered_by(sources)
            entries = [name for name in new if not is_segment(name) and name not in covered]
            sources.extend(self.log.read_all(entries, damaged))
            number = len(sources) + len(damaged)
            for name in covered & damaged.keys():
                del damaged[name]  # a segment replaces it
            gone = (applied | covered).difference(names)
            strange = self.replica.apply(self._collection, sources, gone=gone) if sources or gone else ()
            if number != len(segments) + len(entries):
                continue  # an object that is gone was compacted meanwhile: the segment is in the next list
            if any(map(self.log.is_gone, sorted(strange))):
                raise ReplacedError
            return names  # what is there nevertheless came late, or again
        raise StoreReadError(
            "the index is being compacted faster than it can be read: try again",
            collection=self._collection.name,
            retryable=True,
        )

    def learn(self, writes: Sequence[Write], entries: Sequence[Source]) -> None:
        """Apply the writes of this process."""
        confirmed = LogObject(tuple(write.confirmed for write in writes if write.confirmed is not None))
        self.replica.apply(self._collection, [*entries, Source("", confirmed)])

    def _compact_a_little(self, names: Sequence[str]) -> None:
        """Compact a bounded amount; a reader that may not write leaves that to others."""
        if not self._may_compact:
            return
        try:
            if sum(not is_segment(name) for name in names) > self._compact_at:
                self.log.compact_some(names, rows=FEW_ROWS)
            self.log.merge_some(names, rows=FEW_ROWS)
        except StoreError as error:
            self._could_not_compact(error)

    def compact_own(self, entries: Sequence[Source]) -> None:
        """Compact the entries of this process, once they are many: none of them has to be read for that."""
        with self._lock:
            self._own.extend(entries)
            if len(self._own) < OWN_ENTRIES or not self._may_compact:
                del self._own[:-OWN_ENTRIES]
                return
            some, self._own = self._own, []
        if sum(split_name(source.name).rows for source in some) > FEW_ROWS:
            return  # too much for a writer to do in passing
        try:
            last = self.log.confirm_now()
            # What is not there any more others have compacted; or the store was restored, and it must not come back.
            listed = set(self.log.names())
            segment = self.log.replace([source for source in (*some, last) if source and source.name in listed])
        except StoreError as error:
            self._could_not_compact(error)
            return
        if segment is not None:
            self.replica.apply(self._collection, [segment], gone=segment.content.coverage)

    def _could_not_compact(self, error: StoreError) -> None:
        if not error.retryable:
            self._may_compact = False
        logger.info("the log of %s could not be compacted: %s", self._collection.name, error)

    def maintain(self, in_time: Callable[[], bool]) -> dict[str, int]:
        """Compact and merge, resolve old intents, and forget old deletes, for as long as there is time."""
        done = {"compacted": 0, "merged": 0, "resolved": 0, "tombstones": 0}
        self.log.confirm_now()
        for kind, step in (("compacted", self.log.compact_some), ("merged", self.log.merge_some)):
            while in_time():
                number = step(self.log.names())
                done[kind] += number
                if not number:
                    break
        if in_time():
            self._tidy(done)
        return done

    def _tidy(self, done: dict[str, int]) -> None:
        """Do the steps that need all of the log, if the names in it show that they are worth it."""
        segments = [split_name(name) for name in self.log.names() if is_segment(name)]
        rows = sum(segment.confirmed for segment in segments)
        dead = sum(segment.tombstones for segment in segments)
        many_dead = dead > DEAD_SHARE * rows or (dead > 0 and rows <= SMALL_LOG)
        if any(segment.intents for segment in segments) or self.replica.open_intents(self._collection):
            done["resolved"] += self.log.resolve(self.log.load()[1])
        if not (done["resolved"] or many_dead or len(segments) > FEW_SEGMENTS):
            return
        sources, joined = self.log.load()
        self.log.remove_covered(sources)
        if many_dead:
            done["tombstones"] += self.log.remove_tombstones(joined)
        sources, _ = self.log.load()
        done["merged"] += self.log.replaced(sources, forget_before=self.log.forget_before())
