"""A store over several others, each for items that are read as often, or as old, as it is cheap."""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

import msgspec

from truthstore.errors import StoreConfigError, StoreConflictError, StoreError, StoreNotFoundError
from truthstore.items.results import RESULTS
from truthstore.model.fields import check_id
from truthstore.model.query import EVERYTHING
from truthstore.model.record import NONE, Options, Record
from truthstore.runtime.spooled import SpooledList
from truthstore.store.config import configure
from truthstore.store.health import Health, Verification
from truthstore.store.registry import get_store
from truthstore.store.schedule import ScheduledRuns, runs_of
from truthstore.store.wrapper import WrapperStore
from truthstore.tiering.base import (
    MigrationDirection,
    StorageTier,
    TierAccessError,
    TierInfo,
    TieringConfig,
    TieringResult,
    TierMetadataStore,
    TierMigrationError,
    TierNotFoundError,
)
from truthstore.tiering.metadata import FULL, AccessCounts, StoredTierMetadata
from truthstore.tiering.placement import Placement
from truthstore.tiering.plan import PlannedMove, TierPlan, info_of, judge
from truthstore.tiering.reads import MARK

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.changes import Callback
    from truthstore.store.store import BaseStore

__all__ = ["TieredStore"]

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")

RUNS: Final = runs_of("tiering.runs")
MOST_ERRORS: Final = 100
GIGABYTE: Final = 1_024**3
NOT_BELOW: Final[Mapping[str, str]] = MappingProxyType(
    {
        "versioning": "a move would be a version: put VersionedStore above",
        "cached": "a cache would answer for what has moved: put CachedStore above",
        "batched": "what waits in memory is not copied yet: put BatchedStore above",
        "retention": "it would see one tier only: put RetentionStore above",
        "tiered": "one layer holds all tiers",
    }
)
log: Final = logging.getLogger("truthstore.tiering")


def _over_tiers(operation: F) -> F:
    """Build the form of an operation that asks all tiers, for users' collections; the library's lie in the default tier."""
    name = operation.__name__
    writes = name.startswith("put")

    @functools.wraps(operation)
    def ask(self: Any, /, *arguments: Any, collection: Collection[Any], **options: Any) -> Any:
        if not collection.is_users:
            return getattr(self._base, name)(*arguments, collection=collection, **options)
        answer = getattr(self._placement, name)(*arguments, collection=collection, **options)
        if writes:
            self._tier_if_due(collection)
        return answer

    return cast("F", ask)


class TieredStore(WrapperStore[T], Generic[T]):
    """One store made of several: items are saved in the default tier, and move as policies say.

    An item has one answer, while it moves too. Library collections lie in the default tier.

    Args:
        tiers: the tiers; or the store of the default tier, to which
        colder: adds the others.
        config: the options, or
        options: the same as keywords.
        metadata_store: keeps counts of reads; by default a collection of the default tier does.

    Raises:
        TierNotFoundError: the default tier, or one of a policy, is not among the tiers.
        StoreConfigError: tiers that cannot stand beside each other, or a layer in one that cannot stand there.
    """

    name: ClassVar[str] = "tiered"
    CANNOT_COVER: ClassVar[Mapping[str, str]] = NOT_BELOW

    def __init__(
        self,
        tiers: Sequence[StorageTier] | BaseStore[T],
        config: TieringConfig | None = None,
        *,
        colder: Sequence[StorageTier] = (),
        metadata_store: TierMetadataStore | None = None,
        **options: Any,
    ) -> None:
        self.config = configure(TieringConfig, config, options, "TieredStore", ("tiers", "colder", "metadata_store"))
        given = tiers if isinstance(tiers, Sequence) else [StorageTier(self.config.default_tier, tiers, priority=-1)]
        self._tiers = _opened([*given, *colder], self.config, RESULTS)
        first: BaseStore[T] = self._tiers[0].store  # type: ignore[assignment]  # opened
        super().__init__(first)
        stores: list[BaseStore[Any]] = []
        for tier in self._tiers:
            if not any(tier.store is known for known in stores):
                stores.append(tier.store)  # type: ignore[arg-type]  # opened
        for layer in (layer for store in stores[1:] for layer in store.layers()):
            layer._lifecycle.covered = True  # noqa: SLF001  # the same stack
            if layer.name in NOT_BELOW:
                raise StoreConfigError(f"{type(layer).__name__} cannot stand in a tier: {NOT_BELOW[layer.name]}")
        self._place = {tier.name: next(n for n, s in enumerate(stores) if s is tier.store) for tier in self._tiers}
        self._placement = Placement(stores, functools.partial(self._lifecycle.announce, type(self).__name__))
        self._metadata_store = metadata_store
        self._accesses = AccessCounts(self._metadata) if self.config.track_accesses else None
        self._reads = None if self._accesses is None else self._accesses.reads
        self._runs = ScheduledRuns(first, self.config.schedule, lambda: datetime.now(UTC), RUNS)

    def subscribe(self, callback: Callback) -> None:
        """Call back after every durable write, but for moves, which change no item; see `BaseStore.subscribe`."""
        self._lifecycle.subscribe(callback)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the record, from the first tier that has it, and count the read."""
        try:  # the shortest way for what lies in the default tier
            record = self._base.get_record(id, collection=collection, options=options)
            if record.meta.annotations and MARK in record.meta.annotations and collection.is_users:
                record = self._placement.get_record(id, collection=collection, options=options)
        except StoreNotFoundError:
            if not collection.is_users:
                raise
            record = self._placement.get_record(id, collection=collection, options=options)
        if (reads := self._reads) is not None and "." not in collection.name:
            reads.append((collection, id))
            if len(reads) >= FULL:
                self._flush()
        return record

    put_record = _over_tiers(WrapperStore.put_record)
    put_records = _over_tiers(WrapperStore.put_records)
    get_records = _over_tiers(WrapperStore.get_records)
    head_record = _over_tiers(WrapperStore.head_record)
    definitely_absent = _over_tiers(WrapperStore.definitely_absent)
    delete_record = _over_tiers(WrapperStore.delete_record)
    delete_records = _over_tiers(WrapperStore.delete_records)
    scan = _over_tiers(WrapperStore.scan)
    scan_ids = _over_tiers(WrapperStore.scan_ids)
    scan_rows = _over_tiers(WrapperStore.scan_rows)
    count_records = _over_tiers(WrapperStore.count_records)
    aggregate_records = _over_tiers(WrapperStore.aggregate_records)
    aggregate_rows = _over_tiers(WrapperStore.aggregate_rows)
    latest_rows = _over_tiers(WrapperStore.latest_rows)
    newest_rows = _over_tiers(WrapperStore.newest_rows)
    held_ids = _over_tiers(WrapperStore.held_ids)

    def _tier(self, name: str) -> StorageTier:
        for tier in self._tiers:
            if tier.name == name:
                return tier
        raise TierNotFoundError(name, self._place)

    @property
    def tiers(self) -> tuple[StorageTier, ...]:
        """The tiers, the default one first, then from hot to cold."""
        return self._tiers

    def tier_of(self, id: str) -> str:
        """Return the name of the tier that an item lies in.

        Raises:
            StoreNotFoundError: there is no such item.
        """
        return self.tier_info(id).current_tier

    def tier_info(self, id: str) -> TierInfo:
        """Return an item as policies see it.

        Raises:
            StoreNotFoundError: there is no such item.
        """
        self._check()
        collection = self._collection
        found = self._placement.find(check_id(id), collection)
        if found is None or found.record.meta.deleted:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        self._flush()
        tier = self._classes(found.place, collection)(found.record.id)
        return info_of(found.record, tier, self._metadata(collection).get_info(id), collection)

    def migrate_item(self, id: str, to_tier: str) -> bool:
        """Move one item; return False if it lies there already, or changed meanwhile.

        Raises:
            TierNotFoundError: there is no such tier.
            StoreNotFoundError: there is no such item.
            TierMigrationError: it could not be moved.
        """
        target = self._tier(to_tier)
        info = self.tier_info(id)
        if info.current_tier == target.name:
            return False
        order = [tier.name for tier in self._tiers]
        is_promotion = order.index(target.name) < order.index(info.current_tier)
        direction = MigrationDirection.PROMOTE if is_promotion else MigrationDirection.DEMOTE
        (done,) = self._move([msgspec.structs.replace(info, to_tier=to_tier, direction=direction)], self._collection)
        if isinstance(done, Exception):
            raise TierMigrationError(id, info.current_tier, to_tier, str(done)) from done
        return done

    def _move(self, moves: Sequence[Any], collection: Collection[Any]) -> list[bool | Exception]:
        """Move items of one tier to another, and say of each whether it was moved."""
        source, target = self._tier(moves[0].current_tier), self._tier(moves[0].to_tier)
        ids = [move.item_id for move in moves]
        here, there = self._place[source.name], self._place[target.name]
        if here == there:
            done = {id: self._reclass(id, target, collection) for id in ids}
        else:
            done = self._placement.move(ids, here, there, collection, [move.revision for move in moves])
            if target.storage_class is not None:
                done = {
                    id: self._reclass(id, target, collection) if is_there is True else is_there
                    for id, is_there in done.items()
                }
        now = datetime.now(UTC)
        self._metadata(collection).save_infos(
            [
                TierInfo(
                    item_id=move.item_id,
                    current_tier=target.name,
                    created_at=move.created_at,
                    migrated_at=now,
                    promoted_at=now if move.direction is MigrationDirection.PROMOTE else move.promoted_at,
                    last_accessed=move.last_accessed,
                    metadata=move.metadata,
                )
                for move in moves
                if done[move.item_id] is True
            ]
        )
        return [done[id] for id in ids]

    def _reclass(self, id: str, target: StorageTier, collection: Collection[Any]) -> bool | Exception:
        """Give an item the storage class of a tier, where it lies."""
        store: Any = target.store
        try:
            store.set_storage_class(id, target.storage_class, collection)
        except (StoreNotFoundError, StoreConflictError):
            return False
        except StoreError as error:
            return error
        return True

    def _classes(self, place: int, collection: Collection[Any]) -> Callable[[str], str]:
        """Return the function that names the tier of an item in a store."""
        tiers = [tier for tier in self._tiers if self._place[tier.name] == place]
        if len(tiers) == 1:
            return lambda _: tiers[0].name
        store: Any = tiers[0].store
        of, names = store.storage_classes(collection), {tier.storage_class: tier.name for tier in tiers}
        return lambda id: names.get(of(id), tiers[0].name)

    def _flush(self) -> None:
        if self._accesses is not None:
            self._accesses.flush()

    def _metadata(self, collection: Collection[Any]) -> TierMetadataStore:
        return self._metadata_store or StoredTierMetadata(self._base, collection)

    def plan(self) -> TierPlan:
        """Plan a run, with its reasons; nothing is moved, and no body is loaded."""
        self._check()
        return self._plan(self._collection)

    def _plan(self, collection: Collection[Any]) -> TierPlan:
        self._flush()
        metadata, plan, infos = self._metadata(collection), TierPlan(), SpooledList(PlannedMove)
        known = {info.item_id: info for info in metadata} if isinstance(metadata, StoredTierMetadata) else None
        try:
            for place, store in enumerate(self._placement.stores):
                tier_of = self._classes(place, collection)
                for head in store.scan(EVERYTHING, collection=collection):
                    more = metadata.get_info(head.id) if known is None else known.get(head.id)
                    infos.append(info_of(head, tier_of(head.id), more, collection))
            promotion = (self._tiers[0].name, self.config.promotion_threshold)
            judge(infos, plan, self.config.policies, promotion if self.config.enable_promotion else None)
        except BaseException:
            plan.close()
            raise
        finally:
            infos.close()
        return plan

    def apply(self, plan: TierPlan, max_seconds: float | None = None) -> TieringResult:
        """Carry out a plan. An item that was saved again since it was made stays.

        Args:
            plan: from `plan`.
            max_seconds: begin nothing new after so long.
        """
        self._check()
        return self._apply(plan, self._collection, max_seconds)

    def _apply(self, plan: TierPlan, collection: Collection[Any], seconds: float | None) -> TieringResult:
        start, end = datetime.now(UTC), None if seconds is None else time.monotonic() + seconds
        done: Counter[str] = Counter()
        moved: Counter[str] = Counter()
        errors: list[str] = []
        waiting: dict[tuple[str, str], list[PlannedMove]] = {}

        def carry_out(moves: list[PlannedMove]) -> None:
            if not moves or (end is not None and time.monotonic() > end):
                return
            results = self._move(moves, collection)
            for move, result in zip(moves, results, strict=True):
                done["begun"] += 1
                if result is True:
                    moved[f"{move.current_tier} → {move.to_tier}"] += 1
                    done["bytes"] += move.size_bytes
                elif result is False:
                    done["changed"] += 1
                elif len(errors) < MOST_ERRORS:
                    errors.append(f"{move.item_id}: {result}")

        self._placement.recover(collection)
        for move in plan:
            batch = waiting.setdefault((move.current_tier, move.to_tier), [])
            batch.append(move)
            if len(batch) >= self.config.batch_size:
                carry_out(batch)
                batch.clear()
        for batch in waiting.values():
            carry_out(batch)
        return TieringResult(
            start_time=start,
            end_time=datetime.now(UTC),
            items_scanned=plan.items_scanned,
            items_migrated=moved.total(),
            items_changed=done["changed"],
            items_left=len(plan) - done["begun"],
            bytes_migrated=done["bytes"],
            migrations=dict(moved),
            errors=tuple(errors),
        )

    def run_tiering(self, *, dry_run: bool = False, max_seconds: float | None = None) -> TieringResult:
        """Plan and carry out.

        Args:
            dry_run: only report.
            max_seconds: begin nothing new after so long; None takes the schedule's.
        """
        self._check()
        if dry_run:
            with self.plan() as plan:
                return plan.result()
        limit = self.config.schedule.max_duration_seconds if max_seconds is None else max_seconds
        return self._run(self._collection, limit)

    def _run(self, collection: Collection[Any], seconds: float) -> TieringResult:
        with self._plan(collection) as plan:
            result = self._apply(plan, collection, seconds)
        self._runs.done(collection.name, result.to_dict())
        return result

    def _tier_if_due(self, collection: Collection[Any]) -> None:
        if not self.config.schedule.enabled:
            return
        try:
            if self._runs.claim(collection.name):
                self._run(collection, self.config.schedule.max_duration_seconds)
        except Exception:  # a policy, which users write, may raise anything
            # The save is durable already; the run is tried again when its claim has run out.
            log.exception("the tiering of %s failed", collection.name)

    def cost_report(self) -> list[dict[str, Any]]:
        """Return for each tier its items, bytes, price of a gigabyte and of all for a month, and usual time of a read."""
        self._check()
        figures = {tier.name: Counter[str]() for tier in self._tiers}
        for place, store in enumerate(self._placement.stores):
            tiers = [tier.name for tier in self._tiers if self._place[tier.name] == place]
            if len(tiers) == 1:
                (row,) = store.collection(self._collection).aggregate(metrics=("count", "sum:size")) or [{}]
                figures[tiers[0]].update(items=row.get("count", 0), bytes=row.get("sum:size") or 0)
                continue
            tier_of = self._classes(place, self._collection)
            for head in store.scan(EVERYTHING, collection=self._collection):
                figures[tier_of(head.id)].update(items=1, bytes=head.meta.size)
        return [
            {
                "tier": tier.name,
                "tier_type": tier.tier_type.value,
                "items": figures[tier.name]["items"],
                "bytes": figures[tier.name]["bytes"],
                "cost_per_gb": tier.cost_per_gb,
                "monthly_cost": figures[tier.name]["bytes"] / GIGABYTE * tier.cost_per_gb,
                "retrieval_time_ms": tier.retrieval_time_ms,
            }
            for tier in self._tiers
        ]

    def initialize(self) -> None:
        """Open every tier.

        Raises:
            TierAccessError: one cannot be opened; it says which.
        """
        self._check()
        for tier in self._tiers:
            try:
                tier.store.initialize()  # type: ignore[union-attr]  # opened
            except StoreError as error:
                raise TierAccessError(tier.name, str(error)) from error

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintain every tier, then move what is to be moved."""
        done = Counter(super().maintain(budget))
        for store in self._placement.stores[1:]:
            done.update(store.collection(self._collection).maintain(budget))
        if self._collection.is_users:
            result = self._run(
                self._collection, self.config.schedule.max_duration_seconds if budget is None else budget
            )
            done["items_migrated"] = result.items_migrated
        return dict(done)

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Read every record of every tier back."""
        found = [store.verify_records(collection) for store in self._placement.stores]
        return Verification(
            checked=sum(one.checked for one in found),
            missing=tuple(id for one in found for id in one.missing),
            unindexed=tuple(id for one in found for id in one.unindexed),
            changed=tuple(id for one in found for id in one.changed),
            corrupt={id: why for one in found for id, why in one.corrupt.items()},
        )

    def rebuild_index(self) -> int:
        """Rebuild the index of every tier."""
        return sum(store.collection(self._collection).rebuild_index() for store in self._placement.stores)

    def health_check(self) -> Health:
        """Check every tier."""
        for tier in self._tiers:
            health = tier.store.health_check()  # type: ignore[union-attr]  # opened
            if not health.healthy:
                return replace(health, message=f"tier {tier.name}: {health.message}")
        return super().health_check()

    def stats(self) -> dict[str, Any]:
        """Return figures about the store, and those of each tier."""
        (row,) = self.aggregate(metrics=("count", "sum:size")) or [{"count": 0, "sum:size": 0}]
        return {**super().stats(), "items": row["count"], "bytes": row["sum:size"] or 0, "tiers": self.cost_report()}

    def close(self) -> None:
        """Keep the reads that were counted, and close every tier."""
        try:
            if not self._lifecycle.closed:
                self._flush()
        finally:
            super().close()
            self._placement.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{tier.name}={tier.store!r}' for tier in self._tiers)})"


def _opened(tiers: Sequence[StorageTier], config: TieringConfig, collection: Any) -> tuple[StorageTier, ...]:
    """Return the tiers in the order in which they are looked at, with their stores."""
    if not tiers or not all(isinstance(tier, StorageTier) for tier in tiers):
        raise TypeError("tiers are several StorageTier, or the store of the default tier")
    opened: dict[str, BaseStore[Any]] = {}
    names = [tier.name for tier in tiers]
    if len(set(names)) < len(names):
        raise StoreConfigError(f"two tiers have one name: {', '.join(names)}")
    if config.default_tier not in names and config.default_tier != "hot":
        raise TierNotFoundError(config.default_tier, names)
    for policy in config.policies:
        for name in (policy.from_tier, policy.to_tier):
            if name not in names:
                raise TierNotFoundError(name, names)
    ready: list[StorageTier] = []
    for tier in sorted(tiers, key=lambda tier: (tier.name != config.default_tier, tier.priority)):
        store = tier.store
        if isinstance(store, str):
            store = opened.get(store) or get_store(store, collection=collection)
            opened[tier.store] = store  # type: ignore[index]  # the URL
        same = [one for one in ready if one.store is store]
        if same and (tier.storage_class is None or any(one.storage_class is None for one in same)):
            raise StoreConfigError(f"tiers {same[0].name} and {tier.name} share a store: give each a storage_class")
        if tier.storage_class is not None and not hasattr(store, "set_storage_class"):
            raise StoreConfigError(f"tier {tier.name}: {type(store).__name__} has no storage classes")
        ready.append(replace(tier, store=store))
    return tuple(ready)
