#!/usr/bin/env bash
# dbt-to-junit 0.2.0 with dbt-core 1.11.16, dbt-duckdb 1.11.0, duckdb 1.5.6
# Expected: the JUnit file has each test of dbt's run_results.json; a warning is no error; a failed test fails.
# What happens: a warning becomes <error message="Unknown dbt status: warn"> and exit 1, though dbt exits 0. A
#   *failed unit test is absent* (only ids that begin with "test." are taken), exit 0, though dbt exits 1.
# Hurts: whose CI or store takes dbt's results from the JUnit file: red for warnings, green for a failed unit test.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'dbt-to-junit==0.2.0' 'dbt-core==1.11.16' 'dbt-duckdb==1.11.0' 'duckdb==1.5.6'
cd "$dir"
export DBT_PROFILES_DIR="$dir" DBT_SEND_ANONYMOUS_USAGE_STATS=false
mkdir models
cat > dbt_project.yml <<'YAML'
name: shop
version: "1.0"
profile: shop
YAML
cat > profiles.yml <<'YAML'
shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}
YAML
cat > models/schema.yml <<'YAML'
models:
  - name: orders
    columns:
      - name: state
        data_tests:
          - not_null: {config: {severity: warn}}
  - name: lines
    columns: [{name: id, data_tests: [not_null]}]
unit_tests:
  - name: doubles
    model: lines
    given: [{input: ref('orders'), rows: [{id: 1}]}]
    expect: {rows: [{id: 2}]}
YAML
echo "select 1 as id, 'new' as state union all select 2, null" > models/orders.sql
echo "select id from {{ ref('orders') }}" > models/lines.sql
"$dir/venv/bin/dbt" --quiet run > run.log 2>&1

convert() {  # NAME DBT-ARGUMENTS…
  name=$1
  shift
  "$dir/venv/bin/dbt" --quiet build "$@" > "$name.log" 2>&1 && dbt=0 || dbt=$?
  "$dir/venv/bin/dbt-to-junit" --output "$name.xml" 2> "$name.err" && junit=0 || junit=$?
  echo "$name: dbt exit $dbt, dbt-to-junit exit $junit"
  echo "$dbt $junit" > "$name.codes"
  cat "$name.xml"
}
convert warned --select orders
convert unit --select lines
"$dir/venv/bin/python" - <<'PY'
from pathlib import Path
from xml.etree import ElementTree

warned = ElementTree.parse("warned.xml").getroot()
assert Path("warned.codes").read_text().split() == ["0", "1"]
assert warned.get("errors") == "1" and warned.find(".//error").get("message") == "Unknown dbt status: warn"

unit = ElementTree.parse("unit.xml").getroot()
assert Path("unit.codes").read_text().split() == ["1", "0"]
assert (unit.get("tests"), unit.get("failures"), unit.get("errors")) == ("1", "0", "0")
assert [case.get("name").split(".")[0] for case in unit.iter("testcase")] == ["not_null_lines_id"]
PY
