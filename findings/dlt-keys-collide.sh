#!/usr/bin/env bash
# dlt 1.31.0 with duckdb 2.0.1
# Expected: each value of a result's keys arrives in the table, or loading says that it cannot.
# What happens, without a word: keys that become one name when normalised overwrite each other: of rowCount 1,
#   row_count 2 and "Row-Count" 3 the table has one column row_count with 3. NaN arrives as NULL, so a measured
#   "not a number" and a value never measured are one. A number that is 5 in one result and "NaN" or 1.5 in the
#   next lies in three columns (v, v__v_text, v__v_double): `sum(v)` and `count(v)` see only the first kind.
# Hurts: who loads validation results (keys of column names, checks, metrics) with dlt and counts afterwards.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'dlt[duckdb]==1.31.0' 'duckdb==2.0.1'
cd "$dir"
export RUNTIME__DLTHUB_TELEMETRY=false DLT_DATA_DIR="$dir/dlt"
"$dir/venv/bin/python" -W ignore - <<'PY'
import dlt

pipeline = dlt.pipeline("quality", destination=dlt.destinations.duckdb("quality.duckdb"), dataset_name="q", pipelines_dir="p")


def load(table, rows):
    pipeline.run(rows, table_name=table)
    with pipeline.sql_client() as client, client.execute_query(f"SELECT * FROM {table}") as cursor:
        names = [column[0] for column in cursor.description]
        return [
            {name: value for name, value in zip(names, row) if not name.startswith("_dlt")} for row in cursor.fetchall()
        ]


keys = load("keys", [{"rowCount": 1, "row_count": 2, "Row-Count": 3}])
nans = load("nans", [{"n": 1, "v": 2.5}, {"n": 2, "v": float("nan")}, {"n": 3, "v": None}])
kinds = load("kinds", [{"n": 1, "v": 5}, {"n": 2, "v": 1.5}, {"n": 3, "v": "NaN"}])
print(keys, nans, kinds, sep="\n")
assert keys == [{"row_count": 3}]
assert [row["v"] for row in nans] == [2.5, None, None]
assert [row["v"] for row in kinds] == [5, None, None]
assert (kinds[1]["v__v_double"], kinds[2]["v__v_text"]) == (1.5, "NaN")
PY
