"""Whole records as bytes, head and all, for places beside the store: a shared cache, a queue."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from truthstore.errors import StoreCorruptError
from truthstore.model.record import FieldValue, Meta, Record

__all__ = ["pack", "unpack"]

VERSION: Final = 1


class _Packed(msgspec.Struct, array_like=True):
    version: int
    id: str
    revision: str
    body: bytes | None
    fields: dict[str, FieldValue]
    tags: dict[str, str]
    text: str
    size: int
    encoding: str
    encodings: tuple[str, ...]
    stored_at: int
    deleted: bool
    annotations: dict[str, Any]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


def pack(record: Record) -> bytes:
    """Return the bytes of a record.

    Raises:
        StoreCorruptError: its fields cannot be derived from its body.
    """
    meta = record.meta
    return _encode(
        _Packed(
            VERSION,
            meta.id,
            record.revision,
            record.body,
            dict(meta.fields),
            dict(meta.tags),
            meta.text,
            meta.size,
            meta.encoding,
            meta.encodings,
            meta.stored_at,
            meta.deleted,
            dict(meta.annotations),
        )
    )


def unpack(data: bytes) -> Record:
    """Return the record that `pack` was given.

    Raises:
        StoreCorruptError: the bytes are damaged, or another version of this library made them.
    """
    try:
        packed = _decode(data)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"not a packed record: {error}") from error
    if packed.version != VERSION:
        raise StoreCorruptError(f"a packed record of version {packed.version}: this library reads {VERSION}")
    meta = Meta(
        packed.id,
        fields=packed.fields,
        tags=packed.tags,
        text=packed.text,
        size=packed.size,
        encoding=packed.encoding,
        encodings=packed.encodings,
        stored_at=packed.stored_at,
        deleted=packed.deleted,
        annotations=packed.annotations,
    )
    return Record(meta, packed.body, packed.revision)
