"""Public values of retention: policies and the items as they see them, the options, and the result of a clean-up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import msgspec

from truthstore.errors import echoed
from truthstore.model.fields import HOLD_TAG, HOLD_VALUE, to_microseconds
from truthstore.store.config import member
from truthstore.store.schedule import Schedule

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = [
    "ItemMetadata",
    "PolicyEvaluator",
    "PolicyMode",
    "RetentionAction",
    "RetentionConfig",
    "RetentionPolicy",
    "RetentionResult",
    "RetentionSchedule",
    "age_of",
    "check_tags",
]


def age_of(days: float = 0, hours: float = 0, minutes: float = 0) -> timedelta:
    """Return an age of so many days, hours and minutes.

    Raises:
        ValueError: it is more than a timedelta can hold, or not a number.
    """
    try:
        return timedelta(days=days, hours=hours, minutes=minutes)
    except (ValueError, OverflowError):
        raise ValueError("an age is a finite number of days, hours or minutes, at most 999,999,999 days") from None
    except TypeError as error:
        raise TypeError("an age is a number of days, hours or minutes; a timedelta is given as max_age=") from error


def check_tags(name: str, tags: Mapping[Any, Any], *, any_value: bool = False) -> None:
    """Refuse tags that no item can have, whose keys and values are strings; None may stand for any value.

    Raises:
        TypeError: a key or a value is something else.
    """
    for key, value in tags.items():
        if not isinstance(key, str):
            raise TypeError(f"the tags of {name} are strings, not {echoed(key)}")
        if not isinstance(value, str) and not (any_value and value is None):
            wanted = "strings, or None for any" if any_value else "strings"
            raise TypeError(f"the values of {name} are {wanted}, not {echoed(value)}: {key!r:.90}")


class RetentionAction(StrEnum):
    """Action on an item that is not kept."""

    DELETE = "delete"
    """It is deleted, with its history."""
    ARCHIVE = "archive"
    """It is copied to the archive store, the copy is read back, then it is deleted."""
    COMPRESS = "compress"
    """Not a matter of retention here: a compression layer does it for all items."""
    TIER_DOWN = "tier_down"
    """Not a matter of retention here: a tiering layer has policies of its own."""
    QUARANTINE = "quarantine"
    """It is set aside in the same store, out of sight; `RetentionStore.release` brings it back."""


class PolicyMode(StrEnum):
    """Decision of several policies together."""

    ALL = "all"
    """An item is kept only if every policy keeps it."""
    ANY = "any"
    """An item is kept if one policy keeps it."""


class ItemMetadata(msgspec.Struct, frozen=True):
    """An item as policies see it; its body is not loaded.

    Attributes:
        item_id: its id.
        data_asset: the data asset, empty if it has none.
        created_at: the collection's time field (of results the run time), or when it was stored.
        size_bytes: length of its body.
        status: its status, empty if it has none.
        tags: its tags.
        access_count: number of reads, if the caller counts them; stores do not.
        last_accessed: time of the last read, if the caller keeps it.
    """

    item_id: str
    data_asset: str
    created_at: datetime
    size_bytes: int = 0
    status: str = ""
    tags: Mapping[str, str] = {}
    access_count: int = 0
    last_accessed: datetime | None = None

    @property
    def age_key(self) -> tuple[int, str]:
        """Key of the order of age: time, then id."""
        return to_microseconds(self.created_at), self.item_id


class RetentionPolicy(ABC):
    """Decides about items. Extend it, or one of the built-in policies, and write `should_retain`.

    A policy that must see all items first overrides `prepare_batch` too. A plan asks a shallow copy of the policy, so that
    plans made at the same time do not disturb each other.

    Attributes:
        action: action on the items that it lets go; None leaves that to the store.
    """

    action: RetentionAction | None = None
    _rule: str = ""

    @abstractmethod
    def should_retain(self, item: ItemMetadata) -> bool:
        """Return whether an item is kept."""

    def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:  # noqa: B027  # most need not prepare
        """Look at all items before the first is judged. They come newest first, and may be iterated over again."""

    @property
    def name(self) -> str:
        """The policy's name in plans."""
        return type(self).__name__

    @property
    def description(self) -> str:
        """The policy's rule, for people."""
        return f"{self.name}({self._rule})" if self._rule else self.name

    @property
    def actions(self) -> frozenset[RetentionAction]:
        """The actions that it may ask for."""
        return frozenset() if self.action is None else frozenset({self.action})

    def __repr__(self) -> str:
        return self.description


class PolicyEvaluator:
    """Several policies together; without any, everything is kept."""

    def __init__(self, policies: Sequence[RetentionPolicy], mode: PolicyMode = PolicyMode.ALL) -> None:
        self.policies = tuple(policies)
        self.mode = member(PolicyMode, mode, "mode")

    def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
        """Let every policy look at all items."""
        if isinstance(items, Iterator):
            items = list(items)  # each of them iterates over it
        for policy in self.policies:
            policy.prepare_batch(items)

    def evaluate(self, item: ItemMetadata) -> tuple[bool, list[RetentionPolicy]]:
        """Return whether an item is kept, and the policies that would let it go."""
        against = [policy for policy in self.policies if not policy.should_retain(item)]
        return not against or (self.mode is PolicyMode.ANY and len(against) < len(self.policies)), against


class RetentionSchedule(Schedule):
    """Times of automatic clean-up, after a save."""


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """Options of retention.

    Attributes:
        policies: the policies; without any, everything is kept.
        mode: their decision together.
        default_action: action on the rest, for policies without an action of their own.
        schedule: times of automatic clean-up.
        dry_run: `run_cleanup` only reports by default.
        archive_store_name: the archive store by name or URL, as `get_store` takes it, or
        archive_store: the store itself.
        preserve_latest: always keep the newest item of each data asset.
        excluded_tags: a legal hold: items with one of these tags are kept, whatever any policy says. A dict of tags and
            values (None means any value), or the names alone.
        excluded_assets: items of these data assets are kept too, and so are items that were protected.
    """

    policies: Sequence[RetentionPolicy] = ()
    mode: PolicyMode = PolicyMode.ALL
    default_action: RetentionAction = RetentionAction.DELETE
    schedule: RetentionSchedule = field(default_factory=lambda: RetentionSchedule(enabled=False))
    dry_run: bool = False
    archive_store_name: str | None = field(default=None, repr=False)
    archive_store: BaseStore[Any] | None = None
    preserve_latest: bool = True
    excluded_tags: Mapping[str, str | None] | Iterable[str] = field(default_factory=dict)
    excluded_assets: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", member(PolicyMode, self.mode, "mode"))
        object.__setattr__(self, "default_action", member(RetentionAction, self.default_action, "default_action"))
        if isinstance(self.policies, RetentionPolicy):
            raise TypeError("policies is a list of policies, not one policy")
        for policy in self.policies:
            if not isinstance(policy, RetentionPolicy):
                raise TypeError(f"a policy is a RetentionPolicy, not {type(policy).__name__}")
        tags = self.excluded_tags
        if isinstance(tags, Mapping):
            # A value that no tag can have would hold nothing, and nobody would know.
            check_tags("excluded_tags", tags, any_value=True)
        else:
            object.__setattr__(self, "excluded_tags", dict.fromkeys(_names("excluded_tags", tags)))
        object.__setattr__(self, "excluded_assets", _names("excluded_assets", self.excluded_assets))

    def holds(self, data_asset: str, tags: Mapping[str, str]) -> bool:
        """Return whether an item of an asset and with tags is under a legal hold."""
        if data_asset in self.excluded_assets:
            return True
        if tags.get(HOLD_TAG) == HOLD_VALUE:
            return True
        held = cast("Mapping[str, str | None]", self.excluded_tags)
        return bool(held) and any(key in tags and value in {None, tags[key]} for key, value in held.items())


def _names(option: str, names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{option} holds several names, not {echoed(names)}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"{option} holds names, which are strings, not {echoed(name)}")
    return found


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """Result of a clean-up, or, of a dry run, of the clean-up that it would be.

    Attributes:
        start_time: its begin.
        end_time: its end.
        items_scanned: items that were judged.
        items_deleted: items that were deleted.
        items_archived: items that are in the archive now.
        items_quarantined: items that were set aside.
        items_preserved: items that were kept, those of the next three among them.
        items_excluded: items that were kept for their tags or assets.
        items_changed: items that were kept because they changed since the plan, or were gone already.
        items_left: items that wait for the next clean-up, for the time was up.
        bytes_freed: size of the items that went, as they were saved.
        errors: the errors, item by item, at most a hundred.
        dry_run: nothing was done.
    """

    start_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    end_time: datetime | None = None
    items_scanned: int = 0
    items_deleted: int = 0
    items_archived: int = 0
    items_quarantined: int = 0
    items_preserved: int = 0
    items_excluded: int = 0
    items_changed: int = 0
    items_left: int = 0
    bytes_freed: int = 0
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
