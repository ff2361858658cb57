"""Figures over checks, with the share that passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from truthstore.model.aggregate import Aggregation, Row

if TYPE_CHECKING:
    from truthstore.checks.query import CheckQuery
    from truthstore.checks.reading import Reading

__all__ = ["figures"]

RATE: Final = "pass_rate"


def figures(
    reading: Reading,
    query: CheckQuery,
    by: str | Sequence[str],
    bucket: str | None,
    metrics: str | Sequence[str],
    time_zone: str = "UTC",
) -> list[Row]:
    """Return figures over the checks that fulfil a query; see `Checks.aggregate`."""
    names = [by] if isinstance(by, str) else list(by)
    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    # Also without a pass rate: it says which groups there are.
    rows = _aggregate(reading, query, names, bucket, [name for name in wanted if name != RATE], time_zone)
    if RATE not in wanted:
        return rows
    split = names if "status" in names else [*names, "status"]
    counts = _aggregate(reading, query, split, bucket, ["count"], time_zone)
    keys = names if bucket is None else [*names, "bucket"]
    passed: dict[tuple[Any, ...], int] = {}
    asked: dict[tuple[Any, ...], int] = {}
    for row in counts:
        key = tuple(row[name] for name in keys)
        if row["status"] != "skipped":
            asked[key] = asked.get(key, 0) + row["count"]
        if row["status"] == "success":
            passed[key] = passed.get(key, 0) + row["count"]
    for row in rows:
        key = tuple(row[name] for name in keys)
        row[RATE] = passed.get(key, 0) / asked[key] if key in asked else None
    return [{name: row[name] for name in (*keys, *wanted)} for row in rows]


def _aggregate(
    reading: Reading, query: CheckQuery, by: list[str], bucket: str | None, metrics: list[str], time_zone: str
) -> list[Row]:
    zone: dict[str, Any] = {} if time_zone == "UTC" else {"time_zone": time_zone}
    of: Any = Aggregation.of
    aggregation: Aggregation = of(reading.rows, by, bucket, metrics, **zone)
    stored = reading.stored(query).replace(limit=None, after=None)
    notes = reading.notes
    renames = ("check_id" in by and notes.aliases) or (notes.has_owners and ("owner" in by or query.owner is not None))
    if not renames:
        return reading.store.aggregate_rows(stored, aggregation, collection=reading.collection)
    rows = map(reading.renamed, reading.store.scan_rows(stored, collection=reading.collection))
    owner = query.owner
    return aggregation.over(row for row in rows if owner is None or row.meta.fields["owner"] == owner)
