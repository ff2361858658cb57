"""What replicas may lack: a note for each write and replica in the durable queue, made before the primary is written.

A note names an id. What is delivered is what the primary holds then, so a note too many costs a comparison, and the order of
writes follows by itself. A note is not taken while its write is under way: notes bear the place of their process, which the
kernel gives up with it, so those of a dead process are anybody's.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.batching.outbox import queue_path
from truthstore.errors import StoreConnectionError, StoreCorruptError, StoreError
from truthstore.runtime.forks import in_child
from truthstore.runtime.presence import claim, release
from truthstore.storage.queue import DurableQueue, Entry

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.replication.base import ReplicationConfig
    from truthstore.replication.members import Member
    from truthstore.store.store import BaseStore

__all__ = ["Note", "Outbox"]

FOLDER: Final = os.path.join(".truthstore", "replication")


class Note(msgspec.Struct, frozen=True, array_like=True):
    """A write that a replica may lack.

    Attributes:
        place: of the process that writes, held as long as it lives.
        leader: the store that it writes to.
        revision: of the write; None for a removal.
        before: revisions that a replica may have of it, and which are not other people's writes.
        at: the time, UTC microseconds, for figures only.
    """

    place: int
    leader: str
    revision: str | None
    before: tuple[str, ...]
    at: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Note).decode


class Outbox:
    """The notes of a replicated store, by replica and collection.

    Raises:
        StoreConfigError: nothing names the file.
    """

    def __init__(self, base: BaseStore[Any], config: ReplicationConfig) -> None:
        *_, backend = base.layers()
        self._base_name = base.identity or type(backend).__name__
        self.queue = DurableQueue(config.path or queue_path(base, FOLDER), durability=config.durability)
        self._presence = f"{self.queue.path}.writers" if self.queue.path else None
        self.collections: dict[str, Collection[Any]] = {}
        """Those that were used: what waits for another one waits until it is."""
        self._dead: set[int] = set()
        self._done: list[Entry] = []
        """Delivered, and removed from the file with the next note."""
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._place = 0
        self._under_way: set[int] = set()

    def topic(self, member: Member, collection: Collection[Any]) -> str:
        """Return the topic of what a replica lacks of a collection."""
        return f"{self._base_name}/{member.name}/{collection.name}"

    def add(
        self,
        members: Iterable[Member],
        collection: Collection[Any],
        revisions: Mapping[str, str | None],
        leader: Member,
        before: Mapping[str, tuple[str, ...]],
    ) -> list[Entry]:
        """Note that ids are about to be written, and return the notes, which nobody takes until `settle`.

        Raises:
            StoreWriteError: that could not be noted: write nothing.
        """
        at = time_ns() // 1_000
        with self._lock:
            place = self._claimed()
            notes = [
                (id, _encode(Note(place, leader.name, revision, before.get(id, ()), at)))
                for id, revision in revisions.items()
            ]
            new = [(self.topic(member, collection), *note) for member in members for note in notes]
            entries = self._exchange(new)
            self._under_way.update(entry.number for entry in entries)
        return entries

    def note(
        self,
        members: Iterable[Member],
        collection: Collection[Any],
        ids: Iterable[str],
        leader: Member,
        before: tuple[str, ...] = (),
    ) -> None:
        """Note that replicas are to be brought to the state of the primary, whatever it is; raise as `add` does."""
        none = dict.fromkeys(ids)
        self.settle(self.add(members, collection, none, leader, dict.fromkeys(none, before)))

    def ids(self, member: Member, collection: Collection[Any]) -> list[str]:
        """Return the ids of all notes for a replica."""
        return list(dict.fromkeys(entry.key for entry in self.queue.pending(self.topic(member, collection))))

    def _claimed(self) -> int:
        if not self._place:
            place = secrets.randbits(62)
            if self._presence:
                try:
                    claim(self._presence, place)
                except OSError as error:
                    raise StoreConnectionError(
                        "queue", f"{self.queue}: no lock can be had beside it: {error}"
                    ) from error
            self._place = place
        return self._place

    def _exchange(self, new: Sequence[tuple[str, str, bytes]]) -> list[Entry]:
        entries = self.queue.exchange(new, self._done)
        self._done = []
        return entries

    def settle(self, entries: Iterable[Entry], delivered: Iterable[Entry] = ()) -> None:
        """Say that the writes of notes are over, however they went, and which notes say nothing any more."""
        with self._lock:
            self._under_way.difference_update(entry.number for entry in entries)
            self._done.extend(delivered)

    def tidy(self) -> None:
        """Remove notes that say nothing any more."""
        with self._lock:
            if self._done:
                self._exchange(())

    def read(self, entry: Entry) -> Note | None:
        """Return a note, or None if its write is under way.

        Raises:
            StoreCorruptError: the file was damaged.
        """
        try:
            note = _decode(entry.payload)
        except msgspec.MsgspecError as error:
            raise StoreCorruptError(f"{self.queue}: the note of {entry.key!r} is damaged: {error}") from error
        with self._lock:
            if note.place == self._place:
                return None if entry.number in self._under_way else note
            if note.place not in self._dead and self._presence:
                if not claim(self._presence, note.place):
                    return None
                release(self._presence, note.place)
                self._dead.add(note.place)
        return note

    def notes(self, member: Member, collection: Collection[Any], id: str) -> list[Note]:
        """Return all notes of an id, in order."""
        found = self.queue.pending(self.topic(member, collection), key=id)
        return [_decode(entry.payload) for entry in found]

    def amend(self, member: Member, collection: Collection[Any], revisions: Mapping[str, str]) -> None:
        """Add to notes the revisions that a replica has of their ids."""

        def change(entry: Entry, is_rejected: bool) -> bytes | None:  # noqa: ARG001, FBT001  # as the queue calls it
            note = _decode(entry.payload)
            has = revisions.get(entry.key)
            return None if has is None else _encode(msgspec.structs.replace(note, before=(*note.before, has)))

        self.queue.change(self.topic(member, collection), change)

    def lag(self, member: Member) -> int:
        """Return the number of notes for a replica."""
        topics = {self.topic(member, one) for one in list(self.collections.values())}
        with self._lock:
            return sum(map(self.queue.count, topics)) - sum(entry.topic in topics for entry in self._done)

    def age(self, member: Member) -> float:
        """Return the seconds since the oldest note for a replica was made."""
        first = [self.queue.pending(self.topic(member, one), limit=1) for one in list(self.collections.values())]
        made = [_decode(entry.payload).at for entries in first for entry in entries]
        return max(0.0, time_ns() / 1e9 - min(made) / 1e6) if made else 0.0

    def close(self) -> None:
        """Give up the place of this process, and close the file: what is left is anybody's."""
        try:
            self.tidy()
        except StoreError:
            pass  # they are compared once more, which costs little
        finally:
            with self._lock:
                if self._place and self._presence:
                    release(self._presence, self._place)
                self._place = 0
            self.queue.close()
