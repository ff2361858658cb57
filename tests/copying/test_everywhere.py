"""Copies from each backend to each kind of another: everything comes along, and a second copy writes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.copying.doubles import CARRIED, OF_RESULTS, fill, held, result, versioned
from tests.stacks.backends import Backend, backend, parameters
from truthstore import StoreNotSupportedError, copy_store, get_store
from truthstore.backends.memory import MemoryStore
from truthstore.expectations import SUITES
from truthstore.results import RESULTS


@pytest.fixture(scope="module", params=parameters())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def places(kind: str, tmp_path_factory: pytest.TempPathFactory):
    with backend(kind, tmp_path_factory.mktemp(kind)) as made:
        yield made


def test_there_and_back(kind: str, places: Backend):
    with versioned(MemoryStore()) as source:
        fill(source, 8)
        source.audit.flush()
        place = places()
        with place(RESULTS) as target:
            copy_store(source, target, everything=True)
            there = held(target)
            assert there.items() <= held(source).items()
            assert copy_store(source, target, collections=[RESULTS, SUITES]).copied == 0
            assert {one.name for one in CARRIED} <= target.collection_names()
            with MemoryStore() as back:
                copy_store(target, back, everything=True)
                assert held(back).items() >= there.items()
            source.save(result(2, suite_name="changed"))
            source.delete("run-0003", delete_all_versions=True)
            source.audit.flush()
            copy_store(source, target, everything=True, delete=True)
            own = (*OF_RESULTS, SUITES)
            assert held(target, own) == held(source, own)


def test_a_store_that_cannot_list_its_collections_is_copied_with_what_belongs_to_it(monkeypatch: pytest.MonkeyPatch):
    def unknown(self: Any) -> Any:
        raise StoreNotSupportedError("it cannot list its collections")

    monkeypatch.setattr(MemoryStore, "collection_names", unknown)
    with versioned(MemoryStore()) as source, get_store("memory") as target:
        fill(source)
        copy_store(source, target)
        assert len(list(target.iter_checks("streamed"))) == 5
        with pytest.raises(StoreNotSupportedError):
            copy_store(source, target, everything=True)
