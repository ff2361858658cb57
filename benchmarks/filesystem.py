"""The filesystem store: saving beside a peer and beside the raw limit, growth, and reading one result."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.by_hand import Folder, decode, read
from benchmarks.measure import Figure, progress, race
from benchmarks.places import Durability, Places
from benchmarks.workload import peer_folder, peer_result, result, results


def figures(places: Places) -> Iterator[Figure]:
    """Everything about single results in files."""
    yield _save_beside_peer(places)
    yield _save_beside_hand(places, "os", 1.4)
    yield _save_beside_hand(places, "fsync", 1.3)
    yield _growth(places)
    yield _get(places)


def _save_beside_peer(places: Places) -> Figure:
    rounds, calls = places.rounds(9), 25
    progress("filling the peer's folder")
    peer = peer_folder(places.path("peer"), places.middle)
    following = map(peer_result, range(places.middle, places.middle + rounds + 1))
    waiting = iter(list(following))
    with places.store(places.middle, "os") as store:
        found = race(
            places.saver(store.save, (rounds + 1) * calls),
            lambda: peer.save(next(waiting)),
            rounds=rounds,
            calls=(calls, 1),
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


def _save_beside_hand(places: Places, durability: Durability, wanted: float) -> Figure:
    rounds, calls = places.rounds(60), 20
    hand = Folder(places.path(f"hand-{durability}"), sync=durability == "fsync")
    hand.fill(results(places.middle))
    with places.store(places.middle, durability) as store:
        found = race(
            places.saver(store.save, (rounds + 1) * calls),
            places.saver(hand.save, (rounds + 1) * calls),
            rounds=rounds,
            calls=calls,
        )
    against = {
        "os": "by hand: encode, temporary file, rename, commit a row and three tags to SQLite",
        "fsync": "the same by hand, waiting for the disk at file, folder and commit",
    }
    return Figure(
        f'save, `durability="{durability}"`, at {places.middle:,} stored',
        against[durability],
        found.ratio,
        "at most",
        wanted,
        detail=found.detail,
    )


def _growth(places: Places) -> Figure:
    rounds, calls = places.rounds(60), 20
    few = 1_000
    with places.store(places.many, "os") as big, places.store(few, "os") as small:
        found = race(
            places.saver(big.save, (rounds + 1) * calls),
            places.saver(small.save, (rounds + 1) * calls),
            rounds=rounds,
            calls=calls,
        )
    return Figure(
        f"save at {places.many:,} stored", f"save at {few:,} stored", found.ratio, "at most", 1.3, detail=found.detail
    )


def _get(places: Places) -> Figure:
    with places.store(places.middle, "os") as store:
        ids = [result(number * 37 % places.middle).run_id for number in range(1_000)]
        ours, theirs = _around(ids), _around([f"{store.root}/{id}.json" for id in ids])
        found = race(
            lambda: store.get(next(ours)),
            lambda: decode(read(next(theirs))),
            rounds=places.rounds(60),
            calls=200,
        )
    return Figure("get by id", "reading and decoding the same file", found.ratio, "at most", 1.4, detail=found.detail)


def _around(names: list[str]) -> Iterator[str]:
    while True:
        yield from names
