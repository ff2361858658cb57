"""A store in a folder that several machines share, such as a network drive: no database lies in it, only files and a log.

`get_store("filesystem", index="log", …)` opens it. On a local disk the SQLite index of `FileSystemStore` is faster.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.backends.filesystem.config import FileSystemConfig
from truthstore.backends.filesystem.files import FileBlobs
from truthstore.backends.filesystem.lock import FolderLock
from truthstore.errors import StoreConfigError, StoreConnectionError
from truthstore.items.results import RESULTS
from truthstore.storage.log.store import LogStore
from truthstore.storage.objects.names import path_of
from truthstore.storage.objects.object_store import Format
from truthstore.store.config import configure

if TYPE_CHECKING:
    from truthstore.model.collection import Collection

__all__ = ["FileLogStore"]

T = TypeVar("T")

FILE_MODE: Final = 0o666


class LockFile(FolderLock):
    """A lock on a file of its own, open for writing: network file systems lock nothing else."""

    def _open(self, path: str) -> int:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)


class FileLogStore(LogStore[T]):
    """Keep items as files in a folder, for any number of processes on any number of machines.

    Writes are conditional by way of flock(2) on ``.truthstore/lock``, which NFS and SMB pass on to the server. A machine
    sees what others wrote as soon as its file system shows it: NFS caches the names in a folder for some seconds unless it
    is mounted with ``actimeo=0``.

    Args:
        config: the options of the filesystem store, with ``index="log"``, or
        options: the same as keywords.
        collection: what the public operations act on.
    """

    name: ClassVar[str] = "filesystem"

    def __init__(
        self, config: FileSystemConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        if config is None:
            options.setdefault("index", "log")
        settings = configure(FileSystemConfig, config, options, "FileLogStore")
        if settings.index != "log":
            raise StoreConfigError(f"FileLogStore has index='log', not {settings.index!r}: use FileSystemStore")
        root = os.path.join(os.fspath(settings.base_path), path_of(settings.namespace, settings.prefix))
        blobs = FileBlobs(root, durability=settings.durability)
        blobs.lock = LockFile(blobs.path(".truthstore/lock"))
        cache_dir = None if settings.cache_dir is None else os.fspath(settings.cache_dir)
        form = Format.of(settings, settings.file_extension)
        super().__init__(collection, settings, form, blobs, url=f"file://{blobs.root}", cache_dir=cache_dir)
        self._settings = settings
        self.indent = settings.pretty_print
        self._root = blobs.root

    @property
    def root(self) -> str:
        """Return the folder in which the files of validation results lie."""
        return self._root

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root!r}, {self._collection.name})"

    def _open(self) -> None:
        if not self._settings.create_dirs and not os.path.isdir(self._root):
            raise StoreConnectionError(
                self.name, f"there is no folder {self._root}, and create_dirs is off", retryable=False
            )
        super()._open()
