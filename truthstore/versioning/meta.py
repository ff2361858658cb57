"""Store versions as records.

The newest version of an item is the item itself, its head. Each version before it is a record of the collection
``<collection>.versions``, under the item's id and the version's number, with the revision of the head that it copies. A
record's annotations hold the version's `VersionMeta`. All numbers of an item come from its head, which is replaced by
compare-and-set, so no number is given twice. A copy beside a head with the same number was left by a crash between the two
writes: readers skip it, and the next save finds it in its place.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreCorruptError, StoreWriteError, shown
from truthstore.model.collection import Collection, Derivation
from truthstore.model.encoding import Codec
from truthstore.model.fields import check_string
from truthstore.model.meta_codec import pack, unpack
from truthstore.model.record import Options, Record

if TYPE_CHECKING:
    from truthstore.versioning.base import VersioningConfig

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
    "version_id",
    "version_meta",
    "with_version",
]

KEY: Final = "versioning"
KEPT: Final = "kept"
ITEM: Final = "item"
NUMBER: Final = "number"
LONGEST_PLAIN_ID: Final = 1_000


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
        if not options and not config.require_message:
            return NO_OPTIONS
        for name in ("message", "created_by"):
            value = options.get(name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a string, not {type(value).__name__}")
            check_string(value or "")
        metadata = options.get("metadata")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata is a dict, not {type(metadata).__name__}")
        try:
            stored = msgspec.json.decode(_METADATA.encode(dict(metadata))) if metadata else {}
        except StoreWriteError as error:
            raise StoreWriteError(f"the metadata of a version cannot be stored: {error}") from error
        expected = check_version(options.get("expected_version"), "expected_version")
        if config.require_message and not options.get("message"):
            raise StoreWriteError("this store requires the reason of every save: save(item, message=…)")
        return cls(options.get("message"), options.get("created_by"), stored, expected)


NO_OPTIONS: Final = VersionOptions()
_METADATA: Final = Codec(dict)


def check_version(version: Any, name: str = "version") -> int | str | None:
    """Return a version given as an option.

    Raises:
        TypeError: it is neither a number nor a label.
    """
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | str)):
        raise TypeError(f"{name} is a number or its label, not {type(version).__name__}")
    return version


def history_of(collection: Collection[Any]) -> Collection[Any]:
    """Return the collection of the older versions of a collection's items."""
    return _history(collection.name)


@functools.cache
def _history(name: str) -> Collection[Any]:
    return Collection.of_records(f"{name}.versions", index={ITEM: str, NUMBER: int}, lookups=[(ITEM, NUMBER)])


def version_id(item_id: str, number: int) -> str:
    """Build the id of a version, unique among all items and versions: the number, or for a very long id a hash, ends it."""
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


def copy_of(head: Record, collection: Collection[Any], version: VersionMeta) -> Record:
    """Build the record that keeps a head as an older version: its body, its revision, and what else the head says."""
    meta = head.meta
    kept: dict[str, Any] = {}
    if collection.opaque or meta.encodings:
        kept["head"] = base64.b64encode(pack(head.head())).decode()
    else:
        with suppress(StoreCorruptError):  # a body that is no item of this collection is kept as well as any other
            kept["times"] = dict(collection.times_of(meta))
    copied = meta.replace(
        id=version_id(meta.id, version.number),
        derive=None,
        fields={ITEM: meta.id, NUMBER: version.number},
        tags={},
        text="",
        rows=None,
        annotations={**meta.annotations, KEY: {**msgspec.to_builtins(version), KEPT: kept}},
    )
    return Record(copied, head.body, head.revision)


def as_version(copied: Record, collection: Collection[Any]) -> Record:
    """Restore the head from its copy."""
    meta = copied.meta
    version = dict(meta.annotations[KEY])
    kept = version.pop(KEPT, {})
    annotations = {**meta.annotations, KEY: version}
    if "head" in kept:
        restored = unpack(base64.b64decode(kept["head"])).meta.replace(annotations=annotations)
    else:
        derive = Derivation(collection, copied.body or b"", meta.encoding, kept.get("times"))
        id = str(meta.fields[ITEM])
        restored = meta.replace(id=id, fields=None, tags=None, text=None, derive=derive, annotations=annotations)
    return Record(restored, copied.body, copied.revision)
