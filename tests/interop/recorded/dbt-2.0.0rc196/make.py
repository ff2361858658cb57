# /// script
# dependencies = ["dbt==2.0.0rc196", "duckdb<1.6", "pyarrow"]
# ///
"""Record what dbt 2.0.0rc196 writes; see dbt_project.py. Argument: the folder for it."""

import runpy
import sys
from pathlib import Path

project = runpy.run_path(str(Path(__file__).parents[1] / "dbt_project.py"))
project["main"](Path(sys.argv[1]), "--otel-parquet-file-name", "log.parquet")
