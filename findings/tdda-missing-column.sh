#!/usr/bin/env bash
# tdda 3.3.0 with pandas 3.0.6
# Expected: six constraints on a column that is gone are six failures, or six that could not be looked at; the
#   result as a frame shows that something failed.
# What happens: one failure in all. The column's own constraints vanish from passes, failures and text (13 verified
#   before, 7 now), and to_frame() has no row for it: every row it has says 0 failures. The one failure is a
#   "dataset" constraint, which the frame does not show; a column that is not allowed is hidden in the same way.
# Hurts: who stores to_frame() as the result (all green), or compares counts between runs.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'tdda==3.3.0' 'pandas==3.0.6'
cd "$dir"
"$dir/venv/bin/python" -W ignore - > out.txt 2>&1 <<'PY' || { cat out.txt; exit 1; }
from pathlib import Path

import pandas as pd
from tdda.constraints import discover_df, verify_df

orders = pd.DataFrame({"id": [1, 2, 3], "state": ["a", "b", "c"]})
Path("orders.tdda").write_text(discover_df(orders).to_json())
seen = {}
for name, table in {"whole": orders, "gone": orders.drop(columns=["id"]), "more": orders.assign(extra=1)}.items():
    verified = verify_df(table, "orders.tdda")
    frame = verified.to_frame()
    seen[name] = (verified.passes, verified.failures, dict(zip(frame["field"], frame["failures"])))
    print("RESULT", name, "passes", verified.passes, "failures", verified.failures, "frame", seen[name][2])
assert seen["whole"] == (13, 0, {"id": 0, "state": 0}), seen
assert seen["gone"] == (6, 1, {"state": 0}), seen
assert seen["more"] == (12, 1, {"id": 0, "state": 0}), seen
PY
grep RESULT out.txt
