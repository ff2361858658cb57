"""Brings what waits to the store: not what came there already, and not over what somebody else wrote later."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.caching.refused import is_refusal
from truthstore.caching.taken import NOTHING, Taken, arrived, superseded
from truthstore.errors import (
    StoreBulkError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreReadError,
    StoreWriteError,
    shown,
)
from truthstore.model.query import EVERYTHING

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.storage.queue.spool import Entry
    from truthstore.store.store import BaseStore

__all__ = ["Sender", "Sent"]

FEW: Final = 8


class Sent(NamedTuple):
    """What became of entries of the queue.

    Attributes:
        failed: the errors of those that could not be stored, by number.
        stored: the number of the last that was stored, by id.
        superseded: numbers of those that somebody else has replaced.
    """

    failed: dict[int, StoreError]
    stored: dict[str, int]
    superseded: set[int]


class Sender:
    """Stores entries of the queue.

    Args:
        base: the store.
    """

    def __init__(self, base: BaseStore[Any]) -> None:
        self._base = base

    def send(self, entries: Sequence[Entry], collection: Collection[Any]) -> Sent:
        """Stores entries in order; one that fails keeps back only those of the same item."""
        failed: dict[int, StoreError] = {}
        taken: dict[int, Taken] = {}
        for entry in entries:
            try:
                taken[entry.number] = Taken.of(entry)
            except StoreCorruptError as error:
                failed[entry.number] = error
        heads, unknown = self.heads(list(dict.fromkeys(entry.key for entry in entries)), collection)
        failed.update((entry.number, unknown[entry.key]) for entry in entries if entry.key in unknown)
        taken = {number: one for number, one in taken.items() if number not in failed}
        # A process was killed after storing them, or an answer was lost.
        tried = [entry.number for entry in entries if entry.tried and entry.number in taken]
        reached = arrived({number: taken[number].record for number in tried}, heads)
        left = {number: one for number, one in taken.items() if number > reached.get(one.record.id, 0)}
        gone = superseded(left, heads)
        records = {number: one.record for number, one in left.items() if number not in gone}
        if records:
            failed.update(self._put(records, heads, collection))
        stored = {**reached, **{record.id: number for number, record in records.items() if number not in failed}}
        return Sent(failed, stored, gone)

    def _put(
        self, records: Mapping[int, Record], before: Mapping[str, int], collection: Collection[Any]
    ) -> dict[int, StoreError]:
        """The errors of records that could not be stored, by number."""
        by_id: Mapping[str, Exception]
        try:
            self._base.put_records(list(records.values()), collection=collection)
        except StoreBulkError as error:
            by_id = error.failed
        except Exception as error:  # noqa: BLE001  # what no layer has foreseen must not keep the others waiting
            by_id = {record.id: error for record in records.values()}
        else:
            return {}
        if len(records) > 1 and any(map(_concerns_one, by_id.values())):
            heads, _ = self.heads(list(dict.fromkeys(record.id for record in records.values())), collection)
            new = {number: one for number, one in records.items() if before.get(one.id) != one.meta.stored_at}
            return self._put_apart(records, by_id, arrived(new, heads), collection)
        return {number: _foreseen(by_id[record.id], record) for number, record in records.items() if record.id in by_id}

    def _put_apart(
        self,
        records: Mapping[int, Record],
        by_id: Mapping[str, Exception],
        there: Mapping[str, int],
        collection: Collection[Any],
    ) -> dict[int, StoreError]:
        """Stores on their own what failed together with others, and did not come there: the trouble may be another one's."""
        failed: dict[int, StoreError] = {}
        held: dict[str, StoreError] = {}
        for number, record in records.items():
            id = record.id
            if id not in by_id or number <= there.get(id, 0):
                continue
            problem = held.get(id)
            if problem is None and _concerns_one(by_id[id]):
                problem = self._put_one(record, collection)
            elif problem is None:
                problem = _foreseen(by_id[id], record)
            if problem is not None:
                failed[number] = problem
                if not is_refusal(problem):
                    held[id] = problem
        return failed

    def _put_one(self, record: Record, collection: Collection[Any]) -> StoreError | None:
        try:
            self._base.put_record(record, collection=collection)
        except Exception as error:  # noqa: BLE001  # as above
            return _foreseen(error, record)
        return None

    def heads(
        self, ids: Sequence[str], collection: Collection[Any]
    ) -> tuple[dict[str, int], dict[str, StoreReadError]]:
        """When what is stored now was written, and the errors of ids of which that cannot be told."""
        if len(ids) > FEW:
            query = EVERYTHING.replace(ids=tuple(ids), include_deleted=True)
            # One item that cannot be read must not hold up the others: then each is asked for on its own.
            with contextlib.suppress(Exception):
                return {head.id: head.meta.stored_at for head in self._base.scan(query, collection=collection)}, {}
        heads: dict[str, int] = {}
        unknown: dict[str, StoreReadError] = {}
        for id in ids:
            try:
                heads[id] = self.stored_at(id, collection)
            except Exception as error:  # noqa: BLE001  # as above
                unknown[id] = StoreReadError(f"what is stored now cannot be read: {error}", retryable=True)
                unknown[id].__cause__ = error
        return heads, unknown

    def stored_at(self, id: str, collection: Collection[Any]) -> int:
        """When what is stored now was written; before all else if there is nothing, or nothing that can be read."""
        try:
            return self._base.head_record(id, collection=collection).meta.stored_at
        except (StoreNotFoundError, StoreCorruptError):
            return NOTHING


def _concerns_one(error: Exception) -> bool:
    """Whether an error may speak of one item only, though it was raised for many."""
    return is_refusal(error) or not isinstance(error, StoreError)


def _foreseen(error: Exception, record: Record) -> StoreError:
    """The error, or one of this library for what no layer has foreseen: that may pass, so the item waits."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreWriteError(
        f"{shown(record.id)} was not stored: {type(error).__name__}: {error}", identifier=record.id, retryable=True
    )
    wrapped.__cause__ = error
    return wrapped
