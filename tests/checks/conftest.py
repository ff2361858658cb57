"""Stores for the questions: in memory, on files, and a stack of layers on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checks.runs import OPENERS
from truthstore import BaseStore


@pytest.fixture(params=sorted(OPENERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore[Any]]:
    with OPENERS[request.param](tmp_path) as store:
        yield store
