"""Compressed bodies expand up to a limit, whichever program wrote them."""

from __future__ import annotations

import gzip
import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zstandard

from truthstore import get_store
from truthstore.errors import StoreConfigError, StoreCorruptError, StoreError
from truthstore.storage.log.entry import MAX_BYTES, LogObject, read_log_object, write_log_object
from truthstore.storage.objects.compression import compressor
from truthstore.testing import SAMPLES, Sample

LIMIT = 100_000
BOMB = b"\0" * 1_000_000


def zstd_streamed(data: bytes) -> bytes:
    """A frame that does not say how large its content is, as every writer of a stream makes it."""
    writer = zstandard.ZstdCompressor().compressobj()
    return writer.compress(data) + writer.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("size", [0, 1, 5_000, LIMIT - 1, LIMIT])
@pytest.mark.parametrize("algorithm", [None, "gzip", "zstd"])
def test_what_was_compressed_comes_back(algorithm: str | None, size: int):
    _, compress, decompress = compressor(algorithm, LIMIT)
    for data in (b"a" * size, random.Random(size).randbytes(size)):
        assert decompress(compress(data)) == data


@pytest.mark.parametrize(
    ("algorithm", "stored"),
    [
        ("gzip", gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")),
        ("gzip", gzip.compress(b"onetwo") + b"\0" * 10),  # padded, as tapes and some tools do
        ("zstd", zstd_streamed(b"onetwo")),
        ("zstd", zstd(b"one") + zstd_streamed(b"two")),
        ("zstd", zstd_streamed(b"one") + zstd(b"two")),
        ("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(b"onetwo")),  # RFC 8878, 3.1.2: a skippable frame
    ],
    ids=count(),
)
def test_whatever_the_format_allows_is_read(algorithm: str, stored: bytes):
    assert compressor(algorithm, 6)[2](stored) == b"onetwo"
    with pytest.raises(StoreCorruptError, match="more than 5 bytes"):
        compressor(algorithm, 5)[2](stored)


@pytest.mark.parametrize(
    ("algorithm", "bomb"),
    [
        ("gzip", gzip.compress(BOMB)),
        ("gzip", gzip.compress(b"x") + gzip.compress(BOMB)),
        ("zstd", zstd(BOMB)),
        ("zstd", zstd_streamed(BOMB)),
        ("zstd", b"".join(zstd(b"\0" * 1_000) for _ in range(1_000))),
    ],
    ids=count(),
)
def test_what_expands_too_far_is_damaged(algorithm: str, bomb: bytes):
    with pytest.raises(StoreCorruptError, match="max_item_bytes="):
        compressor(algorithm, LIMIT)[2](bomb)


@pytest.mark.parametrize("algorithm", ["gzip", "zstd"])
def test_damage_is_found(algorithm: str):
    _, compress, decompress = compressor(algorithm, LIMIT)
    stored = compress(b"some text")
    for damaged in (b"no such data", stored + b"behind", stored[:2] + b"\xff" * 10):
        with pytest.raises(StoreCorruptError, match="damaged"):
            decompress(damaged)


@pytest.mark.parametrize("algorithm", ["gzip", "zstd"])
@pytest.mark.parametrize("index", ["sqlite", "log"])
def test_one_item_that_expands_too_far_costs_that_item(index: Any, algorithm: str, tmp_path: Path):
    options: dict[str, Any] = {"base_path": tmp_path / "store", "index": index, "compression": algorithm}
    if index == "log":
        options["cache_dir"] = tmp_path / "cache"
    with get_store("filesystem", collection=SAMPLES, **options) as store:
        store.save_many(Sample(f"{i}", note="n" * (i * 30_000)) for i in range(3))
        (folder,) = (tmp_path / "store").rglob("_samples")
        store.save(Sample("cut"))
        cut = next(folder.glob("cut.*"))
        cut.write_bytes(cut.read_bytes()[:-4])
    with get_store("filesystem", collection=SAMPLES, max_item_bytes=50_000, **options) as store:
        for id in ("2", "cut"):
            with pytest.raises(StoreCorruptError) as caught:
                store.get(id)
            assert caught.value.identifier == id
        assert store.get("1").note == "n" * 30_000
        assert set(store.list_ids()) == {"0", "1", "2", "cut"}
        assert set(store.verify().corrupt) == {"2", "cut"}
        with pytest.raises(StoreError, match="max_item_bytes"):
            store.save(Sample("3", note="n" * 60_000))
        assert not store.exists("3")


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "1 GiB"])
def test_the_limit_is_a_number_of_bytes(wrong: Any):
    with pytest.raises((StoreConfigError, TypeError), match="max_item_bytes"):
        get_store("filesystem", max_item_bytes=wrong)


def test_an_object_of_the_log_that_expands_too_far_is_damaged(monkeypatch: pytest.MonkeyPatch):
    stored = write_log_object(LogObject(coverage=frozenset({"a"})))
    assert read_log_object(stored, "name").coverage == {"a"}
    assert MAX_BYTES == 1 << 30
    monkeypatch.setattr("truthstore.storage.log.entry.MAX_BYTES", 1)
    with pytest.raises(StoreCorruptError, match=r"name is damaged .*rebuild_index"):
        read_log_object(stored, "name")
