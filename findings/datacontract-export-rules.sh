#!/usr/bin/env bash
# datacontract-cli 1.2.8, contract in ODCS 3.1.0
# Expected: an exported check means what the contract's rule means, or the export says that it left it out.
# What happens: "fewer than 50 percent nulls" becomes SodaCL's `missing_count(s) < 50`, fifty rows. In the Great
#   Expectations suite and the dbt models the rules on nulls, on row count and in SQL are absent, and "at most 1
#   invalid value" becomes a set expectation without `mostly`, none allowed. Exit 0, no warning, in all three.
# Hurts: who compares results of one contract between these tools: 40 nulls in 60 rows break the contract, pass in
#   Soda, and have no entry in the other two.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'datacontract-cli==1.2.8'
cd "$dir"
cat > contract.yaml <<'YAML'
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    physicalType: table
    quality:
      - {metric: rowCount, mustBeGreaterThan: 2}
      - {type: sql, query: "select count(*) from orders where s = 'z'", mustBe: 0}
    properties:
      - name: s
        logicalType: string
        physicalType: varchar
        quality:
          - {metric: nullValues, mustBeLessThan: 50, unit: percent}
          - {metric: invalidValues, arguments: {validValues: [a, b]}, mustBeLessOrEqualTo: 1}
YAML
for format in sodacl great-expectations dbt-models; do
  "$dir/venv/bin/datacontract" export "$format" contract.yaml > "$format" 2> "$format.log"
  echo "== $format, exit 0, stderr: $(wc -c < "$format.log") bytes"
  cat "$format"
done
"$dir/venv/bin/python" - <<'PY'
import json
from pathlib import Path

soda = Path("sodacl").read_text()
assert "missing_count(s) < 50:" in soda and "percent" not in soda
assert "row_count > 2" in soda and "invalid_count(s) <= 1" in soda and "select count(*)" in soda

suite = json.loads(Path("great-expectations").read_text())["expectations"]
types = sorted(expectation["type"] for expectation in suite)
assert types == [
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_of_type",
    "expect_table_columns_to_match_set",
], types
assert all("mostly" not in expectation["kwargs"] for expectation in suite)

models = Path("dbt-models").read_text()
assert "accepted_values" in models and "not_null" not in models and "error_if" not in models
assert "row_count" not in models and "count(*)" not in models
assert not any(Path(f"{name}.log").read_text() for name in ("sodacl", "great-expectations", "dbt-models"))
PY
