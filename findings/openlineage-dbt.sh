#!/usr/bin/env bash
# openlineage-integration-common 1.54.0 with dbt-core 1.11.16, dbt-duckdb 1.11.0, duckdb 1.5.6
# Expected: the quality facet says of each dbt test what dbt says: passed, warned, failed or not run.
# What happens: the assertion has only true and false, and is true for dbt's status "pass" alone.
#   - A test under its tolerance (error_if ">10", 1 row: dbt WARN, exit 0) is success false, severity "error",
#     and its model's test job gets a FAIL event.
#   - A test that dbt skipped because something above it failed is success false too, without `actual`; its job
#     gets a FAIL event although nothing ran.
# Hurts: who imports or alerts on OpenLineage events beside dbt's own file: other counts of failures for one run.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'openlineage-integration-common==1.54.0' 'dbt-core==1.11.16' 'dbt-duckdb==1.11.0' 'duckdb==1.5.6'
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
          - not_null: {config: {error_if: ">10"}}
  - name: lines
    columns: [{name: id, data_tests: [unique]}]
  - name: totals
    columns: [{name: id, data_tests: [not_null]}]
YAML
echo "select 1 as id, 'new' as state union all select 2, null" > models/orders.sql
echo "select 1 as id union all select 1" > models/lines.sql
echo "select id from {{ ref('lines') }}" > models/totals.sql

cat > report.py <<'PY'
import json
import logging

from openlineage.client.serde import Serde
from openlineage.common.provider.dbt import DbtLocalArtifactProcessor

logging.disable(logging.CRITICAL)
statuses = {
    result["unique_id"].split(".")[2]: result["status"]
    for result in json.load(open("target/run_results.json"))["results"]
    if result["unique_id"].startswith("test.")
}
processor = DbtLocalArtifactProcessor(
    producer="https://example.org/producer", project_dir=".", job_namespace="shop", skip_errors=True
)
seen = {}
for event in processor.parse().events():
    event = json.loads(Serde.to_json(event))
    for item in event.get("inputs", []):
        facet = item.get("inputFacets", {}).get("dataQualityAssertions")
        for found in facet["assertions"] if facet and event["eventType"] != "START" else []:
            seen[found["name"]] = (event["eventType"], found["success"], found["severity"], found.get("actual"))
for name, status in sorted(statuses.items()):
    print(f"{name}: dbt {status}; OpenLineage {seen[name]}")
assert statuses["not_null_orders_state"] == "warn" and seen["not_null_orders_state"] == ("FAIL", False, "error", "1")
if "not_null_totals_id" in statuses:
    assert statuses["not_null_totals_id"] == "skipped" and seen["not_null_totals_id"] == ("FAIL", False, "error", None)
PY
for select in orders '*'; do
  "$dir/venv/bin/dbt" --quiet build --select "$select" > dbt.log 2>&1 && code=0 || code=$?
  echo "dbt build --select $select: exit $code"
  "$dir/venv/bin/python" -W ignore report.py
done
