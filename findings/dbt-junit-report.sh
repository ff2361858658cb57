#!/usr/bin/env bash
# dbt-junit-report 1.0.12 with dbt-core 1.11.16, dbt-duckdb 1.11.0, duckdb 1.5.6
# Expected: a test case is named after its dbt test, and fails if dbt says so.
# What happens: the name of a generic test is the last part of its id, ten hex digits ("2e9bd025ea"), which change
#   with the test's arguments; a warning is a <failure>, though dbt exits 0; models are test cases as well (3 here
#   for 2 tests). The compiled SQL stands in an attribute `log`.
# Hurts: who follows a check by its name over time, counts failures, or counts tests.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'dbt-junit-report==1.0.12' 'dbt-core==1.11.16' 'dbt-duckdb==1.11.0' 'duckdb==1.5.6'
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
echo "select 1 as id, 'new' as state union all select 2, null" > models/orders.sql

build() {  # NAME ALLOWED-STATES
  cat > models/schema.yml <<YAML
models:
  - name: orders
    columns:
      - name: state
        data_tests:
          - not_null: {config: {severity: warn}}
          - accepted_values: {name: state_is_known, arguments: {values: [$2]}}
YAML
  "$dir/venv/bin/dbt" --quiet build > "$1.log" 2>&1
  "$dir/venv/bin/dbt_junit_report" target/run_results.json "$1.xml"
}
build before "new"
build after "new, old"
"$dir/venv/bin/python" - <<'PY'
from xml.etree import ElementTree

cases = {}
for name in ("before", "after"):
    suite = ElementTree.parse(f"{name}.xml").getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    cases[name] = {case.get("classname"): (case.get("name"), [child.tag for child in case]) for case in suite}
    print(name, cases[name])
assert cases["before"]["model.shop"] == ("orders", [])
warned = cases["before"]["test.shop.not_null_orders_state"]
assert len(warned[0]) == 10 and int(warned[0], 16) and warned[1] == ["failure"]
known = [cases[name]["test.shop.state_is_known"][0] for name in ("before", "after")]
assert all(len(name) == 10 for name in known), known
print("state_is_known:", *known)
assert known[0] != known[1], known
PY
