"""How much one statement reads, which is what a query needs of memory, whatever it finds."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import event

from truthstore import StoreQuery
from truthstore.backends.database import DatabaseStore
from truthstore.testing import SAMPLES, Sample


def test_items_are_read_a_thousand_at_a_time_and_revisions_ten_thousand(tmp_path):
    asked: list[str] = []
    with DatabaseStore(connection_url=f"sqlite:///{tmp_path / 's.db'}", collection=SAMPLES) as store:
        store.save_many(Sample(f"{number}") for number in range(1_001))
        event.listen(store._database._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        scans: list[tuple[Any, int]] = [
            (partial(store.scan, bodies=True), 2),
            (store.scan, 2),
            (store.scan_revisions, 1),
        ]
        for scan, pages in scans:
            asked.clear()
            assert len(list(scan(StoreQuery(), collection=SAMPLES))) == 1_001
            assert len([sql for sql in asked if "LIMIT" in sql]) == pages
