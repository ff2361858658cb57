"""Public values of tiering: tiers, the items as policies see them, the options, results and errors."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from truthstore.errors import StoreConfigError, StoreError, StoreReadError, StoreWriteError, shown
from truthstore.store.config import member
from truthstore.store.schedule import Schedule

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = [
    "InMemoryTierMetadataStore",
    "MigrationDirection",
    "StorageTier",
    "TierAccessError",
    "TierInfo",
    "TierMetadataStore",
    "TierMigrationError",
    "TierNotFoundError",
    "TierPolicy",
    "TierType",
    "TieringConfig",
    "TieringError",
    "TieringResult",
]


class TierType(StrEnum):
    """The kind of a tier, for people and for reports."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    ARCHIVE = "archive"


class MigrationDirection(StrEnum):
    """The direction of a move."""

    DEMOTE = "demote"
    """To a colder tier."""
    PROMOTE = "promote"
    """To a hotter tier."""


class TieringError(StoreError):
    """Base of the errors of tiering."""


class TierNotFoundError(TieringError, StoreConfigError):
    """There is no such tier."""

    def __init__(self, tier: str, known: Iterable[str] = ()) -> None:
        names = ", ".join(known)
        super().__init__(f"there is no tier {shown(tier)}" + (f": there are {names}" if names else ""))
        self.tier = tier


class TierMigrationError(TieringError, StoreWriteError):
    """An item could not be moved; it stays where it was."""

    def __init__(self, item_id: str, from_tier: str, to_tier: str, message: str) -> None:
        super().__init__(f"{shown(item_id)} stays in {from_tier}, not in {to_tier}: {message}", identifier=item_id)
        self.item_id = item_id
        self.from_tier = from_tier
        self.to_tier = to_tier


class TierAccessError(TieringError, StoreReadError):
    """A tier cannot be used."""

    def __init__(self, tier: str, message: str) -> None:
        super().__init__(f"tier {tier}: {message}")
        self.tier = tier


@dataclass(frozen=True, slots=True)
class StorageTier:
    """One tier.

    Attributes:
        name: its name.
        store: the store of its items, or its URL. Tiers of one store are told apart by their storage classes.
        tier_type: its kind.
        priority: hotter tiers have smaller numbers; they are looked at first.
        cost_per_gb: price of a gigabyte for a month.
        retrieval_time_ms: usual time of a read.
        storage_class: of S3 (``STANDARD_IA``), or access tier of Azure (``Cool``), of the objects of its items.
        metadata: whatever else is to be said about it.
    """

    name: str
    store: BaseStore[Any] | str = field(repr=False)
    tier_type: TierType = TierType.HOT
    priority: int = 0
    cost_per_gb: float = 0.0
    retrieval_time_ms: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    storage_class: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tier_type", member(TierType, self.tier_type, "tier_type"))
        if not self.name:
            raise StoreConfigError("a tier has a name")
        if self.cost_per_gb < 0 or self.retrieval_time_ms < 0:
            raise ValueError(f"cost_per_gb and retrieval_time_ms of tier {self.name} cannot be negative")


def _now() -> datetime:
    return datetime.now(UTC)


class TierInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An item as policies see it; its body is not loaded.

    Attributes:
        item_id: its id.
        current_tier: the tier that it lies in.
        created_at: the collection's time field (of results the run time), or when it was stored.
        migrated_at: time of its last move, None if it was never moved.
        promoted_at: the same, if that was to a hotter tier: its age begins again.
        access_count: number of reads by id that were counted since its last move.
        last_accessed: time of the last of them.
        size_bytes: length of its body.
        data_asset: its data asset, empty if it has none.
        tags: its tags.
        metadata: whatever a metadata store of your own keeps.
    """

    item_id: str
    current_tier: str
    created_at: datetime = msgspec.field(default_factory=_now)
    migrated_at: datetime | None = None
    promoted_at: datetime | None = None
    access_count: int = 0
    last_accessed: datetime | None = None
    size_bytes: int = 0
    data_asset: str = ""
    tags: Mapping[str, str] = {}
    metadata: Mapping[str, Any] = {}

    @property
    def age(self) -> timedelta:
        """Time since its creation, or its promotion."""
        return _now() - max(filter(None, (self.created_at, self.promoted_at))).astimezone(UTC)

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON-ready builtins."""
        return dict(msgspec.to_builtins(self, enc_hook=dict))


class TierPolicy(ABC):
    """Decides which items of one tier move to another. Extend it and write `should_migrate`.

    A plan asks a shallow copy of the policy, so that plans made at the same time do not disturb each other.

    Args:
        from_tier: name of the tier whose items it judges.
        to_tier: name of the tier that they move to.
        direction: of the move.
    """

    def __init__(
        self,
        from_tier: str,
        to_tier: str,
        direction: MigrationDirection = MigrationDirection.DEMOTE,
    ) -> None:
        if from_tier == to_tier:
            raise StoreConfigError(f"{type(self).__name__}: from_tier and to_tier are both {shown(from_tier)}")
        self.from_tier = from_tier
        self.to_tier = to_tier
        self.direction = member(MigrationDirection, direction, "direction")

    @abstractmethod
    def should_migrate(self, info: TierInfo) -> bool:
        """Return whether an item moves."""

    def prepare_batch(self, infos: Iterable[TierInfo]) -> None:  # noqa: B027  # most need not prepare
        """Look at all items before the first is judged. They may be iterated over again."""

    def get_priority(self, info: TierInfo) -> int:
        """Return the urgency of a move; where several policies would move an item, the most urgent one does."""
        return 0

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        return f"{self.direction} from {self.from_tier} to {self.to_tier}"

    def to_dict(self) -> dict[str, Any]:
        """Return its class and options as JSON-ready builtins."""
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_") and not callable(value)}
        return {"type": type(self).__name__, "description": self.description, **shown}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TieringConfig:
    """Options of tiering.

    Attributes:
        policies: which items move; without any, none do.
        default_tier: the tier that items are saved in; where there is no tier of that name, the first one.
        enable_promotion: move items that are read often to the default tier.
        promotion_threshold: after so many reads since the last move.
        track_accesses: count reads by id, for policies by access and for promotion.
        batch_size: items that are moved at a time.
        schedule: times at which items move by themselves, after a save.

    Raises:
        StoreConfigError: a value that makes no sense.
    """

    policies: Sequence[TierPolicy] = ()
    default_tier: str = "hot"
    enable_promotion: bool = True
    promotion_threshold: int = 10
    track_accesses: bool = True
    batch_size: int = 100
    schedule: Schedule = field(default_factory=lambda: Schedule(enabled=False))

    def __post_init__(self) -> None:
        for policy in self.policies:
            if not isinstance(policy, TierPolicy):
                raise TypeError(f"a policy is a TierPolicy, not {type(policy).__name__}")
        if self.promotion_threshold < 1 or self.batch_size < 1:
            raise StoreConfigError("promotion_threshold and batch_size are at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TieringResult:
    """Result of a run, or, of a dry run, of the run that it would be.

    Attributes:
        start_time: its begin.
        end_time: its end.
        items_scanned: items that were judged.
        items_migrated: items that were moved.
        items_changed: items that stayed because they changed since the plan, or were gone already.
        items_left: items that wait for the next run, for the time was up.
        bytes_migrated: size of the items that were moved.
        migrations: number of moves by ``from → to``.
        errors: the errors, item by item, at most a hundred.
        dry_run: nothing was done.
    """

    start_time: datetime = field(default_factory=_now)
    end_time: datetime | None = None
    items_scanned: int = 0
    items_migrated: int = 0
    items_changed: int = 0
    items_left: int = 0
    bytes_migrated: int = 0
    migrations: Mapping[str, int] = field(default_factory=dict)
    errors: Sequence[str] = ()
    dry_run: bool = False

    @property
    def duration_seconds(self) -> float:
        """Its duration."""
        return 0.0 if self.end_time is None else (self.end_time - self.start_time).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Return every field, and the duration, as JSON-ready builtins."""
        times = {"start_time": self.start_time.isoformat(), "end_time": self.end_time and self.end_time.isoformat()}
        return {**asdict(self), **times, "errors": list(self.errors), "duration_seconds": self.duration_seconds}


class TierMetadataStore(ABC):
    """Keeps what tiers do not tell of their items: how often they are read, and when they were moved."""

    @abstractmethod
    def save_info(self, info: TierInfo) -> None:
        """Keep what is known of an item, in place of what was."""

    @abstractmethod
    def get_info(self, item_id: str) -> TierInfo | None:
        """Return what is known of an item."""

    @abstractmethod
    def list_by_tier(self, tier: str) -> list[TierInfo]:
        """Return what is known of the items of a tier."""

    @abstractmethod
    def update_access(self, item_id: str, count: int = 1, at: datetime | None = None) -> None:
        """Add reads to an item of which something is known; of another, nothing is kept.

        Args:
            item_id: the item.
            count: number of the reads.
            at: time of the last of them; now if None.
        """

    @abstractmethod
    def delete_info(self, item_id: str) -> bool:
        """Forget an item; return False if nothing was known of it."""

    def update_accesses(self, counts: Mapping[str, int], at: datetime) -> None:
        """Add reads to many items, and begin to keep something of those of which nothing is known."""
        for item_id, count in counts.items():
            if self.get_info(item_id) is None:
                self.save_info(TierInfo(item_id=item_id, current_tier=""))
            self.update_access(item_id, count, at)

    def save_infos(self, infos: Sequence[TierInfo]) -> None:
        """Keep what is known of many items."""
        for info in infos:
            self.save_info(info)


class InMemoryTierMetadataStore(TierMetadataStore):
    """Keeps it in this process, and forgets it with it."""

    def __init__(self) -> None:
        self._infos: dict[str, TierInfo] = {}
        self._lock = threading.Lock()

    def save_info(self, info: TierInfo) -> None:
        """Keep what is known of an item."""
        with self._lock:
            self._infos[info.item_id] = info

    def get_info(self, item_id: str) -> TierInfo | None:
        """Return what is known of an item."""
        return self._infos.get(item_id)

    def list_by_tier(self, tier: str) -> list[TierInfo]:
        """Return what is known of the items of a tier."""
        with self._lock:
            return [info for info in self._infos.values() if info.current_tier == tier]

    def update_access(self, item_id: str, count: int = 1, at: datetime | None = None) -> None:
        """Add reads to an item."""
        with self._lock:
            if (info := self._infos.get(item_id)) is not None:
                self._infos[item_id] = accessed(info, count, at)

    def delete_info(self, item_id: str) -> bool:
        """Forget an item."""
        with self._lock:
            return self._infos.pop(item_id, None) is not None


def accessed(info: TierInfo, count: int, at: datetime | None) -> TierInfo:
    """Return an item with reads added."""
    return msgspec.structs.replace(info, access_count=info.access_count + count, last_accessed=at or _now())
