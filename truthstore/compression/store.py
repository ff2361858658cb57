"""The store whose bodies are compressed below it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.compression.algorithms import Gzip, Lz4, Zstd
from truthstore.compression.base import LEVELS, USUAL, CompressionConfig
from truthstore.compression.dictionaries import DICTIONARIES, Dictionaries
from truthstore.errors import StoreCorruptError, StoreWriteError, shown
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import Record
from truthstore.store.codec import READERS, CodecStore, readable
from truthstore.store.config import configure

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["CompressedStore"]

T = TypeVar("T")

ENOUGH: Final = 100
"""Of so many items at least does `maintain` make the first dictionary."""
PAYS: Final = 0.9
"""A body is stored as it is if compression leaves more than this share of it."""


class CompressedStore(CodecStore[T]):
    """Compress bodies where that pays; what was stored before, or with another algorithm, stays readable.

    Small results need a dictionary, which holds what they have in common: with zstd, `maintain` makes the first one when
    there are 100 results, and `train` a new one. Each stays in the store, for what was compressed with it.

    Args:
        base: the store below.
        config: the options, or
        options: the same as keywords.

    Raises:
        StoreConfigError: the library of the algorithm is not installed, or an option makes no sense.
    """

    name: ClassVar[str] = "compressed"
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType({**READERS, "compressed": "one layer compresses"})

    def __init__(self, base: BaseStore[T], config: CompressionConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self._config = config = configure(CompressionConfig, config, options, "CompressedStore")
        self._algorithms: dict[str, Gzip | Lz4 | Zstd] = {}
        self._algorithm(config.algorithm)
        self._has_dictionaries = config.algorithm == "zstd" and config.dictionary_bytes > 0
        self._dictionaries = Dictionaries(base, config.chosen_level)

    def encoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record with its body compressed, or as it is.

        Raises:
            StoreWriteError: the body is larger than could be read back.
        """
        meta, body, config = record.meta, record.body, self._config
        if not body or meta.deleted or collection is DICTIONARIES:
            return record
        if len(body) > config.max_item_bytes:
            raise StoreWriteError(
                f"{collection.name} {shown(meta.id)} has {len(body):,} bytes, more than max_item_bytes: allow more",
                collection=collection.name,
                identifier=meta.id,
            )
        is_json = self._has_dictionaries and meta.encoding == "json" and not meta.encodings
        name = self._dictionaries.current(collection) if is_json else None
        packed = self._algorithm(config.algorithm, name).compress(body)
        # What already looks as if this layer had compressed it must not be taken for that.
        if len(packed) > PAYS * len(body) and not _is_own(meta.encodings):
            return record
        own = config.algorithm if name is None else f"{config.algorithm}:{name}"
        return Record(meta.replace(encodings=(*meta.encodings, own)), packed, record.revision)

    def decoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record with its body expanded, if this layer compressed it.

        Raises:
            StoreCorruptError: it is damaged, expands to more than `max_item_bytes`, or its dictionary is lost.
        """
        meta, body = record.meta, record.body
        if not _is_own(meta.encodings):
            return record
        others = meta.encodings[:-1]
        if body is None:
            return Record(meta.replace(encodings=others), None, record.revision)
        algorithm, _, name = meta.encodings[-1].partition(":")
        try:
            whole = self._algorithm(algorithm, name).expand(body, self._config.max_item_bytes)
        except StoreCorruptError as error:
            raise StoreCorruptError(
                f"{collection.name} {shown(meta.id)} cannot be expanded: {error}",
                collection=collection.name,
                identifier=meta.id,
            ) from error
        return readable(record, collection, whole, others)

    def _algorithm(self, name: str, dictionary: str | None = None) -> Gzip | Lz4 | Zstd:
        if dictionary:
            return self._dictionaries.named(dictionary)
        if name not in self._algorithms:
            kind: Any = {"gzip": Gzip, "lz4": Lz4, "zstd": Zstd}[name]
            config = self._config
            self._algorithms[name] = kind(config.chosen_level if name == config.algorithm else USUAL[name])
        return self._algorithms[name]

    def train(self, limit: int = 1_000) -> str | None:
        """Make a dictionary of the form of the newest items, with which what is saved from now on is compressed.

        It holds the names of their members, none of their values. Other processes take it up within a minute.

        Returns:
            Its name; None where there are too few items, or the options want none.
        """
        self._check()
        if not self._has_dictionaries:
            return None
        newest = self.scan(StoreQuery(limit=limit), collection=self._collection, bodies=True)
        bodies = [record.body for record in newest if record.body and record.meta.derivable]
        return self._dictionaries.train(bodies, self._config.dictionary_bytes, self._collection)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Make the first dictionary when there are enough items, and maintain the store below."""
        done = super().maintain(budget)
        self._dictionaries.look()
        wanted = self._has_dictionaries and self._collection.is_users and budget != 0
        if wanted and self._dictionaries.current(self._collection) is None:
            is_enough = self._base.count_records(EVERYTHING, collection=self._collection) >= ENOUGH
            done["dictionaries_trained"] = int(is_enough and self.train() is not None)
        return done

    def close(self) -> None:
        """Close the store below, which holds the dictionaries that were used."""
        try:
            if self._dictionaries.used and not self._lifecycle.closed:
                self._dictionaries.look()
        finally:
            super().close()


def _is_own(encodings: tuple[str, ...]) -> bool:
    return bool(encodings) and encodings[-1].partition(":")[0] in LEVELS
