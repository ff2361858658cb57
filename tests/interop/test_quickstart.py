"""The example keeps running, and tells the story that it is made to tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("great_expectations")
pytest.importorskip("pandera")

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


def test_a_week_is_kept_by_one_process_and_reported_by_another():
    environment = os.environ | {"COLUMNS": "200", "GX_ANALYTICS_ENABLED": "false"}
    run = subprocess.run(
        [sys.executable, str(QUICKSTART)], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    output = run.stdout
    assert "21 results are kept" in output
    assert output.index("airports.csv") < output.index("stocks.csv") < output.index("weather.csv")
    assert "in_range(5, 72): 15 of 3,000 values failed" in output
    assert "weather.csv, Saturday to Sunday: warning → warning" in output
    assert "fixed   price: less_than" in output
    assert "new     weather: expect_column_values_to_be_in_set (5)" in output
    assert "still   precipitation: expect_column_values_to_not_be_null (60 → 60)" in output
