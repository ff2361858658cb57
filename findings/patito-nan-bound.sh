#!/usr/bin/env bash
# patito 0.8.6 with polars 2.1.0, pydantic 2.14.4
# Expected: a model's bound is one rule: what the row model refuses, the frame check refuses.
# What happens: NaN in a frame passes `ge=0` without any word (polars orders NaN above every number) and is
#   reported for `le=10`. The same model refuses the same NaN for both bounds as a single row.
# Hurts: who keeps "0 rows out of bounds" as the result of a column with a lower bound only.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'patito==0.8.6' 'polars==2.1.0' 'pydantic==2.14.4'
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PY'
import patito
import polars as pl
import pydantic


class AtLeast(patito.Model):
    price: float = patito.Field(ge=0)


class AtMost(patito.Model):
    price: float = patito.Field(le=10)


def frame(model):
    try:
        model.validate(pl.DataFrame({"price": [1.0, float("nan")]}))
    except patito.exceptions.DataFrameValidationError as error:
        return error.errors()[0]["msg"]
    return "valid"


def row(model):
    try:
        model(price=float("nan"))
    except pydantic.ValidationError as error:
        return error.errors()[0]["type"]
    return "valid"


seen = {model.__name__: (frame(model), row(model)) for model in (AtLeast, AtMost)}
print(seen)
assert seen["AtLeast"] == ("valid", "greater_than_equal"), seen
assert seen["AtMost"] == ("1 row with out of bound values.", "less_than_equal"), seen
PY
