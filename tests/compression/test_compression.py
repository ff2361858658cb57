"""What compression promises beside the suite: what pays, what is bounded, what a dictionary holds."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from truthstore import RESULTS, ResultStatus, StoreQuery, ValidationResult, ValidatorResult, open_store, stack
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, LRUCache
from truthstore.compression import CompressedStore, CompressionConfig
from truthstore.compression.dictionaries import DICTIONARIES
from truthstore.errors import StoreConfigError, StoreCorruptError, StoreWriteError
from truthstore.model.record import Meta, Record
from truthstore.retention import CountBasedPolicy, RetentionStore
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore

ALGORITHMS = ("zstd", "gzip", "lz4")
SECRET = "alice@example.com"


def result(number: int, checks: int = 3) -> ValidationResult:
    return ValidationResult(
        f"run-{number}",
        datetime(2026, 5, 4, 12, tzinfo=UTC),
        f"orders-{number % 3}",
        ResultStatus.FAILURE,
        results=[
            ValidatorResult(
                "not_null",
                success=position > 0,
                column=f"column_{position}",
                message=f"{SECRET} is missing in {number}",
                observed=f"observed {number}",
                details={"sample": [SECRET, 4_111_111], f"key-{number}": 1},
            )
            for position in range(checks)
        ],
    )


def body(base: Any, id: str) -> Record:
    record: Record = base.get_record(id, collection=base._collection)
    return record


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_body_is_smaller_below_and_whole_above(algorithm: str):
    base = MemoryStore()
    store = CompressedStore(base, algorithm=algorithm)
    store.save(result(1, checks=20))
    below, above = body(base, "run-1"), store.get_record("run-1", collection=RESULTS)
    assert below.meta.encodings == (algorithm,)
    assert above.meta.encodings == ()
    assert len(below.body or b"") < 0.3 * len(above.body or b"")
    assert below.meta.size == above.meta.size == len(above.body or b"")
    assert store.get("run-1") == result(1, checks=20)


def test_what_does_not_pay_is_stored_as_it_is():
    base = MemoryStore(collection=SAMPLES)
    store = CompressedStore(base)
    store.put_record(Record(Meta("a", encoding="msgpack", size=200), os.urandom(200)), collection=SAMPLES)
    assert body(base, "a").meta.encodings == ()


def test_what_looks_compressed_already_is_not_taken_for_that():
    store = CompressedStore(MemoryStore(collection=SAMPLES))
    for given in ("zstd", "gzip", "lz4", "zstd:0123"):
        record = Record(Meta("a", size=50, encodings=(given,)), os.urandom(50))
        store.put_record(record, collection=SAMPLES)
        found = store.get_record("a", collection=SAMPLES)
        assert (found.body, found.meta.encodings) == (record.body, (given,))


def test_another_algorithm_and_none_at_all_stay_readable():
    base = MemoryStore()
    base.save(result(0))
    for number, algorithm in enumerate(ALGORITHMS, start=1):
        CompressedStore(base, algorithm=algorithm).save(result(number))
    for algorithm in ALGORITHMS:
        store = CompressedStore(base, algorithm=algorithm)
        assert [store.get(f"run-{number}") for number in range(4)] == [result(number) for number in range(4)]
        assert store.verify().ok


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_expands_to_a_limit_only(algorithm: str):
    base = MemoryStore(collection=SAMPLES)
    CompressedStore(base, algorithm=algorithm).save(Sample("a", note="x" * 100_000))
    bounded = CompressedStore(base, algorithm=algorithm, max_item_bytes=50_000)
    with pytest.raises(StoreCorruptError, match=r"'a' cannot be expanded: .*more than 50,000 bytes"):
        bounded.get("a")
    with pytest.raises(StoreWriteError, match="max_item_bytes"):
        bounded.save(Sample("b", note="x" * 100_000))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_damaged_body_is_an_error(algorithm: str):
    """Each bit flipped, each end cut off, and something behind it."""
    base = MemoryStore(collection=SAMPLES)
    store = CompressedStore(base, algorithm=algorithm)
    sample = Sample("a", note="some words " * 30)
    store.save(sample)
    record = body(base, "a")
    data = record.body or b""
    damaged = [data[:end] for end in range(len(data))] + [data + b"x"]
    damaged += [
        data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(8)
    ]
    wrong = []
    for other in damaged:
        base.put_record(Record(record.meta, other), collection=SAMPLES)
        try:
            read = store.get("a")
        except StoreCorruptError:
            continue
        if read != sample:
            wrong.append(other)
    # Bits of gzip's header, such as the operating system, say nothing of the body.
    assert wrong == []


class TestDictionaries:
    def test_maintain_makes_the_first_one(self):
        base = MemoryStore()
        store = CompressedStore(base)
        store.save_many(map(result, range(99)))
        assert store.maintain()["dictionaries_trained"] == 0
        store.save(result(99))
        assert store.maintain(budget=0) == {}
        assert store.maintain()["dictionaries_trained"] == 1
        assert store.maintain() == {}
        (name,) = base.collection(DICTIONARIES).list_ids()
        store.save(result(100))
        assert body(base, "run-100").meta.encodings == (f"zstd:{name}",)
        assert len(body(base, "run-100").body or b"") < 0.8 * len(body(base, "run-99").body or b"")
        another = CompressedStore(base)
        assert another.get("run-100") == result(100)
        another.save(result(101))
        assert body(base, "run-101").meta.encodings == (f"zstd:{name}",)

    def test_it_holds_names_and_no_values(self):
        base = MemoryStore()
        store = CompressedStore(base)
        store.save_many(map(result, range(150)))
        name = store.train()
        assert name is not None
        data = base.get_record(name, collection=DICTIONARIES).body or b""
        assert b'"validator_name":' in data
        for value in ("alice", "example", "not_null", "4111111", "orders", "observed 1", "key-1"):
            assert value.encode() not in data, value

    def test_older_ones_stay_for_what_they_compressed(self):
        base = MemoryStore()
        store = CompressedStore(base)
        store.save_many(map(result, range(100)))
        first = store.train()
        store.save(result(100))
        store.save_many(result(number, checks=20) for number in range(200, 400))
        second = store.train()
        assert None not in {first, second}
        assert first != second
        store.save(result(101))
        assert {body(base, id).meta.encodings for id in ("run-100", "run-101")} == {
            (f"zstd:{first}",),
            (f"zstd:{second}",),
        }
        assert CompressedStore(base).get("run-100") == result(100)

    def test_versions_share_it(self):
        base = MemoryStore()
        store = stack(base, CompressedStore, VersionedStore)
        store.save_many(map(result, range(100)))
        store.maintain()
        for _ in range(2):
            store.save(result(5))
        history = base.collection(VersionedStore.history_of(RESULTS)).entries()
        assert any(head.meta.encodings[-1].startswith("zstd:") for head in history)
        assert store.get("run-5", version=2) == result(5)

    @pytest.mark.parametrize("harm", ["lost", "damaged"])
    def test_without_it_nothing_is_guessed(self, harm: str):
        base = MemoryStore()
        store = CompressedStore(base)
        store.save_many(map(result, range(100)))
        name = store.train()
        assert name is not None
        store.save(result(100))
        kept = base.get_record(name, collection=DICTIONARIES)
        base.delete_record(name, collection=DICTIONARIES)
        if harm == "damaged":
            base.put_record(Record(kept.meta, b"x" + (kept.body or b"")[1:]), collection=DICTIONARIES)
        with pytest.raises(StoreCorruptError, match=rf"run-100.*its dictionary {name} is {harm}: restore it"):
            CompressedStore(base).get("run-100")
        base.put_record(Record(kept.meta, kept.body), collection=DICTIONARIES)
        assert CompressedStore(base).get("run-100") == result(100)

    @pytest.mark.parametrize("way", ["close", "maintain", "a minute"])
    def test_an_emptied_place_is_given_it_again(self, way: str, monkeypatch):
        data = MemoryData()
        store = CompressedStore(MemoryStore(data=data))
        store.save_many(map(result, range(100)))
        assert store.train() is not None
        store.save(result(100))
        for collection in (RESULTS, DICTIONARIES):
            for id in MemoryStore(data=data).collection(collection).list_ids():
                MemoryStore(data=data).delete_record(id, collection=collection)
        store.save(result(101))
        with pytest.raises(StoreCorruptError, match="its dictionary"):
            CompressedStore(MemoryStore(data=data)).query()
        if way == "close":
            store.close()
        elif way == "maintain":
            store.maintain()
        else:
            monkeypatch.setattr("truthstore.compression.dictionaries.LOOK_AGAIN", 0.0)
            store.save(result(101))
        assert CompressedStore(MemoryStore(data=data)).query() == [result(101)]

    def test_too_few_items_make_none(self):
        store = CompressedStore(MemoryStore())
        assert store.train() is None
        store.save(result(1))
        assert store.train() is None
        assert CompressedStore(MemoryStore(), algorithm="gzip").train() is None
        assert CompressedStore(MemoryStore(), dictionary_bytes=0).train() is None


@pytest.mark.parametrize("kind", ["folder", "SQLite"])
def test_an_index_is_rebuilt_below_it(kind: str, tmp_path):
    """Fields, words and rows lie beside the body, and a new index has them."""
    base: Any = (
        FileSystemStore(base_path=tmp_path, durability="os")
        if kind == "folder"
        else DatabaseStore(connection_url=f"sqlite:///{tmp_path / 's.db'}")
    )
    with CompressedStore(base) as store:
        store.save_many(map(result, range(10)))
        assert store.rebuild_index() in {0, 10}
        for asked in (store, base):
            assert asked.count(StoreQuery(data_asset="orders-1")) == 3
            assert asked.count(StoreQuery(text="missing alice")) == 10
        rows = store.checks.query()
        assert len(rows) == 30
        assert {row.observed for row in rows} == {f"observed {number}" for number in range(10)}
        assert store.verify().ok


def test_a_value_is_forgotten_in_versions_and_in_what_waits():
    base = MemoryStore()
    store = stack(base, CompressedStore, VersionedStore, BatchedStore)
    for number in (1, 1, 2):
        store.save(result(number))
        store.layer(BatchedStore).flush()
    store.save(result(3))
    assert store.forget(SECRET)
    assert all(SECRET not in str(item.to_dict()) for item in store.query())
    assert SECRET not in str(store.get("run-1", version=1).to_dict())
    assert store.forget(SECRET) == []


@pytest.mark.parametrize(
    "layer", [VersionedStore, BatchedStore, lambda base: RetentionStore(base, CountBasedPolicy(5))]
)
def test_it_stands_below_those_that_read_bodies(layer: Any):
    with pytest.raises(StoreConfigError, match=r"CompressedStore cannot stand above .*: put it above"):
        CompressedStore(layer(MemoryStore()))
    with pytest.raises(StoreConfigError, match="one layer compresses"):
        CompressedStore(CompressedStore(MemoryStore()))


def test_a_cache_below_it_keeps_what_is_compressed():
    store = CompressedStore(CachedStore(MemoryStore(), LRUCache(max_size=10)))
    store.save(result(1))
    assert [store.get("run-1"), store.get("run-1")] == [result(1)] * 2


def test_options_are_checked():
    wrong: list[dict[str, Any]] = [
        {"algorithm": "brotli"},
        {"level": 23},
        {"algorithm": "gzip", "level": 0},
        {"max_item_bytes": 0},
    ]
    for options in wrong:
        with pytest.raises(StoreConfigError):
            CompressedStore(MemoryStore(), **options)
    with pytest.raises(TypeError, match="level"):
        CompressedStore(MemoryStore(), levle=3)
    assert CompressedStore(MemoryStore(), CompressionConfig(algorithm="gzip")).name == "compressed"


@pytest.mark.parametrize("algorithm", ["zstd", "lz4"])
def test_a_library_that_is_not_installed_is_named(algorithm: str, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, {"zstd": "zstandard", "lz4": "lz4.frame"}[algorithm], None)
    with pytest.raises(StoreConfigError, match=r"truthstore\[compression\]"):
        CompressedStore(MemoryStore(), algorithm=algorithm)


def test_a_file_names_it(tmp_path):
    path = tmp_path / "truthstore.yaml"
    path.write_text("backend: memory\nlayers:\n  - {layer: compression, algorithm: lz4}\n")
    with open_store(path) as store:
        store.save(result(1))
        assert store.stats()["layers"] == ["compressed", "memory"]
