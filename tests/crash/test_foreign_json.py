"""Documents as other programs write them, and how damaged ones are named."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from truthstore.backends.filesystem import FileSystemStore
from truthstore.errors import StoreCorruptError
from truthstore.testing.sample import Sample


def file_of(folder: Path, id: str) -> Path:
    (found,) = folder.rglob(f"{id}.json*")
    return found


@pytest.mark.parametrize("indent", [2, None])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_json_does_not_know(
    number: str, indent: int | None, store: FileSystemStore[Sample], folder: Path
):
    store.save(Sample("a", ratio=1.5))
    path = file_of(folder, "a")
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "ratio": float(number)}, indent=indent))
    assert repr(store.get("a").ratio) == number
    assert store.verify().changed == ("a",)
    assert store.rebuild_index() == 1
    assert store.verify().ok
    assert repr(store.get("a").ratio) == number


def test_an_edit_that_leaves_the_size_as_it_was_is_damage(store: FileSystemStore[Sample], folder: Path):
    """To look for it at every read would cost a third of the read."""
    store.save(Sample("a", ratio=1.5))
    path = file_of(folder, "a")
    path.write_bytes(path.read_bytes().replace(b"1.5", b"NaN"))
    with pytest.raises(StoreCorruptError, match="'a'"):
        store.get("a")
    assert "a" in {**dict.fromkeys(store.verify().changed), **store.verify().corrupt}


def test_words_that_look_like_such_numbers_are_words(store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a", ratio=1.5, note="[NaN, -Infinity]"))
    path = file_of(folder, "a")
    path.write_bytes(path.read_bytes().replace(b"1.5", b"-Infinity"))
    assert store.get("a").note == "[NaN, -Infinity]"
    assert store.get("a").ratio == -math.inf


@pytest.mark.parametrize("known", [True, False])
def test_a_byte_order_mark(known: bool, store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a", note="naïve"))
    path = file_of(folder, "a")
    document = json.loads(path.read_bytes())
    if not known:
        del document["_truthstore"]
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8-sig")
    assert store.get("a").note == "naïve"
    assert store.rebuild_index() == 1
    assert store.verify().ok
    assert contents(store) == {"a": Sample("a", note="naïve")}


@pytest.mark.parametrize("text", ['{"id": "a", "note": NaM}', '{"id": "a", "ratio": NaN', '["NaN", NaN]', "NaN"])
def test_other_things_that_json_does_not_know_are_damage(text: str, store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("a"))
    file_of(folder, "a").write_text(text)
    with pytest.raises(StoreCorruptError, match="'a' is damaged"):
        store.get("a")


DAMAGES = {
    "empty": b"",
    "cut off": b'{"id": "b", ',
    "an envelope": b"\x89TST\1\0\0\0\x10{",
    "another type": b'{"id": 1}',
    "a newer envelope": b"\x89TST\x63\0\0\0\2{}",
}


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(
    damage: str, compression: str | None, open_store: OpenFolder, folder: Path, caplog: pytest.LogCaptureFixture
):
    store: FileSystemStore[Any] = open_store(compression=compression)
    store.save_many(Sample(id) for id in "ab")
    path = file_of(folder, "b")
    path.write_bytes(DAMAGES[damage])
    report = store.verify()
    assert set(report.corrupt) == {"b"}
    assert repr(path.name) in report.corrupt["b"]
    assert "a document" not in report.corrupt["b"]
    assert "None" not in report.corrupt["b"]
    with caplog.at_level(logging.WARNING, "truthstore"):
        store.rebuild_index()
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.count(path.name) >= 1
    assert "a document" not in message
