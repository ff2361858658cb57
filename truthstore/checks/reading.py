"""The rows of a store, under the identities and owners that notes give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from truthstore.checks.check import OUTCOMES, Check, check_of, time_of
from truthstore.checks.notes import Notes
from truthstore.checks.query import ALL, CheckQuery
from truthstore.checks.streamed import WithParts, living
from truthstore.model.aggregate import Aggregation
from truthstore.model.query import EVERYTHING, TIME_ALIAS, StoreQuery
from truthstore.model.record import Record

if TYPE_CHECKING:
    from truthstore.checks.source import Source
    from truthstore.model.collection import Collection

__all__ = ["Reading", "Series"]

HAS_OUTCOME: Final = ("in", tuple(status.value for status in OUTCOMES))

Series = tuple[Any, Any]
"""An asset and the identity that a check of it has now."""


class Reading:
    """One question: the store, the notes as they are now, and the time.

    Args:
        store: the store.
        collection: the results.
    """

    def __init__(self, store: Source, collection: Collection[Any]) -> None:
        assert collection.rows is not None
        self.collection = collection
        self.rows: Collection[Any] = collection.rows
        self.notes = Notes.read(store, collection)
        streams = living(store, collection, self.notes.streamed)
        self.store = cast("Source", WithParts(store, collection, streams)) if streams else store
        self.now = datetime.now(UTC)

    def stored(self, query: CheckQuery) -> StoreQuery:
        """Return the query of the rows; where checks were assigned to owners, it leaves the owner to `records`."""
        recorded = self.notes.recorded(query.check_id) if query.check_id is not None else ()
        return query.stored(recorded, None if self.notes.has_owners else query.owner)

    def records(self, query: CheckQuery) -> Iterator[Record]:
        """Iterate over the rows that a query finds, in its order."""
        stored = self.stored(query)
        if query.owner is None or not self.notes.has_owners:
            return self.store.scan_rows(stored, collection=self.collection)
        rows = self.store.scan_rows(stored.replace(limit=None), collection=self.collection)
        return islice((row for row in rows if self.owner(row) == query.owner), query.limit)

    def series(self, row: Record) -> Series:
        """Return the asset of a row, and the identity that its check has now."""
        fields: Mapping[str, Any] = row.meta.fields
        return fields["data_asset"], self.notes.identity(fields["check_id"])

    def owner(self, row: Record) -> str | None:
        """Return the owner that the check of a row has now."""
        fields = row.meta.fields
        return self.notes.owner(fields["data_asset"], fields["check_id"], fields["owner"])

    def check(self, row: Record) -> Check:
        """Return a row as people read it."""
        return check_of(row, self.series(row)[1], self.owner(row))

    def newest(self, row: Record) -> Check:
        """Return the newest row of a check as people read it: with its age, and whether somebody knows that it fails."""
        data_asset, id = self.series(row)
        check = check_of(row, id, self.owner(row), self.now)
        known = self.notes.acknowledged(data_asset, id, self.now) if check.failing else None
        return check if known is None else msgspec.structs.replace(check, acknowledged=known)

    def renamed(self, row: Record) -> Record:
        """Return a row with the identity and the owner that its check has now."""
        fields = {**row.meta.fields, "check_id": self.series(row)[1], "owner": self.owner(row)}
        return Record(row.meta.replace(fields=fields), None, row.revision)

    def latest(
        self,
        query: CheckQuery = ALL,
        *,
        outcomes: bool = False,
        before: datetime | None = None,
        keep: StoreQuery = EVERYTHING,
        of: Iterable[Series] | None = None,
    ) -> Latest:
        """Return the newest row of each check by its series.

        `data_asset`, `check_id`, `tags` and the times of the query say which rows are looked at.

        Args:
            query: which checks.
            outcomes: look only at rows with an outcome.
            before: look only at rows before this time.
            keep: leave out what does not fulfil this.
            of: only these checks.
        """
        where: dict[str, Any] = {"status": HAS_OUTCOME} if outcomes else {}
        if before is not None:
            where[TIME_ALIAS] = ("<", before)
        looked = CheckQuery(
            data_asset=query.data_asset,
            check_id=query.check_id,
            tags=query.tags,
            start_time=query.start_time,
            end_time=query.end_time,
        )
        stored, notes = self.stored(looked), self.notes
        if (
            of is None and query.check_id is not None
        ):  # to look into every asset is faster than to pass all other checks
            assets = self.assets() if query.data_asset is None else (query.data_asset,)
            of = [(asset, notes.identity(query.check_id)) for asset in assets]
        rows = self.store.newest_rows(
            stored.replace(where={**where, **(stored.where or {})}),
            # The newest row of one identity need not be the newest of the check.
            EVERYTHING if notes.aliases else keep,
            collection=self.collection,
            series=None if of is None else [(asset, id) for asset, now in of for id in notes.recorded(now)],
        )
        if not notes.aliases:
            return {self.series(row): row for row in rows}
        newest: Latest = {}
        for row in rows:
            series = self.series(row)
            known = newest.get(series)
            if known is None or (time_of(known), known.id) < (time_of(row), row.id):
                newest[series] = row
        kept = keep.bind(self.rows)
        return {series: row for series, row in sorted(newest.items()) if kept.matches(row.meta)}

    def assets(self) -> list[str]:
        """Return the assets of all runs."""
        assets = Aggregation.of(self.collection, "data_asset", None, ())
        found = self.store.aggregate_records(EVERYTHING, assets, collection=self.collection)
        return [row["data_asset"] for row in found]

    def judged(self, rows: Sequence[Record], query: CheckQuery) -> list[Record]:
        """Return the newest rows that fulfil all of a query's conditions, as many as it wants."""
        if query is ALL:
            return list(rows)
        bound = self.stored(query).replace(after=None).bind(self.rows)
        found = [row for row in rows if bound.matches(row.meta)]
        if query.owner is not None:
            found = [row for row in found if self.owner(row) == query.owner]
        return found[: query.limit]


Latest = dict[Series, Record]
"""The newest row of each check."""
