# /// script
# requires-python = ">=3.11"
# dependencies = ["databricks-labs-dqx==0.17.0", "pyspark==4.2.0", "pandas"]
# ///
"""Check a table with DQX on a local Spark and write down what it hands out: `python make.py FOLDER`."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from databricks.labs.dqx.config import ExtraParams
from databricks.labs.dqx.engine import DQEngine
from databricks.labs.dqx.metrics_observer import DQMetricsObservation, DQMetricsObserver
from databricks.sdk import WorkspaceClient
from pyspark.sql import SparkSession

CHECKS = [
    {
        "criticality": "error",
        "name": "id is there",
        "check": {"function": "is_not_null", "arguments": {"column": "id"}},
    },
    {
        "criticality": "error",
        "name": "amount in range",
        "filter": "shop = 'x'",
        "check": {"function": "is_in_range", "arguments": {"column": "amount", "min_limit": 0, "max_limit": 10}},
        "user_metadata": {"owner": "crm"},
    },
    {
        "criticality": "warn",
        "name": "email is there",
        "check": {"function": "is_not_null_and_not_empty", "arguments": {"column": "email"}},
    },
    {
        "criticality": "error",
        "name": "unique",
        "check": {"function": "is_unique", "arguments": {"columns": ["id", "shop"]}},
    },
    {
        "criticality": "error",
        "name": "gone is there",
        "check": {"function": "is_not_null", "arguments": {"column": "gone"}},
    },
    {
        "criticality": "warn",
        "name": "two rows at most",
        "check": {
            "function": "is_aggr_not_greater_than",
            "arguments": {"column": "*", "aggr_type": "count", "limit": 2},
        },
    },
    {
        "criticality": "error",
        "name": "shop is there",
        "check": {"function": "is_not_null", "arguments": {"column": "shop"}},
    },
]


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "asDict"):
        return {name: plain(inner) for name, inner in value.asDict().items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def main(folder: Path) -> None:
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    client = MagicMock(spec=WorkspaceClient)
    table = spark.createDataFrame(
        [(1, 5.0, "a@example.org", "x"), (None, 12.0, "", "x"), (2, -1.0, None, "y"), (2, 3.0, "d@example.org", "y")],
        "id int, amount double, email string, shop string",
    )
    observer = DQMetricsObserver(name="orders")
    engine = DQEngine(
        client, observer=observer, extra_params=ExtraParams(run_time_overwrite="2026-05-04T03:00:00+00:00")
    )
    checked, observation = engine.apply_checks_by_metadata(table, CHECKS)
    rows = [plain(row) for row in checked.collect()]
    found = DQMetricsObservation(
        run_id=observer.id,
        run_name=observer.name,
        observed_metrics=observation.get,
        run_time_overwrite=datetime(2026, 5, 4, 3, tzinfo=UTC),
        input_location="main.shop.orders",
        error_column_name="_errors",
        warning_column_name="_warnings",
    )
    table_of_metrics = DQMetricsObserver.build_metrics_df(spark, found)
    summary = [plain(row) for row in table_of_metrics.collect()]
    if importlib.util.find_spec("truthstore"):
        from truthstore.interop import from_any

        for live, written in ((checked, rows), (table_of_metrics, summary)):
            assert from_any(live, "orders")[0].results == from_any(written, "orders")[0].results
    (folder / "rows.json").write_text(json.dumps(rows) + "\n")
    (folder / "summary.json").write_text(json.dumps(summary) + "\n")
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
