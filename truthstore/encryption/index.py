"""What an index below encryption holds of a record, and how queries are asked of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreQueryError
from truthstore.model.collection import Collection
from truthstore.model.query import StoreQuery, is_condition
from truthstore.model.record import FieldValue, Meta, Record
from truthstore.model.words import words

if TYPE_CHECKING:
    from truthstore.encryption.base import EncryptionConfig

__all__ = ["Index", "Shown"]

DIGITS: Final = 32

_pack: Final = msgspec.msgpack.Encoder().encode


class Shown(msgspec.Struct, frozen=True, gc=False):
    """The way to words and rows of a record, as an index below encryption may hold them: they are made when asked for."""

    record: Record
    collection: Collection[Any]
    index: Index

    def fields_and_tags(self) -> tuple[Mapping[str, FieldValue], Mapping[str, str]]:
        """Return the fields and the tags."""
        return self.record.meta.fields, self.record.meta.tags

    def text(self) -> str:
        """Return hashes of the words, if they are wanted."""
        return self.index.text(self.record.meta)

    def rows(self) -> bytes | None:
        """Return the rows without what shows data."""
        return self.index.rows(self.record.meta.rows or b"", self.collection)  # what is no item has none

    def kept(self) -> Mapping[str, FieldValue]:
        """Return the times."""
        return self.record.meta.times


class Index:
    """Hides what an index must not hold.

    Args:
        config: what is hashed.
        key: returns the key of the hashes.
    """

    def __init__(self, config: EncryptionConfig, key: Callable[[], bytes]) -> None:
        self.is_hashed = config.index == "hashed"
        self._has_text = config.text == "hashed"
        self._fetch = key
        self._key: bytes | None = None

    def prepare(self) -> None:
        """Fetch the key of the hashes, if they are wanted: what is made later, within the store below, is hashed with it."""
        if self.is_hashed or self._has_text:
            self._key = self._fetch()

    def hash(self, value: str, of: str) -> str:
        """Return the keyed hash of a value of something: a field, a tag, words."""
        assert self._key is not None, "prepare() comes first"
        return hmac.new(self._key, f"{of}\0{value}".encode(), hashlib.sha256).hexdigest()[:DIGITS]

    def text(self, meta: Meta) -> str:
        """Return the words that are indexed."""
        return " ".join(sorted(self.hash(word, "words") for word in meta.text.split())) if self._has_text else ""

    def hidden(self, collection: Collection[Any], *, rows: bool = False) -> frozenset[str]:
        """Return the fields that are hashed."""
        if not self.is_hashed or collection.opaque:
            return frozenset()
        fields = collection.fields
        states = frozenset(name for name in fields if collection.choices(name))
        if rows and collection.rows is not None and collection.projection is not None:
            fields = collection.rows.fields
            states = frozenset((*collection.projection.states, collection.projection.item, *states))
        return frozenset(name for name, field in fields.items() if field.type is str) - states

    def fields(self, fields: Mapping[str, FieldValue], collection: Collection[Any]) -> Mapping[str, FieldValue]:
        """Return the fields as they are indexed."""
        hidden = self.hidden(collection)
        if not hidden:
            return fields
        return {
            name: self.hash(value, name) if name in hidden and isinstance(value, str) else value
            for name, value in fields.items()
        }

    def tags(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Return the tags as they are indexed."""
        if not self.is_hashed:
            return tags
        return {self.hash(name, "tags"): self.hash(value, f"tag {name}") for name, value in tags.items()}

    def rows(self, packed: bytes, collection: Collection[Any]) -> bytes:
        """Return packed rows without what shows data."""
        projection = collection.projection
        if projection is None or not packed:
            return packed
        hidden, content = self.hidden(collection, rows=True), frozenset(projection.content)
        if not hidden and not content:
            return packed

        def shown(name: str, value: FieldValue) -> FieldValue:
            if name in content:
                return None
            return self.hash(value, name) if name in hidden and isinstance(value, str) else value

        names = list(projection.fields)
        return _pack([list(map(shown, names, values)) for values in projection.values(packed)])

    def is_hidden(self, names: Sequence[str], collection: Collection[Any], *, rows: bool = False) -> bool:
        """Return True if an index cannot say anything of one of these fields and tags (``tag:team``), or of their order."""
        hidden = self.hidden(collection, rows=rows)
        if rows and collection.projection is not None:
            hidden |= frozenset(collection.projection.content)
        return any(name in hidden or (self.is_hashed and name.startswith("tag:")) for name in names)

    def query(self, query: StoreQuery, collection: Collection[Any], *, rows: bool = False) -> StoreQuery:
        """Return a query as it is asked of the index.

        Raises:
            StoreQueryError: the index cannot answer it.
        """
        asked = collection.rows if rows and collection.rows is not None else collection
        bound = query.bind(asked)
        if query.text is not None or query.where or query.tags or query.data_asset or query.status:
            self.prepare()
        if query.text is not None:
            if not self._has_text:
                raise StoreQueryError(
                    'words are not indexed below encryption, for they show the content: use EncryptedStore(…, text="hashed")',
                    collection=collection.name,
                )
            query = query.replace(text=" ".join(self.hash(word, "words") for word in words(query.text)))
        hidden = self.hidden(collection, rows=rows)
        if self.is_hashed:
            ordered = [c.field for c in bound.comparisons if c.field in hidden and c.operator not in {"==", "!=", "in"}]
            ordered += [bound.order] * (bound.order in hidden)
            if ordered:
                raise StoreQueryError(
                    f"{ordered[0]} is indexed by hashes, which have no order: ask for equal values, or order by another field",
                    collection=collection.name,
                )
            named = {name: query.data_asset for name in ("data_asset",) if query.data_asset is not None}
            where = {
                name: self._condition(given, bound.field_name(name), hidden)
                for name, given in (query.where or {}).items()
            }
            query = query.replace(
                where=where,
                tags=None if query.tags is None else self.tags(query.tags),
                **{name: self._condition(value, name, hidden) for name, value in named.items()},
            )
            status = query.status
            if status is not None and "status" in hidden:
                query = query.replace(status=self.hash(status, "status"))
        if query.after is not None and bound.start is not None:
            value, id = bound.start
            order: dict[str, Any] = {bound.order: value}
            head = {name: order[name] for name in ("size", "stored_at") if name in order}
            below = query.replace(after=None).bind(asked)
            query = query.replace(after=below.cursor(Meta(id, fields=order, **head)))
        return query

    def _condition(self, given: Any, name: str, hidden: frozenset[str]) -> Any:
        if name not in hidden or given is None:
            return given
        if is_condition(given):
            sign, value = given
            return (
                sign,
                [self._condition(one, name, hidden) for one in value]
                if sign == "in"
                else self._condition(value, name, hidden),
            )
        return self.hash(str(getattr(given, "value", given)), name)
