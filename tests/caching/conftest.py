"""What the tests of the cache share: a folder of their own, a server, threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.services.process import started
from tests.services.valkey import run_valkey


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """Run a server that speaks the protocol of Redis."""
    yield from started(run_valkey())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Run two threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
