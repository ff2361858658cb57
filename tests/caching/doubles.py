"""Stores below a cache that count, stop, keep silent or write behind its back."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from truthstore import BaseStore, WrapperStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.caching import CachedStore, RedisCache
from truthstore.testing import SAMPLES, Sample

__all__ = ["Below", "Scene", "Silent", "outage"]


class Below(WrapperStore[Any]):
    """Notes the ids that are loaded, and stops reads that have found something and not said so yet."""

    def __init__(self, base: BaseStore[Any]) -> None:
        super().__init__(base)
        self.loads: list[str] = []
        self.stops: dict[str, tuple[threading.Event, threading.Event]] = {}

    def stop(self, kind: str = "get") -> tuple[threading.Event, threading.Event]:
        """Stop the next read of a kind; return the events that it has read, and that it may go on."""
        self.stops[kind] = (threading.Event(), threading.Event())
        return self.stops[kind]

    def _wait(self, kind: str) -> None:
        reached, go_on = self.stops.pop(kind, (None, None))
        if reached is not None and go_on is not None:
            reached.set()
            go_on.wait(60)

    def get_record(self, id, **options):
        """Note a load."""
        if options["collection"].is_users:
            self.loads.append(id)
        try:
            return self._base.get_record(id, **options)
        finally:
            self._wait("get")

    def get_records(self, ids, **options):
        """Note loads."""
        if options["collection"].is_users:
            self.loads.extend(ids)
        found = self._base.get_records(ids, **options)
        self._wait("get_many")
        return found

    head_record = WrapperStore.head_record
    scan = WrapperStore.scan


class Silent(MemoryStore[Any]):
    """Announces nothing."""

    def _announce(self, changes: Any) -> None:
        pass


class Scene:
    """A cached store, and another one that writes to the same place without its knowledge, as another process does."""

    def __init__(self, cache: Any = None, **options: Any) -> None:
        data = MemoryData()
        self.other = MemoryStore(collection=SAMPLES, data=data)
        self.below = Below(MemoryStore(collection=SAMPLES, data=data))
        self.store: CachedStore[Any] = CachedStore(self.below, cache, **options)
        self.other.save(Sample("a", count=1))


@contextmanager
def outage(cache: RedisCache) -> Generator[None]:
    """Cut a cache off from its server, which goes on."""
    pool = cache._client.connection_pool
    port = pool.connection_kwargs["port"]
    for number in (1, port):
        pool.disconnect()
        pool.reset()  # the next connections are made with these arguments
        pool.connection_kwargs["port"] = number
        if number == 1:
            yield
