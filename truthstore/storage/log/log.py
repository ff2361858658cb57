"""The log of one collection: reading it, adding entries, compacting it and resolving intents.

The steps are those of a protocol that was checked as a model (docs/design/log.md): an entry is added only after its rows
are true; inputs are removed only after the segment that replaces them is there; an intent is resolved by a look only if
the body has moved on, and otherwise by writing the same body again with a larger stamp, so that a late writer's
condition fails.
"""

from __future__ import annotations

import logging
import threading
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from truthstore.errors import (
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
)
from truthstore.model.record import ABSENT, new_revision
from truthstore.storage.log.compact import Joined, Source, compact, covered_by, join
from truthstore.storage.log.entry import (
    Confirmed,
    LogObject,
    entry_name,
    is_object_name,
    is_segment,
    read_log_object,
    segment_name,
    split_name,
    write_log_object,
)
from truthstore.storage.log.objects import tombstone
from truthstore.storage.objects.blobs import Discarding, probe_conditional_deletes
from truthstore.storage.objects.document import Lineage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from truthstore.runtime.parallel import Parallel
    from truthstore.storage.log.entry import Intent
    from truthstore.storage.log.objects import BodyObject, BodyObjects
    from truthstore.storage.objects.blobs import Blobs

__all__ = ["Log", "Timing"]

ENTRY_ATTEMPTS: Final = 3
COMPACT_LIMIT: Final = 1_000
FAN: Final = 4
logger: Final = logging.getLogger("truthstore.storage")


class Timing(NamedTuple):
    """The periods of the protocol, in milliseconds.

    Attributes:
        slow: a write that took longer is not trusted to have kept its place among others; far less than `grace`.
        grace: clocks differ, and requests land late, by less than this. Tombstone objects younger than this stay.
        forget: tombstone rows whose objects may be gone are forgotten after this; more than `grace`.
        resolve: intents older than this are resolved.
    """

    slow: int = 60_000
    grace: int = 86_400_000
    forget: int = 2 * 86_400_000
    resolve: int = 60_000


class Log:
    """The index objects of one collection.

    Args:
        objects: the body objects that it is about.
        now: this machine's clock, in milliseconds.
        born: when the store was made, in milliseconds.
    """

    def __init__(
        self,
        blobs: Blobs,
        objects: BodyObjects,
        parallel: Parallel,
        now: Callable[[], int],
        timing: Timing,
        born: int = 0,
    ) -> None:
        self.folder = f"_truthstore/log/{objects.collection.name}/"
        self.collection = objects.collection
        self.objects = objects
        self.parallel = parallel
        self.now = now
        self.timing = timing
        self.born = born
        self._blobs = blobs
        self._lock = threading.Lock()
        self._later: list[Confirmed] = []
        self._deletes_conditionally: bool | None = None

    def names(self) -> list[str]:
        """Return the names of all index objects, in ascending order."""
        listed = (key[len(self.folder) :] for key in self._blobs.list(self.folder))
        return [name for name in listed if is_object_name(name)]

    def read(self, name: str) -> Source | None:
        """Return an index object, or None if it is gone: another one replaces it."""
        try:
            data, _ = self._blobs.get(self.folder + name)
        except StoreNotFoundError:
            return None
        return Source(name, read_log_object(data, name))

    def is_gone(self, name: str) -> bool:
        """Return True if there is no such index object."""
        try:
            self._blobs.get(self.folder + name)
        except StoreNotFoundError:
            return True
        return False

    def read_all(self, names: Iterable[str], damaged: dict[str, StoreCorruptError] | None = None) -> list[Source]:
        """Return the index objects that are still there among some; collect those that cannot be read, or raise."""

        def read(name: str) -> Source | None:
            try:
                return self.read(name)
            except StoreCorruptError as error:
                if damaged is None:
                    raise
                damaged[name] = error
                return None

        return [source for source in self.parallel(read, names) if source is not None]

    def load(self) -> tuple[list[Source], Joined]:
        """Return all that the log holds."""
        while True:
            names = self.names()
            sources = self.read_all(names)
            if len(sources) == len(names):
                # Rows that are older than the store may be about what was in its place.
                return sources, join([*sources, Source("", LogObject(floor=self.born))])

    def confirm_later(self, confirmed: Iterable[Confirmed]) -> None:
        """Put rows of writes that were announced into the next entry of this process.

        Until then, or for ever if it dies, readers look at the bodies.
        """
        with self._lock:
            self._later.extend(confirmed)

    def confirm_now(self, confirmed: Sequence[Confirmed] = ()) -> Source | None:
        """Write an entry of rows, and of those that wait for one; a failure changes nothing but the work of readers."""
        if not (confirmed or self._later):
            return None
        try:
            return self.add(confirmed, attempts=1)
        except StoreError as error:
            logger.info("writes in %s could not be confirmed: readers look at their bodies (%s)", self.folder, error)
            return None

    def add(
        self, confirmed: Iterable[Confirmed], intents: Iterable[Intent] = (), *, attempts: int = ENTRY_ATTEMPTS
    ) -> Source:
        """Write an entry, with the rows that wait for one.

        Raises:
            StoreError: it could not be written, or may not have been.
        """
        with self._lock:
            later, self._later = self._later, []
        content = LogObject(tuple(confirmed), tuple(intents), late=tuple(later))
        source = Source(entry_name(self.now(), new_revision(), content), content)
        self._put(source.name, write_log_object(content), attempts)
        return source

    def _put(self, name: str, data: bytes, attempts: int) -> None:
        for attempt in range(1, attempts + 1):
            try:
                self._blobs.put(self.folder + name, data, expect=ABSENT)
            except StoreConflictError:
                return  # no other writer gives this name to another content: it is there
            except StoreError as error:
                if attempt == attempts or not error.retryable:
                    raise
            else:
                return

    # Compacting.

    def compact_some(self, names: Sequence[str], *, rows: int | None = None) -> int:
        """Make one segment of the oldest entries, of at most so many rows unless the first has more; return of how many."""
        entries = [name for name in names if not is_segment(name)][:COMPACT_LIMIT]
        if rows is not None:
            totals = accumulate(split_name(name).rows for name in entries)
            entries = entries[: max(1, sum(total <= rows for total in totals))]
        return self.replaced(self.read_all(entries, {}))  # what is damaged stays, and keeps no other from it

    def merge_some(self, names: Sequence[str], *, rows: int | None = None) -> int:
        """Make one segment of those of one level, if they are enough and have at most so many rows; return of how many."""
        levels: dict[int, list[str]] = {}
        for name in names:
            if is_segment(name):
                levels.setdefault(split_name(name).level, []).append(name)
        for level in sorted(levels):
            some = levels[level]
            if len(some) >= FAN and (rows is None or sum(split_name(name).rows for name in some) <= rows):
                return self.replaced(self.read_all(some, {}))
        return 0

    def replaced(self, sources: Sequence[Source], *, forget_before: int | None = None) -> int:
        """Write a segment in the place of some objects; return how many."""
        return len(sources) if self.replace(sources, forget_before=forget_before) is not None else 0

    def replace(self, sources: Sequence[Source], *, forget_before: int | None = None) -> Source | None:
        """Write a segment in the place of some objects, and only then remove them; return it."""
        if not sources:
            return None
        content = compact(sources, forget_before=forget_before)
        if len(sources) == 1 and is_segment(sources[0].name):
            rows = split_name(sources[0].name)
            if (rows.confirmed, rows.intents) == (len(content.confirmed) + len(content.late), len(content.intents)):
                return None  # it would be the same once more
        return self.put_segment(content, [source.name for source in sources])

    def put_segment(self, content: LogObject, inputs: Collection[str]) -> Source | None:
        """Write the segment that replaces some objects, and only then remove them; None if it is one of them."""
        data = write_log_object(content)
        name = segment_name(content, data, inputs)
        if name in inputs:
            return None
        self._put(name, data, 2)
        self.remove(inputs)
        return Source(name, content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects that a segment replaces. Those that stay behind change nothing, and any process may remove them."""
        keys = [self.folder + name for name in names]
        try:
            if isinstance(self._blobs, Discarding):
                self._blobs.discard(keys)
            else:
                self.parallel(self._blobs.delete, keys)
        except StoreError as error:
            logger.info("what a segment in %s replaces could not be removed: %s", self.folder, error)

    def remove_covered(self, sources: Sequence[Source]) -> int:
        """Remove the inputs that crashed compactors left behind."""
        covered = covered_by(sources)
        left = [source.name for source in sources if source.name in covered]
        self.remove(left)
        return len(left)

    # Intents and tombstones.

    def resolve(self, joined: Joined) -> int:
        """Resolve old intents; return how many ids became certain.

        Raises:
            StoreError: a request failed; ids that were resolved before stay so.
        """
        now = self.now()
        doubts = joined.doubts
        old = [
            id for id, intents in doubts.items() if all(intent.stamp + self.timing.resolve < now for intent in intents)
        ]
        confirmed = [
            row for row in self.parallel(lambda id: self._resolved(id, doubts[id], joined), sorted(old)) if row
        ]
        if confirmed:
            self.add(confirmed)
        return len(confirmed)

    def _resolved(self, id: str, intents: Iterable[Intent], joined: Joined) -> Confirmed | None:
        known = joined.confirmed.get(id)
        body = self.objects.get(id)
        need = max(max(intent.base + 1, intent.stamp) for intent in intents)
        if body is None:
            return self._bury(id, need)
        if not body.removed:
            need = max(need, joined.floor + 1, known.stamp if known is not None else 0)
        if body.stamp >= need:
            return self.objects.confirmed(body)
        return self.fence(body, max(body.stamp + 1, need, self.now()))

    def fence(self, body: BodyObject, stamp: int) -> Confirmed | None:
        """Write the same body with a larger stamp, so that a writer that wanted to replace it must look again."""
        lineage = body.restamped(stamp)
        try:
            tag = self.objects.put(body.record, lineage, expect=body.tag)
        except StoreConflictError:
            return None  # another writer replaced it meanwhile, and confirms that
        return self.objects.confirmed(body._replace(lineage=lineage, tag=tag))

    def remove_tombstones(self, joined: Joined) -> int:
        """Remove the tombstone objects of deletes that are older than the grace period; return how many.

        Only those that the index confirms, and only while they are the same objects.
        """
        last = self.now() - self.timing.grace
        doubts = joined.doubts
        dead = [
            row for id, row in joined.confirmed.items() if row.head is None and row.stamp < last and id not in doubts
        ]
        if dead and self._deletes_conditionally is None:
            self._deletes_conditionally = probe_conditional_deletes(self._blobs)
        if not self._deletes_conditionally:
            return 0

        def remove(row: Confirmed) -> bool:
            body = self.objects.get(row.id)
            if body is None or not body.removed or body.stamp != row.stamp:
                return False
            try:
                return self.objects.remove(body)
            except StoreConflictError:
                return False  # replaced meanwhile

        return sum(self.parallel(remove, dead))

    def write_tombstone(self, id: str, stamp: int) -> None:
        """Write and confirm a tombstone where another program removed a body."""
        row = self._bury(id, stamp + 1)
        if row is not None:
            self.add([row])

    def _bury(self, id: str, stamp: int) -> Confirmed | None:
        """Write a tombstone where there is no body, so that a writer that wanted to create one must look again."""
        row = Confirmed(id, max(stamp, self.now()), new_revision(), None)
        try:
            self.objects.put(tombstone(id, row.revision), Lineage(row.stamp, removed=True), expect=ABSENT)
        except StoreConflictError:
            return None  # there is a body
        return row

    def forget_before(self) -> int:
        """Return the stamp up to which tombstone rows may be forgotten."""
        return self.now() - self.timing.forget
