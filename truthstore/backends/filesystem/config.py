"""Options of the filesystem store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from truthstore.errors import StoreConfigError, echoed, one_of
from truthstore.store.config import StoreConfig
from truthstore.store.urls import shown_url, split_url

__all__ = ["FileSystemConfig", "options_of_url"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemConfig(StoreConfig):
    """Options of the filesystem store; files lie in ``{base_path}/{namespace}/{prefix}/``.

    Attributes:
        base_path: the folder.
        file_extension: what file names end with.
        create_dirs: make the folder if it is not there.
        pretty_print: write JSON with line breaks.
        durability: ``fsync``: what is acknowledged survives a power cut. ``os``: it survives the death of the process.
        index: ``sqlite``, for local disks; ``log``, for folders that several machines share. Stores with a log are opened
            by `get_store`, or as `FileLogStore`.
        cache_dir: with ``index="log"``, where this machine's copy of the index lies; the user's cache folder by default.
            It holds the indexed fields in plain text, and may be deleted at any time.
    """

    base_path: str | os.PathLike[str] = ".truthstore/store"
    prefix: str = "validations"
    file_extension: str = ".json"
    create_dirs: bool = True
    pretty_print: bool = True
    durability: Literal["fsync", "os"] = "fsync"
    index: Literal["sqlite", "log"] = "sqlite"
    cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        StoreConfig.__post_init__(self)
        if not isinstance(self.base_path, str | os.PathLike):
            raise TypeError(f"base_path is a path, not {type(self.base_path).__name__}")
        if not os.fspath(self.base_path):
            raise StoreConfigError("base_path is empty: name a folder; '.' is the current one")
        if "://" in (path := os.fspath(self.base_path)):
            raise StoreConfigError(f"base_path is a path: for {shown_url(path)!r} write get_store(url)")
        if self.durability not in {"fsync", "os"}:
            raise StoreConfigError(one_of("durability", self.durability, ("fsync", "os")))
        if self.index not in {"sqlite", "log"}:
            raise StoreConfigError(one_of("index", self.index, ("sqlite", "log")))
        if self.cache_dir is not None and self.index != "log":
            raise StoreConfigError("cache_dir is for index='log': the SQLite index lies beside the files")
        if self.file_extension in {".gz", ".zst"}:
            raise StoreConfigError(f"file_extension {self.file_extension} is the ending of a compression: ask for that")
        if not self.file_extension.startswith(".") or not self.file_extension[1:].isalnum():
            raise StoreConfigError(f"file_extension is a dot and letters, not {echoed(self.file_extension)}")


def options_of_url(url: str) -> dict[str, Any]:
    """Return the options in ``file:///path?option=value``.

    Raises:
        StoreConfigError: the URL names a host.
    """
    from urllib.parse import unquote

    parts, options = split_url(url)
    if parts.netloc not in {"", "localhost"}:
        raise StoreConfigError(f"{shown_url(url)!r} names a host: a local path has three slashes, file:///path")
    options.setdefault("base_path", unquote(parts.path))
    return options
