"""Since when a check fails, and what else changed then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.checks.check import FAILING, OUTCOMES, Check, is_failing
from truthstore.checks.compare import run_of
from truthstore.checks.query import CheckQuery
from truthstore.errors import StoreNotFoundError, StoreQueryError
from truthstore.items.check_rows import check_ids
from truthstore.items.parts import STREAM_TAG, Part, parts_of

if TYPE_CHECKING:
    from truthstore.checks.reading import Reading
    from truthstore.model.record import Record

__all__ = ["Blame", "Difference", "blame", "known_assets"]

OF_RUN: Final = ("suite_name", "interval_start", "interval_end", "tags", "runtime_environment", "metadata")
OF_CHECK: Final = ("validator_name", "column", "columns", "expected", "severity", "owner")
EVERY_TIME: Final = frozenset(
    {"metadata.raw", "metadata.tool_run_id", "metadata.truthstore.parts", f"tags.{STREAM_TAG}"}
)
"""What differs between any two runs."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A value that differs between two runs.

    Attributes:
        name: which: ``runtime_environment.git_sha``, ``metadata.tool_version``, ``total_rows``, ``check.expected``.
        before: in the last good run; None if it is not there.
        after: in the first run that failed; None if it is not there.
    """

    name: str
    before: Any
    after: Any


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a check fails.

    Attributes:
        newest: the newest outcome of the check.
        last_good: the outcome before `since`; None if it never passed.
        since: the first outcome of those that fail now; None if it does not fail.
        failures: outcomes since then.
        differences: what else differs between those two runs.
    """

    newest: Check
    last_good: Check | None
    since: Check | None
    failures: int
    differences: tuple[Difference, ...]


def known_assets(reading: Reading, check_id: str, data_asset: str | None) -> list[str]:
    """Return the assets that have a check.

    Raises:
        StoreNotFoundError: none has.
    """
    query = CheckQuery(check_id=check_id, data_asset=data_asset)
    assets = [asset for asset, _ in reading.latest(query)]
    if not assets:
        raise StoreNotFoundError("checks", check_id, collection=reading.collection.name)
    return assets


def blame(reading: Reading, check_id: str, data_asset: str | None) -> Blame:
    """Find out since when a check fails, and what differs between that run and the last good one.

    Raises:
        StoreNotFoundError: there is no such check, or it never had an outcome.
        StoreQueryError: several assets have it, and none was named.
    """
    assets = known_assets(reading, check_id, data_asset)
    if len(assets) > 1:
        raise StoreQueryError(
            f"{len(assets)} assets have the check {check_id!r:.80}: give data_asset, one of {', '.join(assets)[:400]}",
            collection=reading.collection.name,
        )
    asset = assets[0]

    def outcomes(status: Any, after: Record | None = None, **page: Any) -> Iterator[Record]:
        query = CheckQuery(check_id=check_id, data_asset=asset, status=status, **page)
        if after is not None:
            query = replace(query, after=reading.stored(query).bind(reading.rows).cursor(after.meta))
        return reading.records(query)

    newest = next(outcomes(OUTCOMES, limit=1), None)
    if newest is None:
        raise StoreNotFoundError("outcomes of the check", check_id, collection=reading.collection.name)
    good = next(outcomes("success", limit=1), None)
    if not is_failing(newest):
        passing = reading.newest(newest)
        return Blame(newest=passing, last_good=passing, since=None, failures=0, differences=())
    failing = list(outcomes(FAILING, good, ascending=True))
    since = failing[0]
    return Blame(
        newest=reading.newest(newest),
        last_good=None if good is None else reading.check(good),
        since=reading.check(since),
        failures=len(failing),
        differences=() if good is None else tuple(_differences(reading, good, since)),
    )


def _differences(reading: Reading, good: Record, bad: Record) -> Iterator[Difference]:
    before, after = (dict(_facts(reading, row)) for row in (good, bad))
    for name in {**before, **after}:
        if before.get(name) != after.get(name) and name not in EVERY_TIME:
            yield Difference(name=name, before=before.get(name), after=after.get(name))


def _facts(reading: Reading, row: Record) -> Iterator[tuple[str, Any]]:
    """Iterate over what is known of a run and of the check in it, by name."""
    recorded: Any = row.meta.fields["check_id"]
    result = reading.collection.decode(run_of(reading.store, reading.collection, str(row.meta.fields["run_id"])))
    for name in OF_RUN:
        yield from _flat(name, getattr(result, name))
    yield "total_rows", result.statistics.total_rows or None
    yield "total_columns", result.statistics.total_columns or None
    part = row.meta.fields.get("part")
    holder = result if part is None else _part_of(reading, str(part))
    check = holder.results[check_ids(holder).index(recorded)]
    for name in OF_CHECK:
        yield f"check.{name}", getattr(check, name)
    yield from _flat("check.parameters", check.details.get("parameters"))


def _part_of(reading: Reading, id: str) -> Part:
    parts = parts_of(reading.collection)
    return parts.decode(run_of(reading.store, parts, id))


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value
