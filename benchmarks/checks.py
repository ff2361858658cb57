"""Questions about single checks beside what answered them before: the bodies of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from time import perf_counter
from typing import Any

from benchmarks.measure import Figure, duration, progress, race
from benchmarks.places import Places
from benchmarks.workload import START, result, results
from tests.services.postgresql import MissingServerError, postgresql
from truthstore import RESULTS, StoreQuery
from truthstore.backends.database import DatabaseStore

CHECK = "amount_03 between"


def figures(places: Places) -> Iterator[Figure]:
    """Measure the folder, SQLite and PostgreSQL."""
    with places.store(places.many, "os") as store:
        yield _caught_up(places)
        yield from _questions(places, store, places.many, "folder")
    with ExitStack() as stack:
        yield from _database(places, stack, f"sqlite:///{places.path('checks.db')}", "SQLite")
        try:
            url = stack.enter_context(postgresql(16)).url
        except MissingServerError as error:
            progress(f"left out: {error}")
            return
        yield from _database(places, stack, url, "PostgreSQL")


def _database(places: Places, stack: ExitStack, url: str, name: str) -> Iterator[Figure]:
    progress(f"filling {name} with {places.middle:,} results")
    store = stack.enter_context(closing(DatabaseStore(connection_url=url)))
    store.save_many(results(places.middle))
    yield from _questions(places, store, places.middle, name)


def _caught_up(places: Places) -> Figure:
    with places.store(places.middle, "os") as store:
        start = perf_counter()
        list(store.scan_rows(StoreQuery(limit=1), collection=RESULTS))
        taken = perf_counter() - start
    runs = f"first question about the checks of {places.middle:,} runs that nobody asked about before"
    return Figure(
        runs,
        "a second for each 10,000",
        taken / (places.middle / 10_000),
        "at most",
        1,
        unit="s",
        detail=duration(taken),
    )


def _questions(places: Places, store: Any, runs: int, name: str) -> Iterator[Figure]:
    asset = result(7).data_asset
    day = START + timedelta(seconds=runs) - timedelta(seconds=runs // 30)
    of_one = StoreQuery(data_asset=asset, where={"check_id": CHECK}, limit=30)

    questions: dict[str, tuple[Callable[[], object], float]] = {
        "the last 30 outcomes of one check": (lambda: store.checks.history(CHECK, asset), 1),
        "the newest outcome of an asset's 20 checks": (
            lambda: store.latest_rows(StoreQuery(data_asset=asset), collection=RESULTS),
            2,
        ),
        "what newly fails, of 1,000 checks of 50 assets": (lambda: store.checks.newly_failing(day), 20),
    }
    for what, (ask, wanted) in questions.items():
        taken = race(lambda _: ask(), lambda _: None, rounds=places.rounds(20), calls=3).ours  # noqa: B023  # runs at once
        yield Figure(f"{name}, {runs:,} runs: {what}", "no body is read", taken * 1e3, "at most", wanted, unit="ms")
    newest = StoreQuery(data_asset=asset, limit=30)

    def by_bodies(_: object) -> list[Any]:
        return [check for run in store.query(newest) for check in run.results if check.column == "amount_03"]

    found = race(
        lambda _: list(store.scan_rows(of_one, collection=RESULTS)), by_bodies, rounds=places.rounds(20), calls=3
    )
    yield Figure(
        f"{name}, {runs:,} runs: the last 30 outcomes of one check",
        "the same out of the newest 30 results of its asset",
        1 / found.ratio,
        "at least",
        1,
        detail=found.detail,
    )
