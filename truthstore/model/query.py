"""Queries: conditions, order and page.

`StoreQuery` is what users write; `bind` checks it against a collection and gives a `BoundQuery`, whose `matches` and
`sort_key` are the reference for every translation into SQL or anything else.
"""

from __future__ import annotations

import dataclasses
import heapq
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from truthstore.errors import StoreQueryError, StoreWriteError, nearest, shown
from truthstore.model.fields import (
    EPOCH,
    FIRST_MOMENT,
    LAST_MOMENT,
    MAX_INT,
    MICROSECOND,
    Field,
    check_string,
    index_value,
    plain_text,
    plain_time,
)
from truthstore.model.words import words

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import FieldValue, Meta, Record

__all__ = ["TIME_ALIAS", "BoundQuery", "Comparison", "StoreQuery", "is_condition"]

OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, wanted: value in wanted,
}
HEAD_FIELDS: Final[Mapping[str, Field]] = {"id": Field(str), "size": Field(int), "stored_at": Field(datetime)}
TIME_ALIAS: Final = "run_time"

SortKey: TypeAlias = tuple[bool, Any, str]


class Comparison(NamedTuple):
    """One condition on one field, its value in the form in which the field is indexed."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreQuery:
    """Conditions, order and page of a search. Every condition must hold; one that is not given always holds.

    Attributes:
        data_asset: name of the data asset.
        start_time: earliest time, inclusive; a naive time means local time.
        end_time: latest time, inclusive.
        status: status, as a string or an enum member.
        tags: tags that must all be there with these values.
        limit: at most so many; None means all, 0 none.
        offset: skip so many first. Prefer `after`, which does not read what it skips.
        order_by: a declared field, ``id``, ``size`` or ``stored_at``; ``run_time`` means the time field of any
            collection. Ties are broken by id, None sorts lowest, strings by code point.
        ascending: smallest first.
        where: conditions on declared fields: a value, or an operator (``== != < <= > >= in``) and a value.
        text: words that must all occur in the collection's text fields, whole and without regard to case.
        ids: only these ids.
        after: a cursor from `BoundQuery.cursor`: continue after the item for which it was made.
        include_deleted: also tombstones that layers keep.

    Raises:
        ValueError: a negative limit or offset, or `offset` together with `after`.
        TypeError: a value of the wrong type.
    """

    data_asset: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    status: str | None = None
    tags: Mapping[str, str] | None = None
    limit: int | None = None
    offset: int = 0
    order_by: str = TIME_ALIAS
    ascending: bool = False
    where: Mapping[str, Any] | None = None
    text: str | None = None
    ids: Iterable[str] | None = None
    after: str | None = None
    include_deleted: bool = False

    def __post_init__(self) -> None:
        for name in ("start_time", "end_time"):
            value = plain_time(given := getattr(self, name))
            if given is not None and not isinstance(value, date):
                raise TypeError(f"{name} is a datetime, not {type(given).__name__}")
            object.__setattr__(self, name, value)
        for name in ("data_asset", "status", "text", "after"):
            value = plain_text(getattr(self, name))
            object.__setattr__(self, name, value)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a string, not {type(value).__name__}")
        for name in ("tags", "where"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise TypeError(f"{name} is a dict, not {type(value).__name__}")
        self._check_page()
        if isinstance(self.ids, str):
            raise TypeError("ids is a list of ids, not one string")
        # What can be read only once would be empty at the second page.
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(map(plain_text, self.ids)))
        if self.where is not None:
            object.__setattr__(self, "where", {name: _kept(value) for name, value in self.where.items()})
        if self.tags is not None:
            tags = {plain_text(key): plain_text(value) for key, value in self.tags.items()}
            if not all(isinstance(text, str) for pair in tags.items() for text in pair):
                raise TypeError("tags are strings")
            object.__setattr__(self, "tags", tags)

    def _check_page(self) -> None:
        if self.limit is not None and not _is_int(self.limit):
            raise TypeError(f"limit is an integer or None, not {type(self.limit).__name__}")
        if not _is_int(self.offset):
            raise TypeError(f"offset is an integer, not {type(self.offset).__name__}")
        if not isinstance(self.order_by, str):
            raise TypeError(f"order_by is the name of a field, not {type(self.order_by).__name__}")
        if (self.limit is not None and self.limit < 0) or self.offset < 0:
            raise ValueError("limit and offset cannot be negative")
        if max(self.limit or 0, self.offset) > MAX_INT:
            raise ValueError("limit and offset have at most 63 bits: there are not that many items")
        if self.after is not None and self.offset:
            raise ValueError("offset cannot be combined with after: a cursor already says where to go on")

    def replace(self, **changes: Any) -> StoreQuery:
        """Return a copy with some conditions changed."""
        return dataclasses.replace(self, **changes)

    def bind(self, collection: Collection[Any]) -> BoundQuery:
        """Bind the query to a collection, and check it.

        Raises:
            StoreQueryError: it names a field that the collection lacks, compares with a value of the wrong type, or
                carries a cursor of another query.
        """
        return BoundQuery(self, collection)

    def matches(self, meta: Meta, collection: Collection[Any]) -> bool:
        """Return whether an item fulfils the conditions; limit, offset and cursor play no part."""
        return self.bind(collection).matches(meta)

    def sort_key(self, meta: Meta, collection: Collection[Any]) -> SortKey:
        """Return the key by which items are ordered, ascending."""
        return self.bind(collection).sort_key(meta)


class BoundQuery:
    """A query checked against a collection, its values in index form.

    Attributes:
        query: the query as the user wrote it.
        comparisons: all conditions on fields.
        tags: tags that must be there.
        words: words that must occur.
        ids: the only ids to look at, or None.
        order: the field to order by.
        start: value and id after which to start, or None.
        limit: at most so many, or None.
        offset: skip so many.
        ascending: smallest first.
        include_deleted: also tombstones.
    """

    def __init__(self, query: StoreQuery, collection: Collection[Any]) -> None:
        self.query = query
        self.collection = collection
        self.limit = query.limit
        self.offset = query.offset
        self.ascending = query.ascending
        self.include_deleted = query.include_deleted
        self.comparisons = list(self._compare())
        self.tags = dict(query.tags or {})
        self.words = words(query.text) if query.text is not None else frozenset[str]()
        if query.text is not None and not collection.text:
            raise StoreQueryError(f"{collection.name} has no text fields", collection=collection.name)
        self.ids = None if query.ids is None else frozenset(query.ids)
        if self.ids is not None and not all(isinstance(id, str) for id in self.ids):
            raise StoreQueryError("ids are strings", collection=collection.name)
        try:
            for text in (*(self.ids or ()), *self.tags, *self.tags.values()):
                check_string(text)
        except StoreWriteError as error:
            raise StoreQueryError(f"ids and tags of a query: {error}", collection=collection.name) from error
        self.order = self.field_name(query.order_by)
        self._filter: str | None = None
        self.start = self._read_cursor(query.after) if query.after is not None else None

    def field_name(self, name: str) -> str:
        """Return the name of a field, with ``run_time`` read as the collection's time field, and ``issue_count`` as ``total_issues``.

        Raises:
            StoreQueryError: the collection has no such field.
        """
        collection = self.collection
        if name in collection.fields or name in HEAD_FIELDS:
            return name
        if name == TIME_ALIAS:
            return collection.time or "stored_at"
        if name == "issue_count" and "total_issues" in collection.fields:
            return "total_issues"
        hint = nearest(name, {*collection.fields, *HEAD_FIELDS})
        raise StoreQueryError(f"{collection.name} has no field {shown(name)}: {hint}", collection=collection.name)

    def field(self, name: str) -> Field:
        """Return the declaration of a field by its checked name."""
        return self.collection.fields.get(name) or HEAD_FIELDS[name]

    def _compare(self) -> Iterable[Comparison]:
        query = self.query
        for name in ("data_asset", "status"):
            value = getattr(query, name)
            if value is not None:
                yield self._comparison(name, "==", value)
        if query.start_time is not None:
            yield self._comparison(TIME_ALIAS, ">=", query.start_time)
        if query.end_time is not None:
            yield self._comparison(TIME_ALIAS, "<=", query.end_time)
        for name, given in (query.where or {}).items():
            if is_condition(given):
                yield self._comparison(name, given[0], given[1])
            elif isinstance(given, tuple | list | set | frozenset | dict):
                raise StoreQueryError(
                    f"where[{name!r}] is a value or (operator, value) with an operator of {' '.join(OPERATORS)}",
                    collection=self.collection.name,
                )
            else:
                yield self._comparison(name, "==", given)

    def _comparison(self, name: str, sign: str, value: Any) -> Comparison:
        name = self.field_name(name)
        field = self.field(name)
        try:
            if sign == "in" and (isinstance(value, str) or not isinstance(value, Iterable)):
                raise TypeError("'in' takes a list of values")
            if value is None and sign not in {"==", "!="}:
                raise TypeError(f"None has no order: {sign} cannot take it")
            given: Any = value if sign == "in" else [value]
            values = tuple(_query_value(field, one) for one in given)
            if sign in {"==", "!=", "in"}:
                self._check_choice(name, values)
            return Comparison(name, sign, values if sign == "in" else values[0])
        except (TypeError, ValueError, OverflowError, StoreWriteError) as error:
            raise StoreQueryError(f"{self.collection.name}.{name}: {error}", collection=self.collection.name) from error

    def _check_choice(self, name: str, values: Iterable[FieldValue]) -> None:
        choices = self.collection.choices(name)
        for value in values:
            if choices and value is not None and value not in choices:
                raise ValueError(f"it is never {value!r}, only {', '.join(sorted(map(str, choices)))}")

    def value(self, meta: Meta, name: str) -> FieldValue:
        """Return a field of a head by its checked name."""
        if name in self.collection.fields:
            return meta.fields.get(name)
        return cast("FieldValue", getattr(meta, name))

    def matches(self, meta: Meta) -> bool:
        """Return whether an item fulfils the conditions."""
        if meta.deleted and not self.query.include_deleted:
            return False
        if self.ids is not None and meta.id not in self.ids:
            return False
        for name, sign, wanted in self.comparisons:
            if not _holds(self.value(meta, name), sign, wanted):
                return False
        if self.tags:
            tags = meta.tags
            for key, wanted in self.tags.items():
                if tags.get(key) != wanted:
                    return False
        return not self.words or self.words.issubset(meta.text.split())

    def sort_key(self, meta: Meta) -> SortKey:
        """Return the key by which items are ordered, ascending: None first, then by value, then by id."""
        value = self.value(meta, self.order)
        return (value is not None, value, meta.id)

    def select(self, records: Iterable[Record]) -> list[Record]:
        """Filter, order and page any records: the reference evaluation."""
        found = [record for record in records if self.matches(record.meta)]
        if self.start is not None:
            value, id = self.start
            start = (value is not None, value, id)
            if self.ascending:
                found = [record for record in found if self.sort_key(record.meta) > start]
            else:
                found = [record for record in found if self.sort_key(record.meta) < start]
        if self.limit is None:
            found.sort(key=lambda record: self.sort_key(record.meta), reverse=not self.ascending)
            return found[self.offset :]
        pick = heapq.nsmallest if self.ascending else heapq.nlargest
        return pick(self.offset + self.limit, found, key=lambda record: self.sort_key(record.meta))[self.offset :]

    def cursor(self, meta: Meta) -> str:
        """Return a cursor that continues this query after an item: pass it as `StoreQuery.after`."""
        parts = [self.value(meta, self.order), meta.id, self._fingerprint()]
        import base64
        import json

        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")

    def _fingerprint(self) -> str:
        if self._filter is None:
            shape = (
                self.collection.name,
                self.order,
                self.ascending,
                sorted(self.comparisons, key=repr),
                sorted(self.tags.items()),
                sorted(self.words),
                None if self.ids is None else sorted(self.ids),
                self.include_deleted,
            )
            import hashlib

            self._filter = hashlib.sha256(repr(shape).encode(errors="backslashreplace")).hexdigest()[:16]
        return self._filter

    def _read_cursor(self, token: str) -> tuple[FieldValue, str]:
        import base64
        import json

        try:
            value, id, fingerprint = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            # Times are in a cursor as they are indexed: in microseconds, which need not fit a datetime.
            kind = self.field(self.order).type
            value = index_value(Field(int if kind is datetime else kind), value)
        except (ValueError, TypeError, OverflowError, StoreWriteError) as error:
            raise StoreQueryError("after is not a cursor of this library", collection=self.collection.name) from error
        if not isinstance(id, str) or fingerprint != self._fingerprint():
            raise StoreQueryError(
                "the cursor belongs to another query: conditions and order must stay the same from page to page",
                collection=self.collection.name,
            )
        return value, id


def is_condition(given: Any) -> bool:
    """Return whether a value of ``where`` is an operator and a value."""
    if not isinstance(given, tuple | list) or len(given) != 2:  # noqa: PLR2004
        return False
    return isinstance(given[0], str) and given[0] in OPERATORS


def _kept(given: Any) -> Any:
    """Return a condition whose list of values can be read again and again."""
    if is_condition(given) and given[0] == "in":
        values = given[1]
        if isinstance(values, Iterable) and not isinstance(values, str):
            return ("in", tuple(values))
    return given


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _query_value(field: Field, value: Any) -> FieldValue:
    if field.type is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    result = index_value(field, value)
    if value is not None and result is None:
        raise ValueError("NaN cannot be compared")
    return result


def from_microseconds(value: int) -> datetime:
    """Convert UTC microseconds since 1970 to an aware datetime in UTC.

    A local time in the first or last hours of the calendar may lie beyond it in UTC: its end is given instead.
    """
    try:
        return EPOCH + value * MICROSECOND
    except OverflowError:
        return LAST_MOMENT if value > 0 else FIRST_MOMENT


def _holds(value: Any, name: str, wanted: Any) -> bool:
    compare: Any = OPERATORS[name]
    return (value is not None or name in {"==", "!=", "in"}) and bool(compare(value, wanted))


EVERYTHING: Final = StoreQuery()
"""All items, newest first."""
