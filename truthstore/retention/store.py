"""Policies over any store: the items that may go are planned, shown, and deleted."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.errors import StoreConfigError
from truthstore.model.fields import HOLD_TAG, HOLD_VALUE, check_id
from truthstore.model.query import StoreQuery
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.retention.apply import apply_plan, change_archived, change_quarantined, quarantine_of, release
from truthstore.retention.base import (
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
    RetentionResult,
)
from truthstore.retention.plan import make_plan, metadata_of
from truthstore.retention.policies import CompositePolicy, StatusBasedPolicy
from truthstore.store.config import configure
from truthstore.store.registry import get_store
from truthstore.store.schedule import ScheduledRuns, runs_of
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.retention.plan import RetentionPlan
    from truthstore.store.records import ChangeCopy
    from truthstore.store.store import BaseStore

__all__ = ["RetentionStore"]

T = TypeVar("T")

log: Final = logging.getLogger("truthstore.retention")

RUNS: Final = runs_of("retention")
OWN_OPTIONS: Final = ("policy", "cleanup_interval_hours", "clock")
NOT_HERE: Final[Mapping[RetentionAction, str]] = MappingProxyType(
    {
        RetentionAction.COMPRESS: "retention compresses nothing: put a compression layer below, for all items",
        RetentionAction.TIER_DOWN: "retention moves nothing between tiers: a tiering layer has policies of its own",
    }
)


def _now() -> datetime:
    return datetime.now(UTC)


class RetentionStore(WrapperStore[T]):
    """Delete, archive or set aside the items that its policies do not keep.

    Nothing goes unless `run_cleanup`, `apply` or `maintain` is called, or automatic clean-up is asked for, every so many
    hours: then it happens after a save, in the process that saves when it is due.

    Args:
        base: the store below.
        policy: a policy, or several (all must keep an item), or a `RetentionConfig`.
        cleanup_interval_hours: clean up automatically, so long after the last time.
        config: the options, or
        clock: the time.
        options: the options as keywords; see `RetentionConfig`.

    Attributes:
        config: the options.
        archive_store: the store of archived items, or None.

    Raises:
        StoreConfigError: there is no policy; or an action that cannot be done here: ARCHIVE without an archive store,
            COMPRESS, TIER_DOWN.
    """

    name: ClassVar[str] = "retention"
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"retention": "one layer holds all policies: give it several"}
    )

    def __init__(
        self,
        base: BaseStore[T],
        policy: RetentionPolicy | Sequence[RetentionPolicy] | RetentionConfig | None = None,
        cleanup_interval_hours: float | None = None,
        *,
        config: RetentionConfig | None = None,
        clock: Callable[[], datetime] = _now,
        **options: Any,
    ) -> None:
        super().__init__(base)
        settings = _settings(policy, config, options)
        if cleanup_interval_hours is not None:
            schedule = dataclasses.replace(settings.schedule, enabled=True, interval_hours=cleanup_interval_hours)
            settings = dataclasses.replace(settings, schedule=schedule)
        if not settings.policies:
            raise StoreConfigError(
                "RetentionStore without a policy keeps everything: give it one, such as TimeBasedPolicy(90)"
            )
        _check_statuses(settings.policies, self._collection)
        self.config = settings
        self.archive_store = _archive_of(settings, base, self._collection)
        self._schedule = ScheduledRuns(base, settings.schedule, clock, RUNS)

    def plan(self) -> RetentionPlan:
        """Plan a clean-up, with its reasons; nothing is changed, and no body is loaded."""
        self._check()
        return make_plan(self._base, self._collection, self.config)

    def apply(self, plan: RetentionPlan, max_seconds: float | None = None) -> RetentionResult:
        """Carry out a plan. An item that was saved again since it was made is kept.

        Args:
            plan: from `plan`, or from a file by `RetentionPlan.load`.
            max_seconds: begin nothing new after so long.
        """
        self._check()
        return apply_plan(plan, self._collection, self._base, self.archive_store, self.config, max_seconds)

    def run_cleanup(self, dry_run: bool | None = None, max_seconds: float | None = None) -> RetentionResult:  # noqa: FBT001
        """Plan and carry out.

        Args:
            dry_run: only report; None takes the configuration's.
            max_seconds: begin nothing new after so long; None takes the schedule's.
        """
        self._check()
        if self.config.dry_run if dry_run is None else dry_run:
            with self.plan() as plan:
                return plan.result()
        limit = self.config.schedule.max_duration_seconds if max_seconds is None else max_seconds
        return self._clean(self._collection, limit)

    def _clean(self, collection: Collection[Any], seconds: float) -> RetentionResult:
        with make_plan(self._base, collection, self.config) as plan:
            result = apply_plan(plan, collection, self._base, self.archive_store, self.config, seconds)
        self._schedule.done(collection.name, result.to_dict())
        return result

    def last_run(self) -> datetime | None:
        """Return the time of this collection's last clean-up, in any process; None if there was none."""
        self._check()
        return self._schedule.last(self._collection.name)

    def quarantined(self) -> list[str]:
        """Return the ids of the items that are set aside, newest first."""
        self._check()
        return self._base.scan_ids(StoreQuery(), collection=quarantine_of(self._collection))

    def release(self, id: str) -> None:
        """Bring back an item that was set aside.

        Raises:
            StoreNotFoundError: it is not set aside.
            StoreConflictError: there is another item with its id by now; delete that first.
        """
        self._check()
        release(check_id(id), self._collection, self._base)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Forward, then clean up if that is due."""
        stored = self._base.put_record(record, collection=collection, expect=expect, options=options)
        self._clean_if_due(collection)
        return stored

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Forward, then clean up if that is due."""
        stored = self._base.put_records(records, collection=collection, expect=expect, options=options)
        self._clean_if_due(collection)
        return stored

    def _clean_if_due(self, collection: Collection[Any]) -> None:
        if not self.config.schedule.enabled or not self._cleans(collection):
            return
        try:
            if self._schedule.claim(collection.name):
                self._clean(collection, self.config.schedule.max_duration_seconds)
        except Exception:  # a policy, which users write, may raise anything
            # The save is durable already; the clean-up is tried again when its claim has run out.
            log.exception("the clean-up of %s failed", collection.name)

    def held_ids(self, query: StoreQuery, *, collection: Collection[Any]) -> frozenset[str]:
        """Return the ids of protected items, of those with an excluded tag or asset, and of those that layers below hold."""
        below, config = super().held_ids(query, collection=collection), self.config
        tags = {**(query.tags or {}), HOLD_TAG: HOLD_VALUE}
        protected = query.replace(tags=tags, limit=None, offset=0, after=None)
        below = below.union(self._base.scan_ids(protected, collection=collection))
        if not (config.excluded_tags or config.excluded_assets):
            return below
        items = [metadata_of(head, collection) for head in self._base.scan(query, collection=collection)]
        return below.union(item.item_id for item in items if config.holds(item.data_asset, item.tags))

    def copied_ids(self, ids: Sequence[str], *, collection: Collection[Any]) -> frozenset[str]:
        """Return the ids of items that are set aside, and those that are copied below."""
        below = self._base.copied_ids(ids, collection=collection)
        if not collection.is_users:
            return below
        return below.union(self._base.scan_ids(StoreQuery(ids=ids), collection=quarantine_of(collection)))

    def change_copies(self, change: ChangeCopy, *, collection: Collection[Any]) -> None:
        """Change the copies below, and the items that are set aside and in the archive."""
        self._base.change_copies(change, collection=collection)
        if not collection.is_users:
            return
        change_quarantined(change, collection, self._base)
        if self.archive_store is not None:
            change_archived(change, collection, self.archive_store)

    def _cleans(self, collection: Collection[Any]) -> bool:
        return not self.config.dry_run and collection.is_users

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintain the store below, then clean up."""
        done = super().maintain(budget)
        if not self._cleans(self._collection):
            return done
        result = self.run_cleanup(max_seconds=budget).to_dict()
        return {**done, **{f"items_{name}": result[f"items_{name}"] for name in ("deleted", "archived", "quarantined")}}


def _settings(policy: object, config: RetentionConfig | None, options: dict[str, Any]) -> RetentionConfig:
    if policy is None:
        return configure(RetentionConfig, config, options, "RetentionStore", OWN_OPTIONS)
    if config is not None or "policies" in options or (isinstance(policy, RetentionConfig) and options):
        raise TypeError("RetentionStore takes either policies with options, or policies=, or config=")
    if isinstance(policy, RetentionConfig):
        return policy
    several = isinstance(policy, Sequence) and not isinstance(policy, str)
    return configure(
        RetentionConfig, None, {"policies": policy if several else (policy,), **options}, "RetentionStore", OWN_OPTIONS
    )


def _archive_of(config: RetentionConfig, base: BaseStore[Any], collection: Collection[Any]) -> BaseStore[Any] | None:
    """Check the actions that the policies may ask for, and return the archive store."""
    asked = frozenset({config.default_action}).union(*(policy.actions for policy in config.policies))
    for action in asked:
        if action in NOT_HERE:
            raise StoreConfigError(f"{action.name}: {NOT_HERE[action]}")
    if config.archive_store is not None and config.archive_store_name is not None:
        raise StoreConfigError("give either archive_store or archive_store_name, not both")
    archive = config.archive_store
    if archive is None and config.archive_store_name is not None:
        archive = get_store(config.archive_store_name, collection=collection)
    if archive is None and RetentionAction.ARCHIVE in asked:
        raise StoreConfigError("ARCHIVE needs a place: give archive_store=, or archive_store_name=")
    if archive is not None and any(layer in list(base.layers()) for layer in archive.layers()):
        raise StoreConfigError("the archive store is the store itself: archived items would be deleted")
    return archive


def _check_statuses(policies: Iterable[RetentionPolicy], collection: Collection[Any]) -> None:
    """Refuse a policy for a status that no item of the collection can have: it would keep everything."""
    known = collection.choices("status")
    for policy in policies:
        if isinstance(policy, CompositePolicy):
            _check_statuses(policy.policies, collection)
        elif isinstance(policy, StatusBasedPolicy) and known and policy.status not in known:
            raise StoreConfigError(f"no item has the status {policy.status!r:.80}, only {', '.join(sorted(known))}")
