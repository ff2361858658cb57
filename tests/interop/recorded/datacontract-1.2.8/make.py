# /// script
# requires-python = ">=3.11"
# dependencies = ["datacontract-cli[duckdb]==1.2.8"]
# ///
"""Test contracts with datacontract-cli and write down its results: `python make.py FOLDER`."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

from datacontract.data_contract import DataContract

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:datacontract:orders
name: orders
version: 1.2.0
status: active
servers:
  - server: local
    type: local
    path: {path}
    format: csv
schema:
  - name: orders
    physicalType: table
    quality:
      - type: sql
        description: three rows at least
        query: SELECT COUNT(*) FROM orders
        mustBeGreaterThan: 2
        severity: warning
      - type: sql
        description: forty rows at least
        query: SELECT COUNT(*) FROM orders
        mustBeGreaterThan: 40
        severity: warning
      - type: sql
        description: broken
        query: SELECT nonsense FROM orders
        mustBe: 0
      - type: text
        description: people look at it
    properties:
      - name: id
        logicalType: integer
        physicalType: integer
        required: true
        unique: true
      - name: amount
        logicalType: number
        physicalType: double
        quality:
          - type: sql
            description: no negative amounts
            query: SELECT COUNT(*) FROM orders WHERE amount < 0
            mustBe: 0
"""
MORE = """      - name: shipped
        logicalType: string
        physicalType: string
        required: true
"""
ROWS = "id,amount\n1,2.5\n2,-1\n2,3\n"


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        Path("orders.csv").write_text(ROWS)
        Path("good.csv").write_text(ROWS.replace("2,-1\n2,", "2,1\n3,"))
        for name, path, contract in (
            ("orders", "orders.csv", CONTRACT + MORE),
            ("healthy", "good.csv", CONTRACT.replace("nonsense", "0").replace("40", "1")),
            ("missing file", "none.csv", CONTRACT),
        ):
            Path("contract.yaml").write_text(contract.replace("{path}", path))
            run = DataContract(data_contract_file="contract.yaml").test()
            found = json.loads(run.model_dump_json())
            if importlib.util.find_spec("truthstore"):
                from truthstore.interop import from_datacontract

                assert from_datacontract(run) == from_datacontract(found), name
            found["logs"] = [log | {"message": log["message"].replace(temporary, "")[:200]} for log in found["logs"]]
            (folder / f"{name}.json").write_text(json.dumps(found).replace(temporary, "") + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
