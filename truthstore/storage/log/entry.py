"""The objects of a log: what they hold, how they are written, and how they are named.

An index object holds *facts* (the body of an id was this, at some time), *intents* (somebody may be replacing the body
of an id), its *coverage* (the names that it replaces) and a *floor* (a put with a stamp at or below it that this object
does not hold may have been deleted and forgotten). Names are never used twice with another content. They sort by level,
then by age: a list in ascending order shows entries before segments, and a segment after what it was made from.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.model.encoding import plain
from truthstore.model.record import NO_ANNOTATIONS, Annotations, FieldValue, Meta, Record, Revision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from truthstore.model.collection import Collection

__all__ = [
    "Fact",
    "Head",
    "Intent",
    "LogObject",
    "SegmentName",
    "entry_name",
    "fact_of",
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
_PREFIX: Final = struct.Struct(">4sBI")


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What queries need of an item, as an index object holds it; see `Meta`.

    Attributes:
        shape: fingerprint of the collection whose fields these are.
    """

    fields: dict[str, FieldValue]
    tags: dict[str, str]
    text: str
    size: int
    encoding: str
    encodings: tuple[str, ...]
    stored_at: int
    deleted: bool
    annotations: bytes
    shape: str


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """The body of an id had this stamp and this write id at some time; without a head it was a marker."""

    id: str
    stamp: int
    revision: Revision
    head: Head | None

    @property
    def rank(self) -> tuple[int, str]:
        """Of two facts about one id the one with the larger rank is the later one."""
        return self.stamp, self.revision


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """Somebody may be replacing the body that has the stamp `base` by one with the stamp `stamp`."""

    id: str
    base: int
    stamp: int
    revision: Revision
    live: bool


class LogObject(msgspec.Struct, frozen=True):
    """An entry, or a segment that replaces other objects."""

    facts: tuple[Fact, ...] = ()
    intents: tuple[Intent, ...] = ()
    coverage: frozenset[str] = frozenset()
    floor: int = 0


class _Opening(msgspec.Struct, frozen=True, array_like=True):
    """What stands at the beginning of an object."""

    coverage: list[str]
    floor: int


class _Rows(msgspec.Struct, frozen=True, array_like=True):
    facts: tuple[Fact, ...]
    intents: tuple[Intent, ...]


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_opening: Final = msgspec.msgpack.Decoder(_Opening).decode
_unpack_rows: Final = msgspec.msgpack.Decoder(_Rows).decode
_to_json: Final = msgspec.json.Encoder(enc_hook=plain, order="sorted").encode


def fact_of(record: Record, stamp: int, collection: Collection[Any]) -> Fact:
    """The fact that a live body is this record."""
    meta = record.meta
    annotations = _to_json(dict(meta.annotations)) if meta.annotations else b""
    head = Head(
        dict(meta.fields),
        dict(meta.tags),
        meta.text,
        meta.size,
        meta.encoding,
        meta.encodings,
        meta.stored_at,
        meta.deleted,
        annotations,
        collection.fingerprint,
    )
    return Fact(meta.id, stamp, record.revision, head)


def record_of(fact: Fact, head: Head) -> Record:
    """The record, without its body, that a fact about a live body tells of."""
    annotations: Annotations = msgspec.json.decode(head.annotations) if head.annotations else NO_ANNOTATIONS
    meta = Meta(
        fact.id,
        fields=head.fields,
        tags=head.tags,
        text=head.text,
        size=head.size,
        encoding=head.encoding,
        encodings=head.encodings,
        stored_at=head.stored_at,
        deleted=head.deleted,
        annotations=annotations,
    )
    return Record(meta, None, fact.revision)


def write_log_object(content: LogObject) -> bytes:
    """The bytes of an index object; the same for the same content."""
    opening = _pack(_Opening(sorted(content.coverage), content.floor))
    facts = tuple(sorted(content.facts, key=lambda fact: (fact.id, *fact.rank)))
    intents = tuple(sorted(content.intents, key=lambda intent: (intent.id, intent.stamp, intent.revision)))
    return _PREFIX.pack(MAGIC, VERSION, len(opening)) + opening + zlib.compress(_pack(_Rows(facts, intents)), 6)


def read_log_object(data: bytes, name: str) -> LogObject:
    """The index object that some bytes hold.

    Raises:
        StoreCorruptError: they are damaged.
        StoreConfigError: a newer version of this library wrote them.
    """
    try:
        magic, version, length = _PREFIX.unpack_from(data)
        if magic != MAGIC:
            raise StoreCorruptError(f"{name} is no index object: call rebuild_index()")
        if version > VERSION:
            raise StoreConfigError(
                f"{name} has format {version}, this library reads up to {VERSION}: upgrade truthstore"
            )
        opening = _unpack_opening(data[_PREFIX.size : _PREFIX.size + length])
        rows = _unpack_rows(zlib.decompress(data[_PREFIX.size + length :]))
    except (struct.error, zlib.error, msgspec.MsgspecError) as error:
        raise StoreCorruptError(f"the index object {name} is damaged ({error}): call rebuild_index()") from error
    return LogObject(rows.facts, rows.intents, frozenset(opening.coverage), opening.floor)


def entry_name(milliseconds: int, revision: Revision, content: LogObject) -> str:
    """A name for a new entry: nobody else makes the same one."""
    return f"0-{milliseconds:013d}-{revision}-{len(content.facts) + len(content.intents)}"


class SegmentName(NamedTuple):
    """What the name of a segment tells."""

    level: int
    generation: int
    rows: int
    tombstones: int
    intents: int


def segment_name(content: LogObject, data: bytes, inputs: Iterable[str]) -> str:
    """The name of a segment with this content: it sorts after its inputs."""
    levels = [level_of(name) for name in inputs]
    level = min(max(levels) + 1, TOP_LEVEL)
    beside = (split_name(name).generation for name in inputs if level_of(name) == level)
    generation = max(beside, default=0) + 1
    tombstones = sum(fact.head is None for fact in content.facts)
    digest = hashlib.sha256(data).hexdigest()[:24]
    return f"{level}-{generation:08d}-{len(content.facts)}-{tombstones}-{len(content.intents)}-{digest}"


def split_name(name: str) -> SegmentName:
    """What the name of a segment tells.

    Raises:
        StoreCorruptError: it is not the name of a segment.
    """
    try:
        level, generation, rows, tombstones, intents, _ = name.split("-")
        return SegmentName(int(level), int(generation), int(rows), int(tombstones), int(intents))
    except ValueError as error:
        raise StoreCorruptError(f"the log holds an object with the strange name {name!r}: remove it") from error


def rows_of(name: str) -> int:
    """How many rows an object has, as its name tells."""
    if is_segment(name):
        parts = split_name(name)
        return parts.rows + parts.intents
    last = name.rpartition("-")[2]
    return int(last) if last.isdigit() else 1


def level_of(name: str) -> int:
    """0 for an entry, 1 and up for a segment."""
    return int(name[0]) if name[:1].isdigit() and name[1:2] == "-" else 0


def is_segment(name: str) -> bool:
    """Whether an object was made by folding."""
    return level_of(name) > 0
