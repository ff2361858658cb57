#!/usr/bin/env bash
# dataframely 3.1.2 with polars 2.1.0
# Expected: a collection's filter that asks for a partner in both tables counts the rows that have none: 1 row here.
# What happens: it is applied to what is left of the members after their own rules: a line whose order exists but
#   broke a rule counts as without a partner: 2 rows, in a rule that has nothing to do with the cause. On the
#   orders' side the same rows count under the cause.
# Hurts: who adds up counts over tables (one bad order is two failures) or reads the rule as broken references.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'dataframely==3.1.2' 'polars==2.1.0'
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PY'
import dataframely as dy
import polars as pl


class Order(dy.Schema):
    id = dy.Int64(primary_key=True)
    amount = dy.Int64(min=0)


class Line(dy.Schema):
    id = dy.Int64(primary_key=True)


class Shop(dy.Collection):
    orders: dy.LazyFrame[Order]
    lines: dy.LazyFrame[Line]

    @dy.filter()
    def has_partner(self) -> pl.LazyFrame:
        return dy.require_relationship_one_to_one(self.orders, self.lines, on="id")


orders = pl.DataFrame({"id": [1, 2], "amount": [5, -1]})
lines = pl.DataFrame({"id": [1, 2, 3]})
without_partner = lines.join(orders, on="id", how="anti").height
_, failures = Shop.filter({"orders": orders, "lines": lines})
counts = {member: failure.counts() for member, failure in failures.items()}
print("lines without an order:", without_partner, "counts:", counts)
assert without_partner == 1
assert counts == {"orders": {"amount|min": 1}, "lines": {"has_partner": 2}}, counts
PY
