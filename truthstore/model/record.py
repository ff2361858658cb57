"""Records, which move between layers: a queryable head (`Meta`), a body of bytes, and a revision.

Wrappers and backends see only these; Python objects exist above the outermost store.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import partial
from os import urandom
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from truthstore.errors import StoreError

__all__ = [
    "ABSENT",
    "ANY",
    "AS_STORED",
    "NONE",
    "Annotations",
    "Change",
    "Condition",
    "Expect",
    "FieldValue",
    "Listed",
    "Meta",
    "Options",
    "Record",
    "Revision",
    "new_revision",
]

FieldValue: TypeAlias = str | int | float | bool | None
"""A declared field as it is indexed. Times are UTC microseconds since 1970."""

Revision: TypeAlias = str
"""A write id: chosen by the writer, unique, stored with the document. Equal revisions mean the same write."""

Options: TypeAlias = Mapping[str, Any]
"""Per-call options on their way to the layer that declares them."""

Annotations: TypeAlias = Mapping[str, Any]
"""What wrappers add to a record: JSON values under the wrapper's own key."""

NONE: Final[Options] = MappingProxyType({})
"""No options."""

AS_STORED: Final[Options] = MappingProxyType({"as_stored": True})
"""Options of a call that moves records between stores: a layer gives and takes them as they are stored below it, and makes
nothing of its own of them, no version and no tombstone. No public operation takes it."""

NO_ANNOTATIONS: Final[Annotations] = MappingProxyType({})


class Condition(enum.Enum):
    """A condition on the stored item that is not a revision."""

    ANY = "ANY"
    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        return self.name


ANY: Final = Condition.ANY
"""Write whatever is stored now."""

ABSENT: Final = Condition.ABSENT
"""Write only if no item has this id."""

Expect: TypeAlias = Condition | Revision
"""`ANY`, `ABSENT`, or the revision that must be stored now."""


class Derive(Protocol):
    """The way from a body to the parts of its head that are not there yet: a `Derivation` of a collection."""

    def fields_and_tags(self) -> tuple[Mapping[str, FieldValue], Mapping[str, str]]:
        """Return the fields and the tags."""
        ...

    def text(self) -> str:
        """Return the words for full-text queries."""
        ...

    def rows(self) -> bytes | None:
        """Return the rows, packed; None where the body cannot be read."""
        ...

    def kept(self) -> Mapping[str, FieldValue]:
        """Return the times that are known without reading the body."""
        ...


class Meta:
    """The small, queryable part of a record.

    Fields, tags and text of a plain document can be derived from its body; they are then parsed when first asked for.

    Attributes:
        id: the item's id.
        size: length of the body in bytes.
        encodings: what was done to the body after it was serialised, innermost first (``("zstd", "aes-gcm")``).
        encoding: how the innermost body is serialised: ``json``, ``msgpack`` or ``yaml``.
        stored_at: when this revision was written, UTC microseconds.
        deleted: whether this is a tombstone that a layer keeps.
        annotations: the additions of wrappers.
    """

    __slots__ = (
        "_derive",
        "_fields",
        "_rows",
        "_tags",
        "_text",
        "annotations",
        "deleted",
        "encoding",
        "encodings",
        "id",
        "size",
        "stored_at",
    )

    def __init__(
        self,
        id: str,
        fields: Mapping[str, FieldValue] | None = None,
        tags: Mapping[str, str] | None = None,
        text: str | None = None,
        size: int = 0,
        encoding: str = "json",
        encodings: tuple[str, ...] = (),
        stored_at: int = 0,
        annotations: Annotations = NO_ANNOTATIONS,
        derive: Derive | None = None,
        *,
        deleted: bool = False,
        rows: bytes | None = None,
    ) -> None:
        self.id = id
        self._fields = fields
        self._tags = tags
        self._text = text
        self._rows = rows
        self.size = size
        self.encoding = encoding
        self.encodings = encodings
        self.stored_at = stored_at
        self.deleted = deleted
        self.annotations = annotations
        self._derive = derive

    def _parse(self) -> None:
        derive = self._derive
        if derive is not None:  # else another thread has parsed it meanwhile
            fields, tags = derive.fields_and_tags()
            if self._fields is None:
                self._fields = fields
            if self._tags is None:
                self._tags = tags
            self._release()

    def _release(self) -> None:
        # Last, so that another thread never finds neither the values nor the way to them.
        if not any(part is None for part in (self._fields, self._tags, self._text, self._rows)):
            self._derive = None

    @property
    def fields(self) -> Mapping[str, FieldValue]:
        """The declared fields as they are indexed."""
        if self._fields is None:
            self._parse()
        return self._fields or {}

    @property
    def times(self) -> Mapping[str, FieldValue]:
        """The fields, or those times among them that are known without reading the body."""
        if self._fields is not None or self._derive is None:
            return self._fields or {}
        return self._derive.kept()

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags."""
        if self._tags is None:
            self._parse()
        return self._tags or {}

    @property
    def text(self) -> str:
        """The words for full-text queries, casefolded, separated by spaces."""
        if self._text is None:
            derive = self._derive
            if derive is not None:
                self._text = derive.text()
                self._release()
        return self._text or ""

    @property
    def rows(self) -> bytes | None:
        """The rows of the item as its collection packs them; None if they are to be made from the body."""
        if self._rows is None and (derive := self._derive) is not None:
            self._rows = derive.rows()
            self._release()
        return self._rows

    @property
    def derive(self) -> Derive | None:
        """The way to parts that were not asked for yet."""
        return self._derive

    @property
    def derivable(self) -> bool:
        """True if fields, tags and text can be computed from the body alone."""
        return self.encoding == "json" and not self.encodings and not self.deleted

    def replace(self, **changes: Any) -> Meta:
        """Return a copy with some attributes changed."""
        derive = self._derive  # before the parts that another thread may be deriving with it
        copied = Meta(
            self.id,
            self._fields,
            self._tags,
            self._text,
            self.size,
            self.encoding,
            self.encodings,
            self.stored_at,
            self.annotations,
            derive,
            deleted=self.deleted,
            rows=self._rows,
        )
        for name, value in changes.items():
            setattr(copied, _SLOTS.get(name, name), value)
        return copied

    def parts(self) -> dict[str, Any]:
        """Return what a head says beside its id, by name.

        Raises:
            StoreCorruptError: the fields cannot be derived from the body.
        """
        return {
            "fields": dict(self.fields),
            "tags": dict(self.tags),
            "text": self.text,
            "size": self.size,
            "encoding": self.encoding,
            "encodings": self.encodings,
            "stored_at": self.stored_at,
            "deleted": self.deleted,
            "annotations": dict(self.annotations),
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Meta):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _COMPARED)

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    def __reduce__(self) -> tuple[Any, ...]:
        # The rest is derived now: a collection, which would be needed for it, stays in its process.
        return partial(Meta, self.id, **self.parts(), rows=self.rows if self.encodings else None), ()

    def __repr__(self) -> str:
        try:
            fields = f"fields={dict(self.fields)!r}, tags={dict(self.tags)!r}"
        except StoreError as error:
            fields = f"fields cannot be read: {error}"
        return f"Meta({self.id!r}, size={self.size}, deleted={self.deleted}, {fields})"


_SLOTS: Final = {name: f"_{name}" for name in ("derive", "fields", "rows", "tags", "text")}
_COMPARED: Final = ("id", "fields", "tags", "size", "encoding", "encodings", "stored_at", "deleted", "annotations")
"""Not the text, which belongs to the body."""


def new_revision() -> Revision:
    """Make a write id, unique among all calls, threads and processes."""
    return urandom(12).hex()


class Record(msgspec.Struct, frozen=True, gc=False):
    """One item as layers see it.

    Attributes:
        meta: the queryable head.
        body: the bytes, opaque to every layer but the one that made them; None when this is a head only.
        revision: the write id, chosen by the writer and stored as it is; a new one by default.
    """

    meta: Meta
    body: bytes | None = None
    revision: Revision = msgspec.field(default_factory=new_revision)

    @property
    def id(self) -> str:
        """The item's id."""
        return self.meta.id

    def __repr__(self) -> str:
        body = "None" if self.body is None else f"{len(self.body)} bytes"
        return f"Record({self.meta!r}, body={body}, revision={self.revision!r})"

    def head(self) -> Record:
        """Return the same record without its body."""
        return self if self.body is None else Record(self.meta, None, self.revision)


class Listed(NamedTuple):
    """One record in a listing: enough to compare two stores without a head or a body.

    Attributes:
        id: the item's id.
        revision: its revision.
        size: length of its body in bytes.
    """

    id: str
    revision: Revision
    size: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of one item, announced to subscribers after the write is durable.

    Attributes:
        collection: name of the collection.
        id: the item's id.
        revision: its new revision, or None if it was deleted.
    """

    collection: str
    id: str
    revision: Revision | None

    @classmethod
    def of(cls, collection: str, head: Record) -> Change:
        """Make the change that a head means which was just stored: a tombstone means a removal."""
        return cls(collection, head.meta.id, None if head.meta.deleted else head.revision)
