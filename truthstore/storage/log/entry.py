"""The objects of a log: their content, bytes and names.

An index object holds *confirmed* rows (the body of an id was this, at some time), *intents* (a writer may be replacing
the body of an id), its *coverage* (the names that it replaces) and a *floor* (a put with a stamp at or below it that this
object does not hold may have been deleted and forgotten). Names are never used twice with another content. They sort by
level, then by age: a list in ascending order shows entries before segments, and a segment after what it was made from.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.model.meta_codec import PackedMeta, meta_of, packed_parts
from truthstore.model.record import Record, Revision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from truthstore.model.collection import Collection

__all__ = [
    "ANY_BODY",
    "NO_BODY",
    "Confirmed",
    "Head",
    "Intent",
    "LogObject",
    "SegmentName",
    "confirmed_of",
    "entry_name",
    "is_segment",
    "level_of",
    "read_log_object",
    "record_of",
    "rows_of",
    "segment_name",
    "write_log_object",
]

VERSION: Final = 1
MAGIC: Final = b"\x89TSL"
TOP_LEVEL: Final = 9
MAX_BYTES: Final = 1 << 30
NO_BODY: Final = 0
ANY_BODY: Final = -1
_PREFIX: Final = struct.Struct(">4sBI")


class Head(PackedMeta, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """The head of an item as an index object holds it.

    Attributes:
        shape: fingerprint of the collection whose fields these are.
    """

    shape: str = ""


class Confirmed(msgspec.Struct, frozen=True, array_like=True):
    """The body of an id had this stamp and this write id at some time; without a head it was a tombstone."""

    id: str
    stamp: int
    revision: Revision
    head: Head | None

    @property
    def rank(self) -> tuple[int, str]:
        """Order of two rows about one id: the one with the larger rank is the later one."""
        return self.stamp, self.revision


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """A writer may be replacing the body that has the stamp `base`, `NO_BODY` or `ANY_BODY`, by one with the stamp `stamp`."""

    id: str
    base: int
    stamp: int
    revision: Revision


class LogObject(msgspec.Struct, frozen=True):
    """An entry, or a segment that replaces other objects."""

    confirmed: tuple[Confirmed, ...] = ()
    intents: tuple[Intent, ...] = ()
    coverage: frozenset[str] = frozenset()
    floor: int = 0


class _Opening(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of an object."""

    coverage: list[str]
    floor: int


class _Rows(msgspec.Struct, frozen=True, array_like=True):
    confirmed: tuple[Confirmed, ...]
    intents: tuple[Intent, ...]


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_opening: Final = msgspec.msgpack.Decoder(_Opening).decode
_unpack_rows: Final = msgspec.msgpack.Decoder(_Rows).decode


def confirmed_of(record: Record, stamp: int, collection: Collection[Any]) -> Confirmed:
    """Return the row for a live body that is this record."""
    head = Head(**packed_parts(record.meta), shape=collection.fingerprint)
    return Confirmed(record.id, stamp, record.revision, head)


def record_of(row: Confirmed, head: Head) -> Record:
    """Return the record, without its body, of a row about a live body."""
    return Record(meta_of(row.id, head), None, row.revision)


def write_log_object(content: LogObject) -> bytes:
    """Return the bytes of an index object; the same for the same content."""
    opening = _pack(_Opening(sorted(content.coverage), content.floor))
    confirmed = tuple(sorted(content.confirmed, key=lambda row: (row.id, *row.rank)))
    intents = tuple(sorted(content.intents, key=lambda intent: (intent.id, intent.stamp, intent.revision)))
    return _PREFIX.pack(MAGIC, VERSION, len(opening)) + opening + zlib.compress(_pack(_Rows(confirmed, intents)), 6)


def read_log_object(data: bytes, name: str) -> LogObject:
    """Return the index object in some bytes.

    Raises:
        StoreCorruptError: they are damaged.
        StoreConfigError: a newer version of this library wrote them.
    """
    try:
        magic, version, length = _PREFIX.unpack_from(data)
        if magic != MAGIC:
            raise StoreCorruptError("it is no index object")
        if version > VERSION:
            raise StoreConfigError(
                f"{name} has format {version}, this library reads up to {VERSION}: upgrade truthstore"
            )
        opening = _unpack_opening(data[_PREFIX.size : _PREFIX.size + length])
        rows = _unpack_rows(zlib.decompressobj().decompress(data[_PREFIX.size + length :], MAX_BYTES))
    except (struct.error, zlib.error, msgspec.MsgspecError, StoreCorruptError) as error:
        raise StoreCorruptError(f"the index object {name} is damaged ({error}): call rebuild_index()") from error
    return LogObject(rows.confirmed, rows.intents, frozenset(opening.coverage), opening.floor)


def entry_name(milliseconds: int, revision: Revision, content: LogObject) -> str:
    """Return a name for a new entry, which no other writer makes."""
    return f"0-{milliseconds:013d}-{revision}-{len(content.confirmed) + len(content.intents)}"


class SegmentName(NamedTuple):
    """The figures in the name of a segment."""

    level: int
    generation: int
    rows: int
    tombstones: int
    intents: int


def segment_name(content: LogObject, data: bytes, inputs: Iterable[str]) -> str:
    """Return the name of a segment with this content: it sorts after its inputs."""
    levels = [level_of(name) for name in inputs]
    level = min(max(levels) + 1, TOP_LEVEL)
    beside = (split_name(name).generation for name in inputs if level_of(name) == level)
    generation = max(beside, default=0) + 1
    tombstones = sum(row.head is None for row in content.confirmed)
    digest = hashlib.sha256(data).hexdigest()[:24]
    return f"{level}-{generation:08d}-{len(content.confirmed)}-{tombstones}-{len(content.intents)}-{digest}"


def split_name(name: str) -> SegmentName:
    """Return the figures in the name of a segment.

    Raises:
        StoreCorruptError: it is not the name of a segment.
    """
    try:
        level, generation, rows, tombstones, intents, _ = name.split("-")
        return SegmentName(int(level), int(generation), int(rows), int(tombstones), int(intents))
    except ValueError as error:
        raise StoreCorruptError(f"the log holds an object with the strange name {name!r}: remove it") from error


def rows_of(name: str) -> int:
    """Return how many rows an object has, by its name."""
    if is_segment(name):
        parts = split_name(name)
        return parts.rows + parts.intents
    last = name.rpartition("-")[2]
    return int(last) if last.isdigit() else 1


def level_of(name: str) -> int:
    """Return 0 for an entry, 1 and up for a segment."""
    return int(name[0]) if name[:1].isdigit() and name[1:2] == "-" else 0


def is_segment(name: str) -> bool:
    """Return True for an object that was made by compacting."""
    return level_of(name) > 0
