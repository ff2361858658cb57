"""A place that others empty, in each way, under stores that are open: nothing of before is seen, nothing saved then is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.stacks.backends import KINDS, POOLED, Place, backend, parameters
from truthstore import BaseStore, StoreQuery
from truthstore.encryption import EncryptedStore, generate_key
from truthstore.errors import StoreError
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
Store = VersionedStore[Any]


def used(new: Callable[[], Store], store: Store, use: Callable[[Store], object]) -> Store:
    """Use a store, which goes on, or says what to do and is opened again."""
    try:
        use(store)
    except StoreError as error:
        assert "again" in str(error)
        store.close()
        store = new()
        use(store)
    return store


def look(store: Store) -> None:
    store.count()
    store.list_versions("a")


def assert_holds(versions: dict[str, list[int]], *stores: Store) -> None:
    """Check each view of each store against the versions of some ids."""
    ids = sorted(id for id, numbers in versions.items() if numbers)
    for store in stores:
        assert sorted(store.list_ids()) == sorted(sample.id for sample in store.query()) == ids
        has_words = not any(isinstance(layer, EncryptedStore) for layer in store.layers())
        assert store.count(StoreQuery(text="words" if has_words else None, tags={"n": "1"})) == len(ids)
        rows = store.scan_rows(StoreQuery(), collection=SAMPLES)
        assert sorted(str(row.meta.fields["sample"]) for row in rows) == sorted(ids * 2)
        assert set(store.get_many(versions, missing="skip")) == set(ids)
        assert {id: store.list_versions(id) for id in versions} == versions


def a_sample(id: str) -> Sample:
    return Sample(id, note="some words", tags={"n": "1"})


@pytest.mark.parametrize("encrypts", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("kind", parameters((*(kind for kind in KINDS if kind != "memory"), POOLED)))
def test_an_emptied_place_is_an_empty_place(kind: str, tmp_path: Path, *, encrypts: bool):
    if kind in {"gcs", "azure"} and not NIGHTLY:
        pytest.skip("the log as on S3: HYPOTHESIS_PROFILE=nightly runs it")
    key = generate_key()

    def layered(place: Place) -> Store:
        store: BaseStore[Any] = place()
        return VersionedStore(EncryptedStore(store, key) if encrypts else store)

    with backend(kind, tmp_path / "places", apart=True) as new:
        for way in range(len(new().ways)):
            place = new()
            one, two = (layered(place) for _ in range(2))
            one.save_many(map(a_sample, "ab"))
            one.save(a_sample("a"))
            assert_holds({"a": [2, 1], "b": [1]}, one, two)
            place.empty(way)
            saves = way % 2 == 0
            one = used(partial(layered, place), one, (lambda store: store.save(a_sample("a"))) if saves else look)
            two = used(partial(layered, place), two, look)
            versions = {"a": [1] if saves else [], "b": list[int]()}
            assert_holds(versions, two, one)
            assert two.save(a_sample("b"), expected_version=0) == "b"
            with layered(place) as three:
                assert_holds({**versions, "b": [1]}, three, two, one)
                assert three.verify().ok
            one.close()
            two.close()
