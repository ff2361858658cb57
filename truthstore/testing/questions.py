"""The questions of `store.checks` answered in plain Python over the results: what every backend and stack is compared with.

The answers hold places, run id and number of the check in it, and figures; no index is used.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from truthstore.items.aliases import resolved
from truthstore.items.check_rows import check_ids
from truthstore.items.checks import ValidatorResult, status_of

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult

__all__ = ["Answers", "Place", "Seen"]

Place = tuple[str, int]
"""A run and the number of a check in it, from 0."""

BROKEN = frozenset({"failure", "warning", "error"})
SILENT = frozenset({"skipped", "not_evaluated"})


class Seen(NamedTuple):
    """A check in a run."""

    time: datetime
    place: Place
    asset: str
    id: str
    status: str
    owner: str | None
    tags: Mapping[str, str]
    check: ValidatorResult

    @property
    def broken(self) -> bool:
        """True if it fails."""
        return self.status in BROKEN

    @property
    def series(self) -> tuple[str, str]:
        """The asset and the check."""
        return self.asset, self.id


class Answers:
    """Answers from results.

    Args:
        results: all results of a store.
        aliases: the identity that a check has now, by an earlier one.
        owners: the owner that a check of an asset was assigned to.
    """

    def __init__(
        self,
        results: Iterable[ValidationResult],
        aliases: Mapping[str, str] = {},
        owners: Mapping[tuple[str, str], str] = {},
    ) -> None:
        names = resolved(aliases)
        self.seen: list[Seen] = []
        self.runs: dict[str, list[datetime]] = defaultdict(list)
        for result in results:
            self.runs[result.data_asset].append(result.run_time)
            for number, (id, check) in enumerate(zip(check_ids(result), result.results, strict=True)):
                now = names.get(id, id)
                self.seen.append(
                    Seen(
                        result.run_time,
                        (result.run_id, number),
                        result.data_asset,
                        now,
                        status_of(check).value,
                        owners.get((result.data_asset, now), check.owner),
                        result.tags,
                        check,
                    )
                )
        self.seen.sort(key=lambda one: (one.time, one.place))

    def where(self, holds: Callable[[Seen], bool]) -> Answers:
        """Return the answers from some of the checks."""
        part = Answers(())
        part.seen, part.runs = [one for one in self.seen if holds(one)], self.runs
        return part

    def query(self) -> list[Place]:
        """Return all checks, newest first."""
        return [one.place for one in reversed(self.seen)]

    def groups(self, key: Callable[[Seen], Any]) -> dict[Any, tuple[int, float | None, int | None]]:
        """Return count, pass rate, and the sum of failed rows of the checks with each key."""
        grouped: dict[Any, list[Seen]] = defaultdict(list)
        for one in self.seen:
            grouped[key(one)].append(one)
        return {value: (len(group), _pass_rate(group), _failed(group)) for value, group in grouped.items()}

    def worst(self, key: Callable[[Seen], Any]) -> list[tuple[Any, int, int]]:
        """Return what passes least: name, number of outcomes and of those that did not pass."""
        grouped: dict[Any, list[Seen]] = defaultdict(list)
        for one in self.seen:
            if one.status != "skipped" and key(one) is not None:
                grouped[key(one)].append(one)
        found = [(value, len(group), sum(one.status != "success" for one in group)) for value, group in grouped.items()]
        return sorted((one for one in found if one[2]), key=lambda one: (1 - one[2] / one[1], -one[2], one[0]))

    def latest(self) -> list[Place]:
        """Return the newest row of each check, by asset and check."""
        newest = {one.series: one for one in self.seen}
        return [newest[series].place for series in sorted(newest)]

    def turned(self, since: datetime, *, failing: bool) -> list[Place]:
        """Return the checks that fail since then, or pass since then."""
        found: list[Place] = []
        for own in self._outcomes():
            before = [one for one in own if one.time < since]
            was_broken = bool(before) and before[-1].broken
            if own[-1].time >= since and own[-1].broken is failing and was_broken is not failing:
                found.append(own[-1].place)
        return found

    def overdue(self, start: datetime) -> tuple[set[Place], set[str]]:
        """Return the checks without an outcome, and the assets without a run, since a time."""
        late = {own[-1].place for own in self._outcomes() if own[-1].time < start}
        spoken = {own[-1].series for own in self._outcomes()}
        silent = {one.series: one.place for one in self.seen if one.series not in spoken}
        return late | set(silent.values()), {asset for asset, times in self.runs.items() if max(times) < start}

    def flaky(self, window: int) -> dict[Place, tuple[int, int, datetime]]:
        """Return number of outcomes and of switches, and the last switch, of the checks that turned at least twice."""
        found: dict[Place, tuple[int, int, datetime]] = {}
        for own in self._outcomes():
            last = own[-window:]
            turns = [b.time for a, b in itertools.pairwise(last) if a.broken is not b.broken]
            if len(turns) > 1:
                found[own[-1].place] = (len(last), len(turns), turns[-1])
        return found

    def blame(self, asset: str, id: str) -> tuple[Place | None, Place | None, int]:
        """Return the last good outcome of a check, the first failure since, and how many there are."""
        own = next((own for own in self._outcomes() if own[-1].series == (asset, id)), [])
        good = [number for number, one in enumerate(own) if not one.broken]
        failures = own[good[-1] + 1 :] if good else own
        return own[good[-1]].place if good else None, failures[0].place if failures else None, len(failures)

    def compare(self, run_a: str, run_b: str) -> dict[str, set[str]]:
        """Return the identities of the checks that differ in two complete runs."""
        before, after = ({one.id: one.status for one in self.seen if one.place[0] == run} for run in (run_a, run_b))
        broken_before, broken_after = ({id for id in run if run[id] in BROKEN} for run in (before, after))
        return {
            "new": broken_after - broken_before,
            "fixed": {id for id in broken_before if after.get(id) == "success"},
            "still": broken_before & broken_after,
            "missing": {id for id in before if before[id] not in SILENT and after.get(id, "skipped") in SILENT},
            "added": after.keys() - before.keys(),
        }

    def _outcomes(self) -> list[list[Seen]]:
        """Return the outcomes of each check, oldest first, by asset and check."""
        grouped: dict[tuple[str, str], list[Seen]] = defaultdict(list)
        for one in self.seen:
            if one.status not in SILENT:
                grouped[one.series].append(one)
        return [grouped[series] for series in sorted(grouped)]


def _pass_rate(group: list[Seen]) -> float | None:
    asked = [one for one in group if one.status != "skipped"]
    return sum(one.status == "success" for one in asked) / len(asked) if asked else None


def _failed(group: list[Seen]) -> int | None:
    known = [one.check.count for one in group if _is_known(one)]
    return sum(count or 0 for count in known) if known else None


def _is_known(one: Seen) -> bool:
    return one.check.count is not None if one.status == "success" else one.broken and bool(one.check.count)
