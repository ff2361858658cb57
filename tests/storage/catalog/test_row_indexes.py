"""The table of the rows of items is filled without indexes, which are made once everything is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from truthstore import RESULTS, StoreQuery
from truthstore.backends.filesystem import FileSystemStore
from truthstore.storage.catalog.spread import spread
from truthstore.testing.suite.items import a_result

INDEXES = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE 'r_results.checks%'"


def count(folder: Path, sql: str) -> int:
    (file,) = folder.rglob("*.db")
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def test_indexes_are_made_after_the_rows_and_also_after_a_process_that_died_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[int] = []

    def died(*given: Any) -> None:
        spread(*given)
        seen.append(count(tmp_path, INDEXES))
        raise KeyboardInterrupt

    with FileSystemStore(base_path=tmp_path) as store:
        store.save(a_result("one"))
        monkeypatch.setattr("truthstore.storage.catalog.catalog.spread", died)
        with pytest.raises(KeyboardInterrupt):
            list(store.scan_rows(StoreQuery(), collection=RESULTS))
    monkeypatch.undo()
    assert seen == [0]
    with FileSystemStore(base_path=tmp_path) as store:
        store.save(a_result("two"))
        assert {row.meta.fields["run_id"] for row in store.scan_rows(StoreQuery(), collection=RESULTS)} == {
            "one",
            "two",
        }
        assert count(tmp_path, INDEXES) == 3
