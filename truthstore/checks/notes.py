"""Notes: what people say about checks, kept in the store beside the results and never changed.

A note is added and stays, so that each has its history; of those on one matter the latest holds.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from truthstore.checks.check import Acknowledgement
from truthstore.errors import StoreConfigError
from truthstore.items.aliases import resolved
from truthstore.items.run_ids import new_run_id
from truthstore.model.collection import Collection
from truthstore.model.fields import Field, to_microseconds
from truthstore.model.query import StoreQuery, from_microseconds
from truthstore.model.record import ABSENT, Record

if TYPE_CHECKING:
    from truthstore.checks.source import Source

__all__ = ["CheckNote", "Notes", "add_note", "all_notes", "moment", "notes_of"]

Kind = Literal["acknowledged", "assigned", "alias", "streamed"]


class CheckNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody said about a check.

    Attributes:
        id: id of the note.
        kind: ``acknowledged``, ``assigned`` or ``alias``; ``streamed``, which nobody says: the run is kept in parts.
        check_id: the check, or that run.
        at: when it was said.
        data_asset: it is about the check of this asset alone; None means of every asset.
        value: the owner, or the identity that the check has now; None takes back what was said before. Of a run, the tag
            of its parts.
        until: an acknowledgement holds until then.
        by: who said it.
        reason: why.
    """

    id: str
    kind: Kind
    check_id: str
    at: datetime
    data_asset: str | None = None
    value: str | None = None
    until: datetime | None = None
    by: str | None = None
    reason: str | None = None


@functools.cache
def notes_of(collection: Collection[Any]) -> Collection[CheckNote]:
    """Return the collection of the notes on the checks of a collection. All of a note is in the index."""
    unindexed = {name: Field(str, indexed=False) for name in ("data_asset", "value", "by", "reason")}
    return Collection(
        CheckNote,
        name=collection.derived("notes"),
        id="id",
        time="at",
        index={"kind": str, "check_id": str, "until": Field(datetime, indexed=False), **unindexed},
        lookups=(("check_id",),),
    )


def add_note(store: Source, collection: Collection[Any], **said: Any) -> CheckNote:
    """Store a note, with an id and the time."""
    now = datetime.now(UTC)
    note = CheckNote(id=new_run_id(now).replace("run", "note", 1), at=now, **said)
    store.collection(notes_of(collection)).save(note, expect=ABSENT)
    return note


def moment(value: datetime | timedelta, now: datetime, *, ago: bool = False) -> datetime:
    """Return an aware time for a time, or for a span from now on, or until now."""
    if isinstance(value, timedelta):
        return now - value if ago else now + value
    if not isinstance(value, datetime):
        raise TypeError(f"a time is a datetime or a timedelta, not {type(value).__name__}")
    return from_microseconds(to_microseconds(value))


class Notes:
    """The notes that hold, found by check.

    Args:
        notes: all notes, the oldest first.
        configured: the aliases of the configuration; a note wins over them.

    Raises:
        StoreConfigError: aliases lead in a circle.
    """

    def __init__(self, notes: Iterable[CheckNote] = (), configured: Mapping[str, str] = {}) -> None:
        known = list(notes)
        said = {note.check_id: note.value for note in known if note.kind == "alias"}
        try:
            self.aliases = resolved({old: new for old, new in {**configured, **said}.items() if new is not None})
        except ValueError as error:
            raise StoreConfigError(f"{error}: take one back with store.checks.alias(old, None)") from error
        self._recorded: dict[str, list[str]] = defaultdict(list)
        for old, new in self.aliases.items():
            self._recorded[new].append(old)
        self._latest: dict[tuple[str, str | None, str], tuple[int, CheckNote]] = {
            (note.kind, note.data_asset, self.identity(note.check_id)): (number, note)
            for number, note in enumerate(known)
        }
        self.has_owners = any(note.kind == "assigned" for note in known)
        self.streamed = [note for note in known if note.kind == "streamed"]

    @classmethod
    def read(cls, store: Source, collection: Collection[Any]) -> Notes:
        """Read the notes of a store."""
        return cls(all_notes(store, collection), store.aliases)

    def identity(self, check_id: str) -> str:
        """Return the identity that a check has now."""
        return self.aliases.get(check_id, check_id)

    def recorded(self, check_id: str) -> list[str]:
        """Return every identity under which a check was recorded, the one that it has now first."""
        now = self.identity(check_id)
        return [now, *self._recorded.get(now, ())]

    def owner(self, data_asset: Any, check_id: Any, recorded: Any) -> str | None:
        """Return the owner of a check of an asset."""
        note = self._of("assigned", data_asset, check_id)
        owner: str | None = recorded if note is None or note.value is None else note.value
        return owner

    def acknowledged(self, data_asset: str, check_id: str, now: datetime) -> Acknowledgement | None:
        """Return the acknowledgement of a check of an asset that holds now."""
        note = self._of("acknowledged", data_asset, check_id)
        if note is None or note.until is None or note.until <= now:
            return None
        return Acknowledgement(by=note.by or "", reason=note.reason or "", until=note.until, at=note.at)

    def _of(self, kind: Kind, data_asset: Any, check_id: Any) -> CheckNote | None:
        if not self._latest:
            return None
        id = self.identity(check_id)
        found = [self._latest.get((kind, asset, id)) for asset in (data_asset, None)]
        return max((one for one in found if one is not None), default=(0, None), key=lambda one: one[0])[1]


def all_notes(store: Source, collection: Collection[Any], check_ids: Iterable[str] = ()) -> list[CheckNote]:
    """Read all notes, or those on a check, the oldest first."""
    ids = tuple(check_ids)
    query = StoreQuery(ascending=True, where={"check_id": ("in", ids)} if ids else None)
    return [_note(head) for head in store.scan(query, collection=notes_of(collection))]


_TIMES: Final = ("at", "until")


def _note(head: Record) -> CheckNote:
    fields: dict[str, Any] = dict(head.meta.fields)
    for name in _TIMES:
        fields[name] = None if fields[name] is None else from_microseconds(fields[name])
    return CheckNote(id=head.meta.id, **fields)
