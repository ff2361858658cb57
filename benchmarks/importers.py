"""Results of another tool: a run of dbt with 5,000 tests, from its files, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.children import run
from benchmarks.measure import Figure
from benchmarks.places import Places

TESTS, MODELS = 5_000, 500
IMPORT = """
import re, sys
from time import perf_counter
from truthstore.interop import from_any
start = perf_counter()
results = from_any(sys.argv[1])
taken = perf_counter() - start
checks = sum(len(result.results) for result in results)
with open("/proc/self/status") as file:  # `ru_maxrss` would be that of the parent, where it is larger
    print(taken, checks, int(re.search(r"VmHWM:\\s*(\\d+)", file.read())[1]) / 1024)
"""


def figures(places: Places) -> Iterator[Figure]:
    """What a job waits for, and how much memory it needs."""
    artefact = _artefacts(places.path("dbt"))
    times, peaks = [], []
    for _ in range(places.rounds(10)):
        taken, checks, peak = run(IMPORT, str(artefact))
        if checks != TESTS:
            raise RuntimeError(f"{checks} checks were imported")
        times.append(taken)
        peaks.append(peak)
    what = f"importing a dbt run of {TESTS:,} tests"
    yield Figure(what, "–", median(times), "at most", 1.5, "s")
    yield Figure(f"{what}: memory of the process", "–", median(peaks), "at most", 150, "MiB")


def _artefacts(folder: Path) -> Path:
    """Write run results and a manifest with the code that dbt keeps in them."""
    folder.mkdir(parents=True, exist_ok=True)
    code = "select * from warehouse.sales.orders where " + " and ".join(f"column_{n} is null" for n in range(30))
    nodes: dict[str, Any] = {}
    for number in range(MODELS):
        name = f"model.shop.m{number}"
        nodes[name] = {"unique_id": name, "name": f"m{number}", "resource_type": "model", "raw_code": code}
    results: list[dict[str, Any]] = []
    for number in range(TESTS):
        name = f"test.shop.not_null_{number}.{number:010x}"
        nodes[name] = {
            "unique_id": name,
            "name": f"not_null_{number}",
            "resource_type": "test",
            "column_name": "id",
            "attached_node": f"model.shop.m{number % MODELS}",
            "test_metadata": {"name": "not_null", "kwargs": {"column_name": "id", "model": "{{ ref('m') }}"}},
            "config": {"severity": "ERROR", "warn_if": "!= 0", "error_if": "!= 0", "fail_calc": "count(*)"},
            "raw_code": code,
            "compiled_code": code,
        }
        results.append(
            {"unique_id": name, "status": "pass", "failures": 0, "execution_time": 0.1, "compiled_code": code}
        )
    macros = {f"macro.dbt.{number}": {"macro_sql": code * 2} for number in range(500)}
    about = {"dbt_version": "1.12.6", "generated_at": "2026-05-04T03:00:00Z", "invocation_id": "8bc832aa"}
    schemas = "https://schemas.getdbt.com/dbt"
    manifest = {
        "metadata": about | {"dbt_schema_version": f"{schemas}/manifest/v12.json"},
        "nodes": nodes,
        "macros": macros,
    }
    run_results = {"metadata": about | {"dbt_schema_version": f"{schemas}/run-results/v6.json"}, "results": results}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "run_results.json").write_text(json.dumps(run_results), encoding="utf-8")
    return folder / "run_results.json"
