#!/usr/bin/env bash
# datacompy 1.1.0 with pandas 3.0.6, polars 1.44.2
# Expected: with both tolerances 0 two integer columns match only if every value is equal.
# What happens: 9007199254740992 and 9007199254740993 (int64 in both frames) compare as equal, in pandas and in
#   polars: matches() is True and the report counts 0 unequal values. As the join column the same two values differ.
#   And two empty frames of the same columns do not match: matches() is False, with 0 differing rows.
# Hurts: who keeps "the tables are equal" as a result for tables with identifiers above 2^53 in a compared column.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'datacompy==1.1.0' 'pandas==3.0.6' 'polars==1.44.2'
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PY'
import datacompy
import pandas as pd
import polars as pl

first, second = 2**53, 2**53 + 1
for compare, frame in ((datacompy.PandasCompare, pd.DataFrame), (datacompy.PolarsCompare, pl.DataFrame)):
    value = compare(frame({"id": [1], "order": [first]}), frame({"id": [1], "order": [second]}), join_columns="id")
    key = compare(frame({"id": [first], "v": [1]}), frame({"id": [second], "v": [1]}), join_columns="id")
    print(compare.__name__, "value:", value.matches(), value.count_matching_rows(), "join column:", key.matches())
    assert value.matches() and value.count_matching_rows() == 1
    assert not key.matches()

none = pd.DataFrame({"id": pd.Series([], dtype="int64"), "v": pd.Series([], dtype="int64")})
empty = datacompy.PandasCompare(none, none.copy(), join_columns="id")
print("empty:", empty.matches(), "rows in one only:", len(empty.df1_unq_rows), len(empty.df2_unq_rows))
assert not empty.matches()
assert len(empty.df1_unq_rows) == len(empty.df2_unq_rows) == 0
PY
