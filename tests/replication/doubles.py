"""Stores that can be cut off, and count what reaches them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from truthstore import BaseStore, StoreQuery
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConnectionError
from truthstore.replication import ReplicaTarget, ReplicatedStore
from truthstore.store.wrapper import WrapperStore
from truthstore.testing import SAMPLES, Sample

EVERYTHING = StoreQuery(order_by="id", ascending=True, include_deleted=True)
CALLS = (
    "put_record",
    "put_records",
    "get_record",
    "get_records",
    "delete_record",
    "delete_records",
    "head_record",
    "scan",
)
FURTHER = ("scan_ids", "count_records", "digest_records", "revision_records")


def _watched(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        self.calls[name] += 1
        if self.before is not None:
            self.before(name)
        if self.down:
            raise StoreConnectionError("replica", "no route to host")
        time.sleep(self.seconds)
        result = getattr(self._base, name)(*arguments, **options)
        if self.after is not None:
            self.after(name)
        return result

    return call


class Remote(WrapperStore[Any]):
    """Passes calls on, unless it is cut off.

    Attributes:
        down: every call fails.
        seconds: how long a call takes at least.
        calls: how many there were, by name.
        before: called with the name of each call, before it is passed on; `after` when it was.
    """

    name = "remote"

    def __init__(self, base: BaseStore[Any] | None = None, *, seconds: float = 0.0) -> None:
        super().__init__(MemoryStore(collection=SAMPLES) if base is None else base)
        self.down = False
        self.seconds = seconds
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str], object] | None = None
        self.after: Callable[[str], object] | None = None

    def initialize(self) -> None:
        if self.down:
            raise StoreConnectionError("replica", "no route to host")


for _name in (*CALLS, *FURTHER):
    setattr(Remote, _name, _watched(_name))


def folder(path: str) -> FileSystemStore[Sample]:
    return FileSystemStore(base_path=path, collection=SAMPLES, durability="os")


def replicated(primary: BaseStore[Any], *replicas: BaseStore[Any], **options: Any) -> ReplicatedStore[Any]:
    """Replicas are called a, b, c."""
    settings: dict[str, Any] = {
        "delivery_interval_seconds": None,
        "durability": "os",
        "recovery_seconds": 0.0,
        **options,
    }
    targets = [ReplicaTarget(name, store) for name, store in zip("abc", replicas, strict=False)]
    return ReplicatedStore(primary, targets=targets, **settings)


def content(store: BaseStore[Any], collection: Any = SAMPLES) -> list[tuple[Any, ...]]:
    """What a store holds: ids, revisions, tombstones, bodies, tags."""
    found = store.scan(EVERYTHING, collection=collection, bodies=True)
    return [(r.id, r.revision, r.meta.deleted, r.body, dict(r.meta.tags), r.meta.stored_at) for r in found]
