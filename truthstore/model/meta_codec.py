"""Whole records as bytes, head and all, for places beside the store: a shared cache, a queue."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from truthstore.errors import StoreCorruptError
from truthstore.model.record import FieldValue, Meta, Record

__all__ = ["pack", "unpack"]

VERSION: Final = 2


class _Packed(msgspec.Struct, array_like=True):
    version: int
    revision: str
    body: bytes | None
    meta: tuple[
        str,
        dict[str, FieldValue],
        dict[str, str],
        str,
        int,
        str,
        tuple[str, ...],
        int,
        dict[str, Any],
        bool,
    ]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


def pack(record: Record) -> bytes:
    """Return the bytes of a record.

    Raises:
        StoreCorruptError: its fields cannot be derived from its body.
    """
    return _encode((VERSION, record.revision, record.body, record.meta.parts()))


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
    return Record(Meta.of(packed.meta), packed.body, packed.revision)
