# /// script
# dependencies = ["dbt-core==1.12.6", "dbt-duckdb==1.11.1", "duckdb==2.0.1"]
# ///
"""Record what dbt 1.12.6 writes; see dbt_project.py. Argument: the folder for it."""

import runpy
import sys
from pathlib import Path

project = runpy.run_path(str(Path(__file__).parents[1] / "dbt_project.py"))
project["main"](Path(sys.argv[1]))
