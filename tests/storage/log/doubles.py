"""Log stores over any driver, as the tests of this folder open them."""

from __future__ import annotations

from typing import Any

from truthstore import Collection
from truthstore.storage.log.store import LogStore
from truthstore.storage.objects.object_store import Format
from truthstore.store.config import StoreConfig
from truthstore.testing import SAMPLES


def log_store(blobs: Any, collection: Collection[Any] = SAMPLES, **options: Any) -> LogStore[Any]:
    """Open a log store; with a replica in memory and requests one after the other, unless the options say otherwise."""
    config = StoreConfig()
    options = {"url": "memory://", "cache_dir": ":memory:", "concurrency": 1, **options}
    return LogStore(collection, config, Format.of(config), blobs, **options)
