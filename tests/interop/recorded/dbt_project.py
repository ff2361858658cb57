"""A dbt project in DuckDB in which every outcome occurs: run it, and keep what dbt writes.

Artefacts are kept as they are, but for what no importer reads, such as the code of macros and models. `make.py` of each version
calls `main`.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

duckdb: Any = importlib.import_module("duckdb")

HOURLY = "{warn_after: {count: 1, period: hour}, error_after: {count: 1, period: day}}"
TABLES = {
    "events": "insert into events values (1, now()), (null, now())",
    "stale": "insert into stale values (1, now() - interval 40 day)",
    "warned": "insert into warned values (1, now() - interval 2 hour)",
    "future": "insert into future values (1, now() + interval 2 day)",
    "empty": "select 1",
    "unwatched": "select 1",
}
FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0"
profile: shop
flags: {send_anonymous_usage_stats: false}
models: {shop: {+materialized: view}}
""",
    "profiles.yml": """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb, threads: 1}
""",
    "seeds/raw_orders.csv": """id,customer,amount,email
1,ann,10,ann@example.org
2,bob,20,bob@example.org
3,,30,cy@example.org
4,dan,,dan@example.org
5,eve,-5,eve@example.org
5,eve,7,eve@example.org
7,fay,8,fay@example.org
""",
    "models/orders.sql": "select * from {{ ref('raw_orders') }}",
    "models/quiet.sql": "select id, amount * 2 as double from {{ ref('raw_orders') }}",
    "models/below_quiet.sql": "select * from {{ ref('quiet') }}",
    "models/customers.sql": "select distinct customer as name from {{ ref('raw_orders') }}",
    "models/broken.sql": "select no_such_column from {{ ref('raw_orders') }}",
    "tests/amounts_are_positive.sql": "select * from {{ ref('orders') }} where amount < 0",
    "tests/bad_sql.sql": "select email from {{ ref('orders') }} where cast(email as integer) > 0",
    "macros/tests.sql": """
{% test at_most(model, column_name, value) %}
select * from {{ model }} where {{ column_name }} > {{ value }}
{% endtest %}
{% test unique_combination(model, combination_of_columns) %}
select {{ combination_of_columns | join(', ') }} from {{ model }} group by all having count(*) > 1
{% endtest %}
""",
    "models/schema.yml": f"""
version: 2
groups:
  - name: finance
    owner: {{name: Finance, email: finance@example.org}}
sources:
  - name: ext
    schema: main
    config:
      loaded_at_field: loaded_at
      freshness: {HOURLY}
    tables:
      - name: events
        columns:
          - name: id
            data_tests: [not_null]
      - name: stale
      - name: warned
      - name: empty
      - name: future
      - name: missing
      - name: unwatched
        config: {{freshness: null}}
models:
  - name: orders
    config: {{group: finance, tags: [nightly]}}
    data_tests:
      - unique_combination: {{arguments: {{combination_of_columns: [id, customer]}}}}
    columns:
      - name: id
        data_tests:
          - unique: {{config: {{severity: warn, error_if: ">3"}}}}
          - not_null
          - at_most: {{name: tolerated, arguments: {{value: 2}}, config: {{error_if: ">10", warn_if: ">10"}}}}
          - at_most: {{name: limited, arguments: {{value: 2}}, config: {{limit: 1}}}}
          - at_most: {{name: summed, arguments: {{value: 2}}, config: {{fail_calc: sum(id)}}}}
          - at_most: {{name: switched_off, arguments: {{value: 2}}, config: {{enabled: false}}}}
      - name: customer
        data_tests:
          - not_null: {{config: {{severity: warn, meta: {{owner: ann}}}}}}
          - relationships: {{arguments: {{to: ref('customers'), field: name}}}}
      - name: amount
        data_tests:
          - not_null: {{config: {{where: "id > 100"}}}}
  - name: broken
    columns:
      - name: id
        data_tests: [unique]
unit_tests:
  - name: doubled
    model: quiet
    given:
      - input: ref('raw_orders')
        rows: [{{id: 1, amount: 3}}]
    expect:
      rows: [{{id: 1, double: 7}}]
  - name: customers_are_distinct
    model: customers
    given:
      - input: ref('raw_orders')
        rows: [{{customer: ann}}, {{customer: ann}}]
    expect:
      rows: [{{name: ann}}]
exposures:
  - name: dashboard
    type: dashboard
    owner: {{name: Sales}}
    depends_on: [ref('customers')]
""",
}
SLOW = "select * from (select count(*) as n from range(40000) a, range(40000) b where (a.range * b.range) % 7 = 3) where n < 0"
HOOKS_AND_MORE = {
    "dbt_project.yml": 'on-run-start: ["select 1"]\non-run-end: ["select 2"]\n',
    "models/passing.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('raw_orders') }}",
}
NEVER_READ = {
    "macros",
    "docs",
    "files",
    "parent_map",
    "child_map",
    "group_map",
    "selectors",
    "saved_queries",
    "functions",
}
CODE = {"raw_code", "compiled_code", "code", "patch_path", "root_path", "build_path", "compiled_path", "checksum", "created_at",
        "docs", "contract", "columns", "description", "unrendered_config", "config_call_dict", "language", "fqn", "refs"}  # fmt: skip


def slim(value: object) -> object:
    """Return an artefact without what nobody reads."""
    if isinstance(value, dict):
        return {name: slim(inner) for name, inner in value.items() if name not in CODE}
    return [slim(inner) for inner in value] if isinstance(value, list) else value


def keep(target: Path, folder: Path, what: str, *names: str) -> None:
    """Copy artefacts of one command."""
    for name in names:
        if not (target / name).exists():
            continue
        document = json.loads((target / name).read_text())
        document = slim({key: value for key, value in document.items() if key not in NEVER_READ})
        text = json.dumps(document, ensure_ascii=False)
        (folder / f"{what}-{name}").write_text(text + "\n")


def keep_summary(output: str, folder: Path, what: str) -> None:
    """Write what dbt said at the end of its output."""
    lines = [line for line in output.splitlines() if "Done. PASS" in line or "Summary: " in line or "Finished " in line]
    if lines:
        (folder / f"{what}.txt").write_text("\n".join(lines) + "\n")


def keep_log(target: Path, folder: Path, what: str) -> None:
    """Copy the rows of the run log of version 2 that are about the run, its nodes and errors."""
    path = target / "metadata" / "log.parquet"
    if not path.exists():
        return
    parquet, compute = importlib.import_module("pyarrow.parquet"), importlib.import_module("pyarrow.compute")
    table = parquet.read_table(path)
    kinds = [
        f"v1.public.events.fusion.{kind}" for kind in ("invocation.Invocation", "node.NodeProcessed", "log.LogMessage")
    ]
    wanted = compute.is_in(
        table["event_type"].cast("string"), value_set=importlib.import_module("pyarrow").array(kinds)
    )
    parquet.write_table(table.filter(wanted), folder / f"{what}-log.parquet", compression="zstd")


def main(folder: Path, *options: str) -> None:
    """Run all, and keep what dbt printed at the end too."""
    folder.mkdir(parents=True, exist_ok=True)
    project = Path(tempfile.gettempdir()) / "shop"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    for name, text in FILES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    with duckdb.connect(str(project / "shop.duckdb")) as connection:
        for table, statement in TABLES.items():
            connection.execute(f"create table {table}(id int, loaded_at timestamptz)")
            connection.execute(statement)
    environment = os.environ | {
        "PYTHONUNBUFFERED": "1",
        "DBT_PROFILES_DIR": str(project),
        "DBT_ENV_CUSTOM_ENV_GIT_SHA": "abc123",
        "DBT_ENV_CUSTOM_ENV_BRANCH": "main",
    }
    target = project / "target"

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name("dbt")), *arguments, *options]
        return subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)

    def run(what: str, *arguments: str) -> None:
        keep_summary(start(*arguments).communicate()[0], folder, what)

    run("build", "build")
    keep(target, folder, "build", "run_results.json", "manifest.json")
    keep_log(target, folder, "build")
    run("freshness", "source", "freshness")
    if not (target / "sources.json").exists():  # version 2 writes none where a table is missing
        with duckdb.connect(str(project / "shop.duckdb")) as connection:
            connection.execute("create table missing as select 1 as id, now() as loaded_at")
        run("freshness", "source", "freshness")
    keep(target, folder, "freshness", "sources.json")
    for number in range(3):  # of which the second is interrupted
        (project / f"tests/slow_{number}.sql").write_text(SLOW if number == 1 else SLOW.replace("40000", "4"))
    process = start("test")
    output = ""
    for line in process.stdout or ():
        output += line
        if "START test slow_1" in line or ("Passed" in line and "slow_2" in line):
            time.sleep(4)  # so that all others have ended that run beside it
            process.send_signal(signal.SIGINT)
    process.wait()
    keep_summary(output, folder, "interrupted")
    keep(target, folder, "interrupted", "run_results.json", "manifest.json")
    keep_log(target, folder, "interrupted")
    for number in range(3):
        (project / f"tests/slow_{number}.sql").unlink()
    for name, text in HOOKS_AND_MORE.items():
        with (project / name).open("a") as file:
            file.write(text)
    run("selected", "build", "--select", "orders", "passing", "--indirect-selection", "cautious")
    keep(target, folder, "selected", "run_results.json", "manifest.json")
    keep_log(target, folder, "selected")
    run("compiled", "compile", "--select", "orders")
    keep(target, folder, "compiled", "run_results.json")
