"""A cache in a folder, shared by the processes of one machine and kept from one to the next."""

from __future__ import annotations

import importlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

from truthstore.caching.shared import LEASE_SECONDS, VALUE, GuardedCache
from truthstore.errors import StoreConfigError

__all__ = ["DiskCache"]


class DiskCache(GuardedCache):
    """Keeps bytes in a folder, by the package diskcache, and never unpickles anything.

    Args:
        directory: the folder; it is made if need be.
        ttl_seconds: how long an entry may be served; None, 0 and infinity mean until its place is needed.
        max_memory_mb: at most about so many megabytes; what was used longest ago goes first.
        timeout_seconds: how long to wait for another process.
        retry_seconds: after a failure the folder is left alone for so long.

    Raises:
        StoreConfigError: the package diskcache is not installed, or the folder cannot be used.
    """

    name: ClassVar[str] = "disk"
    _cache: Any = None

    def __init__(
        self,
        directory: str | os.PathLike[str] = ".truthstore/cache",
        *,
        ttl_seconds: float | None = 3_600.0,
        max_memory_mb: float = 1_000.0,
        timeout_seconds: float = 5.0,
        retry_seconds: float = 1.0,
    ) -> None:
        try:
            diskcache: Any = importlib.import_module("diskcache")  # without types
        except ImportError as error:
            raise StoreConfigError("DiskCache needs the extra 'disk': pip install 'truthstore[disk]'") from error
        super().__init__(
            ttl_seconds=ttl_seconds,
            retry_seconds=retry_seconds,
            failures=(diskcache.Timeout, sqlite3.Error, OSError),
        )
        try:
            with self._gate:  # it opens connections
                self._cache = _folder(diskcache)(
                    os.fspath(directory),
                    timeout=timeout_seconds,
                    disk=_bytes_only(diskcache),
                    size_limit=int(max_memory_mb * 1e6),
                    eviction_policy="least-recently-used",
                )
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise StoreConfigError(f"the cache in {os.fspath(directory)} cannot be opened: {error}") from error

    def _get(self, keys: list[str]) -> list[bytes | None]:
        return [self._cache.get(key) for key in keys]

    def _set(self, values: Mapping[str, bytes], ttl_seconds: float | None) -> None:
        for key, value in values.items():
            self._cache.set(key, value, expire=ttl_seconds)

    def _remove(self, keys: list[str]) -> list[bytes | None]:
        with self._cache.transact():
            return [self._cache.pop(key) for key in keys]

    def _take(self, values: Mapping[str, bytes], *, force: bool) -> list[str]:
        with self._cache.transact():
            if force:
                for key, lease in values.items():
                    self._cache.set(key, lease, expire=LEASE_SECONDS)
                return list(values)
            return [key for key, lease in values.items() if self._cache.add(key, lease, expire=LEASE_SECONDS)]

    def _fill(self, key: str, lease: bytes, value: bytes, ttl_seconds: float | None) -> bool:
        with self._cache.transact():
            if self._cache.get(key) != lease:
                return False
            self._cache.set(key, value, expire=ttl_seconds)
            return True

    def _clear(self) -> int:
        return int(self._cache.clear())

    def _count(self) -> int:
        return sum((self._cache.get(key) or b"")[:1] == VALUE for key in self._cache)

    def cleanup_expired(self) -> int:
        """Forgets what is too old and returns how much that was."""
        return int(self._attempt(self._cache.expire, 0))

    def close(self) -> None:
        """Removes what is still to be removed, and closes the folder."""
        self.settle()
        with self._gate:
            self._cache.close_all()

    def _rest(self) -> None:
        if self._cache is not None:
            self._cache.close_all()

    def _start_anew(self) -> None:
        pass  # nothing was open


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly."""


def _folder(diskcache: Any) -> type:
    """A cache whose connections, one for each thread, can all be closed by the thread that forks."""

    class Folder(diskcache.Cache):  # type: ignore[misc]  # a class of an untyped package
        def __init__(self, directory: str, **options: Any) -> None:
            self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
            super().__init__(directory, **options)

        @property
        def _con(self) -> sqlite3.Connection:
            known: sqlite3.Connection | None = getattr(self._local, "con", None)
            return self._connect() if known is None else known

        def _connect(self) -> sqlite3.Connection:
            connection = sqlite3.connect(
                os.path.join(self._directory, diskcache.core.DBNAME),
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
            )
            self._local.con = connection
            self._opened.add(connection)
            try:
                settings = connection.execute("SELECT key, value FROM Settings").fetchall()
            except sqlite3.OperationalError:  # there is no such table yet
                settings = []
            for key, value in settings:
                if key.startswith("sqlite_"):  # holds for one connection
                    self.reset(key, value, update=False)
            return connection

        def close_all(self) -> None:
            """Closes the connections of all threads, which open others when they need them."""
            for connection in list(self._opened):
                connection.close()
            self._local = threading.local()

    return Folder


def _bytes_only(diskcache: Any) -> type:
    """The format of the folder: keys are strings and values bytes, so that reading one can run no code."""

    class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # a class of an untyped package
        def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:  # noqa: FBT001  # as inherited
            if type(value) is not bytes:
                raise TypeError(f"a DiskCache holds bytes, not {type(value).__name__}")
            return super().store(value, read, key=key)

        def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:  # noqa: FBT001  # as inherited
            if mode not in {diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY}:
                raise OSError("an entry of the cache is not bytes: it is not used")
            return super().fetch(mode, filename, value, read)

        def get(self, key: Any, raw: bool) -> Any:  # noqa: FBT001  # as inherited
            if not raw:
                raise OSError("a key of the cache is not a string: it is not used")
            return super().get(key, raw)

    return BytesDisk
