#!/usr/bin/env bash
# datacontract-cli 1.2.8 (extra duckdb), duckdb 1.5.6, contract in ODCS 3.1.0, a local CSV file
# Expected: a column may have two quality rules of one metric (an error above 50 % nulls, a warning above none);
#   each has its result, and the other checks have theirs.
# What happens: both rules get the key orders__s__field_null_values, the query of all checks gets that column name
#   twice, and *every check of that query* is "failed" ("Duplicate column name"), also the ones on other columns,
#   with no diagnostics; the second rule has result null. With one of the two rules taken out all of them pass.
# Hurts: who imports "failed" as "the data is bad", counts failed checks, or takes `key` as the identity of a check.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'datacontract-cli[duckdb]==1.2.8' 'duckdb==1.5.6'
cd "$dir"
printf 'id,s\n1,a\n2,b\n3,c\n' > orders.csv
cat > two.yaml <<'YAML'
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
servers:
  - {server: local, type: local, path: orders.csv, format: csv, delimiter: ","}
schema:
  - name: orders
    physicalType: table
    quality:
      - {metric: rowCount, mustBeGreaterThan: 2}
    properties:
      - {name: id, logicalType: integer, required: true}
      - name: s
        logicalType: string
        quality:
          - {metric: nullValues, mustBeLessThan: 50, unit: percent}
          - {metric: nullValues, mustBe: 0, severity: warning}
YAML
grep -v 'severity: warning' two.yaml > one.yaml
for name in one two; do
  "$dir/venv/bin/datacontract" test "$name.yaml" --output-format json --output "$name.json" > "$name.log" 2>&1 && code=0 || code=$?
  echo "$name.yaml: exit $code"
done
"$dir/venv/bin/python" - <<'PY'
import json

for name in ("one", "two"):
    checks = json.load(open(f"{name}.json"))["checks"]
    for check in checks:
        print(name, check["key"], check["result"], check["reason"])
    results = {}
    for check in checks:
        results.setdefault(check["key"], []).append(check["result"])
    if name == "one":
        assert set(sum(results.values(), [])) == {"passed"}, results
    else:
        assert results["orders__s__field_null_values"] == ["failed", None], results
        assert results["orders__id__field_required"] == ["failed"], results
        assert results["orders__row_count"] == ["failed"], results
        assert not any(check["diagnostics"] for check in checks if check["result"] == "failed")
PY
