"""The cost of an operation, counted in requests at the storage: the same however much is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.storage.log.doubles import log_store
from truthstore import StoreQuery
from truthstore.storage.log import follower
from truthstore.storage.log.store import LogStore
from truthstore.testing import SAMPLES, FaultyBlobs, Sample
from truthstore.testing.memory_blobs import MemoryBlobs


def make_store(blobs: Any, cache: Path, **options: Any) -> tuple[LogStore[Sample], FaultyBlobs]:
    counted = FaultyBlobs(blobs)
    given: dict[str, Any] = {"concurrency": 16, **options}
    store = log_store(counted, url="memory://counted", cache_dir=str(cache), **given)
    store.initialize()
    counted.calls.clear()
    return store, counted


def methods(counted: FaultyBlobs) -> list[str]:
    """The calls so far, and forgets them."""
    found = [f"{call.method} {'entry' if '/log/' in call.key else 'body'}" for call in counted.calls]
    counted.calls.clear()
    return found


@pytest.fixture(params=[100, 10_000])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryBlobs:
    blobs = MemoryBlobs()
    store, counted = make_store(blobs, tmp_path / "filled", concurrency=1)
    for start in range(0, request.param, 1000):
        counted.calls.clear()
        number = min(1000, request.param)
        store.save_many(Sample(f"stored {i}", count=i) for i in range(start, start + number))
        assert len(counted.calls) <= number + 2
    store.close()
    return blobs


def test_one_item(filled: MemoryBlobs, tmp_path: Path):
    store, counted = make_store(filled, tmp_path / "cold")
    for i in range(10):
        store.save(Sample(f"new {i}"))
        assert methods(counted) == ["put entry", "put body"]
    store.save(Sample("stored 7", count=70))
    assert methods(counted) == ["put entry", "put body", "get body", "put body"]
    assert store.get("stored 7").count == 70
    assert methods(counted) == ["get body"]
    assert store.exists("stored 7")
    assert not store.exists("nothing")
    assert methods(counted) == ["get body", "get body"]
    assert store.delete("stored 8")
    assert methods(counted) == ["get body", "put entry", "put body"]
    assert not store.delete("nothing")
    assert methods(counted) == ["get body"]
    store.count()
    counted.calls.clear()
    store.save(Sample("stored 7", count=71))
    assert methods(counted) == ["get body", "put entry", "put body"]
    store.save(Sample("stored 8"))
    assert methods(counted) == ["get body", "put entry", "put body"]
    assert store.count() == store.collection(SAMPLES).count()


def test_opening_is_one_request(filled: MemoryBlobs, tmp_path: Path):
    counted = FaultyBlobs(filled)
    store = log_store(counted, url="memory://counted", cache_dir=str(tmp_path))
    store.save(Sample("new"))
    assert [call.method for call in counted.calls] == ["get", "put", "put"]


def test_a_query_of_a_warm_replica(filled: MemoryBlobs, tmp_path: Path):
    writer, _ = make_store(filled, tmp_path / "writer")
    reader, counted = make_store(filled, tmp_path / "reader")
    reader.count()
    counted.calls.clear()
    reader.count()
    assert methods(counted) == ["list entry"]
    for i in range(5):
        writer.save(Sample(f"new {i}", data_asset="new"))
    assert len(reader.list_ids(StoreQuery(data_asset="new"))) == 5
    assert sorted(methods(counted)) == ["get body"] + ["get entry"] * 5 + [
        "list entry"
    ]  # the last is not confirmed yet
    assert len(reader.query(StoreQuery(data_asset="new", limit=3))) == 3
    assert sorted(methods(counted)) == ["get body"] * 3 + ["list entry"]
    reader.query(StoreQuery(tags={"a": "b"}, text="words in notes"))
    assert methods(counted) == ["list entry"]
    # A writer's own entries are known to it, also to another process that shares its replica.
    beside, counted = make_store(filled, tmp_path / "writer")
    beside.count()
    counted.calls.clear()
    writer.save(Sample("one more"))
    writer.delete("new 0")
    beside.count()
    assert methods(counted) == ["list entry"]


def test_an_open_intent_costs_one_look(filled: MemoryBlobs, tmp_path: Path):
    writer, _ = make_store(filled, tmp_path / "writer")
    reader, counted = make_store(filled, tmp_path / "reader")
    reader.count()
    counted.calls.clear()
    writer.save(Sample("stored 1", count=-1))
    assert reader.list_ids(StoreQuery(where={"count": -1})) == ["stored 1"]
    assert methods(counted) == ["list entry", "get entry", "get body"]
    reader.count()
    assert methods(counted) == ["list entry"]


def test_many_at_once(filled: MemoryBlobs, tmp_path: Path):
    store, counted = make_store(filled, tmp_path / "cache")
    store.save_many(Sample(f"new {i}") for i in range(1000))
    assert len(counted.calls) <= 1002
    counted.calls.clear()
    store.get_many([f"new {i}" for i in range(100)])
    assert methods(counted) == ["get body"] * 100
    store.delete_many([f"new {i}" for i in range(100)])
    assert len(counted.calls) == 2 * 100 + 2


def test_a_writer_compacts_what_it_has_written(tmp_path: Path):
    blobs = MemoryBlobs()
    store, counted = make_store(blobs, tmp_path)
    for i in range(640):
        store.save(Sample(f"new {i}"))
    assert len(list(blobs.list("_truthstore/log/"))) == 10
    assert sum(call.method != "delete" for call in counted.calls) == 640 * 2 + 10 * 3
    counted.calls.clear()
    assert store.count() == 640
    assert methods(counted) == ["list entry"]


def test_a_query_compacts_what_others_left(tmp_path: Path):
    blobs = MemoryBlobs()
    for i in range(25):
        writer, _ = make_store(blobs, tmp_path / f"writer {i}", concurrency=1)
        for j in range(20):
            writer.save(Sample(f"{i} {j}"))
        writer.close()
    reader, _ = make_store(blobs, tmp_path / "reader")
    assert reader.count() == 500
    assert reader.count() == 500
    assert len(list(blobs.list("_truthstore/log/"))) <= 2
    assert make_store(blobs, tmp_path / "cold")[0].count() == 500


@pytest.mark.parametrize("number", [20_000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_a_cold_start_over_many_items(number: int, tmp_path: Path):
    blobs = MemoryBlobs()
    writer, _ = make_store(blobs, tmp_path / "writer", concurrency=1)
    index = writer._index(SAMPLES).log
    template = writer.put_record(
        SAMPLES.encode(Sample("0", name="some name", tags={"team": "data"})), collection=SAMPLES
    )
    entry = index.confirm_now()
    assert entry is not None
    (row,) = entry.content.late
    assert row.revision == template.revision
    # The bodies play no part in a cold start: entries that confirm them do.
    made = type(row)
    for start in range(0, number, 500):
        index.add(made(f"item {i}", row.stamp, f"{i:024x}", row.head) for i in range(start, start + 500))
    writer._index(SAMPLES).maintain(lambda: True)  # what maintain() does, without reading it all first
    counted = FaultyBlobs(blobs)
    cold = log_store(counted, url="memory://cold", cache_dir=str(tmp_path / "cold"), concurrency=16)
    assert cold.count() == number + 1
    assert len(counted.calls) <= 20, methods(counted)
    counted.calls.clear()
    assert cold.count() == number + 1
    assert methods(counted) == ["list entry"]


def test_segments_stay_few_without_maintenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follower, "OWN_ENTRIES", 8)
    blobs = MemoryBlobs()
    reader, _ = make_store(blobs, tmp_path / "reader", concurrency=1)
    for i in range(40):
        writer, _ = make_store(blobs, tmp_path / f"writer {i}", concurrency=1)
        for j in range(8):
            writer.save(Sample(f"{i} {j}"))
        writer.close()
        assert reader.count() == 8 * (i + 1)
    assert len(list(blobs.list("_truthstore/log/"))) < 30
