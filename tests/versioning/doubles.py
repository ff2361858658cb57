"""Shared by the tests of versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from truthstore import Collection, Record, WrapperStore
from truthstore.versioning import VersionedStore, VersionInfo

__all__ = ["SlowHistory", "known", "save_version"]


class SlowHistory(WrapperStore[Any]):
    """Lets other writers come before the next write to a history, if `meanwhile` is set."""

    meanwhile: Callable[[], object] | None = None

    def _wait(self, collection: Collection[Any]) -> None:
        meanwhile = self.meanwhile
        if meanwhile is not None and not collection.is_users:
            self.meanwhile = None
            meanwhile()

    def put_record(self, record: Record, *, collection: Collection[Any], **options: Any) -> Record:
        self._wait(collection)
        return super().put_record(record, collection=collection, **options)

    def delete_record(self, id: str, *, collection: Collection[Any], **options: Any) -> bool:
        self._wait(collection)
        return super().delete_record(id, collection=collection, **options)


def known(store: VersionedStore[Any], id: str = "a") -> list[VersionInfo]:
    """Return the history of an item, about which all methods agree."""
    history = store.get_version_history(id)
    assert store.list_versions(id) == [info.version for info in history]
    assert store.count_versions(id) == len(history)
    assert store.get_latest_version_info(id) == (history[0] if history else None)
    for info in history:
        assert store.get_version_info(id, info.version) == info
        assert store.exists(id, version=info.version)
        assert store.get(id, version=info.label) == store.get_version(id, info.version)
    return history


def save_version(store: VersionedStore[Any], item: Any, **options: Any) -> VersionInfo:
    """Save an item and return the description of just that version."""
    collection = store._collection
    head = store.put_record(collection.encode(item), collection=collection, options=options)
    return store._reader.info(head, collection)
