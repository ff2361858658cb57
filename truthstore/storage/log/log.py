"""The log of one collection: reading it, adding entries, folding and settling.

The steps are those of a protocol that was checked as a model: an entry is added only after what it tells is so; inputs
are removed only after the segment that replaces them is there; an intent is settled by a look only if the body has moved
on, and otherwise by writing the same body again with a larger stamp, so that a late writer's condition fails.
"""

from __future__ import annotations

import logging
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from truthstore.errors import (
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreNotSupportedError,
)
from truthstore.model.record import ABSENT, new_revision
from truthstore.storage.log.compact import Joined, Source, fold, join
from truthstore.storage.log.entry import (
    Fact,
    LogObject,
    entry_name,
    is_segment,
    level_of,
    read_log_object,
    rows_of,
    segment_name,
    split_name,
    write_log_object,
)
from truthstore.storage.log.objects import marker
from truthstore.storage.objects.blobs import Discarding
from truthstore.storage.objects.document import Lineage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from truthstore.runtime.parallel import SideBySide
    from truthstore.storage.log.entry import Intent
    from truthstore.storage.log.objects import Bodies, Body
    from truthstore.storage.objects.blobs import Blobs

__all__ = ["Log", "Timing"]

ENTRY_ATTEMPTS: Final = 3
FOLD_LIMIT: Final = 1_000
FAN: Final = 4
log: Final = logging.getLogger("truthstore")


class Timing(NamedTuple):
    """The periods of the protocol, in milliseconds.

    Attributes:
        slow: a write that took longer is not trusted to have kept its place among others; far less than `grace`.
        grace: clocks differ, and requests land late, by less than this. Markers younger than this stay.
        forget: tombstones of markers that may be gone are forgotten after this; more than `grace`.
        settle: intents older than this are settled.
    """

    slow: int = 60_000
    grace: int = 86_400_000
    forget: int = 2 * 86_400_000
    settle: int = 60_000


class Log:
    """The index objects of one collection.

    Args:
        blobs: where they lie.
        bodies: the bodies that they tell of.
        side_by_side: runs requests.
        now: this machine's clock, in milliseconds.
        timing: the periods of the protocol.
    """

    def __init__(
        self, blobs: Blobs, bodies: Bodies, side_by_side: SideBySide, now: Callable[[], int], timing: Timing
    ) -> None:
        self.folder = f"_truthstore/log/{bodies.collection.name}/"
        self._blobs = blobs
        self._bodies = bodies
        self._side_by_side = side_by_side
        self._now = now
        self._timing = timing

    def names(self) -> list[str]:
        """The names of all index objects, in ascending order."""
        return [key[len(self.folder) :] for key in self._blobs.list(self.folder)]

    def read(self, name: str) -> Source | None:
        """An index object, or None if it is gone: another one replaces it."""
        try:
            data, _ = self._blobs.get(self.folder + name)
        except StoreNotFoundError:
            return None
        return Source(name, read_log_object(data, name))

    def read_all(self, names: Iterable[str]) -> list[Source]:
        """The index objects that are still there among some."""
        return [source for source in self._side_by_side(self.read, names) if source is not None]

    def add(self, facts: Iterable[Fact], intents: Iterable[Intent] = (), *, attempts: int = ENTRY_ATTEMPTS) -> Source:
        """Writes an entry.

        Raises:
            StoreError: it could not be written, or may not have been.
        """
        content = LogObject(tuple(facts), tuple(intents))
        source = Source(entry_name(self._now(), new_revision(), content), content)
        self._put(source.name, write_log_object(content), attempts)
        return source

    def _put(self, name: str, data: bytes, attempts: int) -> None:
        for attempt in range(1, attempts + 1):
            try:
                self._blobs.put(self.folder + name, data, expect=ABSENT)
            except StoreConflictError:
                return  # nobody else gives this name to another content: it is there
            except StoreError as error:
                if attempt == attempts or not error.retryable:
                    raise
            else:
                return

    def fold_some(
        self, names: Sequence[str], *, limit: int = FOLD_LIMIT, rows: int | None = None
    ) -> tuple[int, str | None]:
        """Makes one segment of the oldest entries: of how many, and its name.

        Args:
            names: what the log holds.
            limit: of so many entries at most.
            rows: of so many rows at most, unless the first entry alone has more.
        """
        entries = [name for name in names if not is_segment(name)][:limit]
        if rows is not None:
            totals = accumulate(rows_of(name) for name in entries)
            entries = entries[: max(1, sum(total <= rows for total in totals))]
        return self.replace(self.read_all(entries)) if entries else (0, None)

    def merge_some(self, names: Sequence[str], *, rows: int | None = None) -> tuple[int, str | None]:
        """Makes one segment of the segments of one level, if there are enough of them: how many, and its name.

        Args:
            names: what the log holds.
            rows: leave alone what has more rows than this together.
        """
        levels: dict[int, list[str]] = {}
        for name in names:
            if is_segment(name):
                levels.setdefault(level_of(name), []).append(name)
        for level in sorted(levels):
            some = levels[level]
            if len(some) >= FAN and (rows is None or sum(map(rows_of, some)) <= rows):
                return self.replace(self.read_all(some))
        return 0, None

    def replace(self, sources: Sequence[Source], *, forget_before: int | None = None) -> tuple[int, str | None]:
        """Writes a segment in the place of some objects, and only then removes them: how many, and its name."""
        if not sources:
            return 0, None
        content = fold(sources, forget_before=forget_before)
        if len(sources) == 1 and is_segment(sources[0].name):
            rows = split_name(sources[0].name)
            if (rows.rows, rows.intents) == (len(content.facts), len(content.intents)):
                return 0, None  # it would be the same once more
        data = write_log_object(content)
        inputs = [source.name for source in sources]
        name = segment_name(content, data, inputs)
        if name in inputs:
            return 0, None
        self._put(name, data, 2)
        self.remove(inputs)
        return len(inputs), name

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects that a segment replaces. What stays behind changes nothing, and anybody may remove it."""
        keys = [self.folder + name for name in names]
        blobs = self._blobs

        def remove(key: str) -> None:
            try:
                if isinstance(blobs, Discarding):
                    blobs.discard(keys)
                else:
                    blobs.delete(key)
            except StoreError as error:
                log.info("%s, which a segment replaces, could not be removed: %s", key, error)

        self._side_by_side(remove, keys[:1] if isinstance(blobs, Discarding) else keys)

    def remove_covered(self, sources: Sequence[Source]) -> int:
        """Removes what crashed folders left behind."""
        covered = frozenset[str]().union(*(source.content.coverage for source in sources))
        left = [source.name for source in sources if source.name in covered]
        self.remove(left)
        return len(left)

    def settle(self, joined: Joined) -> int:
        """Ends intents that are old: how many ids became certain.

        Raises:
            StoreError: a request failed; what was settled before stays so.
        """
        now = self._now()
        old = [
            id
            for id, intents in joined.intents.items()
            if all(intent.stamp + self._timing.settle < now for intent in intents)
        ]
        facts = [fact for fact in self._side_by_side(lambda id: self._settled(id, joined), sorted(old)) if fact]
        if facts:
            self.add(facts)
        return len(facts)

    def _settled(self, id: str, joined: Joined) -> Fact | None:
        intents = joined.intents[id]
        known = joined.facts.get(id)
        body = self._bodies.get(id)
        need = max(max(intent.base + 1, intent.stamp) for intent in intents)
        if body is None:
            if need + self._timing.grace < self._now():
                return Fact(id, need, new_revision(), None)
            return None
        if not body.removed:
            need = max(need, joined.floor + 1, known.stamp if known is not None else 0)
        if body.stamp >= need:
            return self._bodies.fact(body)
        return self._fence(body, max(body.stamp + 1, need, self._now()))

    def _fence(self, body: Body, stamp: int) -> Fact | None:
        """Writes the same body with a larger stamp: whoever wanted to replace it must look again."""
        lineage = body.restamped(stamp)
        try:
            tag = self._bodies.put(body.record, lineage, expect=body.tag)
        except StoreConflictError:
            return None  # somebody wrote meanwhile, and told of it
        return self._bodies.fact(body._replace(lineage=lineage, tag=tag))

    def remove_markers(self, joined: Joined) -> int:
        """Removes the markers of deletes that are older than the grace period: how many.

        Only what the index confirms, and only if it is still the same object.
        """
        dead = [fact for id, fact in joined.facts.items() if fact.head is None and id not in joined.intents]

        def remove(fact: Fact) -> bool:
            if fact.stamp + self._timing.grace >= self._now():
                return False
            body = self._bodies.get(fact.id)
            if body is None or not body.removed or body.stamp != fact.stamp:
                return False
            try:
                return self._bodies.remove(body)
            except (StoreConflictError, StoreNotSupportedError):
                return False  # somebody wrote meanwhile

        return sum(self._side_by_side(remove, dead))

    def late_fact(self, body: Body) -> Fact | None:
        """What is certain of a body that somebody else created and told nobody of; None if it is being replaced."""
        if body.lineage.predecessors or self._now() - body.stamp <= self._timing.slow:
            return self._bodies.fact(body)
        # A marker may have come and gone since the stamp was made.
        return self._fence(body, max(body.stamp + 1, self._now()))

    def remove_damaged(self) -> None:
        """Removes objects that cannot be read; only after entries tell of every body."""
        for name in self.names():
            try:
                self.read(name)
            except StoreCorruptError as error:
                log.warning("removed: %s", error)
                self._blobs.delete(self.folder + name)

    def bury(self, id: str, stamp: int) -> None:
        """Puts a marker where a body was that somebody removed behind the library's back, and tells of it."""
        fact = Fact(id, max(stamp + 1, self._now()), new_revision(), None)
        try:
            self._bodies.put(marker(id, fact.revision), Lineage(fact.stamp, removed=True), expect=ABSENT)
        except StoreConflictError:
            return  # there is a body again
        self.add([fact])

    def forget_before(self) -> int:
        """Tombstones up to this stamp may be forgotten."""
        return self._now() - self._timing.forget

    def load(self) -> tuple[list[Source], Joined]:
        """Everything that the log holds."""
        while True:
            names = self.names()
            sources = self.read_all(names)
            if len(sources) == len(names):
                return sources, join(sources)
