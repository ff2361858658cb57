"""Figures over many items: counts, sums and extremes by field and by time, from heads alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.errors import StoreQueryError, StoreWriteError, shown
from truthstore.model.fields import FIRST_MOMENT, LAST_MOMENT, check_string, to_microseconds
from truthstore.model.query import BoundQuery, StoreQuery, from_microseconds

if TYPE_CHECKING:
    from datetime import tzinfo

    from truthstore.model.collection import Collection
    from truthstore.model.record import FieldValue, Record

__all__ = ["Aggregation", "Groups", "Partial", "Row", "tag_of"]

Row = dict[str, Any]

FUNCTIONS: Final = ("sum", "avg", "min", "max")
BUCKETS: Final = ("hour", "day", "week", "month", "year")
TAG: Final = "tag:"
MINUTE: Final = 60_000_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
FIRST: Final = to_microseconds(FIRST_MOMENT)
LAST: Final = to_microseconds(LAST_MOMENT)


@dataclass
class Partial:
    """The figures of one group: enough to merge it with another.

    Attributes:
        count: how many items.
        figures: for each measured field how many values, their sum, least and greatest.
    """

    count: int
    figures: Sequence[tuple[int, Any, Any, Any]]

    def merge(self, other: Partial) -> None:
        """Add the figures of another group."""
        self.count += other.count
        self.figures = [_merge(mine, theirs) for mine, theirs in zip(self.figures, other.figures, strict=True)]


def _merge(a: tuple[int, Any, Any, Any], b: tuple[int, Any, Any, Any]) -> tuple[int, Any, Any, Any]:
    if not a[0]:
        return b
    if not b[0]:
        return a
    total = None if a[1] is None or b[1] is None else a[1] + b[1]  # strings have none, and times need not
    return a[0] + b[0], total, min(a[2], b[2]), max(a[3], b[3])


class Metric(NamedTuple):
    """One figure: ``count``, or ``sum:field``, ``avg:field``, ``min:field``, ``max:field``."""

    label: str
    function: str
    field: str


def _parse(metric: str, bound: BoundQuery) -> Metric:
    if metric == "count":
        return Metric(metric, metric, "")
    function, colon, name = metric.partition(":")
    if function not in FUNCTIONS or not colon:
        known = ", ".join(f"{f}:field" for f in FUNCTIONS)
        raise StoreQueryError(f"unknown metric {metric!r}: use count, {known}", collection=bound.collection.name)
    checked = bound.field_name(name)
    if function in {"sum", "avg"} and bound.field(checked).type not in {int, float, bool}:
        raise StoreQueryError(f"{metric}: {name} is not a number", collection=bound.collection.name)
    return Metric(metric, function, checked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """Figures to compute, checked against a collection.

    Attributes:
        by: fields to group by, and tags (``tag:team``).
        names: the same, as they were named.
        bucket: ``hour``, ``day``, ``week`` (from Monday), ``month``, ``year``, or None.
        metrics: the figures wanted.
        time: the field that buckets cut.
        measured: the fields that metrics name.
        zone: the time zone of the buckets; None is UTC.
    """

    by: tuple[str, ...]
    names: tuple[str, ...]
    bucket: str | None
    metrics: tuple[Metric, ...]
    time: str
    measured: tuple[str, ...]
    collection: Collection[Any]
    zone: tzinfo | None = None

    @classmethod
    def of(
        cls,
        collection: Collection[Any],
        by: str | Sequence[str],
        bucket: str | None,
        metrics: str | Sequence[str],
        time_zone: str = "UTC",
    ) -> Aggregation:
        """Check the parts against a collection.

        Raises:
            StoreQueryError: an unknown field, bucket, metric or time zone.
        """
        bound = StoreQuery().bind(collection)
        names = (by,) if isinstance(by, str) else tuple(by)
        if bucket is not None and bucket not in BUCKETS:
            raise StoreQueryError(
                f"unknown bucket {bucket!r}: use one of {', '.join(BUCKETS)}", collection=collection.name
            )
        wanted = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        parsed = tuple(_parse(metric, bound) for metric in wanted)
        labels = {metric.label for metric in parsed} | ({"bucket"} if bucket is not None else set())
        if taken := labels.intersection(names):
            raise StoreQueryError(
                f"{collection.name}.{min(taken)} cannot be grouped by: the result has a figure of that name",
                collection=collection.name,
            )
        return cls(
            by=tuple(_checked_key(name, bound) for name in names),
            names=names,
            bucket=bucket,
            metrics=parsed,
            time=bound.order,
            measured=tuple(dict.fromkeys(metric.field for metric in parsed if metric.field)),
            collection=collection,
            zone=_zone(time_zone, collection),
        )

    def over(self, records: Iterable[Record]) -> list[Row]:
        """Evaluate over any records: the reference."""
        bound = StoreQuery().bind(self.collection)
        groups: list[tuple[tuple[Any, ...], Partial]] = []
        for record in records:
            meta = record.meta
            key: list[FieldValue] = [
                bound.value(meta, name) if (tag := tag_of(name)) is None else meta.tags.get(tag) for name in self.by
            ]
            if self.bucket is not None:
                key.append(bound.value(meta, self.time))
            figures = []
            for name in self.measured:
                value: Any = bound.value(meta, name)
                figures.append((0, None, None, None) if value is None else (1, _summand(value), value, value))
            groups.append((tuple(key), Partial(1, figures)))
        return self.rows(groups)

    def rows(self, groups: Iterable[tuple[tuple[Any, ...], Partial]]) -> list[Row]:
        """Make result rows of partial groups; the last part of a key is a time in microseconds if there is a bucket.

        Groups may be finer than the buckets: they are merged here.
        """
        merged: dict[tuple[Any, ...], Partial] = {}
        times = [place for place, name in enumerate(self.by) if self._is_time(name)]
        for fine, partial in groups:
            key = fine
            if self.bucket is not None:
                key = (*fine[:-1], None if fine[-1] is None else floor(fine[-1], self.bucket, self.zone))
            if times:
                key = tuple(_shown_time(part) if place in times else part for place, part in enumerate(key))
            known = merged.get(key)
            if known is None:
                merged[key] = partial
            else:
                known.merge(partial)
        ordered = sorted(merged.items(), key=lambda item: tuple((part is not None, part) for part in item[0]))
        return [self._row(key, partial) for key, partial in ordered]

    def _row(self, key: tuple[Any, ...], partial: Partial) -> Row:
        row: Row = {
            shown: self._shown(name, value) for shown, name, value in zip(self.names, self.by, key, strict=False)
        }
        if self.bucket is not None:
            row["bucket"] = None if key[-1] is None else _local(key[-1], self.zone)
        for metric in self.metrics:
            if metric.function == "count":
                row[metric.label] = partial.count
                continue
            count, total, least, greatest = partial.figures[self.measured.index(metric.field)]
            if not count:
                row[metric.label] = None
            elif metric.function == "sum":
                row[metric.label] = total
            elif metric.function == "avg":
                row[metric.label] = total / count
            else:
                row[metric.label] = self._shown(metric.field, least if metric.function == "min" else greatest)
        return row

    def _shown(self, name: str, value: FieldValue) -> Any:
        return from_microseconds(value) if isinstance(value, int) and self._is_time(name) else value

    def _is_time(self, name: str) -> bool:
        return name == "stored_at" or getattr(self.collection.fields.get(name), "type", None) is datetime


class Groups(Aggregation):
    """Figures that are left in groups, so that those of several collections or stores can be merged."""

    def rows(self, groups: Iterable[tuple[tuple[Any, ...], Any]]) -> Any:
        """Return the groups as they are."""
        return list(groups)

    @classmethod
    def like(cls, one: Aggregation, collection: Collection[Any]) -> Groups:
        """Return the same figures over a collection."""
        same: dict[str, Any] = {field.name: getattr(one, field.name) for field in fields(one)}
        same["collection"] = collection
        return cls(**same)


def _shown_time(value: int | None) -> int | None:
    """Move a time beyond the calendar to its end: times that are shown alike are one group."""
    return None if value is None else min(max(value, FIRST), LAST)


def _summand(value: Any) -> Any:
    return +value if isinstance(value, int | float) else None  # + makes an integer of a bool


def tag_of(name: str) -> str | None:
    """Return the tag that a part of `Aggregation.by` names, or None if it is a field."""
    return name.removeprefix(TAG) if name.startswith(TAG) else None


def _checked_key(name: str, bound: BoundQuery) -> str:
    tag = tag_of(name)
    if tag is None:
        return bound.field_name(name)
    try:
        check_string(tag)
    except StoreWriteError as error:
        raise StoreQueryError(f"{shown(name)}: {error}", collection=bound.collection.name) from error
    return name


def _zone(name: str, collection: Collection[Any]) -> tzinfo | None:
    if name == "UTC":
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise StoreQueryError(
            f"unknown time zone {shown(str(name))}: use an IANA name such as Europe/Berlin (where the system has no time "
            "zones: pip install tzdata)",
            collection=collection.name,
        ) from error


def _local(microseconds: int, zone: tzinfo | None) -> datetime:
    """Return a time as clocks in a zone show it; at the ends of the calendar, its end."""
    moment = from_microseconds(microseconds)
    if zone is None:
        return moment
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.replace(tzinfo=zone)


def floor(microseconds: int, bucket: str, zone: tzinfo | None = None) -> int:
    """Return the start of the hour, day, week, month or year that holds a time, in microseconds.

    In another zone than UTC, times are first cut to the minute, which databases do too: offsets with seconds, which some
    clocks had until 1972, are not followed to the second.
    """
    microseconds = min(max(microseconds, FIRST), LAST)
    if zone is not None:
        return _floor_local(_local(microseconds - microseconds % MINUTE, zone), bucket)
    if bucket == "hour":
        return microseconds - microseconds % HOUR
    return _floor_local(from_microseconds(microseconds - microseconds % DAY), bucket)


def _floor_local(moment: datetime, bucket: str) -> int:
    if bucket == "hour":
        # The hour that a clock shows twice is two hours.
        return to_microseconds(moment.replace(minute=0, second=0, microsecond=0))
    moment = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if bucket == "week":
        moment -= timedelta(days=moment.weekday())
    elif bucket != "day":
        moment = moment.replace(day=1) if bucket == "month" else moment.replace(month=1, day=1)
    return to_microseconds(moment)
