"""Records to the bytes of one object and back.

A plain JSON body stays plain JSON: the parts that cannot be derived from it are added as one last member, ``_truthstore``. Any
other body gets an envelope: magic, format version, length of the head, the head as JSON, the body. Either way the object
describes itself, so that every index can be rebuilt from the objects alone.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreKeyError, StoreWriteError, shown
from truthstore.model.collection import Collection, Derivation
from truthstore.model.encoding import ADVICE
from truthstore.model.fields import check_id
from truthstore.model.meta_codec import MetaParts, meta_of
from truthstore.model.record import NO_ANNOTATIONS, FieldValue, Meta, Record
from truthstore.model.values import finite, plain

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FORMAT",
    "Document",
    "Lineage",
    "derive_now",
    "parse_document",
    "read_document",
    "revision_of",
    "unpacked",
    "write_document",
]

T = TypeVar("T")

FORMAT: Final = 1
MAGIC: Final = b"\x89TST"
MOST_ROWS: Final = 1 << 30
"""So many bytes of rows at most belong to one item: a forged document can expand a thousandfold."""
_PREFIX: Final = struct.Struct(">4sBI")
_MEMBER: Final = b'"_truthstore":'


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a write stands among the writes of its id; kept with documents whose index is a log.

    Attributes:
        stamp: grows with every write of the id.
        predecessors: the last write ids before this one, newest first.
        stamps: their stamps.
        removed: this is no document but the tombstone that a deleted one leaves.
    """

    stamp: int = 0
    predecessors: tuple[str, ...] = ()
    stamps: tuple[int, ...] = ()
    removed: bool = False


class Document(NamedTuple):
    """A record as an object holds it, and its lineage."""

    record: Record
    lineage: Lineage


class _Tail(msgspec.Struct, omit_defaults=True):
    """The reserved member of a plain document."""

    format: int
    collection: str
    id: str
    stored_at: int
    size: int
    checksum: int
    times: dict[str, int | None] = {}
    annotations: dict[str, Any] = {}
    revision: str = ""
    # Of opaque collections only: the parts that cannot be derived from the body.
    fields: dict[str, FieldValue] | None = None
    tags: dict[str, str] = {}
    lineage: Lineage | None = None


class _Head(MetaParts, frozen=True, kw_only=True, omit_defaults=True):
    """The head of an envelope."""

    format: int
    collection: str
    id: str
    revision: str
    checksum: int
    annotations: dict[str, Any] = msgspec.field(default_factory=dict)
    lineage: Lineage | None = None
    # Where the body is compressed or encrypted: the length that it has then, and the rows, compressed.
    length: int | None = None
    rows: bytes | None = None


_encode: Final = msgspec.json.Encoder(enc_hook=plain).encode
_decode_tail: Final = msgspec.json.Decoder(_Tail).decode
_decode_head: Final = msgspec.json.Decoder(_Head).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, Any]).decode


def write_document(record: Record, collection: Collection[Any], lineage: Lineage | None = None) -> bytes:
    """Return the bytes of one object for a record with body and revision."""
    meta, body = record.meta, record.body or b""
    # A plain object, which has at least one member after which another one can be written.
    if meta.encoding == "json" and not meta.encodings and not meta.deleted and body[:1] == b"{" and b'"' in body:
        opaque = collection.opaque
        tail = _encode(
            _Tail(
                FORMAT,
                collection.name,
                meta.id,
                meta.stored_at,
                len(body),
                zlib.crc32(body),
                {} if opaque else collection.times(meta.fields),
                {} if meta.annotations is NO_ANNOTATIONS else dict(meta.annotations),
                record.revision,
                _plain_fields(meta) if opaque else None,
                dict(meta.tags) if opaque else {},
                lineage,
            )
        )
        if body[-2:] == b"\n}":
            return b'%b,\n  "_truthstore": %b\n}\n' % (body[:-2], tail)
        if body[-1:] == b"}":
            return b'%b,"_truthstore":%b}' % (body[:-1], tail)
    parts: dict[str, Any] = {**meta.parts(), "fields": _plain_fields(meta)}
    if meta.encodings:
        rows = meta.rows
        parts |= {"length": len(body), "rows": None if rows is None else zlib.compress(rows)}
    else:
        parts["size"] = len(body)
    parts |= {"format": FORMAT, "collection": collection.name, "id": meta.id, "revision": record.revision}
    head = _encode(_Head(checksum=zlib.crc32(body), lineage=lineage, **parts))
    return _PREFIX.pack(MAGIC, FORMAT, len(head)) + head + body


def _plain_fields(meta: Meta) -> dict[str, FieldValue]:
    return {name: finite(value) if isinstance(value, float) else value for name, value in meta.fields.items()}


def read_document(
    data: bytes, collection: Collection[Any], id: str | None = None, *, file: str | None = None
) -> Record:
    """Return the record in the bytes of one object; arguments and errors are those of `parse_document`."""
    return parse_document(data, collection, id, file=file).record


def parse_document(
    data: bytes, collection: Collection[Any], id: str | None = None, *, file: str | None = None
) -> Document:
    """Return the record in the bytes of one object, which should have this id or lies in this file, and its lineage.

    Raises:
        StoreCorruptError: the bytes are damaged, or hold another item.
        StoreConfigError: a newer version of this library wrote them.
    """
    document = _read(data, collection, id, file)
    if id is not None and document.record.id != id:
        raise StoreCorruptError(
            f"where {collection.name} {shown(id)} should be, {shown(document.record.id)} was put: remove the copy",
            collection=collection.name,
            identifier=id,
        )
    return document


def derive_now(record: Record, collection: Collection[Any], *, file: str) -> None:
    """Derive the indexed parts of a document that was read, which otherwise happens at their first use.

    Raises:
        StoreCorruptError: it is damaged in a way that its frame does not show.
    """
    try:
        _ = record.meta.fields, record.meta.tags
    except StoreCorruptError as error:
        raise _corrupt(collection, record.id, str(error), file) from error


def _read(data: bytes, collection: Collection[Any], id: str | None, file: str | None) -> Document:
    if data[:4] == MAGIC:
        return _read_envelope(data, collection, id, file)
    if data[-3:] == b"\n}\n":
        before, end, closing, space = 4, -3, b"\n}", b",\n  "
    else:
        before, end, closing, space = 1, -1, b"}", b","
    # The member is the last one. Annotations within it may hold its name too, so the size has to agree.
    position = data.rfind(_MEMBER)
    while position > 0:
        start = position - before
        if data[start:position] == space:
            tail = _tail(data[position + len(_MEMBER) : end])
            if tail is not None and tail.size == start + len(closing):
                if tail.format > FORMAT:
                    raise _newer(tail.format, collection, tail.id)
                return _from_tail(tail, data[:start] + closing, collection)
        position = data.rfind(_MEMBER, 0, position)
    return _read_edited(data, collection, id, file)


def _tail(data: bytes) -> _Tail | None:
    try:
        return _decode_tail(data)
    except msgspec.DecodeError:
        return None


def _from_tail(tail: _Tail, body: bytes, collection: Collection[Any]) -> Document:
    parts: dict[str, Any] = {"size": len(body), "stored_at": tail.stored_at, "annotations": tail.annotations}
    if tail.fields is None:
        parts["derive"] = Derivation(collection, body, "json", tail.times, tail.checksum)
    else:
        parts["fields"] = {name: _field_value(collection, name, value) for name, value in tail.fields.items()}
        parts |= {"tags": tail.tags, "text": ""}
    return Document(Record(Meta(tail.id, **parts), body, tail.revision), tail.lineage or Lineage())


def is_changed(data: bytes, record: Record) -> bool:
    """Return True if a document's body is not the one that was written."""
    if record.body is None:
        return False
    if data[:4] == MAGIC:
        length = _PREFIX.unpack_from(data)[2]
        return _decode_head(data[_PREFIX.size : _PREFIX.size + length]).checksum != zlib.crc32(record.body)
    position = data.rfind(_MEMBER)
    if position < 0:
        return False  # another program wrote it: its revision is made of its content
    try:
        tail = _decode_tail(data[position + 14 :].rstrip()[:-1].rstrip())
    except msgspec.DecodeError:
        return True
    return tail.checksum != zlib.crc32(record.body)


def revision_of(data: bytes) -> str | None:
    """Return the revision that a plain JSON document bears, empty if another program wrote it; None of anything else."""
    try:
        tail = _parsed(data, _decode_members).get("_truthstore")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return str(tail.get("revision", "")) if isinstance(tail, dict) else ""


def _read_envelope(data: bytes, collection: Collection[Any], id: str | None, file: str | None) -> Document:
    try:
        _, version, length = _PREFIX.unpack_from(data)
        if version > FORMAT:
            raise _newer(version, collection, id, file)
        head = _decode_head(data[_PREFIX.size : _PREFIX.size + length])
    except (struct.error, msgspec.DecodeError) as error:
        raise _corrupt(collection, id, f"damaged head: {error}", file) from error
    body = data[_PREFIX.size + length :]
    length = head.size if head.length is None else head.length
    if len(body) != length or zlib.crc32(body) != head.checksum:
        raise _corrupt(
            collection, id, f"body of {len(body)} bytes is not the one of {length} bytes that was written", file
        )
    fields = {name: _field_value(collection, name, value) for name, value in head.fields.items()}
    # Fields that were declared after the document was written are in the body, if it can be read.
    later = (
        not head.encodings and not head.deleted and not collection.opaque and collection.fields.keys() - fields.keys()
    )
    times = {name: value for name, value in collection.times(fields).items() if name in fields}
    derived: dict[str, Any] = {}
    if later:
        derived = {"text": None, "derive": Derivation(collection, body, head.encoding, times)}
    try:
        rows = head.rows if head.rows is None or head.length is None else _expanded(head.rows)
    except zlib.error as error:
        raise _corrupt(collection, id, f"damaged rows: {error}", file) from error
    meta = meta_of(head.id, head, fields=None if later else fields, rows=rows, **derived)
    return Document(Record(meta, body, head.revision), head.lineage or Lineage())


def _expanded(rows: bytes) -> bytes:
    expand = zlib.decompressobj()
    expanded = expand.decompress(rows, MOST_ROWS)
    if not expand.eof:
        raise zlib.error(f"they end too early, or expand to more than {MOST_ROWS:,} bytes")
    return expanded


def _field_value(collection: Collection[Any], name: str, value: FieldValue) -> FieldValue:
    # JSON has no infinity: the head says it in a string.
    field = collection.fields.get(name)
    return float(value) if isinstance(value, str) and field is not None and field.type is float else value


def _read_edited(data: bytes, collection: Collection[Any], id: str | None, file: str | None) -> Document:
    """Read a document that another program wrote, or rewrote: parse it whole, and put it together again."""
    try:
        members = _parsed(data, _decode_members)
        tail = msgspec.convert(members.pop("_truthstore", None), _Tail | None)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _corrupt(collection, id, str(error), file) from error
    if tail is not None and tail.format > FORMAT:
        raise _newer(tail.format, collection, tail.id)
    body = msgspec.json.encode(members)
    if tail is not None:
        return _from_tail(tail, body, collection)
    try:
        item = collection.decode(Record(Meta(id or "?", size=len(body)), body))
        own_id = check_id(collection.id_of(item))
        times = collection.times(collection.fields_of(item))
    except (StoreCorruptError, StoreKeyError, StoreWriteError, TypeError) as error:
        raise _corrupt(collection, id, str(error), file) from error
    # Without a write id of its own, a document is named by its content: the same for every reader.
    revision = "content-" + hashlib.sha256(body).hexdigest()[:24]
    stored_at = (times.get(collection.time) if collection.time else None) or 0
    meta = Meta(own_id, size=len(body), stored_at=stored_at, derive=Derivation(collection, body, "json"))
    return Document(Record(meta, body, revision), Lineage())


def _parsed(data: bytes, decode: Callable[[bytes], T]) -> T:
    """Decode JSON, or what Python's own encoder and some editors make of it.

    Python writes NaN and infinities as bare words: here they become the strings that a `Codec` knows. Editors may put a
    byte order mark before the text.
    """
    try:
        return decode(data)
    except msgspec.ValidationError:
        raise  # it is JSON
    except msgspec.DecodeError as error:
        import json  # few programs meet such a document

        try:
            members = json.loads(data.decode("utf-8-sig"), parse_constant=str, parse_float=_finite_number)
            strict = _encode(members)
        except (ValueError, RecursionError):
            raise error from None
        return decode(strict)


def _finite_number(text: str) -> float | str:
    return finite(float(text))


def _called(collection: Collection[Any], id: str | None, file: str | None) -> str:
    """Return the name of a document for messages."""
    if id is not None:
        return f"{collection.name} {shown(id)}"
    return f"the file {shown(file)} of {collection.name}" if file is not None else f"a document of {collection.name}"


def _corrupt(collection: Collection[Any], id: str | None, detail: str, file: str | None = None) -> StoreCorruptError:
    message = f"{_called(collection, id, file)} is damaged ({detail}): restore it from a backup, or delete it"
    return StoreCorruptError(
        f"{_called(collection, id, file)} cannot be read ({detail})" if ADVICE in detail else message,
        collection=collection.name,
        identifier=id,
    )


def _newer(version: int, collection: Collection[Any], id: str | None, file: str | None = None) -> StoreConfigError:
    return StoreConfigError(
        f"{_called(collection, id, file)} has format {version}, this library reads up to {FORMAT}: upgrade truthstore",
        collection=collection.name,
        identifier=id,
    )


def unpacked(
    data: bytes,
    decompress: Callable[[bytes], bytes],
    collection: Collection[Any],
    id: str | None = None,
    *,
    file: str | None = None,
) -> bytes:
    """Return the document in an object's bytes.

    Raises:
        StoreCorruptError: the bytes are damaged; it names the item, or the file where its id is not known.
    """
    try:
        return decompress(data)
    except StoreCorruptError as error:
        raise _corrupt(collection, id, str(error), file) from error
