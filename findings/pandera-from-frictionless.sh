#!/usr/bin/env bash
# pandera 0.35.0 (from_frictionless_schema) with frictionless 5.21.0, pandas 3.1.1
# Expected: a Table Schema that pandera reads judges the file as frictionless does.
# What happens, without a warning:
#   - a date column becomes text and its bounds are compared as text: minimum 01.01.2026 (format %d.%m.%Y) lets
#     31.12.2025 pass, which frictionless refuses;
#   - an empty cell in an optional integer column is valid for frictionless, a dtype failure for pandera;
#   - a repeated primary key is one error for frictionless, two failure cases for pandera;
#   - missingValues and foreign keys are left out: "-" as the sign for no value fails, a dangling key passes.
# Hurts: who compares or joins results of both tools for one schema: other verdicts, other counts.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'pandera[pandas,io]==0.35.0' 'frictionless==5.21.0' 'pandas==3.1.1'
cd "$dir"
"$dir/venv/bin/python" - <<'PY'
import json
import warnings
from pathlib import Path

import frictionless
import pandas as pd
import pandera.pandas as pa
from pandera.io.pandas_io import from_frictionless_schema


def both(text, fields, **more):
    Path("table.csv").write_text(text)
    schema = json.dumps({"fields": fields, **more})
    report = frictionless.validate("table.csv", schema=frictionless.Schema.from_descriptor(json.loads(schema)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        converted = from_frictionless_schema(json.loads(schema))
    assert not [item for item in caught if "frictionless" in str(item.message).lower()]
    try:
        converted.validate(pd.read_csv("table.csv"), lazy=True)
        failures = []
    except pa.errors.SchemaErrors as error:
        failures = [str(check) for check in error.failure_cases["check"]]
    return [error[0] for error in report.flatten(["type"])], failures


number = {"name": "n", "type": "integer"}
name = {"name": "s", "type": "string"}
seen = {
    "date bound": both(
        "d\n31.12.2025\n02.01.2026\n",
        [{"name": "d", "type": "date", "format": "%d.%m.%Y", "constraints": {"minimum": "01.01.2026"}}],
    ),
    "empty cell": both("n,s\n1,a\n,b\n", [number, name]),
    "primary key": both("n,s\n1,a\n1,b\n", [number, name], primaryKey=["n"]),
    "missing values": both("n,s\n1,a\n-,b\n", [number, name], missingValues=["-"]),
    "foreign key": both(
        "n,s,of\n1,a,1\n2,b,9\n",
        [number, name, {"name": "of", "type": "integer"}],
        foreignKeys=[{"fields": ["of"], "reference": {"resource": "", "fields": ["n"]}}],
    ),
}
for case, (ours, theirs) in seen.items():
    print(f"{case}: frictionless {ours}, pandera {theirs}")
assert seen["date bound"] == (["constraint-error"], [])
assert seen["empty cell"][0] == [] and "dtype('int64')" in seen["empty cell"][1]
assert seen["primary key"] == (["primary-key"], ["field_uniqueness"] * 2)
assert seen["missing values"][0] == [] and seen["missing values"][1]
assert seen["foreign key"] == (["foreign-key"], [])
PY
