"""Blobs of the testing package: in memory, with faults, and slow."""

from __future__ import annotations

import pytest

from truthstore import StoreConnectionError
from truthstore.testing import BlobsSuite, FaultyBlobs, LatencyBlobs, MemoryBlobs, SimulatedCrashError


class TestMemoryBlobs(BlobsSuite):
    concurrent = False

    def make_blobs(self, location):
        return MemoryBlobs()


class TestFaultyBlobsWithoutFaults(BlobsSuite):
    concurrent = False

    def make_blobs(self, location):
        return FaultyBlobs(MemoryBlobs())


class TestLatencyBlobs(BlobsSuite):
    concurrent = False

    def make_blobs(self, location):
        return LatencyBlobs(MemoryBlobs(), 1.0, sleep=lambda seconds: None)


def test_calls_are_counted():
    faulty = FaultyBlobs(MemoryBlobs())
    faulty.put("a", b"1")
    faulty.get("a")
    assert list(faulty.list("")) == ["a"]
    assert faulty.calls == [("put", "a"), ("get", "a"), ("list", "")]


def test_faults_are_the_same_for_the_same_seed():
    def failed(seed: int) -> list[int]:
        faulty = FaultyBlobs(MemoryBlobs(), seed=seed)
        numbers = []
        for number in range(200):
            try:
                faulty.put(f"k{number}", b"")
            except StoreConnectionError:
                numbers.append(number)
        assert faulty.failures == len(numbers)
        return numbers

    assert failed(1) == failed(1) != failed(2)
    assert 5 < len(failed(1)) < 50


def test_the_dead_do_not_write():
    blobs = MemoryBlobs()
    faulty = FaultyBlobs(blobs, fail_at=2, kinds=["crash-before"])
    faulty.put("a", b"1")
    with pytest.raises(SimulatedCrashError):
        faulty.put("a", b"2")
    with pytest.raises(SimulatedCrashError):
        faulty.put("a", b"3")
    assert faulty.crashed
    again = faulty.restarted()
    assert again.get("a")[0] == b"1"


def test_a_list_breaks_off_in_the_middle():
    blobs = MemoryBlobs()
    for key in "abc":
        blobs.put(key, b"")
    faulty = FaultyBlobs(blobs, fail_at=1, kinds=["after"])
    seen: list[str] = []
    with pytest.raises(StoreConnectionError):
        seen.extend(faulty.list(""))
    assert seen == ["a"]
    listing = FaultyBlobs(blobs, fail_at=1, kinds=["after"]).list("")
    assert next(listing) == "a"
    with pytest.raises(StoreConnectionError):
        next(listing)
    assert list(faulty.list("")) == ["a", "b", "c"]


def test_latency_is_told_by_method():
    slept: list[float] = []
    seconds = {"get": 1.0, "put": 2.0, "list": 3.0, "delete": 4.0}
    slow = LatencyBlobs(MemoryBlobs(), seconds.__getitem__, sleep=slept.append)
    slow.put("a", b"")
    slow.get("a")
    assert list(slow.list("")) == ["a"]
    slow.delete("a")
    assert slept == [2.0, 1.0, 3.0, 4.0]
