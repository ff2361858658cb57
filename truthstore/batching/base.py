"""Options of batching, and the items that a store rejected."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from truthstore.errors import StoreConfigError, echoed

__all__ = ["BatchConfig", "RejectedItem"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """When a batch is stored, and where it waits until then.

    Attributes:
        max_batch_size: at most so many items at once.
        max_memory_mb: a batch that has so many megabytes is stored at once, however few its items.
        flush_interval_seconds: how often a thread stores pending saves; None for no thread: then only `flush()`,
            `maintain()`, `close()`, a query, the end of the process, and a full batch in memory do.
        durable: keep pending saves in a file, so that each save survives a crash and no store that is down fails it.
        path: the file; by default one named after the store, in ``.truthstore/queue`` below the folder in which the
            program was when it made the store.
        durability: of that file: ``fsync``: a save survives a power cut; ``os``: the death of the process.

    Raises:
        ValueError: a number that makes no sense.
        TypeError: something else instead of a number, a flag or a path.
        StoreConfigError: an unknown durability, or a path without `durable`.
    """

    max_batch_size: int = 100
    max_memory_mb: float = 10.0
    flush_interval_seconds: float | None = 1.0
    durable: bool = False
    path: str | os.PathLike[str] | None = None
    durability: Literal["fsync", "os"] = "fsync"

    def __post_init__(self) -> None:
        if isinstance(self.max_batch_size, float):
            raise TypeError(f"max_batch_size is a whole number, not {echoed(self.max_batch_size)}")
        for name in ("max_batch_size", "max_memory_mb", "flush_interval_seconds"):
            value = getattr(self, name)
            if value is None and name == "flush_interval_seconds":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {echoed(value)}")
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, not {value}")
        if not isinstance(self.durable, bool):
            raise TypeError(f"durable is True or False, not {echoed(self.durable)}")
        if self.path is not None and not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"path is the path of a file, not {echoed(self.path)}")
        if self.path is not None and not self.durable:
            raise StoreConfigError("path names the file of durable=True: give both, or neither")

    @property
    def max_bytes(self) -> int:
        """The limit of a batch in bytes."""
        return int(self.max_memory_mb * 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedItem(Generic[T]):
    """A saved item that the store below will never take as it is.

    Attributes:
        id: its id.
        error: class name and message of the store's error.
        load: returns the item; it raises `StoreCorruptError` if the queue's file was damaged.
    """

    id: str
    error: str
    load: Callable[[], T] = field(repr=False)
