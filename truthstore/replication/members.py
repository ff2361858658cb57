"""The stores of a replicated store: how each was found last, and which of them takes the writes.

Which one does is a record in each of them, with a number that grows: whoever can reach one store that took part in the last
change knows of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConnectionError,
    StoreError,
    StoreNotFoundError,
    one_of,
)
from truthstore.model.collection import Collection
from truthstore.model.record import ABSENT, ANY, Expect, Meta, Record
from truthstore.replication.base import PRIMARY
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig, CircuitState
from truthstore.runtime.forks import in_child
from truthstore.runtime.parallel import Parallel
from truthstore.storage.queue import is_item_error
from truthstore.store.registry import get_store

if TYPE_CHECKING:
    from truthstore.replication.base import ReplicationConfig
    from truthstore.store.store import BaseStore

__all__ = ["Group", "Member"]

R = TypeVar("R")

LEADERS: Final[Collection[Any]] = Collection.of_records("store.replication", index={})
ID: Final = "primary"
THREADS: Final = 32
"""At most, for all who write and deliver at the same time."""
WEIGHT: Final = 0.3
"""Of the newest measurement in the mean."""


class _Leader(msgspec.Struct, frozen=True):
    epoch: int = 0
    name: str = ""


class Member:
    """One of the stores.

    Attributes:
        name: its name.
        store: the store.
        priority: for `failover`.
        error: the last failure; empty once it has answered again.
    """

    def __init__(self, name: str, store: BaseStore[Any], priority: int, circuit: CircuitConfig) -> None:
        self.name = name
        self.store = store
        self.priority = priority
        self.circuit = CircuitBreaker(circuit)
        self.error = ""
        self.is_known = False
        """It has answered, or failed to."""
        self._latency: dict[str, float] = {}

    @property
    def is_reachable(self) -> bool:
        """True unless it failed to answer last."""
        return not self.error and self.circuit.state is CircuitState.CLOSED

    def latency(self, kind: str) -> float:
        """Return the mean of the seconds of its answers, the later the weightier: to a ``read`` or ``write``; 0 if there is none."""
        return self._latency.get(kind, 0.0)

    def call(self, operation: Callable[[BaseStore[Any]], R], *, timed: str | None = None) -> R:
        """Ask the store something, if it is asked at all now, and note how it went, and as ``read`` or ``write`` how long.

        Raises:
            StoreConnectionError: it failed several times in a row, and is not asked for a while.
            StoreError: that of the store.
        """
        if not self.circuit.allow():
            after = f"{self.circuit.retry_after:.1f}"
            raise StoreConnectionError(
                self.name, f"{self.name} is not asked for {after} s, for it failed: {self.error}"
            )
        start = perf_counter()
        self.is_known = True
        try:
            result = operation(self.store)
        except BaseException as error:
            if _says_of_item(error):
                self._answered()
            else:
                self.circuit.failed()
                self.error = f"{type(error).__name__}: {error}"
            raise
        self._answered()
        if timed:
            seconds, mean = perf_counter() - start, self._latency.get(timed)
            self._latency[timed] = seconds if mean is None else mean + WEIGHT * (seconds - mean)
        return result

    def _answered(self) -> None:
        self.circuit.succeeded()
        self.error = ""

    def check(self) -> bool:
        """Read from the store, by its own health check, and return whether it answered."""
        self.circuit.reset()

        def ask(store: BaseStore[Any]) -> None:
            health = store.health_check()
            if not health.healthy:
                raise StoreConnectionError(self.name, health.message)

        try:
            self.call(ask, timed="read")
        except StoreConnectionError:
            return False
        return True


def _says_of_item(error: BaseException) -> bool:
    if isinstance(error, StoreBulkError):
        return bool(error.stored) or any(map(is_item_error, error.failed.values()))
    return is_item_error(error)


class Group:
    """All stores, of which one leads: it takes the writes.

    Args:
        base: the store that leads until a record says otherwise.
        collection: that of the stores which are opened here.
        config: the options.

    Raises:
        StoreConfigError: two of the stores are one.
    """

    def __init__(self, base: BaseStore[Any], collection: Collection[Any], config: ReplicationConfig) -> None:
        circuit = CircuitConfig(failure_threshold=config.failure_threshold, recovery_timeout=config.recovery_seconds)
        members = [Member(PRIMARY, base, 0, circuit)]
        for target in config.targets:
            store = target.store
            store = get_store(store, collection=collection) if isinstance(store, str) else store
            store._lifecycle.covered = True  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as layers do
            members.append(Member(target.name, store, target.priority, circuit))
        places = [member.store.identity or id(member.store) for member in members]
        if len(set(places)) < len(places):
            raise StoreConfigError("two of the stores are the same place: each replica is a store of its own")
        self.members = {member.name: member for member in members}
        self.parallel = Parallel(THREADS)
        self._epoch = 0
        self.known: Member | None = None
        """The store that leads, once that was asked."""
        self._renew_lock()
        in_child(self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    @property
    def leader(self) -> Member:
        """The store that takes the writes."""
        return self.known or self.learn()

    def followers(self) -> list[Member]:
        """Return the other stores."""
        leader = self.leader
        return [member for member in self.members.values() if member is not leader]

    def find(self, name: str) -> Member:
        """Return the store of a name; raise `StoreConfigError` if there is none."""
        if name not in self.members:
            raise StoreConfigError(one_of("replica", name, self.members))
        return self.members[name]

    def learn(self) -> Member:
        """Ask all stores that can be reached which one leads, and return it."""
        with self._lock:
            # Of those that cannot be reached none is missed, unless it alone took part in the last change.
            said = [leader for leader, _ in self.parallel(_read, self.members.values())]
            newest = max(said, key=lambda leader: leader.epoch)
            if newest.epoch > self._epoch or self.known is None:
                self.known, self._epoch = self.find(newest.name or PRIMARY), newest.epoch
            return self.known

    def promote(self, member: Member) -> None:
        """Let another store lead, and write that into it and then into all that can be reached.

        Raises:
            StoreConflictError: someone else did this at the same time.
            StoreError: it cannot be written into the store itself: nothing has changed.
        """
        with self._lock:
            self.learn()
            said = _Leader(self._epoch + 1, member.name)
            known, revision = member.call(_asked)
            if known.epoch < said.epoch:
                member.call(lambda store: _write(store, said, revision or ABSENT))
            else:
                self.learn()
                return
            self.known, self._epoch = member, said.epoch

            def tell(other: Member) -> None:
                try:
                    other.call(lambda store: _write(store, said, ANY))
                except StoreError:
                    return  # it hears of it from the others

            self.parallel(tell, [other for other in self.members.values() if other is not member])

    def close(self) -> None:
        """End the threads, and close all stores but the first; raise the first error when all are closed."""
        self.parallel.close()
        _, *others = self.members.values()
        errors: list[StoreError] = []
        for member in others:
            try:
                member.store.close()
            except StoreError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def _read(member: Member) -> tuple[_Leader, str | None]:
    try:
        return member.call(_asked)
    except StoreError:
        return _Leader(), None


def _asked(store: BaseStore[Any]) -> tuple[_Leader, str | None]:
    try:
        record = store.get_record(ID, collection=LEADERS)
    except StoreNotFoundError:
        return _Leader(), None
    return msgspec.json.decode(record.body or b"{}", type=_Leader), record.revision


def _write(store: BaseStore[Any], said: _Leader, expect: Expect) -> None:
    body = msgspec.json.encode(said)
    store.put_record(Record(Meta(ID, {}, {}, "", len(body)), body), collection=LEADERS, expect=expect)
