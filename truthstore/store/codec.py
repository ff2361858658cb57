"""A layer that changes the bytes of bodies on their way down, and restores them on their way up."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.model.collection import Derivation
from truthstore.model.record import Record
from truthstore.store.transform import TransformingStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from truthstore.model.collection import Collection
    from truthstore.model.record import Meta
    from truthstore.store.store import BaseStore

__all__ = ["READERS", "CodecStore", "is_item", "readable"]

T = TypeVar("T")

READERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "batched": "it changes saves that wait when a value is forgotten, and could not read them: put it above",
        "migration": "it changes items of earlier versions, and could not read them: put it above",
        "retention": "it changes what is set aside when a value is forgotten, and could not read it: put it above",
        "versioning": "it compares versions, and could not read them: put it above",
    }
)
"""The layers that read bodies, and therefore stand above every codec."""


class CodecStore(TransformingStore[T]):
    """Append to `meta.encodings` on the way down, and remove it on the way up; a subclass writes `encoded` and `decoded`."""

    CANNOT_COVER: ClassVar[Mapping[str, str]] = READERS

    def __init__(self, base: BaseStore[T]) -> None:
        super().__init__(base)
        self._above: list[CodecStore[Any]] = []
        for layer in base.layers():
            if isinstance(layer, CodecStore):
                layer._above.append(self)  # noqa: SLF001  # the same stack

    def whole(self, records: Iterable[Record], collection: Collection[Any]) -> Iterator[Record]:
        """Return records of the store below decoded, by this layer and by all codecs above it."""
        for record in records:
            decoded = self.decoded(record, collection)
            for layer in self._above:
                decoded = layer.decoded(decoded, collection)
            yield decoded

    def _answer(self, stored: Record, given: Record, collection: Collection[Any]) -> Record:
        return given.head() if stored.revision == given.revision else super()._answer(stored, given, collection)


def readable(record: Record, collection: Collection[Any], body: bytes, encodings: tuple[str, ...]) -> Record:
    """Return a record with another body, whose words and rows are made of it where nothing else encodes it."""
    meta = record.meta
    changes: dict[str, Any] = {"encodings": encodings}
    if is_item(meta, encodings, collection):
        changes |= {"text": None, "rows": None, "derive": Derivation(collection, body, meta.encoding)}
    return Record(meta.replace(**changes), body, record.revision)


def is_item(meta: Meta, encodings: tuple[str, ...], collection: Collection[Any]) -> bool:
    """Return True if the body is an item's as it was serialised, once it has these encodings only."""
    return not encodings and not meta.deleted and not collection.opaque
