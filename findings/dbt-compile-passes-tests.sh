#!/usr/bin/env bash
# dbt-core 1.11.16, dbt-duckdb 1.10.1, duckdb 1.5.6
# Expected: run_results.json after `dbt build` says what the tests found, and a test that was not run is not in it as passed.
# What happens: `dbt docs generate` (and `compile`, `show`) write a run_results.json too, over the one of the build
#   before: the test that failed has the status "success" in it, with failures null. Only args.which tells.
# Hurts: jobs that run `dbt build; dbt docs generate` and read the results at the end: red becomes green.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'dbt-core==1.11.16' 'dbt-duckdb==1.10.1' 'duckdb==1.5.6'
cd "$dir"
export DBT_PROFILES_DIR=$dir DBT_SEND_ANONYMOUS_USAGE_STATS=false
mkdir models
cat > dbt_project.yml <<'YML'
name: shop
version: "1.0"
profile: shop
YML
cat > profiles.yml <<'YML'
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb}
YML
echo "select 1 as id union all select 1" > models/orders.sql
cat > models/schema.yml <<'YML'
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique]
YML
said() {
    "$dir/venv/bin/python" - <<'PY'
import json

run = json.load(open("target/run_results.json"))
print(run["args"]["which"], {r["unique_id"].split(".")[0]: (r["status"], r["failures"]) for r in run["results"]})
PY
}
venv/bin/dbt -q build > /dev/null || true
built=$(said)
venv/bin/dbt -q docs generate
after=$(said)
printf '%s\n' "$built" "$after"
test "$built" = "build {'model': ('success', None), 'test': ('fail', 1)}"
test "$after" = "generate {'model': ('success', None), 'test': ('success', None)}"
