"""When a write was taken into the queue, and what was known of its item then.

What waits is not stored over what somebody else wrote later. Only clocks tell what is later, and clocks of different
machines differ, so what a process has read or written itself counts as earlier whatever its time says.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from truthstore.errors import StoreCorruptError
from truthstore.model.meta_codec import pack, unpack

if TYPE_CHECKING:
    from truthstore.caching.coherence import Key
    from truthstore.model.record import Record
    from truthstore.storage.queue.spool import Entry

__all__ = ["Seen", "Span", "Taken", "arrived", "now", "readable", "superseded"]

Span: TypeAlias = tuple[int, int]
"""From when to when, both included: the time of one write, or one that lies between two readings of the clock."""

MOST_IDS: Final = 10_000
MOST_SPANS: Final = 8
NOTHING: Final = -1
"""When an item was stored that is not there."""

_TIME: Final = struct.Struct(">q")
_SPAN: Final = struct.Struct(">qq")
_PACKED: Final = 0x90
"""What a packed record begins with is not less. An entry without the number of spans has it in that place."""


def now() -> int:
    """The time in microseconds, as `stored_at` has it."""
    return time.time_ns() // 1_000


class Taken(NamedTuple):
    """What an entry of the queue says.

    Attributes:
        time: when the write was taken.
        known: when those writes of its item were made that this process knew of, and that seem to be later.
        record: what is to be stored.
    """

    time: int
    known: tuple[Span, ...]
    record: Record

    def pack(self) -> bytes:
        """The payload of an entry."""
        spans = b"".join(_SPAN.pack(*span) for span in self.known)
        return b"".join((_TIME.pack(self.time), bytes((len(self.known),)), spans, pack(self.record)))

    @classmethod
    def of(cls, entry: Entry) -> Taken:
        """What an entry says.

        Raises:
            StoreCorruptError: it is damaged.
        """
        payload, start = entry.payload, _TIME.size
        if len(payload) <= start:
            raise StoreCorruptError(f"entry {entry.number} of the queue is cut off", identifier=entry.key)
        known: tuple[Span, ...] = ()
        if payload[start] < _PACKED:
            end = start + 1 + payload[start] * _SPAN.size
            if len(payload) < end:
                raise StoreCorruptError(f"entry {entry.number} of the queue is cut off", identifier=entry.key)
            known = tuple((first, last) for first, last in _SPAN.iter_unpack(payload[start + 1 : end]))
            start = end
        return cls(_TIME.unpack_from(payload)[0], known, unpack(payload[start:]))

    def is_older_than(self, stored_at: int) -> bool:
        """Whether what is stored was written later, and by somebody of whom this process did not know."""
        return (
            stored_at > self.time
            and stored_at != self.record.meta.stored_at
            and not any(first <= stored_at <= last for first, last in self.known)
        )


def readable(entries: Iterable[Entry]) -> Iterator[tuple[int, Taken]]:
    """Numbers of entries and what they say, but for those that are damaged."""
    for entry in entries:
        with contextlib.suppress(StoreCorruptError):
            yield entry.number, Taken.of(entry)


def superseded(taken: Mapping[int, Taken], heads: Mapping[str, int]) -> set[int]:
    """Numbers of what somebody else has replaced meanwhile.

    Args:
        taken: what waits, by number, in order.
        heads: when what is stored now was written, by id.
    """
    gone: set[int] = set()
    standing: set[str] = set()
    for number, one in taken.items():
        id = one.record.id
        if id in standing:
            continue  # it came after something that was not replaced
        if one.is_older_than(heads.get(id, NOTHING)):
            gone.add(number)
        else:
            standing.add(id)
    return gone


def arrived(records: Mapping[int, Record], heads: Mapping[str, int]) -> dict[str, int]:
    """The number of what is stored now for each id, if it is one of these: what came before it was stored too."""
    reached: dict[str, int] = {}
    for number, record in records.items():
        if heads.get(record.id) == record.meta.stored_at:
            reached.setdefault(record.id, number)  # the first, for others of the same time may be others
    return reached


def _last(span: Span) -> int:
    return span[1]


class Seen:
    """When the writes were made of which one process knows: a few of each id, of the ids that were used last."""

    def __init__(self) -> None:
        self._spans: OrderedDict[Key, tuple[Span, ...]] = OrderedDict()
        self.anew()

    def anew(self) -> None:
        """After a fork: whoever held the lock is not there any more."""
        self._lock = threading.Lock()

    def note(self, keys: Iterable[Key], first: int, last: int | None = None) -> None:
        """A write of these items was made at a time, or between two.

        Args:
            keys: collections and ids.
            first: the time, or the first of the two.
            last: the second of the two.
        """
        span = (first, first if last is None else last)
        with self._lock:
            for key in keys:
                spans = self._spans.get(key, ())
                if span not in spans:
                    # The latest are kept: only what seems to be later than a write can stand in its way.
                    self._spans[key] = tuple(sorted((*spans, span), key=_last)[-MOST_SPANS:])
                self._spans.move_to_end(key)
            while len(self._spans) > MOST_IDS:
                self._spans.popitem(last=False)

    def later(self, key: Key, time: int) -> tuple[Span, ...]:
        """What is known of an item and seems to be later than a time."""
        with self._lock:
            return tuple(span for span in self._spans.get(key, ()) if span[1] > time)
