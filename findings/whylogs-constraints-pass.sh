#!/usr/bin/env bash
# whylogs 1.6.4 with pandas 2.2.3, numpy 1.26.4
# Expected: a constraint that has nothing to look at does not pass, or says so; a missing cell is counted once.
# What happens: over a column of texts "is in range [0,1]" and "greater than 5" are passed 1, failed 0; over an
#   empty table "smaller than 5" and "greater than 50" of one column both pass. Nothing in the report tells such a
#   pass from a real one. A None in a column of floats counts as null and as nan: 2 + 2 of 4 cells that have 2 values.
# Hurts: who keeps the report as the result (green for the wrong type, for no data), who adds null and nan.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'whylogs==1.6.4' 'pandas==2.2.3' 'numpy==1.26.4'
cd "$dir"
export WHYLOGS_NO_ANALYTICS=True
"$dir/venv/bin/python" -W ignore - <<'PY'
import pandas as pd
import whylogs
from whylogs.core.constraints import ConstraintsBuilder
from whylogs.core.constraints.factories import greater_than_number, is_in_range, smaller_than_number


def report(table, *constraints):
    builder = ConstraintsBuilder(whylogs.log(table).view())
    for constraint in constraints:
        builder.add_constraint(constraint)
    built = builder.build()
    found = [(line.name, line.passed, line.failed) for line in built.generate_constraints_report()]
    print(built.validate(), found)
    return built.validate(), [failed for _, _, failed in found]


text = pd.DataFrame({"price": ["cheap", "dear"]})
assert report(text, is_in_range("price", 0, 1), greater_than_number("price", 5)) == (True, [0, 0])
empty = pd.DataFrame({"price": pd.Series([], dtype="float64")})
assert report(empty, smaller_than_number("price", 5), greater_than_number("price", 50)) == (True, [0, 0])

view = whylogs.log(pd.DataFrame({"price": [1.0, 2.0, None, None]})).view()
counts = {key: value for key, value in view.get_column("price").to_summary_dict().items() if key.startswith("counts/")}
print(counts)
assert (counts["counts/n"], counts["counts/null"], counts["counts/nan"]) == (4, 2, 2), counts
PY
