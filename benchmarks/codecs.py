"""What compression and encryption cost, and what they leave of the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.measure import Figure, Operation, race
from benchmarks.places import Places
from benchmarks.workload import results
from truthstore import RESULTS, ValidationResult
from truthstore.backends.memory import MemoryStore
from truthstore.compression import CompressedStore
from truthstore.encryption import EncryptedStore, generate_key


def figures(places: Places) -> Iterator[Figure]:
    """Sizes, then saves and gets beside those without the layer, all in memory."""
    yield from _compression(places)
    yield from _encryption(places)


def _compression(places: Places) -> Iterator[Figure]:
    base = MemoryStore()
    packed: CompressedStore[ValidationResult] = CompressedStore(base)
    packed.save_many(list(results(500)))
    packed.train()
    packed.save_many(some := list(results(500, 10_000)))
    sizes = [(base.get_record(one.id, collection=RESULTS), one) for one in some]
    below = sum(len(record.body or b"") for record, _ in sizes)
    plain = sum(record.meta.size for record, _ in sizes)
    yield Figure("zstd with a dictionary: a body", "its JSON", below / plain, "at most", 0.15, "×")
    unpacked = MemoryStore()
    unpacked.save_many(some)
    yield _beside("save with zstd and a dictionary", packed.save, unpacked.save, some, 40, places)
    ids = [one.id for one in some]
    yield _beside("get with zstd and a dictionary", packed.get, unpacked.get, ids, 40, places)


def _encryption(places: Places) -> Iterator[Figure]:
    encrypted = EncryptedStore(MemoryStore(), generate_key())
    plain = MemoryStore()
    some = list(results(500))
    ids = [one.id for one in some]
    yield _beside("save with AES-256-GCM", encrypted.save, plain.save, some, 15, places)
    yield _beside("get with AES-256-GCM", encrypted.get, plain.get, ids, 15, places)


def _beside(
    what: str, ours: Operation, theirs: Operation, given: Sequence[Any], wanted: float, places: Places
) -> Figure:
    found = race(ours, theirs, rounds=places.rounds(30), calls=len(given), inputs=lambda _: given)
    return Figure(what, "without (memory store)", found.difference * 1e6, "at most", wanted, "µs more", found.detail)
