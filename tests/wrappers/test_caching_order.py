"""Who has seen a newer item through a cache never sees an older one afterwards, whatever writers do at that moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.wrappers.test_versioning_everywhere import LateAnswer
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.caching import CachedStore
from truthstore.testing import SAMPLES, Sample

READS: dict[str, Callable[[CachedStore[Any]], object]] = {
    "get": lambda store: store.get("a"),
    "head": lambda store: store.head("a"),
    "exists": lambda store: store.exists("a"),
    "get_many": lambda store: store.get_many(["a"]),
}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("read", READS)
def test_a_writer_whose_answer_is_late_does_not_bring_its_item_back(read: str, many: bool):
    """Between the write and its answer somebody overwrites the item, not announced yet, and a reader sees that."""
    blobs = MemoryBlobs()
    other = MemoryStore(collection=SAMPLES, blobs=blobs)

    def overwrite_and_read() -> None:
        other.save(Sample("a", count=2))
        READS[read](cached)

    late = LateAnswer(MemoryStore(collection=SAMPLES, blobs=blobs), overwrite_and_read)
    cached = CachedStore(late)
    if many:
        cached.save_many([Sample("a", count=1)])
    else:
        cached.save(Sample("a", count=1))
    assert cached.get("a").count == 2


def test_compare_and_set_by_head_and_item_fits_together():
    """The head is asked for first: the item that is read then must not be an older one."""
    blobs = MemoryBlobs()
    other = MemoryStore(collection=SAMPLES, blobs=blobs)
    seen: list[tuple[str, int | None]] = []

    def overwrite_and_look() -> None:
        other.save(Sample("a", count=2))
        seen.append((cached.head("a").revision, cached.get("a").count))

    cached = CachedStore(LateAnswer(MemoryStore(collection=SAMPLES, blobs=blobs), overwrite_and_look))
    cached.save(Sample("a", count=1))
    assert seen == [(other.head("a").revision, 2)]
    assert cached.head("a").revision == other.head("a").revision
