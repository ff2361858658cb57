"""Stores as objects, and what they say when many items come from a source that fails."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from truthstore import (
    RESULTS,
    StoreBulkError,
    StoreConflictError,
    StoreConnectionError,
    StoreError,
    StoreKeyError,
    StoreWriteError,
    WrapperStore,
    get_store,
)
from truthstore.backends.memory import MemoryStore
from truthstore.model.record import ABSENT
from truthstore.store.store import BaseStore
from truthstore.testing.sample import SAMPLES, Sample


@pytest.fixture(params=["memory", "filesystem", "wrapped"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore[Sample]]:
    options: dict[str, Any] = {"base_path": tmp_path} if request.param == "filesystem" else {}
    kind = "memory" if request.param == "wrapped" else request.param
    with get_store(kind, collection=SAMPLES, **options) as store:
        yield WrapperStore(store) if request.param == "wrapped" else store


def test_a_copy_and_a_view_share_everything(store: BaseStore[Sample]):
    again = copy.copy(store)
    again.save(Sample("a"))
    assert type(again) is type(store)
    assert store.list_ids() == ["a"]
    view = store.collection(RESULTS)
    assert view.list_ids() == []
    assert store.list_ids() == ["a"]
    view.close()
    assert not store.health_check().healthy


class SourceError(Exception):
    """What the user's own generator raises."""


def breaking_off(after: int) -> Iterator[Sample]:
    for number in range(after):
        yield Sample(f"{number:04d}")
    raise SourceError("the source is gone")


@pytest.mark.parametrize(("after", "stored"), [(0, 0), (999, 0), (1_000, 1_000), (2_200, 2_000)])
def test_a_source_that_fails_leaves_what_came_before_and_says_so(after: int, stored: int):
    with get_store("memory", collection=SAMPLES) as store:
        with pytest.raises(SourceError) as caught:
            store.save_many(breaking_off(after))
        (note,) = caught.value.__notes__
        assert f"the first {stored:,} items" in note
        assert sorted(store.list_ids()) == [f"{number:04d}" for number in range(stored)]


def test_an_error_of_the_store_says_itself_what_was_stored():
    with get_store("memory", collection=SAMPLES) as store:
        store.save(Sample("a"))
        with pytest.raises(Exception, match="a") as caught:
            store.save_many([Sample("a")], expect=ABSENT)
        assert not hasattr(caught.value, "__notes__")
        assert isinstance(caught.value.failed["a"], StoreConflictError)  # type: ignore[attr-defined]


BAD: dict[str, tuple[Any, str, type[Exception]]] = {
    "an unknown object": (Sample("bad", details={"a": object()}), "bad", StoreWriteError),
    "a tag that is a number": (Sample("bad", tags={"a": 1}), "bad", StoreWriteError),  # type: ignore[dict-item]
    "no id": (Sample(""), "item 1400", StoreKeyError),
    "no item": (None, "item 1400", TypeError),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_item_costs_one_item(store: BaseStore[Sample], what: str):
    bad, name, error = BAD[what]
    items = [Sample(f"{number:04d}") for number in range(2_200)]
    with pytest.raises(StoreBulkError, match="1 of 2201 items failed") as caught:
        store.save_many([*items[:1_400], bad, *items[1_400:]])
    assert {id: type(why) for id, why in caught.value.failed.items()} == {name: error}
    assert caught.value.stored == tuple(item.id for item in items)
    assert store.count() == 2_200


class Picky(MemoryStore[Sample]):
    """A backend whose bulk form refuses all where it refuses one, and tells where the store itself failed."""

    error: StoreError = StoreWriteError("not this one")
    calls = 0

    def put_record(self, record: Any, **call: Any) -> Any:
        if record.id == "bad":
            raise self.error
        return super().put_record(record, **call)

    def put_records(self, records: Any, **call: Any) -> Any:
        self.calls += 1
        if any(record.id == "bad" for record in records):
            raise self.error
        return super().put_records(records, **call)


def test_so_it_does_where_the_backend_refuses_the_whole_chunk():
    items = [Sample(f"{number:04d}") for number in range(2_200)]
    store = Picky(collection=SAMPLES)
    with pytest.raises(StoreBulkError) as caught:
        store.save_many([*items[:1_400], Sample("bad"), *items[1_400:]])
    assert caught.value.failed == {"bad": store.error}
    assert store.count() == 2_200


def test_a_store_that_gave_up_is_not_asked_again():
    store = Picky(collection=SAMPLES)
    store.error = StoreConnectionError("memory", "it is down")
    with pytest.raises(StoreConnectionError):
        store.save_many([Sample("bad"), *(Sample(f"{number:04d}") for number in range(2_200))])
    assert store.calls == 1
    with pytest.raises(StoreBulkError) as caught:
        store.save_many([*(Sample(f"{number:04d}") for number in range(1_000)), Sample("bad"), *[Sample("x")] * 1_000])
    assert (store.calls, store.count(), set(caught.value.failed)) == (3, 1_000, {"bad", "x"})


def test_ids_are_read_to_their_end_before_the_first_is_removed():
    with get_store("memory", collection=SAMPLES) as store:
        store.save_many(Sample(f"{number:04d}") for number in range(1_200))
        with pytest.raises(SourceError):
            store.delete_many(sample.id for sample in breaking_off(1_200))
        with pytest.raises(SourceError):
            store.get_many(sample.id for sample in breaking_off(1_200))
        assert store.count() == 1_200
