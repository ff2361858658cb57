"""Dictionaries of zstd: made of the form of items, kept in the store under their digests.

A dictionary holds the names of members that many items have, and none of their values: it is shared by all items, and a
value that is forgotten must not go on in it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.compression.algorithms import Zstd, library
from truthstore.errors import StoreCorruptError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.query import StoreQuery
from truthstore.model.record import Meta, Record

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["DICTIONARIES", "Dictionaries"]

DICTIONARIES: Final = Collection.of_records("store.dictionaries", index={"of": str})
"""Dictionaries by their digests; the field names the collection for whose items one was made."""

COMMON: Final = 10
"""The name of a member is taken if one of so many items has it."""

LOOK_AGAIN: Final = 60.0
"""Seconds after which the store is asked again which dictionary is the newest, and whether those in use are there."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"(\s*:)?')
_NUMBER: Final = re.compile(rb"(?<=[\s:,\[])-?\d[\d.eE+-]*")


class Dictionaries:
    """The dictionaries in a store, for one level of compression.

    Attributes:
        used: something was compressed with one since the last look.
    """

    def __init__(self, base: BaseStore[Any], level: int) -> None:
        self._base = base
        self._level = level
        self._known: dict[str, tuple[Zstd, Record]] = {}
        self._current: dict[str, str | None] = {}
        self._looked = time.monotonic()
        self.used = False

    def current(self, collection: Collection[Any]) -> str | None:
        """Return the name of the newest dictionary for items of a collection, their versions and parts; None if there is none."""
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self.look()
        name, known = _root(collection), self._current  # which another thread may replace
        if name not in known:
            newest = StoreQuery(where={"of": name}, order_by="stored_at", limit=1)
            known[name] = next(iter(self._base.scan_ids(newest, collection=DICTIONARIES)), None)
        self.used = self.used or known[name] is not None
        return known[name]

    def look(self) -> None:
        """See what others made, and store again what is in use and not there: the place was emptied."""
        self._looked = time.monotonic()
        self.used = False
        self._current = {}
        for _, record in list(self._known.values()):
            try:
                self._base.head_record(record.id, collection=DICTIONARIES)
            except StoreNotFoundError:
                self._base.put_record(record, collection=DICTIONARIES)

    def named(self, name: str) -> Zstd:
        """Return zstd with the dictionary of this digest.

        Raises:
            StoreCorruptError: it is lost, or damaged.
        """
        if name not in self._known:
            try:
                record = self._base.get_record(name, collection=DICTIONARIES)
            except StoreNotFoundError as error:
                raise StoreCorruptError(f"its dictionary {name} is lost: restore it in {DICTIONARIES.name}") from error
            data = record.body or b""
            if _digest(data) != name:
                raise StoreCorruptError(f"its dictionary {name} is damaged: restore it in {DICTIONARIES.name}")
            self._known[name] = Zstd(self._level, data), record
        return self._known[name][0]

    def train(self, bodies: Sequence[bytes], size: int, collection: Collection[Any]) -> str | None:
        """Make a dictionary of JSON documents, store it, and return its name; None where they are too few."""
        zstd = library("zstandard")
        try:
            data = zstd.train_dictionary(size, _forms(bodies)).as_bytes()
        except zstd.ZstdError:
            return None
        fields, now = {"of": _root(collection)}, time.time_ns() // 1_000
        meta = Meta(_digest(data), fields=fields, tags={}, text="", size=len(data), stored_at=now)
        self._base.put_record(Record(meta, data), collection=DICTIONARIES)
        self._current[_root(collection)] = meta.id
        return meta.id


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _root(collection: Collection[Any]) -> str:
    return collection.name.partition(".")[0]


def _forms(bodies: Sequence[bytes]) -> list[bytes]:
    """Return documents without their values, and without the names that few of them have, which may be values too."""
    counted = Counter(name for body in bodies for name in {found[0] for found in _STRING.finditer(body) if found[1]})
    least = max(len(bodies) / COMMON, 2)

    def form(found: re.Match[bytes]) -> bytes:
        return found[0] if counted[found[0]] >= least else b'""' + (found[1] or b"")

    return [_NUMBER.sub(b"0", _STRING.sub(form, body)) for body in bodies]
