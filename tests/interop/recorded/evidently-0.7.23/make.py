# /// script
# requires-python = ">=3.11"
# dependencies = ["evidently==0.7.23", "pandas==2.3.3"]
# ///
"""Run tests of Evidently and write down its results: `python make.py FOLDER`."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import (
    CategoryCount,
    DriftedColumnsCount,
    DuplicatedRowCount,
    InListValueCount,
    MinValue,
    MissingValueCount,
    OutRangeValueCount,
    RowCount,
    UniqueValueCount,
    ValueDrift,
)
from evidently.tests import eq, gt, gte, lte


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    table = pd.DataFrame({"id": [1, 2, 2, 4], "amount": [1.0, None, -3.0, 4.0], "shop": ["x", "x", "y", None]})
    dataset = Dataset.from_pandas(
        table, DataDefinition(numerical_columns=["id", "amount"], categorical_columns=["shop"])
    )
    reports = {
        "orders": [
            RowCount(tests=[gte(3), eq(4)]),
            MissingValueCount(column="amount", tests=[eq(0)]),
            MissingValueCount(column="shop", tests=[lte(0, is_critical=False)]),
            MissingValueCount(column="id", tests=[lte(0.5)], share_tests=[lte(0.1)]),
            MinValue(column="amount", tests=[gte(0)]),
            MinValue(column="id", tests=[gt(0)]),
            DuplicatedRowCount(tests=[eq(0)]),
            OutRangeValueCount(column="amount", left=0, right=10, share_tests=[lte(0.1)]),
            CategoryCount(column="shop", category="x", tests=[eq(2), lte(1)]),
            InListValueCount(column="shop", values=["x"], tests=[eq(3)]),
        ],
        "other limits": [MissingValueCount(column="amount", tests=[eq(1)])],
        "labels": [
            UniqueValueCount(column="shop", tests={"x": [eq(2)], "y": [eq(2)]}, share_tests={"x": [eq(0.5)]}),
            ValueDrift(column="amount", threshold=0.2),
            DriftedColumnsCount(drift_share=0.1),
        ],
        "no tests": [RowCount()],
    }
    for name, metrics in reports.items():
        is_compared = name == "labels"
        result = Report(metrics, include_tests=is_compared).run(dataset, dataset if is_compared else None)
        text = result.json()
        (folder / f"{name}.json").write_text(text + "\n")
        if importlib.util.find_spec("truthstore") and name != "no tests":
            from truthstore.interop import from_evidently

            live, written = from_evidently(result, "orders"), from_evidently(json.loads(text), "orders")
            assert live.results == written.results, name


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
