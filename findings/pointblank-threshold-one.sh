#!/usr/bin/env bash
# pointblank 1.1.1 with polars 2.1.0
# Expected: thresholds that are fractions grow: a level at 1.0 (all rows) is reached after one at 0.99.
# What happens: a float of 1.0 is taken as the count 1: with 1 failing row of 100 the level set at 1.0 is reached,
#   the level set at 0.5 is not. In YAML too. The JSON report says "warning=1.0" for it.
# Hurts: who writes "only when every row fails" as 1.0, or computes the fraction; who reads the level from the JSON.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'pointblank==1.1.1' 'polars==2.1.0' 'pyyaml==6.0.4'
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PY'
import json

import pointblank as pb
import polars as pl

table = pl.DataFrame({"n": list(range(100))})
seen = {}
for fraction in (0.5, 0.99, 1.0):
    validation = pb.Validate(table, thresholds=pb.Thresholds(error=fraction)).col_vals_gt("n", 0).interrogate()
    (step,) = json.loads(validation.get_json_report())
    seen[fraction] = (step["n_failed"], step["n"], step["error"])
    print(step["thresholds"], "failed", step["n_failed"], "of", step["n"], "error:", step["error"])
assert seen == {0.5: (1, 100, False), 0.99: (1, 100, False), 1.0: (1, 100, True)}, seen

(step,) = json.loads(
    pb.yaml_interrogate(
        """
tbl:
  python: |
    pl.DataFrame({"n": list(range(100))})
thresholds: {warning: 0.5, error: 1.0}
steps:
  - col_vals_gt: {columns: n, value: 0}
"""
    ).get_json_report()
)
print("YAML:", step["thresholds"], "warning:", step["warning"], "error:", step["error"])
assert (step["warning"], step["error"]) == (False, True)
PY
