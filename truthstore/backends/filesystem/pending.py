"""Writes on their way: documents in pending files until the index has committed them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from truthstore.backends.filesystem.files import read_error, sync_folder, write_new

if TYPE_CHECKING:
    from truthstore.model.record import Record

__all__ = ["PendingWrites", "Staged", "Target", "modified"]

log: Final = logging.getLogger("truthstore")
ORPHAN_SECONDS: Final = 3_600.0
SETTLED_NANOSECONDS: Final = 50_000_000
SYNC_THREADS: Final = 8
DELETED: Final = ".deleted"


class Staged(NamedTuple):
    """A document on its way: its record, its pending file, the file that it becomes, and its bytes."""

    record: Record
    pending: str
    final: str
    data: bytes


class Target(NamedTuple):
    """Where a pending file belongs, and whether the index has its revision."""

    final: str
    committed: bool


class PendingWrites:
    """The pending files of one store. A name is the revision, the collection, and ``.deleted`` for what was moved aside.

    Args:
        folder: where they lie.
        sync: whether to wait for the disk.
        target: where the file at a path belongs, by collection name and revision; None if that cannot be told.
    """

    def __init__(self, folder: str, *, sync: bool, target: Callable[[str, str, str], Target | None]) -> None:
        self._folder = folder
        self._sync = sync
        self._target = target
        self._clean = -1

    def path(self, revision: str, collection_name: str) -> str:
        """The pending file of a write."""
        return f"{self._folder}/{revision}.{collection_name}"

    def aside(self, revision: str, collection_name: str) -> str:
        """Where the file of a deleted item waits for the commit."""
        return self.path(revision, collection_name) + DELETED

    def write(self, writes: Sequence[Staged]) -> None:
        """Writes pending files, all or none; syncs of many run side by side, which a disk likes better.

        Raises:
            OSError: one could not be written.
        """
        if len(writes) == 1:
            self._write(writes[0])
            return
        try:
            if self._sync:
                with ThreadPoolExecutor(SYNC_THREADS) as pool:
                    for _ in pool.map(self._write, writes):
                        continue
                return
            for one in writes:
                self._write(one)
        except BaseException:
            self.remove(writes)
            raise

    def _write(self, one: Staged) -> None:
        try:
            write_new(one.pending, one.data, sync=self._sync)
        except FileNotFoundError:
            # Somebody removed the folder of an open store.
            os.makedirs(self._folder, exist_ok=True)
            write_new(one.pending, one.data, sync=self._sync)
        except FileExistsError:
            # An earlier attempt at the same write was cut short.
            os.unlink(one.pending)
            write_new(one.pending, one.data, sync=self._sync)

    def remove(self, writes: Sequence[Staged]) -> None:
        """Takes back pending files of writes that did not happen. One that cannot be removed becomes an orphan."""
        for one in writes:
            with suppress(OSError):
                os.unlink(one.pending)

    def forget(self) -> None:
        """The pending folder may have changed unseen."""
        self._clean = -1

    def is_clean(self) -> bool:
        """Whether nothing is pending, nearly always by one `stat`.

        An empty folder is remembered by its modification time, unless that is so recent that another change could
        bear the same one (the "racily clean" rule of git's index, git-scm.com/docs/racy-git).
        """
        changed = modified(self._folder)
        if changed == self._clean:
            return True
        if next(self._entries(), None) is not None:
            return False
        self._clean = changed if time.time_ns() - changed > SETTLED_NANOSECONDS else -1
        return True

    def _entries(self) -> Iterator[tuple[str, str]]:
        try:
            with os.scandir(self._folder) as entries:
                yield from [(entry.name, entry.path) for entry in entries]
        except FileNotFoundError:
            return
        except OSError as error:
            raise read_error(error, f"cannot list {self._folder}") from error

    def roll_forward(self) -> int:
        """Finishes what crashed writers committed, and clears what they did not; under the store's lock.

        A file that cannot be moved is logged and stays: what it belongs to is read as damaged until it can be.

        Returns:
            How many files were moved to their places or removed.
        """
        done = 0
        for name, path in self._entries():
            revision, _, rest = name.partition(".")
            deleted = rest.endswith(DELETED)
            try:
                target = self._target(path, rest.removesuffix(DELETED), revision)
                if target is not None and target.committed:
                    # A write that was committed, or a delete that was not: the file belongs in its place.
                    os.rename(path, target.final)
                    if self._sync:
                        sync_folder(os.path.dirname(target.final))
                elif (target is not None and deleted) or time.time_ns() - modified(path) > ORPHAN_SECONDS * 1e9:
                    # Of a delete that was committed, or of a write that never was; a young one may belong to a writer.
                    os.unlink(path)
                else:
                    continue
            except FileNotFoundError:
                continue  # its writer took it back meanwhile
            except OSError as error:
                log.warning("cannot finish the write %s: %s", path, error)
                continue
            done += 1
        return done


def modified(path: str) -> int:
    """When a file or folder was last changed, in nanoseconds; -1 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return -1
