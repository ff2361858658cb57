"""Copy stores: between any two, from folders of other tools, to one file and back."""

from __future__ import annotations

from truthstore.copying.base import Conflict, CopyConflictError, CopyCounts
from truthstore.copying.store import copy_store, export_store, restore_store

__all__ = ["Conflict", "CopyConflictError", "CopyCounts", "copy_store", "export_store", "restore_store"]
