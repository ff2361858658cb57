"""`store.checks`: every question about checks, each in a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from truthstore.checks.blame import Blame, blame, known_assets
from truthstore.checks.compare import Comparison, compare, compare_latest
from truthstore.checks.figures import figures
from truthstore.checks.flaky import Flaky, flaky
from truthstore.checks.forget import Trace, forget, save_changed
from truthstore.checks.notes import CheckNote, add_note, all_notes, moment
from truthstore.checks.overdue import Overdue, overdue
from truthstore.checks.query import ALL, CheckQuery
from truthstore.checks.reading import Reading
from truthstore.checks.turned import turned
from truthstore.checks.worst import Ranked, worst
from truthstore.items.aliases import resolved
from truthstore.items.check_rows import require_checks
from truthstore.model.fields import HOLD_TAG, HOLD_VALUE, index_value
from truthstore.model.query import StoreQuery
from truthstore.model.record import Meta

if TYPE_CHECKING:
    from truthstore.checks.check import Check
    from truthstore.checks.source import Source
    from truthstore.model.aggregate import Row
    from truthstore.model.collection import Collection

__all__ = ["Checks"]

HISTORY: Final = 30
WINDOW: Final = 30
WORST: Final = 10


class Checks:
    """The checks of all runs in a store, and what people say about them. Where a backend has an index, no result is read.

    Those questions that are about the newest outcome of each check (`latest`, `newly_failing`, `recovered`, `overdue`,
    `flaky`) take a `CheckQuery` too. Its `data_asset`, `check_id`, `tags` and times say which runs are looked at, its other
    conditions are about the newest outcome, and its `limit` is about the answer.

    Args:
        store: the store.
        collection: the results.
        check_open: raises if the store was closed.

    Raises:
        StoreQueryError: the items of the collection have no checks.
    """

    def __init__(self, store: Source, collection: Collection[Any], check_open: Callable[[], None]) -> None:
        require_checks(collection)
        self._store = store
        self._collection = collection
        self._check_open = check_open

    def _read(self) -> Reading:
        self._check_open()
        return Reading(self._store, self._collection)

    def query(self, query: CheckQuery | None = None) -> list[Check]:
        """Return the checks that a query finds, in its order; without one, all, newest first."""
        reading = self._read()
        return [reading.check(row) for row in reading.records(_query(query))]

    def count(self, query: CheckQuery | None = None) -> int:
        """Return the number of checks that fulfil the conditions of a query; its order, limit and cursor play no part."""
        return sum(row["count"] for row in figures(self._read(), _query(query), (), None, "count"))

    def distinct(self, field: str, query: CheckQuery | None = None) -> list[Any]:
        """Return the different values of a field, or of a tag (``"tag:team"``), sorted, without None."""
        rows = figures(self._read(), _query(query), field, None, ())
        return [value for row in rows if (value := next(iter(row.values()))) is not None]

    def aggregate(
        self,
        query: CheckQuery | None = None,
        *,
        by: str | Sequence[str] = (),
        bucket: str | None = None,
        metrics: str | Sequence[str] = ("count",),
        time_zone: str = "UTC",
    ) -> list[Row]:
        """Return figures over the checks that fulfil a query.

        Args:
            query: which checks.
            by: fields and tags (``"tag:team"``) to group by.
            bucket: ``hour``, ``day``, ``week`` (from Monday), ``month`` or ``year`` of the run time.
            metrics: ``count``, ``pass_rate`` (those that passed, as a fraction of all that were not skipped; None if there
                were none), ``sum:field``, ``avg:field``, ``min:field``, ``max:field``.
            time_zone: the time zone of the buckets.

        Returns:
            A dict for each group, sorted: the fields, ``bucket`` (start of the period) and a value for each metric.
        """
        return figures(self._read(), _query(query), by, bucket, metrics, time_zone)

    def cursor(self, query: CheckQuery, check: Check) -> str:
        """Return a cursor that continues a query after one of its checks: pass it as `CheckQuery.after`."""
        reading = self._read()
        bound = reading.stored(query).bind(reading.rows)
        head = next(reading.store.scan_rows(StoreQuery(ids=[check.row]), collection=self._collection), None)
        if head is not None:
            return bound.cursor(head.meta)
        value = getattr(
            check, "recorded_as" if bound.order == "check_id" else bound.order
        )  # its run was removed meanwhile
        return bound.cursor(Meta(check.row, {bound.order: index_value(bound.field(bound.order), value)}))

    def history(self, check_id: str, data_asset: str | None = None, limit: int | None = HISTORY) -> list[Check]:
        """Return the newest runs of a check, newest first."""
        return self.query(CheckQuery(check_id=check_id, data_asset=data_asset, limit=limit))

    def latest(self, data_asset: str | None = None, query: CheckQuery | None = None) -> list[Check]:
        """Return the newest row of every check with its age, also of those that the newest runs leave out; by asset and check."""
        reading, query = self._read(), _about(data_asset, query)
        return [reading.newest(row) for row in reading.judged(list(reading.latest(query).values()), query)]

    def newly_failing(
        self, since: datetime | timedelta, data_asset: str | None = None, query: CheckQuery | None = None
    ) -> list[Check]:
        """Return the checks whose newest outcome fails and is not older than `since`, and whose last outcome before passed.

        Checks without an outcome before are among them. Those that somebody acknowledged are marked.

        Args:
            since: a time (a naive one means local time), or how long ago it is.
            data_asset: only checks of this asset.
            query: which checks.
        """
        return turned(self._read(), since, _about(data_asset, query), failing=True)

    def recovered(
        self, since: datetime | timedelta, data_asset: str | None = None, query: CheckQuery | None = None
    ) -> list[Check]:
        """Return the checks whose newest outcome passed and is not older than `since`, and whose last outcome before failed.

        The arguments are those of `newly_failing`.
        """
        return turned(self._read(), since, _about(data_asset, query), failing=False)

    def overdue(self, max_age: timedelta, data_asset: str | None = None, query: CheckQuery | None = None) -> Overdue:
        """Return the checks without an outcome, and the assets without a run, for longer than `max_age`."""
        return overdue(self._read(), max_age, _about(data_asset, query))

    def flaky(
        self,
        window: int = WINDOW,
        data_asset: str | None = None,
        query: CheckQuery | None = None,
        *,
        min_switches: int = 2,
    ) -> list[Flaky]:
        """Return the checks that go back and forth, the worst first.

        Args:
            window: look at so many of the last outcomes of each check.
            data_asset: only checks of this asset.
            query: which checks.
            min_switches: how often a check must have turned. One that broke once and stays broken has turned once.
        """
        return flaky(self._read(), window, min_switches, _about(data_asset, query))

    def worst(self, by: str = "check", limit: int = WORST, query: CheckQuery | None = None) -> list[Ranked]:
        """Return the columns, checks, assets or teams that pass least, the worst first.

        Args:
            by: ``check``, ``column``, ``data_asset``, ``tag:team``, or another field of checks.
            limit: at most so many.
            query: which checks, such as those of the last month.
        """
        return worst(self._read(), by, limit, _query(query))

    def compare(self, run_a: str, run_b: str) -> Comparison:
        """Return what differs between two runs, check by check. Reads both.

        Raises:
            StoreNotFoundError: there is no such run.
        """
        return compare(self._read(), run_a, run_b)

    def compare_latest(self, data_asset: str) -> Comparison:
        """Compare the newest run of an asset with the one before it; where there is none, everything is new.

        Raises:
            StoreNotFoundError: the asset has no run.
        """
        return compare_latest(self._read(), data_asset)

    def blame(self, check_id: str, data_asset: str | None = None) -> Blame:
        """Return since when a check fails, and what else differs between that run and the last good one. Reads both.

        Raises:
            StoreNotFoundError: there is no such check, or it never had an outcome.
            StoreQueryError: several assets have it, and none was named.
        """
        return blame(self._read(), check_id, data_asset)

    def acknowledge(
        self, check_id: str, until: datetime | timedelta, by: str, reason: str, data_asset: str | None = None
    ) -> CheckNote:
        """Say that it is known that a check fails. It is marked until then, not hidden.

        Args:
            check_id: the check.
            until: a time, or for how long; a time that is past takes back what was said before.
            by: who says it.
            reason: why.
            data_asset: only the check of this asset.

        Raises:
            StoreNotFoundError: there is no such check.
        """
        reading = self._read()
        known_assets(reading, check_id, data_asset)
        return self._note(
            kind="acknowledged",
            check_id=check_id,
            until=moment(until, reading.now),
            by=by,
            reason=reason,
            data_asset=data_asset,
        )

    def assign(
        self,
        check_id: str,
        owner: str | None,
        by: str | None = None,
        reason: str | None = None,
        data_asset: str | None = None,
    ) -> CheckNote:
        """Say who looks after a check, whatever its runs recorded; None takes that back. The arguments are as in `acknowledge`.

        Raises:
            StoreNotFoundError: there is no such check.
        """
        known_assets(self._read(), check_id, data_asset)
        return self._note(kind="assigned", check_id=check_id, value=owner, by=by, reason=reason, data_asset=data_asset)

    def alias(self, old: str, new: str | None, by: str | None = None, reason: str | None = None) -> CheckNote:
        """Join a check that was renamed, or moved to another tool, with what it was before; None takes that back.

        What runs recorded stays as it is. From now on each row of `old`, of any asset, is read as one of `new`: in
        histories, streaks, figures and comparisons, and by notes on either. The `aliases` of the store's configuration do
        the same; what is said here wins over them.

        Args:
            old: the identity that earlier runs recorded.
            new: the identity that it has now.
            by: who says it.
            reason: why.

        Raises:
            StoreNotFoundError: no run recorded `old`.
            ValueError: the aliases would lead in a circle.
        """
        if new is not None:
            reading = self._read()
            known_assets(reading, old, None)
            resolved({**reading.notes.aliases, old: new})
        return self._note(kind="alias", check_id=old, value=new, by=by, reason=reason)

    def _note(self, **said: Any) -> CheckNote:
        self._check_open()
        wrong = [
            name for name in ("check_id", "by", "reason", "value") if not isinstance(said.get(name, ""), str | None)
        ]
        if wrong:
            raise TypeError(f"{wrong[0]} is a string, not {type(said[wrong[0]]).__name__}")
        return add_note(self._store, self._collection, **said)

    @property
    def aliases(self) -> dict[str, str]:
        """The identities that checks have now, by those that were recorded: of the configuration, and of notes."""
        return dict(self._read().notes.aliases)

    def notes(self, check_id: str | None = None) -> list[CheckNote]:
        """Return what was said about a check, or about all, the newest first: the history of acknowledgements, owners, aliases."""
        reading = self._read()
        ids = reading.notes.recorded(check_id) if check_id is not None else ()
        said = all_notes(self._store, self._collection, ids)[::-1]
        return [note for note in said if note.kind != "streamed"]

    def protect(self, run_id: str, *, protected: bool = True) -> None:
        """Keep a run from retention, and, where there is a retention layer, from `clear`; or no longer.

        The run gets the tag ``truthstore.protected``, which every `RetentionStore` heeds as a legal hold.

        Raises:
            StoreNotFoundError: there is no such run.
        """
        self._check_open()

        def change(result: Any) -> Any:
            if (result.tags.get(HOLD_TAG) == HOLD_VALUE) is protected:
                return None
            others = {key: value for key, value in result.tags.items() if key != HOLD_TAG}
            result.tags = {**others, HOLD_TAG: HOLD_VALUE} if protected else others
            return result

        save_changed(self._store, self._collection, run_id, change, "protected" if protected else "no longer protected")

    def forget(self, value: object, replacement: str = "[forgotten]") -> list[Trace]:
        """Remove a personal value from all results and their copies, and say where it was. Reads all of them.

        It is replaced where data may be: in messages, details (samples among them), observed and expected values, metadata,
        the runtime environment and the values of tags; also in older versions, in what retention set aside or archived,
        in saves that a queue of batching holds or that were rejected, and in notes. Every result that held it is saved anew, so that caches of this process hold it no longer. What names
        something (a run, an asset, a column, a check) is left and listed as kept.

        Kept is what is not yet in the store: the journal of a recorder whose runs wait for it, or that lost its process. The next
        recorder delivers it; forget again then. Replaced bytes may lie in the storage for a while: `maintain()` removes what the
        store itself keeps of them, and backups, bucket versions and caches of other processes are yours.

        Args:
            value: found as a whole word or phrase, with upper and lower case as given; a number also as a number.
            replacement: takes its place.

        Returns:
            Each item that held it, and in which parts; an item that cannot be read too.
        """
        self._check_open()
        return forget(self._store, self._collection, value, replacement)


def _query(query: CheckQuery | None) -> CheckQuery:
    if query is None:
        return ALL
    if not isinstance(query, CheckQuery):
        raise TypeError(f"query is a CheckQuery or None, not {type(query).__name__}")
    return query


def _about(data_asset: str | None, query: CheckQuery | None) -> CheckQuery:
    """Return a query, of one asset if that is given."""
    wanted = _query(query)
    if data_asset is None:
        return wanted
    if wanted.data_asset not in {None, data_asset}:
        raise ValueError("give data_asset or a query with another one, not both")
    return replace(wanted, data_asset=data_asset)
