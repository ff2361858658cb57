"""The filesystem store: saving beside a peer and beside the raw limit, growth, and reading one result."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import sqlite_utils

from benchmarks.by_hand import Folder, decode, encode, read
from benchmarks.measure import Figure, progress, race
from benchmarks.places import Durability, Places
from benchmarks.workload import peer_folder, result, results

if TYPE_CHECKING:
    from pathlib import Path

    from truthstore import ValidationResult

THREADS = 8
TURN = 700
"""Saves in a row. SQLite writes its log back every 1,000 pages, about 170 saves by hand, and every 4,000 smaller pages, about
600 saves of ours: in shorter turns the median would drop that."""


def figures(places: Places) -> Iterator[Figure]:
    """Everything about single results in files."""
    yield _save_beside_peer(places)
    yield _save_beside_hand(places, "os", 1.4, pretty_print=False)
    yield _save_beside_hand(places, "os", 1.4, pretty_print=True)
    yield _save_beside_hand(places, "fsync", 1.3, pretty_print=True)
    yield _save_beside_table(places)
    yield _save_from_threads(places)
    yield _growth(places)
    yield _get(places)


def _save_beside_peer(places: Places) -> Figure:
    progress("filling the peer's folder")
    peer = peer_folder(places.path("peer"), places.middle)
    with places.store(places.middle, "os") as store:
        found = race(
            store.save,
            peer.save,
            rounds=places.rounds(9),
            calls=(25, 1),
            inputs=(places.new_results, places.new_peer_results),
        )
    return Figure(
        f'save, `durability="os"`, at {places.middle:,} stored',
        "Truthound 3.2.0's filesystem store",
        1 / found.ratio,
        "at least",
        200,
        "× faster",
        found.detail,
    )


def _save_beside_hand(places: Places, durability: Durability, wanted: float, *, pretty_print: bool) -> Figure:
    hand = Folder(places.path(f"hand-{durability}-{pretty_print}"), sync=durability == "fsync")
    hand.fill(results(places.middle))
    with places.store(places.middle, durability, pretty_print=pretty_print) as store:
        found = race(store.save, hand.save, rounds=places.rounds(9), calls=TURN, inputs=places.new_results)
    against = {
        "os": "by hand: encode, temporary file, rename, commit a row and three tags to SQLite",
        "fsync": "the same by hand, waiting for the disk at file, folder and commit",
    }
    options = f'`durability="{durability}"`' + ("" if pretty_print else ", `pretty_print=False`")
    return Figure(
        f"save, {options}, at {places.middle:,} stored",
        against[durability],
        found.ratio,
        "at most",
        wanted,
        detail=found.detail,
    )


class Table:
    """Results in a table of SQLite by sqlite-utils, each in a commit of its own that waits for the disk.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite_utils.Database(path)
        self._database.enable_wal()
        self._database.execute("PRAGMA synchronous = FULL")
        self._table = self._database.table("results", pk="id")
        self._table.create({"id": str, "asset": str, "status": str, "time": str, "body": bytes})
        self._table.create_index(["asset", "status", "time"])

    def save(self, result: ValidationResult) -> None:
        """Insert or replace a row."""
        self._table.upsert(
            {
                "id": result.run_id,
                "asset": result.data_asset,
                "status": result.status.value,
                "time": result.run_time.isoformat(),
                "body": encode(result),
            }
        )


def _save_beside_table(places: Places) -> Figure:
    table = Table(places.path("table.db"))
    with places.store(0, "fsync") as store:
        found = race(store.save, table.save, rounds=places.rounds(9), calls=TURN, inputs=places.new_results)
    return Figure(
        'save, `durability="fsync"`',
        "upsert into one table by sqlite-utils: WAL, `synchronous=FULL`",
        found.ratio,
        "at most",
        1.1,
        detail=found.detail,
    )


def _save_from_threads(places: Places) -> Figure:
    def from_threads(lot: Sequence[ValidationResult]) -> None:
        parts = [lot[number::THREADS] for number in range(THREADS)]
        threads = [threading.Thread(target=one_by_one, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def one_by_one(lot: Sequence[ValidationResult]) -> None:
        for one in lot:
            store.save(one)

    with places.store(places.middle, "fsync") as store:
        found = race(
            from_threads, one_by_one, rounds=places.rounds(9), inputs=lambda _: [places.new_results(THREADS * 50)]
        )
    return Figure(
        f'save from {THREADS} threads, `durability="fsync"`',
        "save from one",
        1 / found.ratio,
        "at least",
        1.5,
        "× faster",
        found.detail,
    )


def _growth(places: Places) -> Figure:
    few = 1_000
    with places.store(places.many, "os") as big, places.store(few, "os") as small:
        found = race(big.save, small.save, rounds=places.rounds(5), calls=TURN, inputs=places.new_results)
    return Figure(
        f"save at {places.many:,} stored", f"save at {few:,} stored", found.ratio, "at most", 1.3, detail=found.detail
    )


def _get(places: Places) -> Figure:
    with places.store(places.middle, "os") as store:
        ids = [result(number * 37 % places.middle).run_id for number in range(200)]
        files = [f"{store.root}/{id}.json" for id in ids]
        found = race(
            store.get,
            lambda file: decode(read(file)),
            rounds=places.rounds(60),
            calls=200,
            inputs=(lambda _: ids, lambda _: files),
        )
    return Figure("get by id", "reading and decoding the same file", found.ratio, "at most", 1.4, detail=found.detail)
