"""All caches: in this process, in Redis, in a file."""

from __future__ import annotations

from truthstore.caching.backends.disk import DiskCache
from truthstore.caching.backends.memory import InMemoryCache, LFUCache, LRUCache, TTLCache
from truthstore.caching.backends.redis import RedisCache
from truthstore.caching.backends.shared import SharedCache
from truthstore.caching.base import BaseCache

__all__ = ["BaseCache", "DiskCache", "InMemoryCache", "LFUCache", "LRUCache", "RedisCache", "SharedCache", "TTLCache"]
