#!/usr/bin/env bash
# cuallee 0.15.4 with pandas 3.0.6, polars 1.44.2, duckdb 2.0.1
# Expected: one check over the same rows has one verdict, whichever engine runs it.
# What happens: a row with a null counts differently by engine. are_unique over two columns FAILs in pandas and
#   DuckDB with 1.5 violations, and PASSes in polars with 0. has_cardinality counts null as one more value in
#   polars only: PASS in pandas, FAIL with every row in polars. not_contained_in finds 1, 2 and 2 violations.
# Hurts: who compares results across a change of engine, or takes a trend of `violations` from two jobs.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'cuallee==0.15.4' 'pandas==3.0.6' 'polars==1.44.2' 'duckdb==2.0.1' 'pyarrow==24.0.0'
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PY'
import duckdb
import pandas as pd
import polars as pl
from cuallee import Check, CheckLevel

rows = {"key": [1, 1, 2, None], "state": ["new", "paid", "gone", None]}


def check():
    check = Check(CheckLevel.ERROR, "orders")
    check.are_unique(("key", "state")).has_cardinality("state", 3).not_contained_in("state", ("gone",))
    return check


def verdicts(result):
    return {row["rule"]: (row["status"], float(row["violations"])) for row in result.to_dict("records")}


frame = pd.DataFrame(rows)
database = duckdb.connect()
database.register("orders", frame)
by_name = check()
by_name.table_name = "orders"
seen = {
    "pandas": verdicts(check().validate(frame)),
    "polars": verdicts(pd.DataFrame(check().validate(pl.DataFrame(rows)).to_dicts())),
    "duckdb": verdicts(by_name.validate(database)),
}
for engine, verdict in seen.items():
    print(engine, verdict)

assert seen["pandas"]["are_unique"] == ("FAIL", 1.5)
assert seen["duckdb"]["are_unique"] == ("FAIL", 1.5)
assert seen["polars"]["are_unique"] == ("PASS", 0.0)
assert seen["pandas"]["has_cardinality"] == seen["duckdb"]["has_cardinality"] == ("PASS", 0.0)
assert seen["polars"]["has_cardinality"] == ("FAIL", 4.0)
assert [seen[engine]["not_contained_in"][1] for engine in seen] == [1.0, 2.0, 2.0]
PY
