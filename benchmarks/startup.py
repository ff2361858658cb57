"""The first moments of a process: importing the library, and asking a store that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.by_hand import NEWEST
from benchmarks.children import run
from benchmarks.measure import Figure, duration
from benchmarks.places import Places

FIRST_QUERY = """
import sys
from time import perf_counter
from truthstore import StoreQuery
from truthstore.backends.filesystem import FileSystemStore
start = perf_counter()
store = FileSystemStore(base_path=sys.argv[1])
found = store.list_ids(StoreQuery(data_asset="warehouse.sales.table_07", status="failure", limit=50))
print(perf_counter() - start, len(found))
"""

FIRST_SQL = f"""
import sys, sqlite3
from time import perf_counter
start = perf_counter()
database = sqlite3.connect(sys.argv[1])
found = database.execute({NEWEST!r}, ("warehouse.sales.table_07", "failure")).fetchall()
print(perf_counter() - start, len(found))
"""

IMPORT = """
from time import perf_counter
start = perf_counter()
import msgspec, yaml, sqlite3
{more}
print(perf_counter() - start)
"""


def figures(places: Places) -> Iterator[Figure]:
    """What a new process waits for."""
    yield _first_query(places)
    yield _import(places)


def _first_query(places: Places) -> Figure:
    places.store(places.many, "os").close()
    places.index_by_hand().close()
    folder, index = str(places.path(f"store-{places.many}-os")), str(places.path("index-by-hand") / "index.db")
    times = []
    for _ in range(places.rounds(40)):
        ours, found = run(FIRST_QUERY, folder)
        theirs, found_by_hand = run(FIRST_SQL, index)
        if found != found_by_hand:
            raise RuntimeError("the two queries find different results")
        times.append((ours, theirs))
    return Figure(
        f"first query of a new process, of {places.many:,}",
        "opening SQLite and the same query by hand",
        median(ours / theirs for ours, theirs in times),
        "at most",
        5,
        detail=f"{duration(median(ours for ours, _ in times))} : {duration(median(theirs for _, theirs in times))}",
    )


def _import(places: Places) -> Figure:
    times = []
    for _ in range(places.rounds(40)):
        (ours,) = run(IMPORT.format(more="import truthstore"))
        (theirs,) = run(IMPORT.format(more=""))
        times.append((ours, theirs))
    return Figure(
        "`import truthstore`",
        "`import msgspec, yaml, sqlite3`",
        median(ours - theirs for ours, theirs in times) * 1_000,
        "at most",
        50,
        "ms more",
        f"{duration(median(ours for ours, _ in times))} : {duration(median(theirs for _, theirs in times))}",
    )
