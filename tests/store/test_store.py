"""Stores as objects, and what they say when many items come from a source that fails."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from truthstore import RESULTS, StoreConflictError, WrapperStore, get_store
from truthstore.model.record import ABSENT
from truthstore.store.store import BaseStore
from truthstore.testing.sample import SAMPLES, Sample


@pytest.fixture(params=["memory", "filesystem", "wrapped"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore[Sample]]:
    options: dict[str, Any] = {"base_path": tmp_path} if request.param == "filesystem" else {}
    kind = "memory" if request.param == "wrapped" else request.param
    with get_store(kind, collection=SAMPLES, **options) as store:
        yield WrapperStore(store) if request.param == "wrapped" else store


def test_a_store_stays_in_its_process(store: BaseStore[Sample]):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=f"a {type(store).__name__} stays in its process: open the store in the"):
            pickle.dumps(store, protocol)
    with pytest.raises(TypeError, match="stays in its process"):
        copy.deepcopy({"store": store})


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


def test_ids_are_read_to_their_end_before_the_first_is_removed():
    with get_store("memory", collection=SAMPLES) as store:
        store.save_many(Sample(f"{number:04d}") for number in range(1_200))
        with pytest.raises(SourceError):
            store.delete_many(sample.id for sample in breaking_off(1_200))
        with pytest.raises(SourceError):
            store.get_many(sample.id for sample in breaking_off(1_200))
        assert store.count() == 1_200
