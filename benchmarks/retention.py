"""Planning a clean-up over many results."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.children import run
from benchmarks.measure import Figure
from benchmarks.places import Places

PLAN = """
import sys, time
from truthstore.backends.filesystem import FileSystemStore
from truthstore.retention import CountBasedPolicy, RetentionStore, StatusBasedPolicy, TimeBasedPolicy

def peak():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

policies = [TimeBasedPolicy(max_age_days=90), CountBasedPolicy(5_000), StatusBasedPolicy("failure", max_age_days=365)]
with RetentionStore(FileSystemStore(base_path=sys.argv[1]), policies) as store:
    store.get_latest("warehouse.sales.table_00")
    before = peak()
    times = []
    for _ in range(3):
        start = time.process_time()
        with store.plan() as plan:
            times.append(time.process_time() - start)
    print(plan.items_scanned, min(times), (peak() - before) / 1024)
"""


def figures(places: Places) -> Iterator[Figure]:
    """Time and memory."""
    places.store(places.many, "os").close()
    scanned, seconds, megabytes = run(PLAN, str(places.path(f"store-{places.many}-os")))
    yield Figure(
        f"a retention plan over {int(scanned):,} results, by age, number and status",
        "processor time, the best of three",
        seconds,
        "at most",
        3 * scanned / 100_000,
        "s",
    )
    yield Figure("peak memory of that plan", "the start", megabytes, "at most", 50, "MB more")
