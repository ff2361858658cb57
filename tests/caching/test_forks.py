"""Processes that fork while their shared caches are in use: no child hangs, and none uses a connection of its parent."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Child
from tests.services.process import started
from tests.services.valkey import run_valkey
from truthstore.caching.backends import DiskCache, RedisCache


@pytest.fixture(scope="module")
def url():
    yield from started(run_valkey())


@pytest.fixture(params=["disk", "redis"])
def cache(request, tmp_path):
    cache: Any
    if request.param == "disk":
        cache = DiskCache(tmp_path / "cache")
    else:
        cache = RedisCache(request.getfixturevalue("url"), prefix=f"{tmp_path.name}:", timeout_seconds=10)
    yield cache
    cache.clear()
    cache.close()


def in_a_child(work: Any) -> Any:
    """What some work in a forked process returns; fails if it hangs."""
    child = Child(lambda _: work())
    assert child.hear_within(15), "the child hangs"
    assert child.wait() == 0
    return child.returned


def test_a_fork_waits_for_operations_and_the_child_goes_on(cache):
    reached, go_on, forked = threading.Event(), threading.Event(), threading.Event()
    found: list[Any] = []
    usual = cache._get

    def slow(keys: list[str]) -> Any:
        reached.set()
        go_on.wait(10)
        return usual(keys)

    def fork() -> None:
        child = Child(lambda _: (cache.get("a"), cache.set("b", b"child")))
        forked.set()
        assert child.hear_within(15), "the child hangs"
        found.append(child.returned)
        child.wait()

    cache.set("a", b"1")
    cache._get = slow
    reading, forking = threading.Thread(target=lambda: found.append(cache.get("a"))), threading.Thread(target=fork)
    reading.start()
    assert reached.wait(10)
    forking.start()
    assert not forked.wait(0.1)
    go_on.set()
    for thread in (reading, forking):
        thread.join(20)
    assert found[-2:] == [b"1", (b"1", None)]
    assert cache.get_many(["a", "b"]) == {"a": b"1", "b": b"child"}


def test_the_lock_of_the_figures_is_not_copied(cache):
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._lock:
            held.set()
            go_on.wait(10)

    cache.set("a", b"1")
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    try:
        assert in_a_child(lambda: cache.get("a")) == b"1"
    finally:
        go_on.set()
        holder.join()


def test_what_is_owed_is_owed_in_the_child_too(cache):
    cache._debts.owe(["a"])
    cache.set("b", b"2")  # which pays it
    cache.set("a", b"1")
    cache._debts.owe(["a"])
    assert in_a_child(lambda: cache.get_many(["a", "b"])) == {"b": b"2"}
    assert not cache.exists("a")


def test_no_connection_to_a_folder_crosses_a_fork(tmp_path: Path):
    cache = DiskCache(tmp_path / "cache")
    cache.set("a", b"1")
    reading = [threading.Barrier(3), threading.Barrier(3)]

    def read() -> None:
        cache.get("a")  # each thread has a connection of its own
        reading[0].wait(10)
        reading[1].wait(10)
        found.append(cache.get("a"))

    def opened() -> list[str]:
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return [name for link in links if os.path.lexists(link) and "cache.db" in (name := os.readlink(link))]

    if not os.path.isdir("/proc/self/fd"):  # pragma: no cover
        pytest.skip("there is no /proc")
    found: list[bytes | None] = []
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    reading[0].wait(10)
    assert opened()
    assert in_a_child(opened) == []
    reading[1].wait(10)
    for thread in threads:
        thread.join(10)
    assert found == [b"1", b"1"]
    cache.close()
    assert opened() == []


def test_a_child_has_a_client_of_its_own(url, tmp_path):
    cache = RedisCache(url, prefix=f"{tmp_path.name}:", retry_seconds=60)
    cache.set("a", b"1")
    client = cache._client
    connection = client.connection_pool._available_connections[0]

    def use() -> Any:
        return cache._client is client, cache.get("a"), cache.metrics.errors

    assert in_a_child(use) == (False, b"1", 0)
    assert cache._client is client
    assert cache.get("a") == b"1"
    assert client.connection_pool._available_connections == [connection]
    assert cache.metrics.errors == 0
    cache.clear()
    cache.close()


def test_a_client_that_was_given_crosses_a_fork_by_its_own_means(url, tmp_path):
    import redis

    client = redis.Redis.from_url(url)
    cache = RedisCache(client=client, prefix=f"{tmp_path.name}:")
    cache.set("a", b"1")
    assert in_a_child(lambda: (cache.get("a"), cache._client is client)) == (b"1", True)
    assert cache.get("a") == b"1"
    cache.clear()
    client.close()
