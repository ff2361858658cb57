"""Collections: the declaration of how items of one type are stored, with id, indexed fields, tags, time and text."""

from __future__ import annotations

import builtins
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import MAXYEAR, UTC, datetime, timedelta, timezone
from functools import cached_property
from operator import attrgetter
from time import time_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreWriteError, shown
from truthstore.model.attribute_paths import attributes, cannot_be_time, check_path, choices_at, follow, strings
from truthstore.model.encoding import Codec, Encoding, OutgrownError, pretty, to_builtins
from truthstore.model.extraction import Extract, extractor
from truthstore.model.fields import (
    EPOCH,
    FIELD_TYPES,
    MICROSECOND,
    Field,
    check_id,
    check_tags,
    index_value,
    to_microseconds,
)
from truthstore.model.record import NO_ANNOTATIONS, FieldValue, Meta, Record
from truthstore.model.values import set_attribute
from truthstore.model.words import index_text
from truthstore.runtime.recipe import Recipe, make

if TYPE_CHECKING:
    from truthstore.model.projection import Projection

__all__ = ["Collection", "Derivation"]

T = TypeVar("T")
U = TypeVar("U")

OWN_NAMES: Final = frozenset({"results", "suites"})
RESERVED: Final = frozenset({"id", "size", "stored_at", "revision", "deleted", "tags", "text"})

_USER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_.]{0,62}")


class Collection(Recipe, Generic[T]):
    """A named set of items of one type, with the fields that can be queried.

    Make one with `Collection.of`. Two processes that share a store should declare it alike.

    Attributes:
        name: its name, ``[a-z][a-z0-9_]*``; names with a dot are the library's own.
        type: the class of its items.
        fields: the declared fields by name, the time field among them.
        time: name of the field that orders history, or None (then `stored_at` does).
        lookups: field combinations that get an index, each ending with the time.
        opaque: bodies are bytes of some layer; fields and tags come with each record and are kept beside its body.
        projection: how its items become rows, or None.
        rows: the collection of those rows, or None.
    """

    def __init__(
        self,
        type: builtins.type[T],
        *,
        name: str,
        id: str,
        index: Mapping[str, builtins.type | Field],
        time: str | None = None,
        tags: str | None = None,
        text: Sequence[str] = (),
        lookups: Sequence[Sequence[str]] | None = None,
        enc_hook: Callable[[Any], Any] | None = None,
        dec_hook: Callable[[builtins.type, Any], Any] | None = None,
        opaque: bool = False,
        is_canonical: Callable[[T], bool] | None = None,
        rows: Projection | None = None,
    ) -> None:
        if not _OWN_NAME.fullmatch(name):
            raise StoreConfigError(f"{name!r} cannot name a collection")
        declared = _declared_fields(type, name, index, time)
        known = frozenset(attributes(type))
        paths = [] if opaque else [field.path for field in declared.values()]
        for path in (*paths, id, *([tags] if tags else []), *text):
            check_path(name, path, known, type)
        self.name = name
        self.opaque = opaque
        self.type = type
        self.time = time
        self.text = tuple(text)
        self.fields: Mapping[str, Field] = MappingProxyType(declared)
        if lookups is None:
            lookups = [(f,) for f, field in declared.items() if field.indexed and f != time]
        for lookup in lookups:
            for field_name in lookup:
                if field_name not in declared:
                    raise StoreConfigError(f"{name}: lookup of the undeclared field {field_name!r}")
        self.lookups = tuple(tuple(lookup) for lookup in lookups)
        self._codec = Codec(type, enc_hook=enc_hook, dec_hook=dec_hook, is_canonical=is_canonical)
        self._get_id = attrgetter(id)
        self._tags = tags or ""
        self._get_tags = attrgetter(tags) if tags else None
        self._prepare: Callable[[T], None] | None = getattr(type, "_before_save", None)
        self._times = [f for f, field in declared.items() if field.type is datetime]
        self._get_times = [(f, attrgetter(declared[f].path)) for f in self._times]
        self._text_paths = [path.split(".") for path in text]
        self._shape = (
            id,
            time,
            tags,
            self.text,
            sorted((f, d.type.__name__, d.path) for f, d in declared.items()),
            self.lookups,
        )
        self._taken: set[builtins.type] = {type}
        self.projection = rows
        self.rows: Collection[Any] | None = None
        if rows is not None:
            if time is not None and time not in rows.inherits:
                rows = self.projection = replace(rows, inherits=(time, *rows.inherits))
            self.rows = Collection.of_records(
                self.derived(rows.name),
                index=rows.index(declared),
                time=time,
                lookups=tuple(dict.fromkeys(map(tuple, (rows.series, *rows.lookups)))),
            )

    @staticmethod
    def of(
        type: builtins.type[U],
        *,
        id: str = "id",
        name: str | None = None,
        index: Mapping[str, builtins.type | Field] = MappingProxyType({}),
        time: str | None = None,
        tags: str | None = None,
        text: Sequence[str] = (),
        lookups: Sequence[Sequence[str]] | None = None,
        enc_hook: Callable[[Any], Any] | None = None,
        dec_hook: Callable[[builtins.type, Any], Any] | None = None,
        rows: Projection | None = None,
    ) -> Collection[U]:
        """Declare how a msgspec Struct, dataclass or attrs class is stored.

        Args:
            type: the class.
            id: attribute that holds an item's id, a string.
            name: the collection's name; by default the class's name in snake case.
            index: the fields that queries may name, each a type or a `Field`.
            time: attribute that orders history, a datetime.
            tags: attribute that holds tags, a dict of strings.
            text: dotted paths of the strings that full-text queries look in; lists on the way are walked.
            lookups: field combinations that get an index; by default every indexed field by itself.
            enc_hook: turns objects of unknown types into known ones, as in msgspec.
            dec_hook: the way back, as in msgspec.
            rows: the parts of an item that can be queried by themselves.

        Raises:
            StoreConfigError: the declaration does not fit the class.
            TypeError: the class is of none of the three kinds.
        """
        if name is None:
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type.__name__).lower()
            if name in OWN_NAMES:
                raise StoreConfigError(
                    f"{type.__name__} would share the collection {name!r} with the library: give name="
                )
        if not _USER_NAME.fullmatch(name):
            raise StoreConfigError(f"{name!r} cannot name a collection: use [a-z][a-z0-9_]*, at most 63 characters")
        return Collection(
            type,
            name=name,
            id=id,
            index=index,
            time=time,
            tags=tags,
            text=text,
            lookups=lookups,
            enc_hook=enc_hook,
            dec_hook=dec_hook,
            rows=rows,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Names the definition: two declarations with the same fingerprint index alike."""
        import hashlib  # loads OpenSSL, which not every program needs

        return hashlib.sha256(repr(self._shape).encode()).hexdigest()[:16]

    def choices(self, field: str) -> frozenset[str]:
        """Return the values that a field can have which is annotated as an enum; none for any other."""
        declared = self.fields.get(field)
        return frozenset() if declared is None else choices_at(self.type, declared.path)

    @property
    def is_users(self) -> bool:
        """True if users made it. Policies act on users' collections and pass the library's own through."""
        return "." not in self.name

    def derived(self, suffix: str) -> str:
        """Return the name of a collection of the library's own that belongs to this one, like ``results.versions``."""
        return f"{self.name}.{suffix}"

    @staticmethod
    def of_records(
        name: str,
        *,
        index: Mapping[str, builtins.type | Field],
        time: str | None = None,
        lookups: Sequence[Sequence[str]] | None = None,
    ) -> Collection[Any]:
        """Declare a collection of records whose bodies a layer makes and reads itself, such as ``results.versions``.

        Raises:
            StoreConfigError: the declaration makes no sense.
        """
        return Collection(_OpaqueItem, name=name, id="id", index=index, time=time, lookups=lookups, opaque=True)

    def id_of(self, item: T) -> str:
        """Return the item's id, checked."""
        if type(item) not in self._taken:
            self._take(type(item))
        return check_id(self._get_id(item))

    def _take(self, given: builtins.type) -> None:
        if not issubclass(given, self.type):
            raise TypeError(f"{self.name} holds {self.type.__name__} items, not {given.__name__}")
        if lost := sorted({*attributes(given)}.difference(attributes(self.type))):
            raise TypeError(
                f"{self.name} holds {self.type.__name__} items and would lose {', '.join(map(repr, lost))} of this "
                f"{given.__name__}: store it in a collection of its own, Collection.of({given.__name__}, …)"
            )
        self._taken.add(given)

    def encode(self, item: T, encoding: Encoding = "json", *, indent: bool = False) -> Record:
        """Return the record that stands for an item, with a new revision.

        The bytes are decoded once before they are trusted: an item that could not be read back is refused here.

        Raises:
            TypeError: the item is not of this collection's type.
            StoreKeyError: its id cannot be used.
            StoreWriteError: it holds values that cannot be stored, or fields or tags over the limits.
        """
        id = self.id_of(item)
        try:
            if self._prepare is not None:
                self._prepare(item)
        except ValueError as error:
            raise StoreWriteError(f"{self.name} {shown(id)}: {error}", collection=self.name, identifier=id) from error
        fields, tags = self.fields_of(item), self.tags_of(item)
        try:
            body = self._codec.encode(item, encoding)
            if indent and encoding == "json":
                body = pretty(body)
            if self.projection is not None and not self.projection.is_total:
                self.projection.encode(item)  # which refuses what no index could hold
        except StoreWriteError as error:
            raise StoreWriteError(f"{self.name} {shown(id)}: {error}", collection=self.name, identifier=id) from error
        derive = Derivation(self, body, encoding) if self.text or self.projection is not None else None
        # By position, which costs half: this is done for every item.
        meta = Meta(id, fields, tags, None, len(body), encoding, (), time_ns() // 1_000, NO_ANNOTATIONS, derive)
        return Record(meta, body)

    def decode(self, record: Record) -> T:
        """Return the item that a record holds.

        Raises:
            StoreCorruptError: the body is damaged, does not fit the type, or is still compressed or encrypted.
        """
        meta = record.meta
        if record.body is None:
            raise StoreCorruptError(
                f"{self.name} {shown(meta.id)} has no body", collection=self.name, identifier=meta.id
            )
        if meta.encodings:
            raise StoreCorruptError(
                f"{self.name} {shown(meta.id)} is still encoded ({', '.join(meta.encodings)}): open the store with the same layers",
                collection=self.name,
                identifier=meta.id,
            )
        try:
            item = self._codec.decode(record.body, meta.encoding)
        except StoreCorruptError as error:
            raise StoreCorruptError(
                f"{self.name} {shown(meta.id)}: {error}", collection=self.name, identifier=meta.id
            ) from error
        for name, get in self._get_times:
            try:
                value = get(item)
            except AttributeError:  # something on the way is None, or a dict
                continue
            if type(value) is datetime and value.tzinfo is None:
                self._keep_moment(item, name, value, meta.times.get(name))
        return item

    def _keep_moment(self, item: T, name: str, naive: datetime, kept: FieldValue) -> None:
        """Give a naive time that is read in another time zone the offset that it had where it was saved."""
        # What an index keeps of a year at an end of the calendar may be cut to it.
        if isinstance(kept, int) and 1 < naive.year < MAXYEAR and kept != to_microseconds(naive):
            offset = naive - EPOCH.replace(tzinfo=None) - kept * MICROSECOND
            if abs(offset) < timedelta(days=1):
                # JSON's offsets have no seconds.
                zone = UTC if offset % timedelta(minutes=1) else timezone(offset)
                parent, _, attribute = self.fields[name].path.rpartition(".")
                owner = follow(item, parent) if parent else item
                set_attribute(owner, attribute, naive.replace(tzinfo=timezone(offset)).astimezone(zone))

    def fields_of(self, item: T) -> dict[str, FieldValue]:
        """Return the declared fields as they are indexed."""
        try:
            return self._extract(item)
        except (AttributeError, StoreWriteError):  # something on the way is None, or a dict
            return {name: self._index_value(name, self._follow(item, name)) for name in self.fields}

    @cached_property
    def _extract(self) -> Extract:
        return extractor(self.fields, self._index_value)

    def _index_value(self, name: str, value: Any) -> FieldValue:
        try:
            return index_value(self.fields[name], value)
        except (TypeError, ValueError, OverflowError) as error:
            raise StoreWriteError(f"{self.name}.{name}: {error}", collection=self.name) from error

    def _follow(self, item: T, name: str) -> Any:
        path = self.fields[name].path
        try:
            value = follow(item, path)
        except AttributeError as error:
            raise StoreWriteError(
                f"{self.name}.{name}: its path {path!r} leads nowhere in this item: {error}", collection=self.name
            ) from error
        is_text = isinstance(item, dict) and isinstance(value, str) and self.fields[name].type is datetime
        return msgspec.convert(value, datetime, strict=False) if is_text else value

    def tags_of(self, item: T) -> dict[str, str]:
        """Return the item's tags, checked."""
        if self._get_tags is None:
            return {}
        tags = follow(item, self._tags) if isinstance(item, dict) else self._get_tags(item)
        if not tags:
            return {}
        if type(tags) is not dict and not isinstance(tags, Mapping):
            raise StoreWriteError(f"{self.name}: tags are a dict of strings, not {type(tags).__name__}")
        return check_tags(tags)

    def text_of(self, item: T) -> str:
        """Return the words for full-text queries."""
        return index_text(part for path in self._text_paths for part in strings(item, path))

    def derive_text(self, body: bytes, encoding: str) -> str:
        """Return the words of a serialised item; raise as `derive` does."""
        return self.text_of(self._read(body, encoding)) if self.text else ""

    def derive_rows(self, body: bytes, encoding: str) -> bytes:
        """Return the rows of a serialised item, packed; raise as `derive` does."""
        if self.projection is None:
            return b""
        try:
            return self.projection.encode(self._codec.decode(body, encoding))
        except OutgrownError:
            return b""  # the item lacks an attribute that its class has got since
        except StoreWriteError as error:
            raise StoreCorruptError(f"it holds what cannot be indexed: {error}", collection=self.name) from error

    def rows_of(self, record: Record) -> list[Record]:
        """Return the rows of an item as heads; none of a tombstone.

        Raises:
            StoreCorruptError: the item is damaged.
        """
        if self.projection is None or record.meta.deleted:
            return []
        return self.projection.records(record.meta, self.packed_rows(record))

    def packed_rows(self, record: Record) -> bytes:
        """Return the rows of an item as they are kept beside it; raise as `rows_of` does."""
        packed = record.meta.rows
        return self.derive_rows(record.body or b"", record.meta.encoding) if packed is None else packed

    def _read(self, body: bytes, encoding: str) -> Any:
        """Return a serialised item, as a dict if its class has got an attribute since: it stays in the index meanwhile."""
        try:
            return self._codec.decode(body, encoding)
        except OutgrownError:
            return to_builtins(body, encoding)

    def derive(
        self, body: bytes, encoding: str, times: Mapping[str, FieldValue] | None = None, *, edited: bool = False
    ) -> tuple[dict[str, FieldValue], dict[str, str]]:
        """Return the fields and tags of a serialised item.

        Args:
            body: the serialised item.
            encoding: how it is serialised.
            times: the UTC microseconds of time fields that were kept with it, which a rebuild in another time zone
                must not change.
            edited: the body is not the one that was written: an attribute that it lacks was removed by hand.

        Raises:
            StoreCorruptError: it cannot be read, or holds what could not have been saved.
        """
        item = self._codec.decode(body, encoding) if edited else self._read(body, encoding)
        try:
            fields, tags = self.fields_of(item), self.tags_of(item)
        except StoreWriteError as error:
            raise StoreCorruptError(f"it holds what cannot be indexed: {error}", collection=self.name) from error
        fields.update((name, value) for name, value in (times or {}).items() if name in fields)
        return fields, tags

    def as_declared(self, record: Record) -> Record:
        """Return a record with the fields that are declared here, if it was written with others; its times stay."""
        meta = record.meta
        if record.body is None or meta.deleted or meta.encodings or self.opaque:
            return record
        times = {name: meta.fields[name] for name in self._times if isinstance(meta.fields.get(name), int)}
        derive = Derivation(self, record.body, meta.encoding, times)
        return Record(meta.replace(fields=None, tags=None, text=None, derive=derive), record.body, record.revision)

    def times(self, fields: Mapping[str, Any]) -> dict[str, int | None]:
        """Return the part of the fields that cannot be derived again in another time zone."""
        return {name: fields.get(name) for name in self._times}

    def times_of(self, meta: Meta) -> Mapping[str, FieldValue]:
        """Return the same of a head: as they were kept with its body, which then need not be read, or from its fields."""
        derive = meta.derive
        if isinstance(derive, Derivation) and derive.times is not None and not derive.is_edited:
            return derive.times
        return self.times(meta.fields)

    def empty_meta(self, id: str, **values: Any) -> Meta:
        """Return the head of a tombstone: every field is None."""
        return Meta(id, fields=dict.fromkeys(self.fields), tags={}, text="", annotations=NO_ANNOTATIONS, **values)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments, options = self._made_with
        return make, (type(self), arguments, {**options, "index": dict(options["index"])})

    def __copy__(self) -> Self:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {self.type.__name__})"


def _declared_fields(
    type: builtins.type, name: str, index: Mapping[str, builtins.type | Field], time: str | None
) -> dict[str, Field]:
    if not isinstance(index, Mapping):
        raise TypeError(f"index is a dict of fields and their types, not {builtins.type(index).__name__}")
    declared: dict[str, Field] = {}
    for field_name, given in index.items():
        field = given if isinstance(given, Field) else Field(given)
        if field.type not in FIELD_TYPES:
            raise StoreConfigError(
                f"{name}.{field_name}: a field is str, int, float, bool or datetime, not {field.type!r}"
            )
        declared[field_name] = field if field.path else Field(field.type, field_name, field.indexed)
    if time is not None:
        field = declared.setdefault(time, Field(datetime, time))
        if field.type is not datetime or cannot_be_time(type, field.path):
            raise StoreConfigError(f"{name}.{time}: the time field must be a datetime")
    for field_name in declared:
        if field_name in RESERVED or not _USER_NAME.fullmatch(field_name):
            raise StoreConfigError(f"{name}: {field_name!r} cannot name a field")
    return declared


class Derivation(msgspec.Struct, frozen=True, gc=False):
    """Derive the fields, tags and text of a body when they are first asked for.

    Attributes:
        collection: the collection that the body belongs to.
        body: the serialised item.
        encoding: how it is serialised.
        times: the UTC microseconds of time fields that were kept with it.
        checksum: of the body that they belong to, by `zlib.crc32`: one that was edited since may hold other times.
    """

    collection: Collection[Any]
    body: bytes
    encoding: str
    times: Mapping[str, FieldValue] | None = None
    checksum: int | None = None

    @property
    def is_edited(self) -> bool:
        """True if the body is another than that to which the times belong."""
        return self.checksum is not None and self.checksum != zlib.crc32(self.body)

    def fields_and_tags(self) -> tuple[Mapping[str, FieldValue], Mapping[str, str]]:
        """Return the fields and the tags."""
        edited = self.is_edited
        return self.collection.derive(self.body, self.encoding, None if edited else self.times, edited=edited)

    def kept(self) -> Mapping[str, FieldValue]:
        """Return the times that were kept, unless the body was edited since."""
        return {} if self.is_edited or self.times is None else self.times

    def text(self) -> str:
        """Return the words for full-text queries."""
        return self.collection.derive_text(self.body, self.encoding)

    def rows(self) -> bytes | None:
        """Return the rows, packed; None of a damaged body, which no write fails for."""
        try:
            return self.collection.derive_rows(self.body, self.encoding)
        except StoreCorruptError:
            return None


class _OpaqueItem(msgspec.Struct):
    """Stand-in for the items of a collection that has none, only records."""

    id: str
