"""Answers from a cache, never older than a write of this process."""

from __future__ import annotations

from truthstore.caching.backends import (
    BaseCache,
    DiskCache,
    InMemoryCache,
    LFUCache,
    LRUCache,
    RedisCache,
    SharedCache,
    TTLCache,
)
from truthstore.caching.base import CacheConfig, CacheMetrics, CacheMode, EvictionPolicy
from truthstore.caching.store import CachedStore

__all__ = [
    "BaseCache",
    "CacheConfig",
    "CacheMetrics",
    "CacheMode",
    "CachedStore",
    "DiskCache",
    "EvictionPolicy",
    "InMemoryCache",
    "LFUCache",
    "LRUCache",
    "RedisCache",
    "SharedCache",
    "TTLCache",
]
