"""Heads of records: parts that are derived when they are asked for, copies, and records as bytes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import msgspec
import pytest

from truthstore import Meta, Record, StoreCorruptError
from truthstore.model.collection import Derivation
from truthstore.model.meta_codec import pack, unpack
from truthstore.testing.sample import SAMPLES, Sample


class Derived:
    """Count how often each part is derived."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def fields_and_tags(self) -> tuple[Mapping[str, int], Mapping[str, str]]:
        self.calls.append("fields and tags")
        return {"count": 1}, {"a": "b"}

    def kept(self) -> Mapping[str, int]:
        return {}

    def rows(self) -> bytes:
        self.calls.append("rows")
        return b"rows"

    def text(self) -> str:
        self.calls.append("text")
        return "words"


def test_each_part_is_derived_once_and_the_text_apart():
    derived = Derived()
    meta = Meta("a", derive=derived)
    assert (meta.fields, meta.tags, meta.fields) == ({"count": 1}, {"a": "b"}, {"count": 1})
    assert derived.calls == ["fields and tags"]
    copied = meta.replace(size=3)
    assert (meta.text, copied.text) == ("words", "words")
    assert derived.calls == ["fields and tags", "text", "text"]
    assert (meta.rows, meta.rows) == (b"rows", b"rows")
    assert derived.calls[3:] == ["rows"]


def test_given_parts_win_over_derived_ones():
    meta = Meta("a", tags={}, text="given", derive=Derived())
    assert (meta.fields, meta.tags, meta.text) == ({"count": 1}, {}, "given")


def test_a_head_shows_its_fields_and_tags_and_one_that_cannot_be_read_says_so():
    shown = repr(Record(Meta("a", derive=Derived()), b"body", "r1"))
    assert shown == (
        "Record(Meta('a', size=0, deleted=False, fields={'count': 1}, tags={'a': 'b'}), body=4 bytes, revision='r1')"
    )
    derive = Derivation(SAMPLES, b"{", "json")
    assert "fields cannot be read: not a valid Sample" in repr(Record(Meta("a", derive=derive)))


@pytest.mark.parametrize("deleted", [False, True])
def test_records_as_bytes_come_back_whole(deleted: bool):
    sample = Sample("é", name="n", count=2**63 - 1, ratio=0.1, tags={"a": "b"}, note="Some words")
    record = SAMPLES.encode(sample)
    meta = record.meta.replace(encodings=("zstd",), annotations={"layer": {"list": [1, None]}}, deleted=deleted)
    for one in (Record(meta, b"\0\xff"), Record(meta, None)):
        back = unpack(pack(one))
        assert back == one
        assert back.meta.text == meta.text
    copied = pickle.loads(pickle.dumps(meta))
    assert (copied, copied.text) == (meta, meta.text)


@pytest.mark.parametrize("data", [b"", b"nonsense", msgspec.msgpack.encode((1, "r", b"", []))])
def test_damaged_bytes_are_no_record(data: bytes):
    with pytest.raises(StoreCorruptError, match="not a record packed by this version"):
        unpack(data)


def test_bytes_of_another_version_are_refused():
    _, *others = msgspec.msgpack.decode(pack(SAMPLES.encode(Sample("a"))))
    with pytest.raises(StoreCorruptError, match="version 99"):
        unpack(msgspec.msgpack.encode((99, *others)))
