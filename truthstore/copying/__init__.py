"""Copy stores: between any two backends or stacks, from folders of other tools, to one file and back."""

from __future__ import annotations

from truthstore.copying.base import Conflict, CopyConflictError, CopyProgress, CopyResult
from truthstore.copying.export import export_store, restore_store
from truthstore.copying.store import copy_store

__all__ = [
    "Conflict",
    "CopyConflictError",
    "CopyProgress",
    "CopyResult",
    "copy_store",
    "export_store",
    "restore_store",
]
