"""A store that is dropped without `close()` gives everything back, and Python has nothing to warn of."""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.store.test_other_processes import STORES
from truthstore.testing import Sample


def descriptors() -> set[str]:
    """The open files of this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("what", STORES)
def test_a_dropped_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    unclosed: list[object] = []

    class Watched(sqlite3.Connection):
        """Warns as Python 3.13 does."""

        is_closed = False

        def close(self) -> None:
            self.is_closed = True
            super().close()

        def __del__(self) -> None:
            if not self.is_closed:
                unclosed.append(self)

    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*arguments, **{"factory": Watched, **options})
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    monkeypatch.setattr("sqlite3.dbapi2.connect", connect)
    store = STORES[what](tmp_path)
    store.save(Sample("a"))
    assert store.query() == [Sample("a")]
    del store
    gc.collect()
    assert unclosed == []
    assert [name for name in descriptors() if str(tmp_path) in name] == []
