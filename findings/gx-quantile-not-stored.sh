#!/usr/bin/env bash
# great_expectations 1.24.1, pandas 3.1.1, numpy 2.4.6
# Expected: a validation definition with expect_column_quantile_values_to_be_between on a DataFrame returns a result.
# What happens: the expectation itself is evaluated (`batch.validate()` says so), but ValidationDefinition.run() and
#   Checkpoint.run() raise TypeError "Object of type bool is not JSON serializable" while they store the result:
#   its `success` is NumPy's boolean. It is raised whether the data pass or not, so one such expectation takes the
#   results of its whole suite with it.
# Hurts: suites over pandas with a quantile in them; nothing of the run is kept.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'great_expectations==1.24.1' 'pandas==3.1.1' 'numpy==2.4.6'
cd "$dir"
"$dir/venv/bin/python" - <<'PY' 2>&1 | grep -v Calculating
import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

context = gx.get_context(mode="ephemeral")
asset = context.data_sources.add_pandas("shop").add_dataframe_asset("orders")
whole = asset.add_batch_definition_whole_dataframe("whole")
frame = {"dataframe": pd.DataFrame({"amount": [1.0, 2.0, 3.0]})}
ranges = {"quantiles": [0.5], "value_ranges": [[0, 5]]}
expectation = gxe.ExpectColumnQuantileValuesToBeBetween(column="amount", quantile_ranges=ranges)

alone = whole.get_batch(batch_parameters=frame).validate(expectation)
kind = type(alone.success)
print("alone:", alone.success, kind)
assert alone.success
assert kind.__module__ == "numpy", kind

suite = context.suites.add(gx.ExpectationSuite(name="suite", expectations=[expectation]))
definition = context.validation_definitions.add(gx.ValidationDefinition(name="v", data=whole, suite=suite))
try:
    print("stored:", definition.run(batch_parameters=frame).success)
except TypeError as error:
    print("stored:", type(error).__name__, error)
    assert "not JSON serializable" in str(error)
else:
    raise SystemExit("it is stored now")
PY
