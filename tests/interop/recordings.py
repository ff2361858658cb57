"""Real tools, and what they handed out: recorded by the scripts beside the files, made anew by `nox -s tools`."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

__all__ = ["as_objects", "imported", "recorded", "recording"]

RECORDED = Path(__file__).parent / "recorded"
FRESH = Path(os.environ.get("TRUTHSTORE_RECORDED", RECORDED))


def imported(tool: str) -> Any:
    """A tool of the group `tests`: without it tests are skipped, but in CI that is an error."""
    return importlib.import_module(tool) if os.environ.get("CI") == "true" else pytest.importorskip(tool)


def recording(tool: str, name: str) -> Path:
    """The path of a recorded file: the tool's name with its version, and the file's name."""
    fresh = FRESH / tool / name
    return fresh if fresh.exists() else RECORDED / tool / name


def recorded(tool: str, name: str) -> Any:
    """What a recorded JSON file holds."""
    return json.loads(recording(tool, name).read_text(encoding="utf-8"))


def as_objects(value: Any) -> Any:
    """The same with attributes in place of keys, as tools have it that write no file."""
    return json.loads(json.dumps(value), object_hook=lambda entry: SimpleNamespace(**entry))
