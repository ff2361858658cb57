"""A store in a folder: plain files, and an index beside them."""

from __future__ import annotations

from truthstore.backends.filesystem.store import (
    FileSystemConfig,
    FileSystemExpectationStore,
    FileSystemStore,
    open_folder,
)

__all__ = ["FileSystemConfig", "FileSystemExpectationStore", "FileSystemStore", "open_folder"]
