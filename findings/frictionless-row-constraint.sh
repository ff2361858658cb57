#!/usr/bin/env bash
# frictionless 5.21.0
# Expected: the rule "n < 10" judges the same rows whether it is a field's constraint or a row-constraint check; a
#   formula that cannot be evaluated is an error of the check.
# What happens: an empty cell keeps `maximum` but breaks the row-constraint (1 error and 2). A formula that names a
#   field that is not there, or is no expression, is reported as a broken constraint in every row, of type
#   row-constraint like real ones; other checks (forbidden-value) give one check-error for the same mistake.
# Hurts: who counts errors as bad rows: empty cells and a renamed field become bad data.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'frictionless==5.21.0'
cd "$dir"
printf 'id,n\n1,5\n2,\n3,50\n' > table.csv
"$dir/venv/bin/python" -W ignore - <<'PY'
from frictionless import Checklist, Schema, checks, validate


def errors(check=None, **constraints):
    fields = [{"name": "id", "type": "integer"}, {"name": "n", "type": "integer", "constraints": constraints}]
    checklist = Checklist(checks=[check] if check else [])
    report = validate("table.csv", schema=Schema.from_descriptor({"fields": fields}), checklist=checklist)
    found = report.flatten(["type", "rowNumber"])
    print(constraints or check.to_descriptor(), "->", found)
    return found


assert errors(maximum=9) == [["constraint-error", 4]]
assert errors(checks.row_constraint(formula="n < 10")) == [["row-constraint", 3], ["row-constraint", 4]]
every = [["row-constraint", row] for row in (2, 3, 4)]
assert errors(checks.row_constraint(formula="amount < 10")) == every
assert errors(checks.row_constraint(formula="n <")) == every
assert errors(checks.forbidden_value(field_name="amount", values=[1])) == [["check-error", None]]
PY
