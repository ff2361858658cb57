"""Files as named bytes: reading, writing and syncing whole files, and `FileBlobs` over that."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from contextlib import suppress
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Final

from truthstore.backends.filesystem.lock import FolderLock
from truthstore.errors import (
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.model.record import ABSENT, ANY, new_revision
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = [
    "FileBlobs",
    "modified",
    "read_file",
    "sync_files",
    "sync_folder",
    "write_new",
]

TEMPORARY: Final = ".truthstore/new"
FILE_MODE: Final = 0o666
SYNC_TOGETHER: Final = 8
"""From so many files on the whole disk is synced at once."""
# Without waiting for the other end of a pipe.
_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full: make room and repeat",
    errno.EDQUOT: "the disk quota is used up: make room and repeat",
    errno.EACCES: "no permission: check who owns the folder",
    errno.EPERM: "no permission: check who owns the folder",
    errno.EROFS: "the disk is read-only",
    errno.EMFILE: "too many open files in this process",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}
UNREADABLE: Final = {
    errno.EACCES: "no permission: check who owns it",
    errno.EINVAL: "a pipe or a device, not a file",
    errno.EISDIR: "a folder, not a file",
    errno.ELOOP: "a loop of symbolic links, not a file",
    errno.ENXIO: "a socket, not a file",
}
"""Errors of one file, in whose place something else lies, or which is not for this process: others can be read."""
_RETRYABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EINTR, errno.EAGAIN})


def explained(error: OSError) -> str:
    """Explain an error of the operating system and say what to do."""
    return _ADVICE.get(error.errno or 0) or error.strerror or str(error)


def write_error(error: OSError, what: str) -> StoreError:
    """Return the error for a write that the operating system refused."""
    return StoreWriteError(
        f"{what}: {explained(error)}",
        backend="filesystem",
        retryable=error.errno in _RETRYABLE,
        store_unavailable=True,
    )


def open_error(error: OSError, what: str) -> StoreError:
    """Return the error for a folder that the operating system would not open."""
    return StoreConnectionError("filesystem", f"{what}: {explained(error)}", retryable=error.errno in _RETRYABLE)


def read_error(error: OSError, what: str) -> StoreError:
    """Return the error for a read that the operating system refused."""
    return StoreReadError(f"{what}: {explained(error)}", backend="filesystem", retryable=error.errno in _RETRYABLE)


def read_file(path: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, _READ)
    try:
        found = os.fstat(descriptor)
        if not S_ISREG(found.st_mode):
            raise OSError(errno.EISDIR if S_ISDIR(found.st_mode) else errno.EINVAL, "not a regular file", path)
        size = found.st_size
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
        # A read may be short, and a file may grow while it is read.
        parts = [data]
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def write_new(path: str, data: bytes, *, sync: bool) -> None:
    """Write a file that must not exist yet; with `sync`, wait until its bytes are on the disk.

    Raises:
        OSError: it could not be written; nothing of it is left.
    """
    descriptor = os.open(path, _CREATE, FILE_MODE)
    try:
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, data[written:])
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def sync_files(paths: Sequence[str]) -> None:
    """Wait until files and their folders are on the disk. Files that are not there any more are left out.

    Raises:
        OSError: not all could be brought there.
    """
    if len(paths) >= SYNC_TOGETHER and _sync_disk(paths[0]):
        return
    for path in paths:
        with suppress(FileNotFoundError):
            sync_folder(path)
    for folder in {os.path.dirname(path) for path in paths}:
        with suppress(FileNotFoundError):
            sync_folder(folder)


def _sync_disk(path: str) -> bool:
    """Sync the whole disk of a file by syncfs(2), which costs less than many files; False where that is lacking.

    Before Linux 5.8 it did not tell of errors.
    """
    if not is_linux_since(5, 8):
        return False
    import ctypes  # of no use to most processes

    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(os.path.dirname(path), _READ)
    try:
        if library.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
    return True


def is_linux_since(major: int, minor: int) -> bool:
    """Return whether this system is Linux, of at least this version."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release) if sys.platform.startswith("linux") else None
    return found is not None and (int(found[1]), int(found[2])) >= (major, minor)


def modified(path: str) -> int:
    """Return when a file or folder was last changed, in nanoseconds; -1 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return -1


def sync_folder(path: str) -> None:
    """Wait until the names in a folder, or the bytes of a file, are on the disk."""
    descriptor = os.open(path, _READ)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_writable(path: str) -> bool:
    """Return whether this process may make files in a folder: found out by doing it, for root and read-only disks alike."""
    probe = os.path.join(path, f".probe-{new_revision()}")
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        # Of a full disk and the like the first write will tell.
        return error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}
    with suppress(OSError):
        os.unlink(probe)
    return True


class FileBlobs:
    """The files below a folder as named bytes. Names that start with a dot are not listed.

    Args:
        root: the folder; made when something is written. `~` is the home of the user.
        durability: ``fsync`` waits for the disk, ``os`` leaves that to the operating system.
    """

    def __init__(self, root: str | os.PathLike[str], *, durability: str = "fsync") -> None:
        self.root = os.path.abspath(os.path.expanduser(os.fspath(root)))
        self.sync = durability == "fsync"
        self.lock = FolderLock(self.root)
        self.temporary = os.path.join(self.root, TEMPORARY)

    def path(self, key: str) -> str:
        """Return the file of a key."""
        return f"{self.root}/{key}"

    def make_folders(self) -> None:
        """Make the folder and what writing needs in it."""
        try:
            os.makedirs(self.temporary, exist_ok=True)
        except OSError as error:
            raise StoreConnectionError(
                "filesystem", f"cannot use the folder {self.root}: {explained(error)}", retryable=False
            ) from error

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their digest."""
        try:
            data = read_file(self.path(key))
        except (FileNotFoundError, IsADirectoryError):
            raise StoreNotFoundError("file", key, backend="filesystem") from None
        except OSError as error:
            if error.errno in UNREADABLE:
                raise StoreCorruptError(
                    f"cannot read {key}: {UNREADABLE[error.errno]}", backend="filesystem"
                ) from error
            raise read_error(error, f"cannot read {key}") from error
        return data, _digest(data)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes: a new file, moved over the old one."""
        final = self.path(key)
        self.make_folders()
        temporary = os.path.join(self.temporary, new_revision())
        try:
            write_new(temporary, data, sync=self.sync)
            try:
                os.makedirs(os.path.dirname(final), exist_ok=True)
                with self.lock:
                    self._check(key, expect)
                    os.rename(temporary, final)
                    if self.sync:
                        sync_folder(os.path.dirname(final))
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise write_error(error, f"cannot write {key}") from error
        return _digest(data)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a file."""
        try:
            with self.lock:
                if expect is not ANY:
                    self._check(key, expect, missing=True)
                os.unlink(self.path(key))
                if self.sync:
                    sync_folder(os.path.dirname(self.path(key)))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        except OSError as error:
            raise write_error(error, f"cannot remove {key}") from error
        return True

    def _check(self, key: str, expect: BlobExpect, *, missing: bool = False) -> None:
        if expect is ANY:
            return
        try:
            actual = _digest(read_file(self.path(key)))
        except FileNotFoundError:
            if missing or expect is ABSENT:
                return
            actual = None
        if expect is ABSENT or actual != expect:
            raise conflict(key, expect, actual, backend="filesystem", collection="file")

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Return keys in ascending order, from every folder."""
        folder = prefix.rpartition("/")[0]
        for key in self._walk(f"{folder}/" if folder else ""):
            if key.startswith(prefix) and (after is None or key > after):
                yield key

    def _walk(self, folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
        try:
            here = os.stat(self.path(folder))
            with os.scandir(self.path(folder)) as entries:
                names = sorted(e.name + "/" * os.path.isdir(e.path) for e in entries if not e.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise read_error(error, f"cannot list {folder or self.root}") from error
        inode = here.st_dev, here.st_ino
        if inode in above:
            return  # by way of a link the folder is in itself
        for name in names:
            if name.endswith("/"):
                yield from self._walk(folder + name, (*above, inode))
            else:
                yield folder + name

    def close(self) -> None:
        """Give up the descriptor of the lock."""
        self.lock.close()


def _digest(data: bytes) -> Tag:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
