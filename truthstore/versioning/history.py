"""How versions lie in the store.

The newest version of an item is the item itself, its head. Each version before it is a record of the collection
``<collection>.versions``, under the item's id and the version's number. What is known of a version stands in the
record's annotations, as a `Stamp`. The numbers of an item all come from its head, which is replaced by compare-and-set:
so no number is given twice. A copy beside a head with the same number is what a crash between the two left behind; it is
not looked at, and the next save finds it in its place.
"""

from __future__ import annotations

import functools
import hashlib
from contextlib import suppress
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreCorruptError, StoreWriteError
from truthstore.model.collection import Collection, Derivation
from truthstore.model.encoding import finite, plain
from truthstore.model.query import from_microseconds
from truthstore.model.record import FieldValue, Meta, Record, new_revision
from truthstore.versioning.base import VersionInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truthstore.versioning.strategies import VersioningStrategy

__all__ = [
    "KEY",
    "Stamp",
    "as_version",
    "copy_of",
    "plain_metadata",
    "stamp_of",
    "stamped",
    "tombstone",
    "version_id",
    "versions_of",
]

KEY: Final = "versioning"
KEPT: Final = "kept"
ITEM: Final = "item"
NUMBER: Final = "number"
LONGEST_PLAIN_ID: Final = 1_000
LABEL_LENGTH: Final = 7


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is kept with each version.

    Attributes:
        number: its number.
        at: when it was saved, UTC microseconds.
        uid: tells it from every other version.
        by: who saved it.
        message: why.
        metadata: what else was said.
        parent: number of the version before.
        checksum: of its body.
        size: length of its body.
        changes: parts that differ from the version before.
        last: the greatest number given so far, where that is not its own: newer versions were deleted one by one.
        since: versions with smaller numbers are on their way out: the item was removed with its history.
        purged: of a tombstone: the history goes too.
    """

    number: int
    at: int
    uid: str
    by: str | None = None
    message: str | None = None
    metadata: dict[str, Any] = {}
    parent: int | None = None
    checksum: str | None = None
    size: int = 0
    changes: list[str] = []
    last: int = 0
    since: int = 0
    purged: bool = False

    @property
    def latest(self) -> int:
        """The greatest number given so far."""
        return max(self.number, self.last)

    def info(self, item_id: str, strategy: VersioningStrategy, *, by_content: bool) -> VersionInfo:
        """What users see of it."""
        label = self.checksum[:LABEL_LENGTH] if by_content and self.checksum else strategy.format_version(self.number)
        return VersionInfo(
            self.number,
            item_id,
            from_microseconds(self.at),
            self.by,
            self.message,
            self.parent,
            self.metadata,
            self.checksum,
            self.size,
            label,
            tuple(self.changes),
        )


@functools.cache
def _declared(name: str) -> Collection[Any]:
    return Collection.of_records(name, index={ITEM: str, NUMBER: int}, lookups=[(ITEM, NUMBER)])


def versions_of(collection: Collection[Any]) -> Collection[Any]:
    """The collection that holds the older versions of a collection's items."""
    return _declared(collection.derived("versions"))


def version_id(item_id: str, number: int) -> str:
    """The id of a version: no other item, and no other version, has the same.

    It ends with the number, or, where the item's id is very long, with a hash.
    """
    if len(item_id) <= LONGEST_PLAIN_ID:
        return f"{item_id}@{number}"
    digest = hashlib.sha256(item_id.encode(errors="surrogatepass")).hexdigest()
    return f"{number}@{item_id[:800]}#{digest}"


def stamp_of(record: Record) -> Stamp | None:
    """The stamp of a record, or None if it was written without this layer.

    Raises:
        StoreCorruptError: it cannot be read.
    """
    kept = record.meta.annotations.get(KEY)
    if kept is None:
        return None
    try:
        return msgspec.convert(kept, Stamp)
    except msgspec.ValidationError as error:
        raise StoreCorruptError(
            f"the version of {record.id!r:.90} is damaged: {error}", identifier=record.id
        ) from error


def first_stamp(record: Record, number: int) -> Stamp:
    """The stamp of a record that was written without this layer."""
    return Stamp(number, record.meta.stored_at, record.revision, size=record.meta.size)


def stamped(record: Record, stamp: Stamp) -> Record:
    """The record with a stamp."""
    annotations = {**record.meta.annotations, KEY: msgspec.to_builtins(stamp)}
    return Record(record.meta.replace(annotations=annotations), record.body, record.revision)


def tombstone(collection: Collection[Any], item_id: str, stamp: Stamp) -> Record:
    """The head of an item that was removed."""
    meta = collection.empty_meta(item_id, deleted=True, stored_at=time_ns() // 1_000)
    return stamped(Record(meta, b""), stamp)


def new_uid() -> str:
    """Tells a version from every other one."""
    return new_revision()


def copy_of(head: Record, collection: Collection[Any], stamp: Stamp) -> Record:
    """The record that keeps a head as an older version: its body as it is, and beside it what the body does not tell."""
    meta = head.meta
    kept: dict[str, Any] = {"revision": head.revision}
    if meta.derivable and not collection.opaque:
        with suppress(StoreCorruptError):  # a body that is no item of this collection is kept as well as any other
            kept["times"] = {name: value for name, value in collection.times(meta.fields).items() if value is not None}
    else:
        kept["fields"] = {name: _plain_field(value) for name, value in meta.fields.items()}
        kept["tags"] = dict(meta.tags)
        kept["text"] = meta.text
    annotations = {**meta.annotations, KEY: {**msgspec.to_builtins(stamp), KEPT: kept}}
    copied = Meta(
        version_id(head.id, stamp.number),
        fields={ITEM: head.id, NUMBER: stamp.number},
        tags={},
        text="",
        size=meta.size,
        encoding=meta.encoding,
        encodings=meta.encodings,
        stored_at=meta.stored_at,
        annotations=annotations,
    )
    return Record(copied, head.body)


def as_version(copied: Record, collection: Collection[Any]) -> Record:
    """The record as it was when it was the head."""
    meta = copied.meta
    body = copied.body or b""
    stamp = dict(meta.annotations[KEY])
    kept = stamp.pop(KEPT, {})
    told = "fields" in kept
    fields = kept.get("fields", {})
    restored = Meta(
        str(meta.fields[ITEM]),
        fields={name: _field(collection, name, value) for name, value in fields.items()} if told else None,
        tags=kept["tags"] if told else None,
        text=kept["text"] if told else None,
        derive=None if told else Derivation(collection, body, meta.encoding, kept.get("times")),
        size=meta.size,
        encoding=meta.encoding,
        encodings=meta.encodings,
        stored_at=meta.stored_at,
        annotations={**meta.annotations, KEY: stamp},
    )
    return Record(restored, copied.body, kept.get("revision", copied.revision))


def _plain_field(value: FieldValue) -> FieldValue:
    return finite(value) if isinstance(value, float) else value


def _field(collection: Collection[Any], name: str, value: FieldValue) -> FieldValue:
    # JSON has no infinity: it is kept in a string.
    field = collection.fields.get(name)
    return float(value) if isinstance(value, str) and field is not None and field.type is float else value


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a save as JSON can hold it.

    Raises:
        StoreWriteError: it cannot.
    """
    try:
        builtins: dict[str, Any] = _finite(msgspec.to_builtins(dict(metadata), str_keys=True, enc_hook=plain))
        msgspec.json.encode(builtins)  # a lone surrogate, for one, is found only here
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreWriteError(f"the metadata of a version cannot be stored: {error}") from error
    return builtins


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
