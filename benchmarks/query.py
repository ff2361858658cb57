"""Queries of the filesystem store beside SQL and reading by hand."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

from benchmarks.by_hand import decode, read
from benchmarks.measure import Figure, race
from benchmarks.places import Places
from benchmarks.workload import result
from truthstore import StoreQuery
from truthstore.backends.filesystem import FileSystemStore


def figures(places: Places) -> Iterator[Figure]:
    """Queries of a big store."""
    with places.store(places.many, "os") as store:
        yield _ids(places, store)
        yield _bodies(places, store)


def _ids(places: Places, store: FileSystemStore[Any]) -> Figure:
    index = places.index_by_hand()
    asset = result(7).data_asset

    def ours(_: object = None) -> list[str]:
        return store.list_ids(StoreQuery(data_asset=asset, status="failure", limit=50))

    def theirs(_: object = None) -> list[str]:
        return index.newest(asset, "failure")

    if not ours() or ours() != theirs():
        raise RuntimeError("the two queries find different results")
    found = race(ours, theirs, rounds=places.rounds(60), calls=50)
    index.close()
    return Figure(
        f"newest 50 ids of asset and status, of {places.many:,}",
        "the same query in SQL, of an index made by hand",
        found.ratio,
        "at most",
        2,
        detail=found.detail,
    )


def _bodies(places: Places, store: FileSystemStore[Any]) -> Figure:
    newest = StoreQuery(limit=100)
    files = [f"{store.root}/{id}.json" for id in store.list_ids(newest)]
    gc.collect()
    gc.freeze()
    kept: list[Any] = [None, None]

    def ours(_: object) -> None:
        kept[0] = store.query(newest)

    def theirs(_: object) -> None:
        kept[1] = [decode(read(file)) for file in files]

    found = race(ours, theirs, rounds=places.rounds(60), calls=3)
    gc.unfreeze()
    if kept[0] != kept[1]:
        raise RuntimeError("the two ways find different results")
    return Figure(
        f"newest 100 results, of {places.many:,}",
        "100 × reading and decoding a file",
        found.ratio,
        "at most",
        1.3,
        detail=found.detail,
    )
