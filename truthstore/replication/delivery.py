"""Bring replicas to the state of the primary: one way for writes as they happen, for what a replica missed, and for repair.

To bring an id means: put what the primary holds, or remove, and then look whether the primary still holds that; if not,
again. Whoever changed a replica last has looked at the primary after that, so any number of deliverers end right.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import (
    StoreBulkError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreWriteError,
    shown,
)
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, Change, Expect, Record
from truthstore.replication.base import ConflictResolution
from truthstore.storage.queue import Entry, is_item_error
from truthstore.store.changes import delivering

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.replication.base import ReplicationConfig
    from truthstore.replication.members import Group, Member
    from truthstore.replication.outbox import Note, Outbox
    from truthstore.store.store import BaseStore

__all__ = ["Delivery", "ReplicaConflictError", "record_or_none", "revisions"]

ROUNDS: Final = 20
Errors = dict[str, Exception]
State = Mapping[str, Record | None]
"""Records by id; None for a removal."""


class ReplicaConflictError(StoreConflictError):
    """A replica holds an item that was not written through the primary, and someone must decide."""


class UnderWayError(StoreError):
    """The write of a note is not over: it is delivered later."""

    retryable = True


class Delivery:
    """Brings replicas to the state of the primary.

    Args:
        group: the stores.
        outbox: the notes.
        config: the options.
        announce: called with what a replica took after its write was acknowledged.
    """

    def __init__(
        self,
        group: Group,
        outbox: Outbox,
        config: ReplicationConfig,
        announce: Callable[[Sequence[Change]], None] | None,
    ) -> None:
        self._group = group
        self._outbox = outbox
        self._config = config
        self._announce = announce
        self.primary_wins = config.conflict_resolution is ConflictResolution.PRIMARY_WINS
        self.figures: Counter[str] = Counter()
        self.closed = False

    def run(self) -> None:
        """Deliver what all stores lack, as a thread does: raise the first error."""
        for errors in self.deliver(self._group.members.values(), wait=0).values():
            for error in errors.values():
                raise error

    def run_at_exit(self) -> None:
        """Deliver what can be delivered at once, at the end of the process, when no thread can be started any more."""
        for member in self._group.members.values() if not self.closed else ():
            if member.is_reachable:
                self.deliver([member], wait=0)

    def deliver(self, members: Iterable[Member], *, wait: float | None = None) -> dict[str, Errors]:
        """Deliver what some replicas lack, and return the errors of what they still do, by replica and id."""
        _ = self._group.leader  # asked for within, it would wait for the threads that ask
        members = list(members)
        failed: dict[str, Errors] = {member.name: {} for member in members}
        adopted = -1
        for _ in range(len(self._group.members)):
            if adopted == self.figures["adopted"]:
                break
            adopted = self.figures["adopted"]  # what one replica had is then to be delivered to the others
            self._outbox.tidy()
            for name, errors in self._group.parallel(
                lambda member: (member.name, self._deliver(member, wait)), members
            ):
                rejected = {id: error for id, error in failed[name].items() if is_item_error(error)}
                failed[name] = {**rejected, **errors}
        return failed

    def _deliver(self, member: Member, wait: float | None) -> Errors:
        failed: Errors = {}
        for collection in list(self._outbox.collections.values()):
            ids: dict[int, str] = {}

            def send(entries: Sequence[Entry], to: Collection[Any] = collection, ids: Any = ids) -> Any:
                ids.update((entry.number, entry.key) for entry in entries)
                return self._send(member, entries, to)

            topic = self._outbox.topic(member, collection)
            result = self._outbox.queue.deliver(topic, send, batch=self._config.batch_size, wait=wait)
            failed |= {ids[n]: e for n, e in result.errors.items() if not isinstance(e, UnderWayError)}
        return failed

    def _send(self, member: Member, entries: Sequence[Entry], collection: Collection[Any]) -> Mapping[int, Exception]:
        errors: dict[int, Exception] = {}
        notes: dict[str, list[Note]] = {}
        for entry in entries:
            try:
                note = self._outbox.read(entry)
            except StoreError as error:
                errors[entry.number] = error
                continue
            if note is None:
                errors[entry.number] = UnderWayError(f"{shown(entry.key)} is being written")
            else:
                notes.setdefault(entry.key, []).append(note)
        if not notes:
            return errors
        token = delivering.set(True)
        try:
            is_leader = member is self._group.leader
            failed = self._take_over(notes, collection) if is_leader else self.bring(member, list(notes), collection)
        except StoreError as error:
            failed = dict.fromkeys(notes, error)
        finally:
            delivering.reset(token)
        if self._announce is not None:
            done = {id: of_id[-1].revision for id, of_id in notes.items() if id not in failed}
            self._announce([Change(collection.name, id, revision) for id, revision in done.items()])
        return errors | {e.number: failed[e.key] for e in entries if e.key in failed and e.number not in errors}

    def bring(
        self, member: Member, ids: Sequence[str], collection: Collection[Any], given: State | None = None
    ) -> Errors:
        """Bring ids of a replica to the state of the primary, and return the errors of those that are not.

        Args:
            member: the replica.
            ids: the ids.
            collection: their collection.
            given: what the primary held a moment ago, if that is known.

        Raises:
            StoreError: the primary cannot be read.
        """
        failed: Errors = {}
        leader = self._group.leader.store
        renewed: set[str] = set()
        for _ in range(ROUNDS):
            source: State = leader.get_records(ids, collection=collection) if given is None else given
            state = {id: source.get(id) for id in ids}
            undecided: list[str] = []
            there: Mapping[str, str] | None = None
            if given is None or not self.primary_wins:
                try:
                    there = member.call(lambda store, ids=ids: revisions(store, ids, collection))  # type: ignore[misc]
                except StoreError as error:
                    return failed | dict.fromkeys(ids, error)
                state = {id: one for id, one in state.items() if there.get(id) != _revision(one)}
                undecided = self._decide(member, state, there, collection, failed)
            failed |= self._write(member, state, there, collection, undecided)
            written = [id for id in state if id not in failed and id not in undecided]
            self.figures["replicated"] += len(written)
            stuck: set[str] = set()
            if there is not None and written:
                stuck = self._stuck(member, {id: state[id] for id in written}, there, collection)
            now = revisions(leader, written, collection) if written else {}
            changed = {id for id in written if now.get(id) != _revision(state[id])}
            stuck -= changed  # another process brings them, too
            failed |= {id: StoreWriteError(f"{member.name} does not keep it") for id in stuck if id in renewed}
            self._renew(stuck - renewed, state, there or {}, collection)
            ids = list({*changed, *undecided, *(stuck - renewed)}.difference(failed))
            renewed |= stuck
            if not ids:
                self.figures["failed"] += len(failed)
                return failed
            given = None
        why = StoreWriteError(f"it changes all the time, {ROUNDS} times while it was brought", retryable=True)
        return failed | dict.fromkeys(ids, why)

    def _write(
        self,
        member: Member,
        state: State,
        there: Mapping[str, str] | None,
        collection: Collection[Any],
        again: list[str],
    ) -> Errors:
        """Write to a replica, and return what failed; what was changed there meanwhile is added to `again`."""
        is_checked = there is not None and not self.primary_wins
        parts: list[tuple[list[str], Expect]] = [(list(state), ANY)]
        if is_checked and there is not None:
            parts = [([id], there.get(id) or ABSENT) for id in state]
        failed: Errors = {}
        for ids, expect in parts:
            given = functools.partial(_put, collection=collection, expect=expect)
            failed |= _each(member, [record for id in ids if (record := state[id]) is not None], given)
            given = functools.partial(_remove, collection=collection, expect=expect)
            failed |= _each(member, [id for id in ids if state[id] is None], given)
        for id in [id for id, error in failed.items() if is_checked and isinstance(error, StoreConflictError)]:
            again.append(id)
            del failed[id]
        return failed

    def _stuck(self, member: Member, state: State, there: Mapping[str, str], collection: Collection[Any]) -> set[str]:
        """Return the ids of records that a replica does not have, though it took them: it had them once, or drops them."""
        has = member.call(lambda store: revisions(store, list(state), collection))
        return {id for id, record in state.items() if record and has.get(id) == there.get(id) != record.revision}

    def _renew(self, ids: Iterable[str], state: State, there: Mapping[str, str], collection: Collection[Any]) -> None:
        """Give new revisions to records, also in the primary, which takes what was written once for done as well."""
        for id in ids:
            if (record := state[id]) is not None:
                before = (there[id],) if id in there else ()
                with suppress(StoreConflictError):  # the primary has another one by now
                    self.adopt(id, Record(record.meta, record.body), record, collection, before)

    # What a replica got elsewhere.

    def _decide(
        self,
        member: Member,
        state: dict[str, Record | None],
        there: Mapping[str, str],
        collection: Collection[Any],
        failed: Errors,
    ) -> list[str]:
        """Take out of `state` what the replica got elsewhere and the primary must not overwrite; return what is to be looked at again."""
        again: list[str] = []
        for id in list(state) if not self.primary_wins else ():
            has = there.get(id)
            if has is None:
                continue
            if any(has in (*note.before, note.revision) for note in self._outbox.notes(member, collection, id)):
                continue
            try:
                if self.resolve(member, id, state[id], collection):
                    continue
                again.append(id)
            except StoreError as error:
                failed[id] = error
            del state[id]
        return again

    def resolve(self, member: Member, id: str, ours: Record | None, collection: Collection[Any]) -> bool:
        """Settle a conflict as the options say: return True if the primary's side stays, else the primary has changed.

        Raises:
            ReplicaConflictError: someone must decide.
        """
        self.figures["conflicts"] += 1
        theirs = record_or_none(member, id, collection)
        how = self._config.conflict_resolution
        if how is ConflictResolution.MANUAL or self.primary_wins:
            raise conflict_of(member, id)
        if theirs is None:
            return True
        if ours is None:
            winner = theirs
        elif how is ConflictResolution.FIRST_WRITE_WINS:
            winner = min(ours, theirs, key=lambda record: record.meta.stored_at)
        elif how is ConflictResolution.MERGE and collection.is_users and not (ours.meta.deleted or theirs.meta.deleted):
            winner = self._merged(ours, theirs, collection)
        else:
            winner = max(ours, theirs, key=lambda record: record.meta.stored_at)
        if winner is ours:
            return True
        self.adopt(id, winner, ours, collection, before=(theirs.revision,))
        return False

    def _merged(self, ours: Record, theirs: Record, collection: Collection[Any]) -> Record:
        assert self._config.merge is not None
        try:
            item = self._config.merge(collection.decode(ours), collection.decode(theirs))
        except Exception as error:
            raise ReplicaConflictError(f"merge raised {type(error).__name__}: {error}") from error
        leader = self._group.leader.store
        return collection.encode(item, leader.encoding, indent=leader.indent)

    def adopt(
        self,
        id: str,
        record: Record | None,
        ours: Record | None,
        collection: Collection[Any],
        before: tuple[str, ...] = (),
    ) -> None:
        """Write into the primary, in the place of its own record, what is to hold there, for all to follow.

        Raises:
            StoreConflictError: the primary holds something else by now.
        """
        self.figures["adopted"] += 1
        leader = self._group.leader
        known = (*before, ours.revision) if ours is not None else before
        notes = self._outbox.add(self._group.followers(), collection, {id: _revision(record)}, leader, {id: known})
        try:
            if record is not None:
                expect = ABSENT if ours is None else ours.revision
                leader.store.put_record(record, collection=collection, expect=expect)
            elif ours is not None:
                leader.store.delete_record(id, collection=collection, expect=ours.revision)
        finally:
            self._outbox.settle(notes)

    # What was written to the last primary, and did not reach the one that leads now.

    def _take_over(self, notes: Mapping[str, Sequence[Note]], collection: Collection[Any]) -> Errors:
        failed: Errors = {}
        leader = self._group.leader
        for id, of_id in notes.items():
            origin = self._group.find(of_id[-1].leader)
            try:
                theirs, ours = record_or_none(origin, id, collection), record_or_none(leader, id, collection)
                if origin is leader or _revision(theirs) == _revision(ours):
                    continue
                written_since = bool(self._outbox.notes(origin, collection, id))
                before = {revision for note in of_id for revision in note.before}
                if (ours is None and not written_since) or (ours is not None and ours.revision in before):
                    self.adopt(id, theirs, ours, collection)
                elif not (written_since and self.primary_wins) and self.resolve(origin, id, ours, collection):
                    known = () if theirs is None else (theirs.revision,)
                    self._outbox.note([origin], collection, [id], leader, known)
            except StoreError as error:
                failed[id] = error
        return failed


def conflict_of(member: Member, id: str) -> ReplicaConflictError:
    """Return the error for an item that a replica got elsewhere."""
    return ReplicaConflictError(
        f"{member.name} got {shown(id)} elsewhere: rejected() lists it, resolve(id, keep=…) decides", identifier=id
    )


def record_or_none(member: Member, id: str, collection: Collection[Any]) -> Record | None:
    """Return the record that a store holds, or None."""
    try:
        return member.call(lambda store: store.get_record(id, collection=collection))
    except StoreNotFoundError:
        return None


def _revision(record: Record | None) -> str | None:
    return None if record is None else record.revision


def revisions(store: BaseStore[Any], ids: Sequence[str], collection: Collection[Any]) -> dict[str, str]:
    """Return the revisions of records, tombstones too, by id."""
    if len(ids) == 1:
        try:
            return {ids[0]: store.head_record(ids[0], collection=collection).revision}
        except StoreNotFoundError:
            return {}
    query = StoreQuery(ids=ids, include_deleted=True)
    return {head.id: head.revision for head in store.scan(query, collection=collection)}


def _put(store: BaseStore[Any], records: Sequence[Record], **call: Any) -> None:
    store.put_records(records, **call) if len(records) > 1 else store.put_record(records[0], **call)


def _remove(store: BaseStore[Any], ids: Sequence[str], *, collection: Collection[Any], expect: Expect) -> None:
    if len(ids) > 1:
        store.delete_records(ids, collection=collection)
    else:
        store.delete_record(ids[0], collection=collection, expect=expect)


def _each(member: Member, subjects: Sequence[Any], work: Callable[[BaseStore[Any], Sequence[Any]], None]) -> Errors:
    """Do something to many at once, to one after the other if they fail together for a reason of theirs; return what failed."""
    ids = [one.id if isinstance(one, Record) else one for one in subjects]
    try:
        if subjects:
            member.call(lambda store: work(store, subjects), timed="write" if len(ids) == 1 else None)
    except StoreBulkError as error:
        # Of removals, those that are named nowhere had nothing to remove.
        taken = {*error.stored, *(one for one in subjects if isinstance(one, str) and one not in error.failed)}
        return {id: error.failed.get(id, error) for id in ids if id not in taken}
    except StoreError as error:
        if len(ids) > 1 and is_item_error(error):
            return {id: why for one in subjects for id, why in _each(member, [one], work).items()}
        return dict.fromkeys(ids, error)
    return {}
