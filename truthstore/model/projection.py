"""Projections: rows that are made from each item, such as the checks of a run, to be queried by themselves."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreWriteError
from truthstore.model.fields import Field, index_value
from truthstore.model.record import Meta, Record

if TYPE_CHECKING:
    from truthstore.model.record import FieldValue

__all__ = ["SEPARATOR", "Projection", "row_id"]

SEPARATOR: Final = "\x1f"
"""Between the id of an item and the number of a row. No id holds it, so the rows of an item lie together."""

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[list[str | int | float | bool | None]]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """How the items of a collection become rows. Rows live as long as their item: nobody writes them.

    A row has its own fields, those that it takes over from its item, the item's time and tags, and the item's id.

    Attributes:
        name: what the rows are: ``checks``.
        of: returns the rows of an item, each a dict of `fields`; what is left out is None. A function of a module.
        fields: the fields of a row, each a type or a `Field`.
        item: name of the field that holds the item's id.
        inherits: fields of the item that each row has too.
        series: the fields that name one thing over many items, such as ``("data_asset", "check_id")``; rows in which one
            of them is None belong to no series.
        lookups: field combinations that get an index, each ending with the time; that of the series is always there.
        content: fields that show the data, such as an observed value: a layer that encrypts keeps them out of every index.
        states: fields with a few known values, which stay as they are where a layer hides the names of things.
        is_total: `of` returns sequences in index form, and fails for no item that can be stored.
    """

    name: str
    of: Callable[[Any], Iterable[Any]]
    fields: Mapping[str, builtins.type | Field]
    item: str = "item"
    inherits: Sequence[str] = ()
    series: Sequence[str] = ()
    lookups: Sequence[Sequence[str]] = ()
    content: Sequence[str] = ()
    states: Sequence[str] = ()
    is_total: bool = False

    def index(self, inherited: Mapping[str, Field]) -> dict[str, builtins.type | Field]:
        """Return all fields of a row, given those of the item.

        Raises:
            StoreConfigError: one is declared twice or not at all.
        """
        names = [self.item, *self.inherits, *self.fields]
        if len({*names}) < len(names):
            raise StoreConfigError(f"the projection {self.name!r} declares a field twice: {', '.join(names)}")
        if missing := [name for name in self.inherits if name not in inherited]:
            raise StoreConfigError(
                f"the projection {self.name!r} inherits {missing[0]!r}, which the item does not declare"
            )
        if missing := [name for name in self.series if name not in names]:
            raise StoreConfigError(
                f"the projection {self.name!r} has a series by {missing[0]!r}, which is no field of it"
            )
        return {self.item: str, **{name: inherited[name] for name in self.inherits}, **self.fields}

    def encode(self, item: Any) -> bytes:
        """Return the rows of an item, as they are kept beside it.

        Raises:
            StoreWriteError: a row holds what cannot be indexed.
        """
        if self.is_total:
            try:
                return _pack(list(self.of(item)))
            except ValueError as error:  # of an item that was edited by hand
                raise StoreWriteError(str(error)) from error
        fields = {name: given if isinstance(given, Field) else Field(given) for name, given in self.fields.items()}
        rows: list[list[FieldValue]] = []
        for row in self.of(item):
            if unknown := set(row).difference(fields):
                raise StoreWriteError(f"{self.name} {len(rows) + 1}: it has no field {min(unknown)!r}")
            try:
                rows.append([index_value(field, row.get(name)) for name, field in fields.items()])
            except (TypeError, ValueError, OverflowError) as error:
                raise StoreWriteError(f"{self.name} {len(rows) + 1}: {error}") from error
        return _pack(rows)

    def values(self, data: bytes) -> list[list[FieldValue]]:
        """Return the own fields of the rows that `encode` packed.

        Raises:
            StoreCorruptError: it did not pack them.
        """
        try:
            return _unpack(data) if data else []
        except msgspec.MsgspecError as error:
            raise StoreCorruptError(f"the index holds damaged {self.name}: call rebuild_index()") from error

    def records(self, meta: Meta, data: bytes) -> list[Record]:
        """Return the rows of an item as heads.

        Args:
            meta: the head of the item.
            data: what `encode` returned.

        Raises:
            StoreCorruptError: it did not.
        """
        fields, tags = meta.fields, meta.tags
        above = {self.item: meta.id, **{name: fields.get(name) for name in self.inherits}}
        return [
            Record(
                Meta(
                    row_id(meta.id, number),
                    fields={**above, **dict(zip(self.fields, values, strict=True))},
                    tags=tags,
                    text="",
                    stored_at=meta.stored_at,
                )
            )
            for number, values in enumerate(self.values(data))
        ]


def row_id(item: str, number: int) -> str:
    """Return the id of a row of an item: in the order of the numbers, and beside no other item's rows."""
    return f"{item}{SEPARATOR}{number:08d}"
