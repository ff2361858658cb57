"""The objects of a log: their content, bytes and names.

An index object holds *confirmed* rows (the body of an id was this, at some time), *intents* (a writer may be replacing
the body of an id), its *coverage* (the names that it replaces) and a *floor* (a put with a stamp at or below it that this
object does not hold may have been deleted and forgotten). A row that waited for the next entry of its writer is *late*: it
counts where the intent that announced it is known, too, for the store may have been restored meanwhile. Names are never used twice with another content. They sort by
level, then by age: a list in ascending order shows entries before segments, and a segment after what it was made from.
"""

from __future__ import annotations

import hashlib
import re
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
    "ObjectName",
    "confirmed_of",
    "entry_name",
    "is_object_name",
    "is_segment",
    "read_log_object",
    "record_of",
    "segment_name",
    "split_name",
    "write_log_object",
]

MAGIC: Final = b"\x89TSL"
PREFIX: Final = MAGIC + b"\2"
"""The beginning of every index object, with the version of its format."""
TOP_LEVEL: Final = 9
MAX_BYTES: Final = 1 << 30
_NAME: Final = re.compile(r"\d-\d+-\d+-\d+-\d+-[0-9a-f]+")
NO_BODY: Final = 0
ANY_BODY: Final = -1


class Head(PackedMeta, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """The head of an item as an index object holds it.

    Attributes:
        shape: fingerprint of the collection whose fields these are.
        rows: the rows of the item; None if they are to be made from the body.
    """

    shape: str = ""
    rows: bytes | None = None


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


class LogObject(msgspec.Struct, frozen=True, array_like=True):
    """An entry, or a segment that replaces other objects."""

    confirmed: tuple[Confirmed, ...] = ()
    intents: tuple[Intent, ...] = ()
    coverage: frozenset[str] = frozenset()
    floor: int = 0
    late: tuple[Confirmed, ...] = ()


_pack: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_unpack: Final = msgspec.msgpack.Decoder(LogObject).decode


def confirmed_of(record: Record, stamp: int, collection: Collection[Any]) -> Confirmed:
    """Return the row for a live body that is this record."""
    rows = None if collection.projection is None else record.meta.rows
    head = Head(**packed_parts(record.meta), shape=collection.fingerprint, rows=rows)
    return Confirmed(record.id, stamp, record.revision, head)


def record_of(row: Confirmed, head: Head) -> Record:
    """Return the record, without its body, of a row about a live body."""
    return Record(meta_of(row.id, head, rows=head.rows), None, row.revision)


def write_log_object(content: LogObject) -> bytes:
    """Return the bytes of an index object; the same for the same content."""
    confirmed, late = (
        tuple(sorted(rows, key=lambda row: (row.id, *row.rank))) for rows in (content.confirmed, content.late)
    )
    intents = tuple(sorted(content.intents, key=lambda intent: (intent.id, intent.stamp, intent.revision)))
    return PREFIX + zlib.compress(_pack(LogObject(confirmed, intents, content.coverage, content.floor, late)), 6)


def read_log_object(data: bytes, name: str) -> LogObject:
    """Return the index object in some bytes.

    Raises:
        StoreCorruptError: they are damaged.
        StoreConfigError: another version of this library wrote them.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise StoreCorruptError(f"{name} is no index object: call rebuild_index()")
    if data[: len(PREFIX)] != PREFIX:
        raise StoreConfigError(
            f"the index object {name} has a format of another version of truthstore: use that one, or, if none wrote it,"
            " remove the object and call rebuild_index()"
        )
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data[len(PREFIX) :], MAX_BYTES)
        if not stream.eof:  # without its end nobody knows whether it is what was written
            raise StoreCorruptError(
                f"the index object {name} is damaged (it is cut short, or expands too far): call rebuild_index()"
            )
        return _unpack(plain)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise StoreCorruptError(f"the index object {name} is damaged ({error}): call rebuild_index()") from error


class ObjectName(NamedTuple):
    """The figures in the name of an index object: entries have the level 0, and their time in milliseconds as age."""

    level: int
    age: int
    confirmed: int
    tombstones: int
    intents: int

    @property
    def rows(self) -> int:
        """How many rows the object has."""
        return self.confirmed + self.intents


def entry_name(milliseconds: int, revision: Revision, content: LogObject) -> str:
    """Return a name for a new entry, which no other writer makes."""
    return _name(0, milliseconds, content, revision)


def segment_name(content: LogObject, data: bytes, inputs: Iterable[str]) -> str:
    """Return the name of a segment with this content: it sorts after its inputs."""
    names = [split_name(name) for name in inputs]
    level = min(max(name.level for name in names) + 1, TOP_LEVEL)
    age = max((name.age for name in names if name.level == level), default=0) + 1
    return _name(level, age, content, hashlib.sha256(data).hexdigest()[:24])


def _name(level: int, age: int, content: LogObject, unique: str) -> str:
    rows = (*content.confirmed, *content.late)
    tombstones = sum(row.head is None for row in rows)
    return f"{level}-{age:013d}-{len(rows)}-{tombstones}-{len(content.intents)}-{unique}"


def is_object_name(name: str) -> bool:
    """Return False for what other programs put among the index objects, such as the marker of a folder."""
    return _NAME.fullmatch(name) is not None


def split_name(name: str) -> ObjectName:
    """Return the figures in the name of an index object."""
    return ObjectName(*map(int, name.split("-")[:5]))


def is_segment(name: str) -> bool:
    """Return True for an object that was made by compacting."""
    return name[:1] != "0"
