"""The parts of a `Meta` as every stored form holds them, and whole records as bytes for a shared cache or a queue.

There is one list of these parts: a document's head, a row of the log and a packed record take it from here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from truthstore.errors import StoreCorruptError
from truthstore.model.record import NO_ANNOTATIONS, FieldValue, Meta, Record
from truthstore.model.values import plain

__all__ = ["MetaParts", "PackedMeta", "meta_of", "pack", "packed_parts", "unpack"]

VERSION: Final = 2


class MetaParts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parts of a `Meta` beside its id, named alike; the base of what is stored as JSON."""

    fields: dict[str, FieldValue] = {}
    tags: dict[str, str] = {}
    text: str = ""
    size: int = 0
    encoding: str = "json"
    encodings: tuple[str, ...] = ()
    stored_at: int = 0
    deleted: bool = False
    annotations: Any = {}


class PackedMeta(MetaParts, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """The same as a MessagePack array. Annotations are JSON, whose integers have no limit."""

    annotations: bytes = b""


class _PackedRecord(msgspec.Struct, array_like=True, omit_defaults=True):
    version: int
    id: str
    revision: str
    body: bytes | None
    meta: PackedMeta
    rows: bytes | None = None


_to_json: Final = msgspec.json.Encoder(enc_hook=plain, order="sorted").encode
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_PackedRecord).decode


def packed_parts(meta: Meta) -> dict[str, Any]:
    """Return the parts of a meta by name, for a `PackedMeta`; raise as `Meta.parts` does."""
    parts = meta.parts()
    parts["annotations"] = _to_json(parts["annotations"]) if parts["annotations"] else b""
    return parts


def meta_of(id: str, parts: MetaParts, **changes: Any) -> Meta:
    """Return the meta that has these parts, but for some changes."""
    values = {name: getattr(parts, name) for name in MetaParts.__struct_fields__}
    annotations = values["annotations"]
    if not annotations:
        values["annotations"] = NO_ANNOTATIONS
    elif isinstance(annotations, bytes):
        values["annotations"] = msgspec.json.decode(annotations)
    values.update(changes)
    return Meta(id, **values)


def pack(record: Record) -> bytes:
    """Return the bytes of a record; raise as `Meta.parts` does."""
    meta = PackedMeta(**packed_parts(record.meta))
    rows = record.meta.rows if record.meta.encodings else None  # else they can be made of the body
    return _encode(_PackedRecord(VERSION, record.id, record.revision, record.body, meta, rows))


def unpack(data: bytes) -> Record:
    """Return the record that `pack` was given.

    Raises:
        StoreCorruptError: the bytes are damaged, or another version of this library made them.
    """
    try:
        packed = _decode(data)
        meta = meta_of(packed.id, packed.meta, rows=packed.rows)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"not a record packed by this version: {error}") from error
    if packed.version != VERSION:
        raise StoreCorruptError(f"a packed record of version {packed.version}: this library reads {VERSION}")
    return Record(meta, packed.body, packed.revision)
