"""What the formats make of an item is the same in each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from truthstore import (
    RESULTS,
    Collection,
    ResultStatus,
    StoreCorruptError,
    StoreWriteError,
    ValidationResult,
    get_store,
)
from truthstore.model.encoding import ENCODINGS, Codec, Encoding
from truthstore.testing.sample import Sample


@dataclass
class Tables:
    """Dicts whose keys are declared not to be strings."""

    id: str
    by_number: dict[int, int] = field(default_factory=dict)
    by_ratio: dict[float, str] = field(default_factory=dict)
    by_id: dict[UUID, list[bytes]] = field(default_factory=dict)
    by_bytes: dict[bytes, bytes] = field(default_factory=dict)
    seen: datetime | None = None


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_keys_that_are_numbers_become_strings_in_free_form_data(encoding: Encoding):
    with get_store("memory", serialization_format=encoding) as store:
        metadata = {1: 2, 1.5: {7: "inner"}, "a": [{3: None}]}
        store.save(ValidationResult("run", datetime(2026, 7, 1, tzinfo=UTC), "orders", "success", metadata=metadata))  # type: ignore[arg-type]
        assert store.get("run").metadata == {"1": 2, "1.5": {"7": "inner"}, "a": [{"3": None}]}


TABLES = {
    "numbers": Tables("a", {1: 2, -3: 4}, {1.5: "x"}, seen=datetime(2026, 7, 1, 12, tzinfo=UTC)),
    "ids": Tables("a", by_id={UUID(int=1): [b"\x00\xff"]}),
    "bytes": Tables("a", by_bytes={b"\x00\xff": b"\xff"}),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("item", TABLES.values(), ids=TABLES)
def test_keys_that_are_declared_not_to_be_strings_keep_their_type(encoding: Encoding, item: Tables):
    codec = Codec(Tables)
    assert codec.decode(codec.encode(item, encoding), encoding) == item
    with get_store("memory", collection=Collection.of(Tables), serialization_format=encoding) as store:
        store.save(item)
        assert store.get("a") == item


def test_messagepack_with_keys_that_are_numbers_is_still_read():
    old = msgspec.msgpack.encode({"id": "a", "by_number": {1: 2}})
    assert Codec(Tables).decode(old, "msgpack") == Tables("a", {1: 2})


@pytest.mark.parametrize("body", [b"\x81\xa2id\x07", b"\x81\xa2id", b"", b"\x07"])
def test_messagepack_that_does_not_fit_is_corrupt(body: bytes):
    with pytest.raises(StoreCorruptError, match="not a valid Tables"):
        Codec(Tables).decode(body, "msgpack")


def test_messagepack_keeps_nan():
    codec = Codec(Sample)
    again = codec.decode(codec.encode(Sample("a", ratio=math.nan), "msgpack"), "msgpack")
    assert again.ratio is not None
    assert math.isnan(again.ratio)


class Encodes:
    """Something whose hook encodes another item of the same type, while the first is being encoded."""


def test_encoding_within_encoding_disturbs_neither():
    def hook(value: Any) -> Any:
        if isinstance(value, Encodes):
            return codec.decode(codec.encode(Sample("inner", note="x" * 5_000))).note
        raise NotImplementedError

    codec: Codec[Sample] = Codec(Sample, enc_hook=hook)
    for _ in range(2):
        body = codec.encode(Sample("outer", details={"a": "y" * 300, "b": Encodes(), "c": 1}))
        assert codec.decode(body).details == {"a": "y" * 300, "b": "x" * 5_000, "c": 1}


def test_a_big_item_leaves_nothing_behind_in_a_small_one():
    codec = Codec(Sample)
    for size in (10, 3_000_000, 10, 70_000, 0):
        assert codec.decode(codec.encode(Sample("a", note="x" * size))).note == "x" * size
        with pytest.raises(StoreWriteError):
            codec.encode(Sample("a", note="\ud800"))


def test_what_cannot_be_stored_is_named_by_its_place():
    metadata = {"a": 1, "b": {"c": [1, object()]}}
    result = ValidationResult("a", datetime.now(UTC), "orders", ResultStatus.SUCCESS, metadata=metadata)
    with pytest.raises(StoreWriteError, match=r"ValidationResult\.metadata\['b'\]\['c'\]\[1\] cannot be stored"):
        RESULTS.encode(result)


def test_a_tag_whose_key_is_no_string_says_so():
    with pytest.raises(StoreWriteError, match="tag 1: keys and values are strings, not int"):
        RESULTS.encode(ValidationResult("a", datetime.now(UTC), "orders", ResultStatus.SUCCESS, tags={1: "x"}))  # type: ignore[dict-item]


def test_yaml_has_no_aliases_and_none_are_read():
    """A few hundred bytes of them can stand for more values than a machine can hold."""
    codec = Codec(dict[str, Any])
    shared = [1, {"a": ["b"]}]
    body = codec.encode({"one": shared, "two": shared, "star": "*a"}, "yaml")
    assert codec.decode(body, "yaml") == {"one": shared, "two": shared, "star": "*a"}
    with pytest.raises(StoreCorruptError, match="alias"):
        codec.decode(b"one: &a [1]\ntwo: *a\n", "yaml")
