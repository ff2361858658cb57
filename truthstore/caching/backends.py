"""All caches: in this process, in Redis, in a folder."""

from __future__ import annotations

from truthstore.caching.base import BaseCache, SharedCache
from truthstore.caching.disk_cache import DiskCache
from truthstore.caching.memory import InMemoryCache, LFUCache, LRUCache, TTLCache
from truthstore.caching.redis_cache import RedisCache

__all__ = ["BaseCache", "DiskCache", "InMemoryCache", "LFUCache", "LRUCache", "RedisCache", "SharedCache", "TTLCache"]
