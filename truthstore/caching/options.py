"""Options of a cache beside a cache that was given: what it would not heed is refused, not ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from truthstore.caching.base import CacheConfig
from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from truthstore.caching.base import BaseCache

__all__ = ["check_beside"]

OF_OWN_CACHE: Final = ("eviction_policy", "max_memory_mb", "max_size", "ttl_seconds")


def check_beside(cache: BaseCache[Any], config: CacheConfig, options: Mapping[str, Any]) -> None:
    """Whether a configuration beside a cache says nothing that this cache does not heed.

    Raises:
        StoreConfigError: it does.
    """
    usual, heeded = CacheConfig(), getattr(cache, "config", None)
    unheeded = [
        name
        for name in OF_OWN_CACHE
        if name in options or getattr(config, name) not in {getattr(usual, name), getattr(heeded, name, None)}
    ]
    if unheeded:
        raise StoreConfigError(
            f"{', '.join(unheeded)}: the cache that was given has its own: tell {type(cache).__name__} instead"
        )
