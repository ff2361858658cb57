"""A run larger than memory: a million checks, written and read one by one in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.children import run
from benchmarks.measure import Figure
from benchmarks.places import Places

CHECKS = 1_000_000
STREAM = """
import re, sys
from truthstore import ValidatorResult, get_store

def megabytes():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\\s*(\\d+)", file.read())[1]) / 1024

number = int(sys.argv[2])
with get_store("filesystem", base_path=sys.argv[1]) as store:
    with store.open_run("first", "large.csv") as run:
        run.add(ValidatorResult("not_null", success=True, column="c"))
    start = megabytes()
    with store.open_run("run", "large.csv") as run:
        for n in range(number):
            run.add(ValidatorResult("not_null", success=n % 7 > 0, column=f"c{n}", count=0 if n % 7 else 3, checked=10))
    read = sum(1 for _ in store.iter_checks("run"))
    print(megabytes() - start, read)
"""


def figures(places: Places) -> Iterator[Figure]:
    """Memory, above that of the process when it began."""
    grown, read = run(STREAM, str(places.path("stream")), str(CHECKS))
    if read != CHECKS:
        raise RuntimeError(f"{read} checks were read back")
    yield Figure(f"a run of {CHECKS:,} checks, streamed: memory above the start", "–", grown, "at most", 64, "MiB")
