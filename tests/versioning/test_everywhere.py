"""Many savers of one item, on every backend: each save is one version, and every reader sees the same history."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.crash.processes import at_once as processes_at_once
from tests.doubles import LateAnswer
from tests.stacks.backends import Backend, backend, parameters
from tests.versioning.doubles import save_version
from truthstore import StoreQuery
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.case import at_once
from truthstore.versioning import VersionedStore, VersionInfo, VersionNotFoundError
from truthstore.versioning.meta import history_of

THREADS = 10
PROCESSES = 4
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SAVES = 25 if NIGHTLY else 10
FEW_SAVES = SAVES if NIGHTLY else 5
"""Of each thread where every save takes several requests over a connection."""


@pytest.fixture(scope="module", params=parameters())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def places(kind: str, tmp_path_factory: pytest.TempPathFactory):
    with backend(kind, tmp_path_factory.mktemp(kind)) as made:
        yield made


def test_threads_and_processes_that_save_one_id(kind: str, places: Backend):
    processes = 1 if kind == "memory" or not hasattr(os, "fork") else PROCESSES
    if kind in {"gcs", "azure"} and not NIGHTLY:
        pytest.skip("the log as on S3: HYPOTHESIS_PROFILE=nightly runs it")
    saves = FEW_SAVES if kind in {"s3", "gcs", "azure", "postgresql", "mariadb"} else SAVES
    place = places()
    inherited = VersionedStore[Any](place())
    inherited.initialize()

    def save(process: int) -> list[tuple[int, str]]:
        """Return the version and message of each save of this process."""
        # Every other process uses the store that was open when it was forked.
        store = VersionedStore[Any](place()) if process % 2 else inherited

        def work(thread: int) -> list[tuple[int, str]]:
            answers = []
            for n in range(saves):
                words = f"{process} {thread} {n}"
                answers.append((save_version(store, Sample("a", name=words), message=words).version, words))
            return answers

        lists: list[Any] = at_once(work, THREADS)
        store.close()
        return [one for answers in lists for one in answers]

    answers = processes_at_once(save, processes) if processes > 1 else [save(0)]
    inherited.close()
    acknowledged = dict(one for part in answers for one in part)
    total = processes * THREADS * saves
    assert sorted(acknowledged) == list(range(1, total + 1)), "no number twice, and no gap"

    def history() -> list[VersionInfo]:
        with VersionedStore[Any](place()) as store:
            assert store.verify().ok
            assert store.count_versions("a") == total
            for number in (1, total // 2, total):
                assert store.get("a", version=number).name == acknowledged[number]
            return store.get_version_history("a")

    first, second = history(), history()
    assert first == second
    assert {info.version: info.message for info in first} == acknowledged
    assert [info.version for info in first] == list(range(total, 0, -1))


def test_all_versions_go_when_asked_and_only_then(places: Backend):
    place = places()

    with VersionedStore[Any](place()) as store:
        for id in ("a", "b"):
            store.save_many(Sample(id, count=count) for count in (1, 2, 3))
        assert store.delete("a")
        assert store.list_versions("a") == [3, 2, 1]
        store.rollback("a", version=2)
        assert store.delete("b")
    with VersionedStore[Any](place()) as store:
        assert store.get("a").count == 2
        assert store.list_versions("a") == [5, 3, 2, 1]
        for id in ("a", "b"):
            assert store.delete(id, delete_all_versions=True)
            assert not store.delete(id, delete_all_versions=True)
    with VersionedStore[Any](place()) as store:
        assert store.list_versions("a") == store.list_versions("b") == []
        with pytest.raises(VersionNotFoundError):
            store.get("a", version=1)
        assert store.base.collection(history_of(SAMPLES)).count() == 0
        assert store.list_ids(StoreQuery(include_deleted=True)) == []
        assert save_version(store, Sample("a", count=9)).version == 1


def test_a_first_version_that_was_replaced_at_once_knows_its_number():
    data = MemoryData()
    other = VersionedStore[Any](MemoryStore(collection=SAMPLES, data=data))

    def save_thrice() -> None:
        other.save_many([Sample("a", count=2), Sample("a", count=3), Sample("a", count=4)])

    slow = VersionedStore[Any](LateAnswer(MemoryStore(collection=SAMPLES, data=data), save_thrice))
    assert save_version(slow, Sample("a", count=1)).version == 1
    assert slow.get("a", version=1).count == 1
    assert slow.list_versions("a") == [4, 3, 2, 1]
