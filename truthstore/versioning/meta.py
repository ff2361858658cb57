"""Store versions as records.

The newest version of an item is the item itself, its head. Each version before it is a record of the collection
``<collection>.versions``, under the item's id and the version's number, with the revision of the head that it copies. A
record's annotations hold the version's `VersionMeta`. All numbers of an item come from its head, which is replaced by
compare-and-set, so no number is given twice. A copy beside a head with the same number was left by a crash between the two
writes: readers skip it, and the next save finds it in its place.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreCorruptError, StoreWriteError, shown
from truthstore.model.collection import Collection, Derivation
from truthstore.model.encoding import finite, plain
from truthstore.model.fields import check_string
from truthstore.model.query import from_microseconds
from truthstore.model.record import FieldValue, Options, Record
from truthstore.versioning.base import VersionInfo

if TYPE_CHECKING:
    from truthstore.versioning.base import VersioningConfig
    from truthstore.versioning.strategies import VersioningStrategy

__all__ = [
    "ITEM",
    "KEY",
    "NUMBER",
    "VersionMeta",
    "VersionOptions",
    "as_version",
    "check_version",
    "copy_of",
    "history_of",
    "tombstone",
    "version_id",
    "version_meta",
    "with_version",
]

KEY: Final = "versioning"
KEPT: Final = "kept"
ITEM: Final = "item"
NUMBER: Final = "number"
LONGEST_PLAIN_ID: Final = 1_000
LABEL_LENGTH: Final = 7


class VersionMeta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Annotation of a record: its version.

    Attributes:
        number: its number.
        at: time of the save, UTC microseconds.
        by: author.
        message: reason.
        metadata: further values given with the save.
        parent: number of the version before.
        checksum: of its body.
        size: length of its body in bytes.
        changes: parts that differ from the version before.
        last: the greatest number given so far if it is not its own, because newer versions were deleted.
        purged: of a tombstone: its history is being deleted too.
    """

    number: int
    at: int
    by: str | None = None
    message: str | None = None
    metadata: dict[str, Any] = {}
    parent: int | None = None
    checksum: str | None = None
    size: int = 0
    changes: list[str] = []
    last: int = 0
    purged: bool = False

    @property
    def latest(self) -> int:
        """The greatest number given so far."""
        return max(self.number, self.last)

    def info(self, item_id: str, strategy: VersioningStrategy, *, by_content: bool) -> VersionInfo:
        """Build the public value."""
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


class VersionOptions(NamedTuple):
    """Options of a save that describe its version."""

    message: str | None = None
    created_by: str | None = None
    metadata: Mapping[str, Any] = {}
    expected: int | str | None = None

    @classmethod
    def of(cls, options: Options, config: VersioningConfig) -> VersionOptions:
        """Check the options of a save; those of other layers are ignored.

        Raises:
            StoreWriteError: a message is missing, or one of the values cannot be stored.
            TypeError: a value of the wrong type.
        """
        message, created_by, metadata = (options.get(name) for name in ("message", "created_by", "metadata"))
        for name, value in (("message", message), ("created_by", created_by)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a string, not {type(value).__name__}")
            if value is not None:
                check_string(value)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata is a dict, not {type(metadata).__name__}")
        expected = check_version(options.get("expected_version"), "expected_version")
        if config.require_message and not message:
            raise StoreWriteError("this store requires the reason of every save: save(item, message=…)")
        return cls(message, created_by, _json(metadata) if metadata else {}, expected)


def check_version(version: Any, name: str = "version") -> int | str | None:
    """Return a version given as an option.

    Raises:
        TypeError: it is neither a number nor a label.
    """
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | str)):
        raise TypeError(f"{name} is a number or its label, not {type(version).__name__}")
    return version


def _json(metadata: Mapping[str, Any]) -> dict[str, Any]:
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


@functools.cache
def _declared(name: str) -> Collection[Any]:
    return Collection.of_records(name, index={ITEM: str, NUMBER: int}, lookups=[(ITEM, NUMBER)])


def history_of(collection: Collection[Any]) -> Collection[Any]:
    """Return the collection of the older versions of a collection's items."""
    return _declared(collection.derived("versions"))


def version_id(item_id: str, number: int) -> str:
    """Build the id of a version, unique among all items and versions.

    It ends with the number, or, if the item's id is very long, with a hash.
    """
    if len(item_id) <= LONGEST_PLAIN_ID:
        return f"{item_id}@{number}"
    digest = hashlib.sha256(item_id.encode(errors="surrogatepass")).hexdigest()
    return f"{number}@{item_id[:800]}#{digest}"


def version_meta(record: Record) -> VersionMeta | None:
    """Return the version of a record, or None if it was written without this layer.

    Raises:
        StoreCorruptError: it cannot be read.
    """
    kept = record.meta.annotations.get(KEY)
    if kept is None:
        return None
    try:
        return msgspec.convert(kept, VersionMeta)
    except msgspec.ValidationError as error:
        raise StoreCorruptError(
            f"the version of {shown(record.id)} is damaged: {error}", identifier=record.id
        ) from error


def with_version(record: Record, version: VersionMeta) -> Record:
    """Annotate a record with its version."""
    annotations = {**record.meta.annotations, KEY: msgspec.to_builtins(version)}
    return Record(record.meta.replace(annotations=annotations), record.body, record.revision)


def tombstone(collection: Collection[Any], item_id: str, version: VersionMeta) -> Record:
    """Build the head of a deleted item."""
    meta = collection.empty_meta(item_id, deleted=True, stored_at=time_ns() // 1_000)
    return with_version(Record(meta, b""), version)


def copy_of(head: Record, collection: Collection[Any], version: VersionMeta) -> Record:
    """Build the record that keeps a head as an older version: its body, its revision, and the parts of the head not in the body."""
    meta = head.meta
    kept: dict[str, Any] = {}
    if meta.derivable and not collection.opaque:
        with suppress(StoreCorruptError):  # a body that is no item of this collection is kept as well as any other
            kept["times"] = {name: value for name, value in collection.times(meta.fields).items() if value is not None}
    else:
        kept["fields"] = {
            name: finite(value) if isinstance(value, float) else value for name, value in meta.fields.items()
        }
        kept["tags"] = dict(meta.tags)
        kept["text"] = meta.text
    copied = meta.replace(
        id=version_id(head.id, version.number),
        derive=None,
        fields={ITEM: head.id, NUMBER: version.number},
        tags={},
        text="",
        annotations={**meta.annotations, KEY: {**msgspec.to_builtins(version), KEPT: kept}},
    )
    return Record(copied, head.body, head.revision)


def as_version(copied: Record, collection: Collection[Any]) -> Record:
    """Restore the head from its copy."""
    meta = copied.meta
    version = dict(meta.annotations[KEY])
    kept = version.pop(KEPT, {})
    if "fields" in kept:
        fields = {name: _field(collection, name, value) for name, value in kept["fields"].items()}
        restored = meta.replace(fields=fields, tags=kept["tags"], text=kept["text"])
    else:
        derive = Derivation(collection, copied.body or b"", meta.encoding, kept.get("times"))
        restored = meta.replace(fields=None, tags=None, text=None, derive=derive)
    restored = restored.replace(id=str(meta.fields[ITEM]), annotations={**meta.annotations, KEY: version})
    return Record(restored, copied.body, copied.revision)


def _field(collection: Collection[Any], name: str, value: FieldValue) -> FieldValue:
    # JSON has no infinity: it is kept in a string.
    field = collection.fields.get(name)
    return float(value) if isinstance(value, str) and field is not None and field.type is float else value
