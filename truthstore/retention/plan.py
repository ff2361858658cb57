"""What a clean-up would do, and why: kept in a temporary file, so that a million items need no memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

import msgspec

from truthstore.retention.base import RetentionAction, RetentionResult
from truthstore.retention.lines import Lines

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PlannedItem", "RetentionPlan"]


class PlannedItem(msgspec.Struct, frozen=True, array_like=True):
    """One item that would go.

    Attributes:
        item_id: its id.
        revision: its revision when the plan was made; should it have another one later, it is kept.
        data_asset: the data asset, empty if it has none.
        created_at: when it was made.
        size_bytes: length of its body.
        action: what would become of it.
        reasons: the policies that let it go.
    """

    item_id: str
    revision: str
    data_asset: str
    created_at: datetime
    size_bytes: int
    action: RetentionAction
    reasons: tuple[str, ...]


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(PlannedItem).decode


class RetentionPlan:
    """The items that would go, newest first. It can be gone through any number of times, until it is closed.

    Attributes:
        made_at: when it was made.
        items_scanned: items that were looked at.
        items_excluded: items that are kept for their tags or assets.
        bytes_planned: size of all that would go.
        actions: how many items each action concerns.
    """

    def __init__(self) -> None:
        self.made_at = datetime.now(UTC)
        self.items_scanned = 0
        self.items_excluded = 0
        self.bytes_planned = 0
        self.actions: Counter[RetentionAction] = Counter()
        self._lines = Lines(_encode, _decode)

    def add(self, item: PlannedItem) -> None:
        """Writes down one item."""
        self.actions[item.action] += 1
        self.bytes_planned += item.size_bytes
        self._lines.add(item)

    def __len__(self) -> int:
        return self.actions.total()

    def __bool__(self) -> bool:
        return True  # a plan, even if nothing is to be done

    def __iter__(self) -> Iterator[PlannedItem]:
        return iter(self._lines)

    def result(self) -> RetentionResult:
        """What a clean-up would report that did all of it."""
        gone = len(self)
        return RetentionResult(
            start_time=self.made_at,
            end_time=datetime.now(UTC),
            items_scanned=self.items_scanned,
            items_deleted=self.actions[RetentionAction.DELETE],
            items_archived=self.actions[RetentionAction.ARCHIVE],
            items_quarantined=self.actions[RetentionAction.QUARANTINE],
            items_preserved=self.items_scanned - gone,
            items_excluded=self.items_excluded,
            bytes_freed=self.bytes_planned,
            dry_run=True,
        )

    def close(self) -> None:
        """Removes the temporary file."""
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        told = ", ".join(f"{action} {count}" for action, count in sorted(self.actions.items())) or "nothing to do"
        return f"RetentionPlan({told}; {self.items_scanned} items looked at)"
