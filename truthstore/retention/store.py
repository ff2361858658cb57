"""Policies over any store: what may go is planned, shown, and removed."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.errors import StoreConfigError
from truthstore.model.fields import check_id
from truthstore.model.query import StoreQuery
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.retention.apply import Cleaning, quarantine_of
from truthstore.retention.base import (
    RetentionAction,
    RetentionConfig,
    RetentionPolicy,
    RetentionResult,
)
from truthstore.retention.planning import make_plan
from truthstore.retention.schedule import Timetable
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truthstore.model.collection import Collection
    from truthstore.retention.plan import RetentionPlan
    from truthstore.store.store import BaseStore

__all__ = ["RetentionStore"]

T = TypeVar("T")

log: Final = logging.getLogger("truthstore")

NOT_HERE: Final[Mapping[RetentionAction, str]] = MappingProxyType(
    {
        RetentionAction.COMPRESS: "retention compresses nothing: put a compression layer below, for all items",
        RetentionAction.TIER_DOWN: "retention moves nothing between tiers: a tiering layer has policies of its own",
    }
)


def _now() -> datetime:
    return datetime.now(UTC)


class RetentionStore(WrapperStore[T]):
    """Removes, archives or sets aside what its policies do not keep.

    Nothing goes unless `run_cleanup`, `apply` or `maintain` is called, or clean-up is asked for by itself, every so many
    hours: then it happens after a save, in whichever process saves when it is due.

    Args:
        base: the store below.
        policy: a policy, or several (all must keep an item), or a `RetentionConfig`.
        cleanup_interval_hours: clean up by itself, so long after the last time.
        config: the options, or
        clock: the time.
        options: the options as keywords; see `RetentionConfig`.

    Raises:
        StoreConfigError: an action that cannot be done here: ARCHIVE without an archive store, COMPRESS, TIER_DOWN.
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
        self._config = settings
        self._archive = _archive_of(settings, base, self._collection)
        self._cleaning = Cleaning(base, self._archive, settings.schedule.batch_size)
        self._timetable = Timetable(base, settings.schedule, clock)

    @property
    def config(self) -> RetentionConfig:
        """The options."""
        return self._config

    @property
    def archive_store(self) -> BaseStore[Any] | None:
        """Where items are archived."""
        return self._archive

    def plan(self) -> RetentionPlan:
        """What a clean-up would do now, and why; nothing is changed, and no body is loaded."""
        self._check()
        return make_plan(self._base, self._collection, self._config)

    def apply(self, plan: RetentionPlan, max_seconds: float | None = None) -> RetentionResult:
        """Carries out a plan. What was saved anew since it was made is kept.

        Args:
            plan: from `plan`.
            max_seconds: begin nothing new after so long.
        """
        self._check()
        return self._cleaning.apply(plan, self._collection, max_seconds)

    def run_cleanup(self, dry_run: bool | None = None, max_seconds: float | None = None) -> RetentionResult:  # noqa: FBT001
        """Plans and carries out.

        Args:
            dry_run: only report; None means as the configuration says.
            max_seconds: begin nothing new after so long; None means as the schedule says.
        """
        self._check()
        if self._config.dry_run if dry_run is None else dry_run:
            with self.plan() as plan:
                return plan.result()
        limit = self._config.schedule.max_duration_seconds if max_seconds is None else max_seconds
        return self._clean(self._collection, limit)

    def _clean(self, collection: Collection[Any], seconds: float) -> RetentionResult:
        with make_plan(self._base, collection, self._config) as plan:
            result = self._cleaning.apply(plan, collection, seconds)
        self._timetable.done(collection.name, result)
        return result

    def last_run(self) -> datetime | None:
        """When this collection was cleaned up last, by any process; None if never."""
        self._check()
        last = self._timetable.last(self._collection.name)
        return None if last is None else last[0]

    def quarantined(self) -> list[str]:
        """Ids of what is set aside, newest first."""
        self._check()
        return self._base.scan_ids(StoreQuery(), collection=quarantine_of(self._collection))

    def release(self, id: str) -> None:
        """Brings back what was set aside.

        Raises:
            StoreNotFoundError: it is not set aside.
            StoreConflictError: there is another item with its id by now; remove that first.
        """
        self._check()
        self._cleaning.release(check_id(id), self._collection)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Forwards, then cleans up if that is due."""
        stored = self._base.put_record(record, collection=collection, expect=expect, options=options)
        self._clean_if_due(collection)
        return stored

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Forwards, then cleans up if that is due."""
        stored = self._base.put_records(records, collection=collection, expect=expect, options=options)
        self._clean_if_due(collection)
        return stored

    def _clean_if_due(self, collection: Collection[Any]) -> None:
        schedule = self._config.schedule
        if not schedule.enabled or self._config.dry_run or not self._config.policies or not collection.is_users:
            return
        try:
            if self._timetable.claim(collection.name):
                self._clean(collection, schedule.max_duration_seconds)
        except Exception:  # a policy, which users write, may raise anything
            # What was saved is durable already; the clean-up is tried again when its claim has run out.
            log.exception("the clean-up of %s failed", collection.name)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Maintains the store below, then cleans up."""
        done = super().maintain(budget)
        if self._config.dry_run or not self._config.policies or not self._collection.is_users:
            return done
        result = self.run_cleanup(max_seconds=budget)
        return {
            **done,
            "items_deleted": result.items_deleted,
            "items_archived": result.items_archived,
            "items_quarantined": result.items_quarantined,
        }


def _settings(policy: object, config: RetentionConfig | None, options: dict[str, Any]) -> RetentionConfig:
    if policy is None:
        return configure(RetentionConfig, config, options, "RetentionStore")
    if config is not None or (isinstance(policy, RetentionConfig) and options):
        raise TypeError("RetentionStore takes either policies with options, or config=")
    if isinstance(policy, RetentionConfig):
        return policy
    if "policies" in options:
        raise TypeError("RetentionStore takes either a policy or policies=, not both")
    if isinstance(policy, RetentionPolicy):
        policies: Sequence[Any] = (policy,)
    elif isinstance(policy, Sequence) and not isinstance(policy, str):
        policies = tuple(policy)
    else:
        raise TypeError(f"a policy is a RetentionPolicy, not {type(policy).__name__}")
    return configure(RetentionConfig, None, {"policies": policies, **options}, "RetentionStore")


def _archive_of(config: RetentionConfig, base: BaseStore[Any], collection: Collection[Any]) -> BaseStore[Any] | None:
    """The archive store, after a look at what the policies may ask for."""
    asked = frozenset({config.default_action}).union(*(policy.actions for policy in config.policies))
    for action in asked:
        if action in NOT_HERE:
            raise StoreConfigError(f"{action.name}: {NOT_HERE[action]}")
    if config.archive_store is not None and config.archive_store_name is not None:
        raise StoreConfigError("give either archive_store or archive_store_name, not both")
    archive = config.archive_store
    if archive is None and config.archive_store_name is not None:
        from truthstore.factory import get_store  # above this floor: a name is resolved for the user

        archive = get_store(config.archive_store_name, collection=collection)
    if archive is None and RetentionAction.ARCHIVE in asked:
        raise StoreConfigError("ARCHIVE needs a place: give archive_store=, or archive_store_name=")
    if archive is not None and any(layer in list(base.layers()) for layer in archive.layers()):
        raise StoreConfigError("the archive store is the store itself: archived items would be removed")
    return archive
