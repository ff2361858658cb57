"""A store kept on several stores."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreError,
    StoreNotFoundError,
    shown,
)
from truthstore.model.record import ANY, NONE, Change, Expect, Options, Record
from truthstore.replication.base import (
    PRIMARY,
    ReadPreference,
    RejectedWrite,
    ReplicaHealth,
    ReplicaState,
    ReplicationConfig,
    ReplicationError,
    ReplicationMetrics,
    ReplicationMode,
)
from truthstore.replication.delivery import Delivery, ReplicaConflictError, record_or_none, revisions
from truthstore.replication.members import Group, Member
from truthstore.replication.outbox import Outbox
from truthstore.replication.repair import differences
from truthstore.runtime.circuit import CircuitConfig, CircuitState
from truthstore.runtime.exits import at_exit
from truthstore.storage.queue import DeliveryLoop, is_item_error
from truthstore.store.config import configure
from truthstore.store.registry import get_store
from truthstore.store.store import BaseStore
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.storage.queue import Entry
    from truthstore.store.health import Health

__all__ = ["ReplicatedStore"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CHUNK: Final = 1_000
log: Final = logging.getLogger("truthstore.replication")


def _led(method: F) -> F:
    """Return the method that asks the store which takes the writes."""
    name = method.__name__

    @functools.wraps(method)
    def ask(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(self._group.leader.store, name)(*arguments, **options)

    return cast("F", ask)


def _routed(method: F) -> F:
    """Return the method that asks the store which `read_preference` means."""
    name = method.__name__

    @functools.wraps(method)
    def ask(self: Any, *arguments: Any, **options: Any) -> Any:
        def read(store: BaseStore[Any]) -> Any:
            return getattr(store, name)(*arguments, **options)

        return self._read(read, options.get("options"))

    return cast("F", ask)


def _routed_scan(method: F) -> F:
    """Return the same for answers that come bit by bit: the first bit decides whether another store is asked."""
    name = method.__name__

    @functools.wraps(method)
    def ask(self: Any, query: StoreQuery, *, collection: Collection[Any], **options: Any) -> Iterator[Record]:
        def begin(store: BaseStore[Any]) -> Iterator[Record]:
            found = getattr(store, name)(query, collection=collection, **options)
            return chain(list(islice(found, 1)), found)

        return cast("Iterator[Record]", self._read(begin, options.get("options")))

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
        circuit = CircuitConfig(
            failure_threshold=self._config.failure_threshold, recovery_timeout=self._config.recovery_seconds
        )
        members = [Member(PRIMARY, base, 0, circuit)]
        for target in self._config.targets:
            given = target.store
            store = get_store(given, collection=self._collection) if isinstance(given, str) else given
            store._lifecycle.covered = True  # noqa: SLF001  # part of this store
            members.append(Member(target.name, store, target.priority, circuit))
        places = [member.store.identity for member in members if member.store.identity]
        if len(set(places)) < len(places) or len({id(member.store) for member in members}) < len(members):
            raise StoreConfigError("two of the stores are the same place: each replica is a store of its own")
        self._group = Group(members)
        self._outbox = Outbox(base, self._config)
        self._reads_primary = self._config.read_preference is ReadPreference.PRIMARY
        announce = None if self._reads_primary else functools.partial(self._lifecycle.announce, type(self).__name__)
        self._delivery = Delivery(self._group, self._outbox, self._config, announce)
        self._loop = DeliveryLoop(
            self._delivery.run, interval=self._config.delivery_interval_seconds, name="truthstore-replication"
        )
        self._turns = count()
        at_exit(self._delivery.run_at_exit)

    def subscribe(self, callback: Callable[[Sequence[Change]], object]) -> None:
        """Subscribe to what the primary stores; where replicas are read, to what they get, for reads show it only then."""
        if self._reads_primary:
            super().subscribe(callback)
        self._lifecycle.subscribe(callback)

    def initialize(self) -> None:
        """Open the store that takes the writes; replicas may be down. What an earlier process left is delivered from now on."""
        self._check()
        self._use(self._collection)
        self._group.leader.store.initialize()
        self._loop.start()

    def _use(self, collection: Collection[Any]) -> None:
        self._outbox.collections.setdefault(collection.name, collection)

    # Writes.

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record in the primary, and in the replicas that the mode waits for.

        Raises:
            ReplicationError: a replica did not take it. The primary has it, and the replica will get it.
        """
        (head,) = self._write(
            {record.id: record},
            collection,
            lambda store: [store.put_record(record, collection=collection, expect=expect, options=options)],
        )
        return head

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store many records in the primary, and in the replicas that the mode waits for.

        Raises:
            StoreBulkError: some were not stored, or a replica did not take them: the error of each says which.
        """
        return self._write(
            {record.id: record for record in records},
            collection,
            lambda store: store.put_records(records, collection=collection, expect=expect, options=options),
            many=True,
        )

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record from the primary, and from the replicas that the mode waits for.

        Raises:
            ReplicationError: a replica did not. The primary has removed it, and the replica will.
        """
        return self._write(
            {id: None},
            collection,
            lambda store: store.delete_record(id, collection=collection, expect=expect, options=options),
        )

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove many records from the primary, and from the replicas that the mode waits for.

        Raises:
            StoreBulkError: some could not be removed, or a replica did not: the error of each says which.
        """
        return self._write(
            dict.fromkeys(ids),
            collection,
            lambda store: store.delete_records(ids, collection=collection, options=options),
            many=True,
        )

    def _write(
        self,
        state: dict[str, Record | None],
        collection: Collection[Any],
        write: Callable[[BaseStore[Any]], Any],
        *,
        many: bool = False,
    ) -> Any:
        if self._lifecycle.closed:
            self._check()
        self._use(collection)
        leader = self._group.leader
        made = {id: None if record is None else record.revision for id, record in state.items()}
        before: dict[str, tuple[str, ...]] = {}
        if not self._delivery.primary_wins:
            before = {id: (has,) for id, has in revisions(leader.store, list(state), collection).items()}
        notes = self._outbox.add(self._group.followers(), collection, made, leader, before)
        taken: list[Entry] = []
        try:
            try:
                result = write(leader.store)
            except StoreBulkError as error:
                stored = {id: state[id] for id in error.stored if id in state}
                if failed := self._send(stored, notes, taken, collection):
                    done = [id for id in error.stored if id not in failed]
                    raise StoreBulkError(done, {**error.failed, **failed}, backend=self.name) from error
                raise
            except StoreConflictError:
                taken = notes  # nothing was written
                raise
            failed = self._send(state, notes, taken, collection)
            if not (leader.store is self._base and self._reads_primary):
                removed = result if many else [id for id in state if result]
                changes = [Change.of(collection.name, record) for record in state.values() if record is not None]
                self._announce(changes or [Change(collection.name, id, None) for id in removed])
        finally:
            self._outbox.settle(notes, taken)
            self._loop.wake() if len(taken) < len(notes) else self._loop.start()
        if failed and many:
            raise StoreBulkError([id for id in state if id not in failed], failed, backend=self.name)
        for error in failed.values():
            raise error
        return result

    def _send(
        self, state: dict[str, Record | None], notes: Sequence[Entry], taken: list[Entry], collection: Collection[Any]
    ) -> dict[str, ReplicationError]:
        """Bring what was written to the replicas that the mode waits for; return the errors of what too few took.

        The notes of what arrived are added to `taken`.
        """
        mode = self._config.mode
        if mode is ReplicationMode.ASYNC or not state:
            return {}
        members = sorted(self._group.followers(), key=lambda member: (not member.is_reachable, member.latency("write")))
        wanted = len(members) if mode is ReplicationMode.SYNC else self._config.min_sync_replicas
        failed: dict[str, dict[str, Exception]] = {}

        def bring(member: Member) -> None:
            try:
                errors = self._delivery.bring(member, list(state), collection, state)
            except StoreError as error:
                errors = dict.fromkeys(state, error)
            topic = self._outbox.topic(member, collection)
            taken.extend(note for note in notes if note.topic == topic and note.key in state and note.key not in errors)
            failed[member.name] = errors

        while (missing := wanted - sum(not errors for errors in failed.values())) and members:
            self._group.parallel(bring, members[:missing])
            members = members[missing:]
        return {
            id: _not_replicated(id, {name: errors[id] for name, errors in failed.items() if id in errors}, list(failed))
            for id in state
            if sum(id not in errors for errors in failed.values()) < wanted
        }

    # Reads.

    def _read(self, operation: Callable[[BaseStore[Any]], Any], options: Options | None) -> Any:
        if self._lifecycle.closed:
            self._check()
        if options or self._reads_primary:
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

    def _readers(self) -> Iterator[Member]:
        """Iterate over the stores that are to be asked, the first one first; the primary at last."""
        preference, leader = self._config.read_preference, self._group.leader
        members = [member for member in self._group.members.values() if self._is_fit(member)]
        if preference is ReadPreference.ANY:
            turn = next(self._turns) % len(members)
            members = members[turn:] + members[:turn]
        else:
            for member in members:
                if member.latency("read") == 0.0 and preference is ReadPreference.NEAREST:
                    member.check()
            members.sort(
                key=lambda member: (preference is ReadPreference.SECONDARY and member is leader, member.latency("read"))
            )
        yield from members
        if leader not in members:
            yield leader

    def _is_fit(self, member: Member) -> bool:
        if member is self._group.leader:
            return True
        if member.circuit.state is CircuitState.OPEN:
            return False
        return self._config.max_lag is None or self._outbox.lag(member) <= self._config.max_lag

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record with its body."""
        if self._reads_primary and not self._lifecycle.closed:
            return self._group.leader.store.get_record(id, collection=collection, options=options)
        return cast(
            "Record", self._read(lambda store: store.get_record(id, collection=collection, options=options), options)
        )

    head_record = _routed(WrapperStore.head_record)
    get_records = _routed(WrapperStore.get_records)
    scan = _routed_scan(WrapperStore.scan)
    scan_rows = _routed_scan(WrapperStore.scan_rows)
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

    def catch_up(self, *names: str) -> None:
        """Deliver what replicas lack, of all or of some names, in every collection that was used.

        Raises:
            ReplicationError: some of it could not be delivered, and waits.
        """
        self._check()
        self._use(self._collection)
        self._group.learn()
        members = [self._group.find(name) for name in names] or list(self._group.members.values())
        failed = {name: errors for name, errors in self._delivery.deliver(members).items() if errors}
        if failed:
            raise _behind(failed)

    def repair(self, *collections: Collection[Any]) -> dict[str, int]:
        """Find every difference between the primary and each replica, by digests, and mend it; return how many there were.

        Args:
            collections: by default that of this store, and those that were used: name those of layers above, too.

        Raises:
            ReplicationError: some replica could not be compared, or differs still.
        """
        self._check()
        for collection in (self._collection, *collections):
            self._use(collection)
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
                        self._note([member], some, collection)
            except StoreError as error:
                failed[member.name] = {"": error}
        self._delivery.figures["repaired"] += sum(found.values())
        failed |= {name: e for name, e in self._delivery.deliver(self._group.followers()).items() if e}
        if failed:
            raise _behind(failed)
        return found

    def _note(
        self, members: Iterable[Member], ids: Iterable[str], collection: Collection[Any], before: tuple[str, ...] = ()
    ) -> None:
        """Note that replicas are to be brought to the primary's state."""
        ids = list(ids)
        notes = self._outbox.add(
            members, collection, dict.fromkeys(ids), self._group.leader, dict.fromkeys(ids, before)
        )
        self._outbox.settle(notes)

    def failover(self, to: str | None = None, *, force: bool = False) -> str:
        """Let another store take the writes, for all who can reach it, and return its name; the former one follows.

        Fail-back is the same the other way: ``failover("primary")``.

        Args:
            to: its name; by default the replica of the highest priority that can be reached, which lacks least.
            force: also if it lacks acknowledged writes, which it gets when the former primary can be reached again.

        Raises:
            StoreConnectionError: it cannot be reached.
            ReplicationError: it lacks acknowledged writes.
            StoreConflictError: someone else does this at the same time.
        """
        self._check()
        self._use(self._collection)
        self._group.learn()
        former = self._group.leader
        chosen = (
            [self._group.find(to)]
            if to is not None
            else sorted(self._group.followers(), key=lambda member: (-member.priority, self._outbox.lag(member)))
        )
        member = next((member for member in chosen if member.check()), None)
        if member is None:
            raise StoreConnectionError(self.name, "; ".join(f"{one.name}: {one.error}" for one in chosen))
        if member is former:
            return member.name
        errors = self._delivery.deliver([member])[member.name]
        if (lag := self._outbox.lag(member)) and not force:
            raise ReplicationError(
                f"{lag} writes have not reached {member.name}: failover(force=True) goes on without them, and "
                f"they are taken over when {former.name} can be reached",
                {member.name: next(iter(errors.values()), StoreConnectionError(former.name, "they are under way"))},
                [],
            )
        for collection in list(self._outbox.collections.values()) if lag else ():
            topic = self._outbox.topic(member, collection)
            ids = list(dict.fromkeys(entry.key for entry in self._outbox.queue.pending(topic)))
            for start in range(0, len(ids), CHUNK):
                here = revisions(member.store, ids[start : start + CHUNK], collection)
                self._outbox.amend(member, collection, here)
        self._group.promote(member)
        self._delivery.figures["failovers"] += 1
        self._loop.wake()
        return member.name

    def rejected(self) -> list[RejectedWrite]:
        """Return the items of this collection that a replica will not take without a decision."""
        self._check()
        return [
            RejectedWrite(
                id=entry.key,
                replica=member.name,
                error=error,
                is_conflict=error.startswith(ReplicaConflictError.__name__),
            )
            for member, entry, error in self._rejected()
        ]

    def _rejected(self, id: str | None = None) -> list[tuple[Member, Entry, str]]:
        """Return rejected notes with the store that they are about, but for those that say nothing any more."""
        collection, found = self._collection, []
        self._use(collection)
        leader = self._group.leader
        for member in self._group.members.values():
            topic = self._outbox.topic(member, collection)
            for entry, error in self._outbox.queue.rejected(topic):
                note = self._outbox.read(entry)
                about = self._group.find(note.leader) if member is leader and note is not None else member
                if id not in {None, entry.key}:
                    continue
                if record_or_none(about, entry.key, collection) == record_or_none(leader, entry.key, collection):
                    self._outbox.queue.discard_rejected(topic, [entry.number])
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
        self._check()
        collection, leader = self._collection, self._group.leader
        rejected = self._rejected(id)
        if not rejected:
            raise StoreNotFoundError("rejected item", id, backend=self.name)
        ours = record_or_none(leader, id, collection)
        theirs = [record_or_none(member, id, collection) for member, _, _ in rejected]
        known = tuple(record.revision for record in theirs if record is not None)
        kept = leader if keep is None else self._group.find(keep)
        if item is not None:
            record = collection.encode(item, self.encoding, indent=self.indent)
            self._delivery.adopt(id, record, ours, collection, known)
        elif kept is not leader:
            self._delivery.adopt(id, record_or_none(kept, id, collection), ours, collection, known)
        self._note([member for member, _, _ in rejected], [id], collection, known)
        for _, entry, _ in rejected:
            self._outbox.queue.discard_rejected(entry.topic, [entry.number])
        self.catch_up()

    # Reports.

    def check_replicas(self) -> dict[str, ReplicaState]:
        """Ask every store, by its own health check, and return their states."""
        self._check()
        self._group.parallel(Member.check, self._group.members.values())
        self._group.learn()
        return self.replicas()

    def replicas(self) -> dict[str, ReplicaState]:
        """Return the states of all stores, as they were found last, without asking any."""
        self._use(self._collection)
        return {name: self._state(member) for name, member in self._group.members.items()}

    def _state(self, member: Member) -> ReplicaState:
        lag, latency = self._outbox.lag(member), member.latency("read")
        if member.error or member.circuit.state is CircuitState.OPEN:
            health = ReplicaHealth.UNHEALTHY
        elif not member.is_known:
            health = ReplicaHealth.UNKNOWN
        else:
            health = ReplicaHealth.HEALTHY if self._is_fit(member) else ReplicaHealth.DEGRADED
        topics = [self._outbox.topic(member, one) for one in list(self._outbox.collections.values())]
        return ReplicaState(
            name=member.name,
            is_primary=member is self._group.leader,
            health=health,
            latency_ms=latency * 1_000 if latency else None,
            lag=lag,
            lag_seconds=self._outbox.age(member),
            rejected=sum(len(self._outbox.queue.rejected(topic)) for topic in topics),
            error=member.error,
        )

    @property
    def metrics(self) -> ReplicationMetrics:
        """Figures of this process."""
        return ReplicationMetrics(**self.figures())

    def figures(self) -> dict[str, int]:
        """Return the same as a dict."""
        done = self._delivery.figures
        names = ("replicated", "failed", "conflicts", "repaired", "failovers")
        pending = sum(map(self._outbox.lag, self._group.members.values()))
        return {**{name: done[name] for name in names}, "pending": pending}

    def health_check(self) -> Health:
        """Check the store that takes the writes; the details tell of all."""
        health = self._group.leader.store.health_check()
        if self._lifecycle.closed:
            return health
        return replace(health, details={**health.details, "replicas": self.replicas()})

    def stats(self) -> dict[str, Any]:
        """Return figures about the store that takes the writes, those of replication, and the names of the layers."""
        self._check()
        below = self._group.leader.store.collection(self._collection).stats()
        return {**below, "layers": [layer.name for layer in self.layers()], "replication": self.figures()}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Deliver what replicas lack, as far as they can be reached, and maintain all stores."""
        done = BaseStore.maintain(self, budget)
        self._use(self._collection)
        self._delivery.deliver(self._group.members.values(), wait=0)
        leader = self._group.leader
        for member in self._group.followers():
            with contextlib.suppress(StoreError):  # its state tells of it
                member.call(lambda store: store.collection(self._collection).maintain(budget))
        return {**done, **leader.store.collection(self._collection).maintain(budget)}

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


def _not_replicated(id: str, errors: dict[str, Exception], asked: Sequence[str]) -> ReplicationError:
    why = "; ".join(f"{name}: {error}" for name, error in errors.items())
    return ReplicationError(
        f"the primary has {shown(id)}, but too few replicas do ({why}): they get it when they can be reached",
        errors,
        [name for name in asked if name not in errors],
        identifier=id,
    )


def _behind(failed: Mapping[str, Mapping[str, Exception]]) -> ReplicationError:
    first = {name: next(iter(errors.values())) for name, errors in failed.items()}
    why = "; ".join(f"{name} lacks {len(failed[name])} items, {error}" for name, error in first.items())
    return ReplicationError(f"not all could be delivered: {why}", first, [])
