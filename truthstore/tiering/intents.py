"""The intent record: which ids may lie in two tiers now, or did lately. Every change of it is a compare-and-set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.errors import StoreConflictError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.record import ABSENT, Meta, Record, Revision, new_revision

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["IntentLog", "Intents"]

INTENTS: Final = Collection.of_records("store.tiering", index={}, lookups=())
"""One record for each collection, in the default tier."""

REMEMBERED: Final = 1_000


class _Body(msgspec.Struct, frozen=True, array_like=True):
    changes: int = 0
    held: Mapping[str, Sequence[str]] = {}
    ended: Sequence[tuple[int, Sequence[str]]] = ()
    forgotten: int = 0


class Intents(NamedTuple):
    """The intents at one moment.

    Attributes:
        revision: of the record; None if there is none yet.
        body: ids by the key of their owner; ids that were given up lately, by the number of the change.
    """

    revision: Revision | None = None
    body: _Body = _Body()

    @property
    def ids(self) -> frozenset[str]:
        """The ids that may lie in two tiers."""
        return frozenset(id for ids in self.body.held.values() for id in ids)

    def touched_since(self, before: Intents) -> frozenset[str] | None:
        """Return the ids that may have lain in two tiers at some time since; None if that was too long ago."""
        if self.revision == before.revision:
            return self.ids if self.body.held else frozenset()
        if before.body.changes < self.body.forgotten:
            return None
        ended = (id for number, ids in self.body.ended if number > before.body.changes for id in ids)
        return self.ids.union(ended)


class IntentLog:
    """Read and change intents.

    Args:
        store: the default tier, which keeps them.
    """

    def __init__(self, store: BaseStore[Any]) -> None:
        self._store = store
        self._known: dict[str, Intents] = {}

    def known(self, collection: Collection[Any]) -> Intents:
        """Return the intents that were read last."""
        return self._known.get(collection.name) or self.read(collection)

    def read(self, collection: Collection[Any]) -> Intents:
        """Return the intents."""
        name, known = collection.name, self._known.get(collection.name)
        try:
            if known is not None and self._store.head_record(name, collection=INTENTS).revision == known.revision:
                return known
            record = self._store.get_record(name, collection=INTENTS)
        except StoreNotFoundError:
            self._known[name] = Intents()
            return self._known[name]
        found = self._known[name] = Intents(record.revision, msgspec.json.decode(record.body or b"", type=_Body))
        return found

    def begin(self, collection: Collection[Any], ids: Iterable[str]) -> tuple[str, frozenset[str]]:
        """Take ids, from other owners too; return the key of the new owner, and the ids that had one."""
        key, wanted = new_revision(), frozenset(ids)
        while True:
            now = self.read(collection)
            left = {other: [id for id in had if id not in wanted] for other, had in now.body.held.items()}
            held = {other: some for other, some in left.items() if some}
            if self._write(collection, now, {**held, key: sorted(wanted)}, ()):
                return key, now.ids & wanted

    def end(self, collection: Collection[Any], key: str, ids: Iterable[str]) -> None:
        """Give ids up, which lie in one tier again."""
        done = frozenset(ids)
        while True:
            now = self.read(collection)
            own = now.body.held.get(key, ())
            left = [id for id in own if id not in done]
            held = {other: had for other, had in now.body.held.items() if other != key}
            if len(left) == len(own) or self._write(collection, now, {**held, **({key: left} if left else {})}, done):
                return

    def owned(self, collection: Collection[Any], key: str) -> frozenset[str]:
        """Return the ids that an owner still has."""
        return frozenset(self.read(collection).body.held.get(key, ()))

    def _write(
        self, collection: Collection[Any], now: Intents, held: Mapping[str, Sequence[str]], ended: Iterable[str]
    ) -> bool:
        """Change the intents, unless they have changed meanwhile."""
        number = now.body.changes + 1
        latest = [*now.body.ended, *([(number, sorted(ended))] if ended else [])]
        forgotten, known = now.body.forgotten, sum(len(ids) for _, ids in latest)
        while known > REMEMBERED:
            forgotten, ids = latest.pop(0)
            known -= len(ids)
        body = msgspec.json.encode(_Body(number, held, latest, forgotten))
        meta = Meta(collection.name, fields={}, tags={}, text="", size=len(body))
        try:
            self._store.put_record(Record(meta, body), collection=INTENTS, expect=now.revision or ABSENT)
        except StoreConflictError:
            return False
        return True
