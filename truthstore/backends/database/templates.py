"""Statements that are put together once for all queries of one shape; afterwards only their values are new.

Putting a SELECT together takes SQLAlchemy longer than the database needs to answer it. Queries have the same shape if they compare the
same fields by the same operators and go by the same order. A template holds a named `Slot` where a query holds a value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import BindParameter, ColumnElement, bindparam, literal

from truthstore.backends.database.schema import INDEXED
from truthstore.model.query import Comparison
from truthstore.model.record import FieldValue

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

    from truthstore.model.query import BoundQuery

__all__ = ["Slot", "Start", "Templates", "beginning", "given", "hash_of_tag"]

S = TypeVar("S")

Start: TypeAlias = tuple[FieldValue, str] | None
"""The value and the id after which a page starts."""

MOST: Final = 200
MISSING: Final = object()


class Slot(NamedTuple):
    """The place of a value in a template."""

    name: str


def given(value: Any, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """A value as an expression, or the place of one."""
    if isinstance(value, Slot):
        place: BindParameter[Any] = bindparam(value.name, type_=kind)
        return place
    return literal(value, kind)


def beginning(value: Any) -> Any:
    """The part of a string that is in an index."""
    return Slot(f"{value.name}_start") if isinstance(value, Slot) else value[:INDEXED]


def hash_of_tag(name: Any, value: Any, tag_key: Callable[[str, str], str]) -> Any:
    """The key of a tag, or its place."""
    return Slot(f"{value.name}_key") if isinstance(value, Slot) else tag_key(name, value)


class Templates:
    """The statements of one collection, by the shape of the query.

    Args:
        tag_key: makes the key of a tag.
    """

    __slots__ = ("_statements", "_tag_key")

    def __init__(self, tag_key: Callable[[str, str], str]) -> None:
        self._tag_key = tag_key
        self._statements: dict[Hashable, Any] = {}

    def statement(
        self, kind: Hashable, bound: BoundQuery, start: Start, build: Callable[[BoundQuery, Any], S]
    ) -> tuple[S, dict[str, Any]]:
        """A statement and the values for its slots.

        Args:
            kind: what the statement does, beside its conditions.
            bound: the query.
            start: after what it starts.
            build: puts the statement together, of the query or of a template of it.
        """
        shape = _shape(bound, start)
        if shape is None:
            return build(bound, start), {}
        key = (kind, shape)
        statement: Any = self._statements.get(key, MISSING)
        if statement is MISSING:
            if len(self._statements) >= MOST:
                self._statements.clear()
            empty = None if start is None else (_slot("after", start[0]), Slot("after_id"))
            statement = self._statements[key] = build(_template(bound), empty)
        return statement, dict(self._values(bound, start))

    def _values(self, bound: BoundQuery, start: Start) -> Iterator[tuple[str, Any]]:
        for number, (_, _, value) in enumerate(bound.comparisons):
            yield f"c{number}", value
            if isinstance(value, str):
                yield f"c{number}_start", value[:INDEXED]
        for number, (name, value) in enumerate(bound.tags.items()):
            yield f"n{number}", name
            yield f"v{number}", value
            yield f"v{number}_key", self._tag_key(name, value)
        if start is not None:
            yield "after", start[0]
            yield "after_id", start[1]
            yield "after_id_start", start[1][:INDEXED]


def _slot(name: str, value: FieldValue) -> Slot | None:
    # None is compared in another way than a value.
    return None if value is None else Slot(name)


def _shape(bound: BoundQuery, start: Start) -> Hashable:
    """What the statement depends on; None if it depends on how many values there are."""
    if bound.ids is not None or bound.words or bound.offset:
        return None
    compared = tuple((field, operator, value is None) for field, operator, value in bound.comparisons)
    if any(operator == "in" for _, operator, _ in compared):
        return None
    begun = None if start is None else start[0] is None
    return bound.order, bound.ascending, bound.include_deleted, compared, len(bound.tags), begun


def _template(bound: BoundQuery) -> Any:
    template: Any = copy.copy(bound)
    template.comparisons = [
        Comparison(field, operator, _slot(f"c{number}", value))
        for number, (field, operator, value) in enumerate(bound.comparisons)
    ]
    template.tags = {Slot(f"n{number}"): Slot(f"v{number}") for number in range(len(bound.tags))}
    return template
