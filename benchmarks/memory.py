"""The memory store, and how much memory a walk over a big store takes."""

from __future__ import annotations

from collections.abc import Iterator

import truthound.stores as peer

from benchmarks.by_hand import decode, encode
from benchmarks.children import run
from benchmarks.measure import Figure, race
from benchmarks.places import Places
from benchmarks.workload import result, results
from truthstore.backends.memory import MemoryStore

WALK = """
import sys
from truthstore.backends.filesystem import FileSystemStore

def peak():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

with FileSystemStore(base_path=sys.argv[1]) as store:
    store.get_latest("warehouse.sales.table_00")
    before = peak()
    walked = sum(1 for _ in store.iter_query())
    print(walked, (peak() - before) / 1024)
"""


def figures(places: Places) -> Iterator[Figure]:
    """Saving to and reading from memory, and memory itself."""
    yield _get(places)
    yield _save(places)
    yield _walk(places)


def _get(places: Places) -> Figure:
    store = MemoryStore()
    store.save_many(results(1_000))
    one = result(500)
    body = encode(one)
    found = race(lambda _: store.get(one.run_id), lambda _: decode(body), rounds=places.rounds(100), calls=500)
    return Figure("memory store: get", "decoding alone", found.ratio, "at most", 2, detail=found.detail)


def _save(places: Places) -> Figure:
    store, theirs = MemoryStore(), peer.get_store("memory")
    found = race(
        store.save,
        theirs.save,
        rounds=places.rounds(30),
        calls=200,  # with 20 a tenth of the time is that of the first call, after the collector has emptied the caches
        inputs=(places.new_results, places.new_peer_results),
    )
    return Figure(
        "memory store: save",
        "Truthound 3.2.0's memory store",
        1 / found.ratio,
        "at least",
        4,
        "× faster",
        found.detail,
    )


def _walk(places: Places) -> Figure:
    places.store(places.many, "os").close()
    walked, megabytes = run(WALK, str(places.path(f"store-{places.many}-os")))
    return Figure(
        f"peak memory of `iter_query` over {int(walked):,} results", "the start", megabytes, "at most", 64, "MB more"
    )
