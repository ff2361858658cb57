#!/usr/bin/env bash
# cuallee 0.15.4 with pandas 3.0.6
# Expected: no row breaks a rule over an empty table, so every row rule passes (as in SQL, dbt, GX).
# What happens: status FAIL with 0 violations of 0 rows, and pass_rate NaN.
# Hurts: who imports the status (a red run on a day without data), who derives a failure from `violations` (none),
#   and who writes pass_rate to JSON (NaN is not JSON).
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'cuallee==0.15.4' 'pandas==3.0.6'
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PY'
import math

import pandas as pd
from cuallee import Check, CheckLevel

check = Check(CheckLevel.ERROR, "orders").is_complete("key").is_greater_than("key", 0)
result = check.validate(pd.DataFrame({"key": pd.Series([], dtype="float64")}))
print(result[["rule", "rows", "violations", "pass_rate", "status"]].to_string(index=False))

for row in result.to_dict("records"):
    assert (row["status"], row["rows"], row["violations"]) == ("FAIL", 0, 0), row
    assert math.isnan(row["pass_rate"]), row
PY
