# /// script
# requires-python = ">=3.11"
# dependencies = ["soda-core==4.28.0", "soda-duckdb==4.28.0"]
# ///
"""Verify contracts with Soda 4 and write down what it hands out: `python make.py FOLDER`."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import sys
import tempfile
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import duckdb
from soda_core.common.logging_configuration import configure_logging
from soda_core.contracts.api.verify_api import verify_contract_locally

SOURCE = "type: duckdb\nname: duck\nconnection:\n  database: orders.db\n"

CONTRACTS = {
    "orders": """
dataset: duck/main/orders
filter: id < 100
columns:
  - name: id
    data_type: integer
    checks:
      - missing:
      - duplicate:
  - name: email
    data_type: varchar
    checks:
      - missing:
          threshold:
            metric: percent
            must_be_less_than: 5
      - invalid:
          name: looks like an address
          valid_format:
            name: address
            regex: '.+@.+'
          attributes: {owner: crm, tier: gold}
      - aggregate:
          function: avg_length
          threshold:
            must_be_less_than: 3
            level: warn
  - name: age
    data_type: integer
    checks:
      - invalid:
          valid_min: 0
          filter: age > 10
checks:
  - schema:
  - row_count:
      threshold:
        must_be_greater_than: 3
  - duplicate:
      columns: [id, email]
  - failed_rows:
      qualifier: age
      name: nobody is older than 100
      expression: age > 100
  - failed_rows:
      qualifier: shipped
      query: SELECT * FROM main.orders WHERE shipped < ordered
  - freshness:
      column: ordered
      threshold:
        unit: day
        must_be_less_than: 2
""",
    "missing column": """
dataset: duck/main/orders
columns:
  - name: id
    checks:
      - missing:
      - duplicate:
  - name: gone
    checks:
      - missing:
checks:
  - row_count:
  - freshness:
      column: ordered
      threshold: {must_be_less_than: 2}
""",
    "missing table": """
dataset: duck/main/nowhere
columns:
  - name: id
    checks:
      - missing:
""",
    "twice": """
dataset: duck/main/orders
columns:
  - name: id
checks:
  - failed_rows: {name: one, expression: age > 100}
  - failed_rows: {name: other, expression: age < 0}
""",
    "healthy": """
dataset: duck/main/orders
columns:
  - name: id
    checks:
      - missing:
      - duplicate:
          threshold: {must_be_less_than: 2}
""",
}

KEPT = {
    "results", "check_collection", "data_source", "data_timestamp", "started_timestamp", "ended_timestamp", "status",
    "check_results", "log_records", "scan_id",
    "data_source_name", "dataset_prefix", "dataset_name", "soda_qualified_dataset_name", "name", "type",
    "check", "outcome", "threshold_value", "diagnostic_metric_values",
    "column_name", "qualifier", "relative_path", "check_path", "identity", "definition", "threshold", "warn_threshold",
    "attributes", "level", "unit", "max_timestamp_utc",
    "must_be", "must_not_be", "must_be_greater_than", "must_be_greater_than_or_equal", "must_be_less_than",
    "must_be_less_than_or_equal",
    "expected_column_names_not_actual", "actual_column_names_not_expected", "column_data_type_mismatches",
    "are_columns_out_of_order", "column", "expected_data_type", "actual_data_type",
}  # fmt: skip


def snapshot(value: Any) -> Any:
    """Return an object's attributes, all the way down: Soda 4 itself writes no file."""
    if isinstance(value, logging.LogRecord):
        return {"levelno": value.levelno, "message": value.getMessage()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        kept = [part for part in value if not isinstance(part, logging.LogRecord) or part.levelno >= logging.WARNING]
        return [snapshot(part) for part in kept]
    if isinstance(value, dict):
        return {name: snapshot(part) for name, part in value.items()}
    if hasattr(value, "__dict__"):
        return {name: snapshot(part) for name, part in vars(value).items() if name in KEPT}
    return value


def summary(result: Any) -> dict[str, int]:
    """Return the figures that Soda prints at the end."""
    return {
        words: int(count)
        for words, count in re.findall(r"^\| ([\w ]+?) *\| *(\d+) ", result.get_logs_str(), re.MULTILINE)
    }


def main(folder: Path) -> None:
    configure_logging(verbose=False)
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        with duckdb.connect("orders.db") as connection:
            connection.execute("""
                CREATE TABLE orders AS SELECT * FROM (VALUES
                    (1, 'a@example.org', 30, TIMESTAMP '2026-01-02', TIMESTAMP '2026-01-03'),
                    (2, NULL,            12, TIMESTAMP '2026-01-02', TIMESTAMP '2026-01-01'),
                    (2, 'nothing',      -1, TIMESTAMP '2026-01-03', TIMESTAMP '2026-01-03'),
                    (4, 'd@example.org', 130, TIMESTAMP '2026-01-04', TIMESTAMP '2026-01-05'),
                    (5, 'e@example.org', 140, TIMESTAMP '2026-01-04', TIMESTAMP '2026-01-05'),
                    (600, NULL,          1, TIMESTAMP '2026-01-04', TIMESTAMP '2026-01-05'))
                AS rows(id, email, age, ordered, shipped)""")
        Path("duck.yml").write_text(SOURCE)

        def verify(name: str, **options: Any) -> Any:
            Path("contract.yml").write_text(CONTRACTS[name])
            return verify_contract_locally(
                data_source_file_path="duck.yml",
                contract_file_path="contract.yml",
                data_timestamp="2026-01-05T12:00:00+00:00",
                **options,
            )

        found = {name: verify(name) for name in CONTRACTS}
        found["only one check"] = verify("healthy", check_paths=["columns.id.checks.missing"])
        logging.disable(logging.CRITICAL)
        found["missing table, no logging"] = verify("missing table")
        logging.disable(logging.NOTSET)
    for name, result in found.items():
        said = {"is_ok": result.is_ok, "has_errors": result.has_errors, "summary": summary(result)}
        text = json.dumps({"printed": said, "result": snapshot(result)})
        (folder / f"{name}.json").write_text(text + "\n")
        if importlib.util.find_spec("truthstore"):
            from truthstore.interop import from_soda

            assert from_soda(result) == from_soda(json.loads(text)["result"]), name


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
