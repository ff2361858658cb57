"""Signs that no further save should begin."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from truthstore.store.store import BaseStore

__all__ = ["memory_above", "pending_above"]

MEGABYTE: Final = 1_000_000


def memory_above(limit_mb: float) -> Callable[[], bool]:
    """Return a function that tells whether this process uses more memory (its resident set) than so many megabytes.

    Raises:
        StoreConfigError: psutil is not installed.
    """
    try:
        import psutil  # an extra
    except ImportError as error:
        raise StoreConfigError("max_memory_mb needs psutil: pip install 'truthstore[backpressure]'") from error

    processes: dict[int, Any] = {}

    def above() -> bool:
        process = processes.get(os.getpid()) or processes.setdefault(os.getpid(), psutil.Process())
        used: int = process.memory_info().rss
        return used > limit_mb * MEGABYTE

    return above


def pending_above(limit: int, base: BaseStore[Any]) -> Callable[[], bool]:
    """Return a function that tells whether more saves wait in the batching layers of a stack than so many.

    Raises:
        StoreConfigError: there is no such layer.
    """
    queues: list[Any] = [layer for layer in base.layers() if layer.name == "batched"]
    if not queues:
        raise StoreConfigError("max_pending is about saves that wait in a batching layer below, and there is none")
    return lambda: sum(queue.pending for queue in queues) > limit
