# /// script
# requires-python = ">=3.11"
# dependencies = ["validoopsie==1.8.1", "pandas"]
# ///
"""Validate a table with Validoopsie and write down its results: `python make.py FOLDER`."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from validoopsie import Validate


def main(folder: Path) -> None:
    table = pd.DataFrame({"id": [1, 2, 2, None], "shop": ["x", "y", "z", None]})
    # Typed by no stub: its classes are found at run time.
    validate: Any = Validate(table)
    validate.NullValidation.ColumnNotBeNull(column="id")
    validate.ValuesValidation.ColumnValuesToBeBetween(column="id", min_value=5, max_value=9, impact="medium")
    validate.ValuesValidation.ColumnValuesToBeBetween(column="id", min_value=0, max_value=9)
    validate.NullValidation.ColumnNotBeNull(column="shop", threshold=0.5)
    validate.NullValidation.ColumnNotBeNull(column="shop", impact="high")
    validate.NullValidation.ColumnNotBeNull(column="gone")
    text = json.dumps(validate.results)
    (folder / "orders.json").write_text(text + "\n")
    (folder / "nothing.json").write_text(json.dumps(Validate(table).results) + "\n")
    if importlib.util.find_spec("truthstore"):
        from truthstore.interop import from_any

        (live,), (written,) = from_any(validate, "orders"), from_any(json.loads(text), "orders")
        assert live.results == written.results


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
