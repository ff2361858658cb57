"""A store kept on several stores."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

from truthstore.errors import (
    StoreBulkError,
    StoreConflictError,
    StoreConnectionError,
    StoreError,
    StoreNotFoundError,
)
from truthstore.model.record import ANY, NONE, Change, Expect, Options, Record
from truthstore.replication import base as names
from truthstore.replication.base import ReadPreference, RejectedWrite, ReplicaState, ReplicationConfig, ReplicationError
from truthstore.replication.delivery import Delivery, ReplicaConflictError, record_or_none, revisions
from truthstore.replication.members import Group, Member
from truthstore.replication.outbox import Outbox
from truthstore.replication.repair import differences
from truthstore.runtime.circuit import CircuitState
from truthstore.runtime.exits import at_exit
from truthstore.storage.queue import DeliveryLoop, is_item_error
from truthstore.store.config import configure
from truthstore.store.store import BaseStore
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.storage.queue import Entry
    from truthstore.store.health import Health

__all__ = ["ReplicatedStore"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CHUNK: Final = 1_000
log: Final = logging.getLogger("truthstore.replication")


def _led(method: F) -> F:
    """Return the method that asks the store which takes the writes."""

    @functools.wraps(method)
    def ask(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(self._group.leader.store, method.__name__)(*arguments, **options)

    return cast("F", ask)


def _routed(method: F, *, lazy: bool = False) -> F:
    """Return the method that asks the store which `read_preference` means; of a lazy answer its first part decides."""

    @functools.wraps(method)
    def ask(self: Any, *arguments: Any, **options: Any) -> Any:
        def read(store: BaseStore[Any]) -> Any:
            found = getattr(store, method.__name__)(*arguments, **options)
            return chain(list(islice(found, 1)), found) if lazy else found

        return self._read(read, options.get("options"))

    return cast("F", ask)


class ReplicatedStore(WrapperStore[T], Generic[T]):
    """Keep all items on several stores: a primary, which decides, and replicas, which follow.

    Before a write goes to the primary it is noted on this machine for each replica, so that no crash keeps it from them; and
    what is delivered is what the primary holds then. `read_preference` says who answers.

    Args:
        base: the primary.
        config: the options, or
        options: the same as keywords.

    Raises:
        StoreConfigError: two of the stores are one, nothing names the file of the queue, or an option makes no sense.
    """

    name: ClassVar[str] = "replicated"
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "replicated": "one layer has all replicas: name them in its targets",
            "versioning": "the replicas would not get the older versions: put it above the replicas",
            "retention": "the replicas would not hear of what it removes: put it above the replicas",
            "batched": "replicas get what the primary holds, not what waits for it: put it above the replicas",
            "cached": "replicas would get what it remembers: put it above the replicas",
            "observable": "the replicas would not get its audit trail: put it above the replicas",
        }
    )

    def __init__(self, base: BaseStore[T], config: ReplicationConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self._config = configure(ReplicationConfig, config, options, "ReplicatedStore")
        self._group = Group(base, self._collection, self._config)
        self._outbox = Outbox(base, self._config)
        self._reads_primary = self._config.read_preference is ReadPreference.PRIMARY
        announce = None if self._reads_primary else functools.partial(self._lifecycle.announce, type(self).__name__)
        self._delivery = Delivery(self._group, self._outbox, self._config, announce)
        interval = self._config.delivery_interval_seconds
        self._loop = DeliveryLoop(self._delivery.run, interval=interval, name="truthstore-replication")
        self._turns = count()
        at_exit(self._delivery.run_at_exit)

    def subscribe(self, callback: Callable[[Sequence[Change]], object]) -> None:
        """Subscribe to what the primary stores; where replicas are read, to what they get, for reads show it only then."""
        if self._reads_primary:
            super().subscribe(callback)
        self._lifecycle.subscribe(callback)

    def initialize(self) -> None:
        """Open the store that takes the writes; replicas may be down. What an earlier process left is delivered from now on."""
        self._begin()
        self._group.leader.store.initialize()
        self._loop.start()

    def _begin(self, *collections: Collection[Any]) -> None:
        self._check()
        for collection in (self._collection, *collections):
            self._outbox.collections.setdefault(collection.name, collection)

    # Writes.

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record in the primary, and in the replicas that the mode waits for.

        Raises:
            ReplicationError: a replica did not take it. The primary has it, and the replica will get it.
        """
        state = {record.id: record}
        return cast("Record", self._write("put_record", record, state, collection, expect=expect, options=options))

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store many records, as `put_record` does.

        Raises:
            StoreBulkError: some were not stored, or a replica did not take them: the error of each says which.
        """
        state = {record.id: record for record in records}
        return cast(
            "list[Record]", self._write("put_records", records, state, collection, expect=expect, options=options)
        )

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record from the primary, and from the replicas that the mode waits for; raise as `put_record` does."""
        return bool(self._write("delete_record", id, {id: None}, collection, expect=expect, options=options))

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove many records; raise as `put_records` does."""
        return list(self._write("delete_records", ids, dict.fromkeys(ids), collection, options=options))

    def _write(
        self, name: str, subject: Any, state: Mapping[str, Record | None], collection: Collection[Any], **call: Any
    ) -> Any:
        self._begin(collection)
        leader = self._group.leader
        made = {id: None if record is None else record.revision for id, record in state.items()}
        before: dict[str, tuple[str, ...]] = {}
        if not self._delivery.primary_wins:
            before = {id: (has,) for id, has in revisions(leader.store, list(state), collection).items()}
        notes = self._outbox.add(self._group.followers(), collection, made, leader, before)
        taken: list[Entry] = []
        refused: StoreBulkError | None = None
        try:
            try:
                result = getattr(leader.store, name)(subject, collection=collection, **call)
            except StoreBulkError as error:
                refused = error
                result = error.stored
                state = {id: state[id] for id in error.stored if id in state}
            except StoreConflictError:
                taken = notes  # nothing was written
                raise
            failed = self._send(state, notes, taken, collection)
            if not (leader.store is self._base and self._reads_primary):
                removed = result if name == "delete_records" else [id for id in state if result]
                stored = [Change.of(collection.name, record) for record in state.values() if record is not None]
                self._announce(stored or [Change(collection.name, id, None) for id in removed])
        finally:
            self._outbox.settle(notes, taken)
            self._loop.wake() if len(taken) < len(notes) else self._loop.start()
        if refused is not None or (failed and name.endswith("s")):
            errors = {**(refused.failed if refused is not None else {}), **failed}
            raise StoreBulkError([id for id in state if id not in failed], errors, backend=self.name) from refused
        for failure in failed.values():
            raise failure
        return result

    def _send(
        self,
        state: Mapping[str, Record | None],
        notes: Sequence[Entry],
        taken: list[Entry],
        collection: Collection[Any],
    ) -> dict[str, ReplicationError]:
        """Bring what was written to the replicas that the mode waits for; return the errors of what too few took.

        The notes of what arrived are added to `taken`.
        """
        members = sorted(self._group.followers(), key=lambda member: (not member.is_reachable, member.latency("write")))
        wanted = self._config.wanted if state else 0
        failed: dict[str, Mapping[str, Exception]] = {}

        def bring(member: Member) -> None:
            try:
                errors = self._delivery.bring(member, list(state), collection, state)
            except StoreError as error:
                errors = dict.fromkeys(state, error)
            topic = self._outbox.topic(member, collection)
            taken.extend(note for note in notes if note.topic == topic and note.key in state and note.key not in errors)
            failed[member.name] = errors

        while (missing := wanted - sum(not errors for errors in failed.values())) > 0 and members:
            self._group.parallel(bring, members[:missing])
            members = members[missing:]
        return {
            id: ReplicationError.of(id, failed)
            for id in state
            if sum(id not in errors for errors in failed.values()) < wanted
        }

    # Reads.

    def _read(self, operation: Callable[[BaseStore[Any]], Any], options: Options | None) -> Any:
        if options or self._reads_primary or self._lifecycle.closed:
            return operation(self._group.leader.store)
        failure: StoreError | None = None
        for member in self._readers():
            try:
                return member.call(operation, timed="read")
            except StoreError as error:
                if is_item_error(error):
                    raise
                failure = error
        assert failure is not None
        raise failure

    def _readers(self) -> list[Member]:
        """Return the stores that are to be asked, the first one first, and the primary at last."""
        preference, leader = self._config.read_preference, self._group.leader
        members = [member for member in self._group.members.values() if self._is_fit(member)]
        if preference is ReadPreference.ANY:
            turn = next(self._turns) % len(members)
            return [*members[turn:], *members[:turn], leader]
        if preference is ReadPreference.NEAREST:
            for member in members:
                if not member.is_known:
                    member.check()
        secondary = preference is ReadPreference.SECONDARY
        members.sort(key=lambda member: (secondary and member is leader, member.latency("read")))
        return [*members, leader]

    def _is_fit(self, member: Member) -> bool:
        if member is self._group.leader:
            return True
        limit = self._config.max_lag
        return member.circuit.state is not CircuitState.OPEN and (limit is None or self._outbox.lag(member) <= limit)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record with its body."""
        if self._reads_primary:
            return (self._group.known or self._group.leader).store.get_record(
                id, collection=collection, options=options
            )
        return cast("Record", self._read(lambda s: s.get_record(id, collection=collection, options=options), options))

    head_record = _routed(WrapperStore.head_record)
    get_records = _routed(WrapperStore.get_records)
    scan = _routed(WrapperStore.scan, lazy=True)
    scan_rows = _routed(WrapperStore.scan_rows, lazy=True)
    scan_ids = _routed(WrapperStore.scan_ids)
    count_records = _routed(WrapperStore.count_records)
    aggregate_records = _routed(WrapperStore.aggregate_records)
    aggregate_rows = _routed(WrapperStore.aggregate_rows)
    latest_rows = _routed(WrapperStore.latest_rows)
    newest_rows = _routed(WrapperStore.newest_rows)
    definitely_absent = _led(WrapperStore.definitely_absent)
    digest_records = _led(WrapperStore.digest_records)
    revision_records = _led(WrapperStore.revision_records)
    held_ids = _led(WrapperStore.held_ids)
    copied_ids = _led(WrapperStore.copied_ids)
    change_copies = _led(WrapperStore.change_copies)
    verify_records = _led(WrapperStore.verify_records)

    # Upkeep.

    def catch_up(self, *replicas: str) -> None:
        """Deliver what all replicas lack, or those of some names, in every collection that was used.

        Raises:
            ReplicationError: some of it could not be delivered, and waits.
        """
        self._begin()
        self._group.learn()
        members = [self._group.find(name) for name in replicas] or list(self._group.members.values())
        ReplicationError.check(self._delivery.deliver(members))

    def repair(self, *collections: Collection[Any]) -> dict[str, int]:
        """Find every difference between the primary and each replica, by digests, and mend it; return how many there were.

        Args:
            collections: beside that of this store, and those that were used: name those of layers above, too.

        Raises:
            ReplicationError: some replica could not be compared, or differs still.
        """
        self._begin(*collections)
        self._group.learn()
        found: dict[str, int] = {}
        failed: dict[str, dict[str, Exception]] = {}
        for member in self._group.followers():
            found[member.name] = 0
            try:
                for collection in list(self._outbox.collections.values()):
                    ids = differences(self._group.leader, member, collection)
                    while some := list(islice(ids, CHUNK)):
                        found[member.name] += len(some)
                        self._outbox.note([member], collection, some, self._group.leader)
            except StoreError as error:
                failed[member.name] = {"": error}
        self._delivery.figures["repaired"] += sum(found.values())
        ReplicationError.check({**self._delivery.deliver(self._group.followers()), **failed})
        return found

    def failover(self, to: str | None = None, *, force: bool = False) -> str:
        """Let another store take the writes, for all who can reach it, and return its name; the former one follows.

        Fail-back is the same the other way: ``failover("primary")``.

        Args:
            to: its name; by default the replica of the highest priority that can be reached, which lacks least.
            force: also if it lacks writes, which it gets when the former primary can be reached again.

        Raises:
            StoreConnectionError: it cannot be reached.
            ReplicationError: it lacks writes that were acknowledged, or may have happened.
            StoreConflictError: someone else does this at the same time.
        """
        self._begin()
        self._group.learn()
        former = self._group.leader
        chosen = sorted(self._group.followers(), key=lambda member: (-member.priority, self._outbox.lag(member)))
        if to is not None:
            chosen = [self._group.find(to)]
        member = next((member for member in chosen if member.check()), None)
        if member is None:
            raise StoreConnectionError(self.name, "; ".join(f"{one.name}: {one.error}" for one in chosen))
        if member is former:
            return member.name
        errors = self._delivery.deliver([member])[member.name]
        lag = self._outbox.lag(member)
        if lag and not force:
            raise ReplicationError(
                f"{lag} writes have not reached {member.name}: failover(force=True) goes on without them, and they are "
                f"taken over when {former.name} can be reached",
                {member.name: next(iter(errors.values()), StoreConnectionError(former.name, "they are under way"))},
            )
        for collection in list(self._outbox.collections.values()) if lag else ():
            ids = iter(self._outbox.ids(member, collection))
            while some := list(islice(ids, CHUNK)):
                self._outbox.amend(member, collection, revisions(member.store, some, collection))
        self._group.promote(member)
        self._delivery.figures["failovers"] += 1
        self._loop.wake()
        return member.name

    def rejected(self) -> list[RejectedWrite]:
        """Return the items of this collection that a replica will not take without a decision."""
        conflict = ReplicaConflictError.__name__
        found = {(entry.key, member.name): error for member, entry, error in self._rejected()}
        return [
            RejectedWrite(id=id, replica=replica, error=error, is_conflict=error.startswith(conflict))
            for (id, replica), error in found.items()
        ]

    def _rejected(self, id: str | None = None) -> list[tuple[Member, Entry, str]]:
        """Return rejected notes with the store that they are about, but for those that say nothing any more."""
        self._begin()
        collection, leader, queue = self._collection, self._group.leader, self._outbox.queue
        found: list[tuple[Member, Entry, str]] = []
        for member in self._group.members.values():
            for entry, error in queue.rejected(self._outbox.topic(member, collection)):
                if id not in {None, entry.key}:
                    continue
                note = self._outbox.read(entry)
                about = self._group.find(note.leader) if member is leader and note is not None else member
                if record_or_none(about, entry.key, collection) == record_or_none(leader, entry.key, collection):
                    queue.discard_rejected(entry.topic, [entry.number])
                else:
                    found.append((about, entry, error))
        return found

    def resolve(self, id: str, keep: str | None = None, item: T | None = None) -> None:
        """Decide what all stores are to hold in the place of a rejected item.

        Args:
            id: its id.
            keep: the name of the store whose side stays; by default that of the primary.
            item: an item that takes the place of both.

        Raises:
            StoreNotFoundError: no replica has rejected it.
            StoreConflictError: the primary was written meanwhile: look again.
            ReplicationError: a replica does not take it even so.
        """
        rejected = self._rejected(id)
        if not rejected:
            raise StoreNotFoundError("rejected item", id, backend=self.name)
        collection, leader = self._collection, self._group.leader
        ours = record_or_none(leader, id, collection)
        theirs = [record_or_none(member, id, collection) for member, _, _ in rejected]
        known = tuple(record.revision for record in theirs if record is not None)
        kept = leader if keep is None else self._group.find(keep)
        if item is not None:
            record = collection.encode(item, self.encoding, indent=self.indent)
            self._delivery.adopt(id, record, ours, collection, known)
        elif kept is not leader:
            self._delivery.adopt(id, record_or_none(kept, id, collection), ours, collection, known)
        self._outbox.note([member for member, _, _ in rejected], collection, [id], leader, known)
        for _, entry, _ in rejected:
            self._outbox.queue.discard_rejected(entry.topic, [entry.number])
        self.catch_up()

    # Reports.

    def check_replicas(self) -> dict[str, ReplicaState]:
        """Ask every store, by its own health check, and return their states."""
        self._begin()
        self._group.parallel(Member.check, self._group.members.values())
        self._group.learn()
        return self.replicas()

    def replicas(self) -> dict[str, ReplicaState]:
        """Return the states of all stores, as they were found last, without asking any."""
        self._begin()
        return {name: self._state(member) for name, member in self._group.members.items()}

    def _state(self, member: Member) -> ReplicaState:
        health = names.ReplicaHealth.HEALTHY if self._is_fit(member) else names.ReplicaHealth.DEGRADED
        if not member.is_known:
            health = names.ReplicaHealth.UNKNOWN
        elif not member.is_reachable:
            health = names.ReplicaHealth.UNHEALTHY
        lag = self._outbox.lag(member)
        return ReplicaState(
            name=member.name,
            is_primary=member is self._group.leader,
            health=health,
            latency_ms=member.latency("read") * 1_000 or None,
            lag=lag,
            lag_seconds=self._outbox.age(member) if lag else 0.0,
            error=member.error,
        )

    @property
    def metrics(self) -> names.ReplicationMetrics:
        """Figures of this process."""
        return names.ReplicationMetrics(**self.figures())

    def figures(self) -> dict[str, int]:
        """Return the same as a dict."""
        done = self._delivery.figures
        pending = sum(map(self._outbox.lag, self._group.members.values()))
        known = ("replicated", "failed", "conflicts", "repaired", "failovers")
        return {**{name: done[name] for name in known}, "pending": pending}

    def health_check(self) -> Health:
        """Check the store that takes the writes; the details tell of all."""
        health = self._group.leader.store.health_check()
        return (
            health
            if self._lifecycle.closed
            else replace(health, details={**health.details, "replicas": self.replicas()})
        )

    def stats(self) -> dict[str, Any]:
        """Return figures about the store that takes the writes, those of replication, and the names of the layers."""
        self._begin()
        below = self._group.leader.store.collection(self._collection).stats()
        return {**below, "layers": [layer.name for layer in self.layers()], "replication": self.figures()}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Deliver what replicas lack, as far as they can be reached, and maintain all stores."""
        done = BaseStore.maintain(self, budget)
        self._begin()
        self._delivery.deliver(self._group.members.values(), wait=0)
        for member in self._group.followers():
            with contextlib.suppress(StoreError):  # its state tells of it
                member.call(lambda store: store.collection(self._collection).maintain(budget))
        return {**done, **self._group.leader.store.collection(self._collection).maintain(budget)}

    def rebuild_index(self) -> int:
        """Rebuild the index of the store that takes the writes, for the collection of this one."""
        self._check()
        return self._group.leader.store.collection(self._collection).rebuild_index()

    def close(self) -> None:
        """Deliver what replicas lack, and close all stores. What cannot be delivered waits for the next process."""
        if self._lifecycle.closed:
            return
        self._loop.close()
        try:
            self._delivery.run_at_exit()
            if lag := self.figures()["pending"]:
                log.warning("replication: closed while %d writes wait in %s", lag, self._outbox.queue)
        finally:
            self._delivery.closed = True
            self._outbox.close()
            try:
                super().close()
            finally:
                self._group.close()
