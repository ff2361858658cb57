"""Errors of a write that was refused, or that others overtook: never that it is in doubt if it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.storage.log.doubles import log_store
from truthstore import StoreBulkError, StoreConflictError, StoreConnectionError, StoreError, StoreWriteError
from truthstore.model.record import ABSENT, ANY
from truthstore.storage.log import writer as writer_module
from truthstore.storage.log.objects import HISTORY
from truthstore.storage.log.store import LogStore
from truthstore.testing import Sample
from truthstore.testing.memory_blobs import MemoryBlobs


def content(store: LogStore[Sample]) -> dict[str, int | None]:
    assert store.verify().ok
    return {sample.id: sample.count for sample in store.query()}


class Vanished(MemoryBlobs):
    """A service whose bucket is removed after so many puts."""

    def __init__(self, puts: int) -> None:
        super().__init__()
        self._left = puts

    def _ask(self) -> None:
        if self._left <= 0:
            raise StoreConnectionError("memory", "the bucket does not exist: create it", retryable=False)

    def get(self, key: str) -> tuple[bytes, str]:
        self._ask()
        return super().get(key)

    def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
        self._ask()
        self._left -= 1
        return super().put(key, data, expect=expect)


@pytest.mark.parametrize(
    ("puts", "write"),
    [
        (0, lambda store: store.save(Sample("new"))),
        (0, lambda store: store.save_many([Sample("1"), Sample("2")])),
        # An intent is still taken.
        (1, lambda store: store.save(Sample("old"))),
        (1, lambda store: store.delete("old")),
    ],
    ids=["create", "bulk", "overwrite", "delete"],
)
def test_a_bucket_that_is_gone_is_said_at_once(puts: int, write: Callable[[LogStore[Sample]], object]):
    blobs = Vanished(1_000)
    store = log_store(blobs)
    store.save(Sample("old"))
    store.list_ids()
    blobs._left = puts
    with pytest.raises(StoreError, match="does not exist: create it") as caught:
        write(store)
    error = caught.value
    for one in error.failed.values() if isinstance(error, StoreBulkError) else [error]:
        assert isinstance(one, StoreConnectionError)
        assert not one.retryable
        assert one.identifier in {"old", "new", "1", "2"}
        assert "may or may not" not in str(one)


class Overtaken(MemoryBlobs):
    """Others come first with many writes, each time just before a body is replaced on a condition.

    Attributes:
        overtake: their writes.
        lost: the answer to the late put is lost.
    """

    overtake: Callable[[], object] | None = None
    lost = False

    def put(self, key: str, data: bytes, *, expect: Any = ANY) -> str:
        overtake = self.overtake
        if overtake is None or not key.startswith("_samples/") or expect is ANY or expect is ABSENT:
            return super().put(key, data, expect=expect)
        self.overtake = None
        overtake()
        try:
            return super().put(key, data, expect=expect)
        except StoreConflictError as error:
            if self.lost:
                raise StoreConnectionError("memory", "no answer") from error
            raise


def overtaken(*, lost: bool = False) -> tuple[LogStore[Sample], Overtaken]:
    """A store whose next overwrite comes after so many others that none of them remembers what it wanted to replace."""
    blobs = Overtaken()
    blobs.lost = lost
    store, other = log_store(blobs), log_store(blobs)
    store.save(Sample("a", count=0))

    def overtake() -> None:
        for i in range(1, HISTORY + 5):
            other.save(Sample("a", count=i))

    blobs.overtake = overtake
    return store, blobs


def test_a_writer_that_many_overtook_knows_that_it_wrote_nothing():
    store, _ = overtaken()
    with pytest.raises(StoreConflictError):
        store.save(Sample("a", count=-1), expect=store.head("a").revision)
    assert content(store) == {"a": HISTORY + 4}

    store, _ = overtaken()
    store.save(Sample("a", count=-1))
    assert content(store) == {"a": -1}

    store, _ = overtaken()
    assert store.delete("a")
    assert content(store) == {}


def test_a_writer_that_many_overtook_and_nobody_answered_does_not_guess():
    store, _ = overtaken(lost=True)
    with pytest.raises(StoreWriteError, match="may or may not"):
        store.save(Sample("a", count=-1), expect=store.head("a").revision)
    assert content(store) == {"a": HISTORY + 4}


def test_a_writer_that_never_comes_first_wrote_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer_module, "ROUNDS", 10)
    store, blobs = overtaken()
    overtake = blobs.overtake
    assert overtake is not None

    def again() -> None:
        overtake()
        blobs.overtake = again

    blobs.overtake = again
    with pytest.raises(StoreWriteError, match=r"'a' was not written: others wrote it first, 10 times") as caught:
        store.save(Sample("a", count=-1))
    assert caught.value.retryable
    blobs.overtake = None
    assert content(store) == {"a": HISTORY + 4}
