"""Two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.checks.check import OUTCOMES, Check
from truthstore.checks.query import CheckQuery
from truthstore.errors import StoreNotFoundError
from truthstore.items.checks import CheckStatus
from truthstore.items.parts import STREAM_TAG
from truthstore.model.query import StoreQuery

if TYPE_CHECKING:
    from truthstore.checks.reading import Reading
    from truthstore.checks.source import Source
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record

__all__ = ["CheckChange", "Comparison", "compare", "compare_latest", "run_of"]

COMPLETE: Final = "complete"
"""Key in the metadata of a run; importers set it to False if it was interrupted, or did not run all that it should have."""


class CheckChange(msgspec.Struct, frozen=True, kw_only=True):
    """A check in two runs.

    Attributes:
        check_id: its identity.
        before: the check in the first run; None if it is not in it.
        after: the check in the second run; None if it is not in it.
    """

    check_id: str
    before: Check | None
    after: Check | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two runs, check by check. A check that failed in both may be worse or better too.

    Attributes:
        run_a: the first run; None if there was none before the second.
        run_b: the second run.
        incomplete: the second run was interrupted, or did not run all that it should have. Nothing is `fixed` by it.
        new: fails in the second run, and did not in the first, or was not in it.
        fixed: failed in the first run, and passed in the second.
        still: fails in both.
        worse: of those, more fails now: a larger share of rows, or more of them where no share is known; or a warning
            became a failure.
        better: of those, less fails now.
        missing: has an outcome in the first run and none in the second: it is not there, was skipped or not evaluated.
        added: is in the second run only.
    """

    run_a: str | None
    run_b: str
    incomplete: bool
    new: tuple[CheckChange, ...]
    fixed: tuple[CheckChange, ...]
    still: tuple[CheckChange, ...]
    worse: tuple[CheckChange, ...]
    better: tuple[CheckChange, ...]
    missing: tuple[CheckChange, ...]
    added: tuple[CheckChange, ...]


def compare(reading: Reading, run_a: str | None, run_b: str) -> Comparison:
    """Compare two runs.

    Raises:
        StoreNotFoundError: there is no such run.
    """
    before = {} if run_a is None else _checks(reading, run_of(reading.store, reading.collection, run_a))
    record = run_of(reading.store, reading.collection, run_b)
    after = _checks(reading, record)
    changes = [CheckChange(check_id=id, before=before.get(id), after=after.get(id)) for id in {**after, **before}]
    incomplete = reading.collection.decode(record).metadata.get(COMPLETE) is False
    still = [one for one in changes if _fails(one.before) and _fails(one.after)]
    return Comparison(
        run_a=run_a,
        run_b=run_b,
        incomplete=incomplete,
        new=tuple(one for one in changes if _fails(one.after) and not _fails(one.before)),
        fixed=tuple(
            one
            for one in changes
            if not incomplete and _fails(one.before) and one.after is not None and one.after.success
        ),
        still=tuple(still),
        worse=tuple(one for one in still if _trend(one) > 0),
        better=tuple(one for one in still if _trend(one) < 0),
        missing=tuple(one for one in changes if _has_outcome(one.before) and not _has_outcome(one.after)),
        added=tuple(one for one in changes if one.before is None),
    )


def compare_latest(reading: Reading, data_asset: str) -> Comparison:
    """Compare the newest run of an asset with the one before it.

    Raises:
        StoreNotFoundError: the asset has no run.
    """
    newest = StoreQuery(data_asset=data_asset, limit=2)
    runs = [head.id for head in reading.store.scan(newest, collection=reading.collection)]
    if not runs:
        raise StoreNotFoundError("runs of the asset", data_asset, collection=reading.collection.name)
    return compare(reading, runs[1] if len(runs) > 1 else None, runs[0])


def run_of(store: Source, collection: Collection[Any], run_id: str) -> Record:
    """Return a run, with its body.

    Raises:
        StoreNotFoundError: there is none.
    """
    # A query, not a get: it is answered below every cache.
    query = StoreQuery(ids=[run_id])
    record = next(store.scan(query, collection=collection, bodies=True), None)
    if record is None:
        raise StoreNotFoundError(collection.name, run_id)
    return record


def _checks(reading: Reading, record: Record) -> dict[str, Check]:
    is_streamed = STREAM_TAG in record.meta.tags
    in_order = CheckQuery(run_id=record.id, order_by="id", ascending=True)
    rows = reading.records(in_order) if is_streamed else reading.collection.rows_of(record)
    return {check.check_id: check for check in map(reading.check, rows)}


def _fails(check: Check | None) -> bool:
    return check is not None and check.failing


def _has_outcome(check: Check | None) -> bool:
    return check is not None and check.status in OUTCOMES


def _trend(change: CheckChange) -> float:
    """Return a number above 0 if more fails than before, below 0 if less, and 0 if that is not known."""
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    if CheckStatus.ERROR in {before.status, after.status}:
        return 0
    if before.status is not after.status:
        return 1 if after.status is CheckStatus.FAILURE else -1
    now: Any = after.failed
    if before.failed is None or now is None:
        return 0
    if before.checked and after.checked:
        return float(now / after.checked - before.failed / before.checked)
    return float(now - before.failed)
