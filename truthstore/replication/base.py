"""Options of replication, what it reports, and its error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from truthstore.errors import StoreConfigError, StoreWriteError, echoed, shown
from truthstore.store.config import member
from truthstore.store.store import BaseStore

__all__ = [
    "PRIMARY",
    "ConflictResolution",
    "ReadPreference",
    "RejectedWrite",
    "ReplicaHealth",
    "ReplicaState",
    "ReplicaTarget",
    "ReplicationConfig",
    "ReplicationError",
    "ReplicationMetrics",
    "ReplicationMode",
]

PRIMARY: Final = "primary"
"""The name of the store that a `ReplicatedStore` is made with."""


class ReplicationMode(StrEnum):
    """What a write waits for, beside the primary."""

    SYNC = "sync"
    """All replicas."""
    SEMI_SYNC = "semi_sync"
    """`min_sync_replicas` of them, the fastest; the others follow."""
    ASYNC = "async"
    """None: they follow."""


class ReadPreference(StrEnum):
    """Who answers reads."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    """A healthy replica, the fastest; the primary if there is none."""
    NEAREST = "nearest"
    """The healthy store with the least measured latency."""
    ANY = "any"
    """Healthy stores in turn."""


class ConflictResolution(StrEnum):
    """What becomes of an item of a replica that was not written through the primary."""

    PRIMARY_WINS = "primary_wins"
    LAST_WRITE_WINS = "last_write_wins"
    """The later `stored_at`, by the clocks of those who wrote."""
    FIRST_WRITE_WINS = "first_write_wins"
    MERGE = "merge"
    """`ReplicationConfig.merge` makes one item of both."""
    MANUAL = "manual"
    """Both stay as they are, and `ReplicatedStore.rejected` lists them."""


class ReplicaHealth(StrEnum):
    """Whether a store can be used, as it was found last."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It answers, but lacks more than `max_lag` writes: it is not read."""
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """It was not asked yet."""


@dataclass(frozen=True, slots=True)
class ReplicaTarget:
    """A replica.

    Attributes:
        name: its permanent name: what waits for it is kept under it.
        store: the store, or its URL.
        priority: `failover` prefers the higher one.

    Raises:
        StoreConfigError: a name that cannot be used.
    """

    name: str
    store: BaseStore[Any] | str = field(repr=False)  # a URL may hold a password
    priority: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "/" in self.name or self.name == PRIMARY:
            raise StoreConfigError(f"name of a replica is a text without '/', and not {PRIMARY!r}")
        if not isinstance(self.store, BaseStore | str):
            raise TypeError(f"store of a replica is a store or a URL, not {type(self.store).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationConfig:
    """Options of replication.

    Attributes:
        targets: the replicas.
        mode: what a write waits for.
        min_sync_replicas: the number of replicas that a semi-synchronous write waits for.
        read_preference: who answers reads.
        max_lag: a replica that lacks more writes of this machine is not read; None: however many.
        conflict_resolution: what becomes of items that a replica got elsewhere.
        merge: takes the primary's item and the replica's, and returns the one to store.
        delivery_interval_seconds: how often a thread delivers what replicas lack; None for no thread: then `catch_up()`,
            `maintain()` and `close()` do.
        batch_size: at most so many items are delivered at once.
        failure_threshold: after so many failures in a row a replica is not asked for a while.
        recovery_seconds: that while.
        path: the file of the queue; by default one named after the primary, in ``.truthstore/replication`` below the
            folder in which the program was when it made the store.
        durability: of that file: ``fsync``: what is noted survives a power cut; ``os``: the death of the process.

    Raises:
        StoreConfigError: options that make no sense together.
        TypeError: a value of another type.
        ValueError: a number below its least.
    """

    targets: Sequence[ReplicaTarget] = ()
    mode: ReplicationMode = ReplicationMode.ASYNC
    min_sync_replicas: int = 1
    read_preference: ReadPreference = ReadPreference.PRIMARY
    max_lag: int | None = None
    conflict_resolution: ConflictResolution = ConflictResolution.PRIMARY_WINS
    merge: Callable[[Any, Any], Any] | None = None
    delivery_interval_seconds: float | None = 1.0
    batch_size: int = 100
    failure_threshold: int = 3
    recovery_seconds: float = 5.0
    path: str | os.PathLike[str] | None = None
    durability: Literal["fsync", "os"] = "fsync"

    def __post_init__(self) -> None:
        for name, kind in (
            ("mode", ReplicationMode),
            ("read_preference", ReadPreference),
            ("conflict_resolution", ConflictResolution),
        ):
            object.__setattr__(self, name, member(kind, getattr(self, name), name))
        object.__setattr__(self, "targets", tuple(self.targets))
        names = [target.name for target in self.targets if isinstance(target, ReplicaTarget)]
        if len(names) < len(self.targets):
            raise TypeError("targets is a list of ReplicaTarget")
        if not names or len(set(names)) < len(names):
            raise StoreConfigError("targets names at least one replica, and none twice")
        for name in ("min_sync_replicas", "batch_size", "failure_threshold"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} is a whole number, not {echoed(value)}")
            if value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        if self.min_sync_replicas > len(names):
            raise StoreConfigError(f"min_sync_replicas={self.min_sync_replicas}, but there are {len(names)} targets")
        if (self.merge is not None) is not (self.conflict_resolution is ConflictResolution.MERGE):
            raise StoreConfigError("merge and conflict_resolution='merge' belong together: give both, or neither")

    @property
    def wanted(self) -> int:
        """The number of replicas that a write waits for."""
        all_or_none = len(self.targets) if self.mode is ReplicationMode.SYNC else 0
        return self.min_sync_replicas if self.mode is ReplicationMode.SEMI_SYNC else all_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """The state of one of the stores, as it was found last.

    Attributes:
        name: its name.
        is_primary: it takes the writes now.
        health: whether it can be used.
        latency_ms: mean of its answers to reads, the later the weightier; None before the first.
        lag: the number of writes of this machine that it lacks.
        lag_seconds: the age of the oldest of them.
        error: the last failure; empty once it has answered again.
    """

    name: str
    is_primary: bool
    health: ReplicaHealth
    latency_ms: float | None
    lag: int
    lag_seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationMetrics:
    """Figures of this process.

    Attributes:
        replicated: items and removals that a replica took.
        failed: attempts that failed.
        conflicts: items that a replica got elsewhere, and were met.
        repaired: differences that `repair` found.
        failovers: changes of the primary.
        pending: writes of this machine that replicas lack now, counted once for each.
    """

    replicated: int = 0
    failed: int = 0
    conflicts: int = 0
    repaired: int = 0
    failovers: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedWrite:
    """An item that a replica will not take without a decision: it got another one elsewhere, or refuses it.

    Attributes:
        id: the item's id.
        replica: the name of the replica.
        error: why.
        is_conflict: it got another one elsewhere.
    """

    id: str
    replica: str
    error: str
    is_conflict: bool


class ReplicationError(StoreWriteError):
    """Replicas lack writes that the primary has. What they lack waits, and is delivered.

    Attributes:
        replicas: an error of each of them.
        taken: those that were asked and lack nothing.
    """

    def __init__(
        self, message: str, replicas: Mapping[str, Exception], taken: Sequence[str] = (), id: str | None = None
    ) -> None:
        super().__init__(message, retryable=True, store_unavailable=True, identifier=id)
        self.replicas = dict(replicas)
        self.taken = tuple(taken)

    @classmethod
    def of(cls, id: str, failed: Mapping[str, Mapping[str, Exception]]) -> ReplicationError:
        """Make the error of a write, of the errors of all that were asked, by replica and id."""
        errors = {name: of_replica[id] for name, of_replica in failed.items() if id in of_replica}
        why = "; ".join(f"{name}: {error}" for name, error in errors.items())
        message = f"the primary has {shown(id)}, but too few replicas do ({why}): they get it when they can be reached"
        return cls(message, errors, [name for name in failed if name not in errors], id)

    @classmethod
    def check(cls, failed: Mapping[str, Mapping[str, Exception]]) -> None:
        """Raise the error of a delivery, if there are errors of replicas, by id."""
        first = {name: next(iter(errors.values())) for name, errors in failed.items() if errors}
        if first:
            why = "; ".join(f"{name} lacks {len(failed[name])} items, {error}" for name, error in first.items())
            raise cls(f"not all could be delivered: {why}", first)
