"""Commits of writes to a folder: documents in new files, then rows and journal in one transaction, then renames.

The commit of the transaction is the moment at which a write is done, wholly. Behind it the new files are renamed, without
waiting for the disk. The journal keeps, until the files are synced, what they must hold: the documents themselves; where
nothing is synced, the names of the new files. So if the process dies in between, or the power fails, it can be done
later. Threads that write at the same time share one transaction: the first that gets the lock of the folder commits for all
that wait ("group commit", DeWitt et al., "Implementation techniques for main memory database systems", 1984).
"""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from truthstore.backends.filesystem.files import read_file, sync_files, write_new
from truthstore.backends.filesystem.mark import CLEAR, DOUBTFUL, UNSYNCED, Mark
from truthstore.errors import StoreConfigError, StoreConflictError, StoreCorruptError, shown
from truthstore.model.record import ABSENT, new_revision
from truthstore.storage.catalog.catalog import Location, Put
from truthstore.storage.catalog.journal import Entry, Journal, salvage
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from truthstore.backends.filesystem.files import FileBlobs
    from truthstore.backends.filesystem.folder import Folder
    from truthstore.model.collection import Collection
    from truthstore.model.record import Expect, Record
    from truthstore.storage.catalog.catalog import Catalog

__all__ = ["BACKEND", "Commits", "Write"]

log: Final = logging.getLogger("truthstore.backends.filesystem")
BACKEND: Final = "filesystem"
RELEASE_FILES: Final = 500
RELEASE_BYTES: Final = 16 << 20
"""So many files or bytes wait in the journal before they are released together."""


class Write:
    """The changes of one caller, all in one transaction.

    Attributes:
        staged: the new files of the records, by id.
        done: it is committed.
        refused: the conflicts of items that were left out, by id.
        live: ids that were removed, without tombstones; those of a first try, whose commit is in doubt, too.
    """

    __slots__ = ("collection", "deletes", "documents", "done", "expect", "live", "puts", "refused", "staged")

    def __init__(self, collection: Collection[Any], expect: Expect, deletes: Sequence[str] = ()) -> None:
        self.collection = collection
        self.expect = expect
        self.puts: list[Put] = []
        self.documents: list[bytes] = []
        self.staged: dict[str, str] = {}
        self.deletes = deletes
        self.done = False
        self.refused: dict[str, StoreConflictError] = {}
        self.live: dict[str, None] = {}

    def __str__(self) -> str:
        items = self.id if self.id is None else shown(self.id)
        action, place = ("remove", "from") if self.deletes else ("write", "to")
        return f"{action} {self.collection.name} {items or len(self.puts) + len(self.deletes)} {place}"

    @property
    def id(self) -> str | None:
        """Return the id that it concerns, if there is but one."""
        ids = [*(put.record.meta.id for put in self.puts), *self.deletes]
        return ids[0] if len(ids) == 1 else None


class Commits:
    """The writes of one folder; with `create`, one that was removed may be made again."""

    def __init__(self, blobs: FileBlobs, folder: Folder, catalog: Catalog, journal: Journal, *, create: bool) -> None:
        self._root = blobs.root
        self._sync = blobs.sync
        self._new = blobs.temporary
        self._create = create
        self._folder = folder
        self._catalog = catalog
        self._journal = journal
        self.mark = Mark(blobs.path(".truthstore/mark"))
        self.forget()

    def forget(self) -> None:
        """Forget the writes of other threads, which a fork did not copy, and what this process wrote."""
        self._waiting: deque[Write] = deque()
        self._names = map(f"{new_revision()}-{{}}".format, itertools.count())
        self._files = 0
        self._bytes = 0

    def add(self, write: Write, record: Record, document: bytes) -> None:
        """Write a new file, and add its record to a write.

        Raises:
            OSError: the file could not be written.
        """
        write.staged[record.meta.id] = self._stage(document)
        write.puts.append(Put(record))
        write.documents.append(document)

    def enter(self, write: Write) -> None:
        """Let a write be committed with those of other threads; its thread calls `run`."""
        self._waiting.append(write)

    def _stage(self, data: bytes) -> str:
        """Write a new file, and return its name."""
        name = next(self._names)
        try:
            write_new(f"{self._new}/{name}", data, sync=False)
        except FileNotFoundError:
            if not self._create and not os.path.isdir(self._root):
                raise
            os.makedirs(self._new, exist_ok=True)
            write_new(f"{self._new}/{name}", data, sync=False)
        return name

    def leave(self, write: Write) -> None:
        """Let a write that its own thread has given up not be committed by others."""
        with suppress(ValueError):
            self._waiting.remove(write)

    def discard(self, names: Iterable[str]) -> None:
        """Remove new files that are not needed."""
        for name in names:
            with suppress(OSError):
                os.unlink(f"{self._new}/{name}")

    def run(self, write: Write) -> None:
        """Commit a write and all that wait, unless another thread has done so; under the folder's lock.

        Raises:
            sqlite3.Error: it was not committed, or may not have been; the same write can be run again.
        """
        if write.done:
            return
        batch: list[Write] = []
        while self._waiting:
            batch.append(self._waiting.popleft())
        if write not in batch:
            batch.append(write)  # its group failed
        try:
            self._commit(batch)
        except Exception:
            if len(batch) == 1:
                raise
            self._commit([write])  # the others do the same, so that none suffers by another

    def _commit(self, batch: Sequence[Write]) -> None:
        complete = self.mark.get() == CLEAR
        if not complete:
            with suppress(OSError, sqlite3.Error):
                self.settle()  # of a writer that was cut short
                complete = True
        entries: dict[str, Entry] = {}
        staged: dict[str, str] = {}
        if complete:
            self.mark.set(DOUBTFUL)
        with self._catalog.transaction() as connection:
            for write in batch:
                write.refused = self._strangers(write, entries) if write.expect is ABSENT else {}
                puts = write.puts
                if write.refused:
                    puts = [put for put in puts if put.record.meta.id not in write.refused]
                before, refused = self._catalog.write(
                    connection, write.collection, puts, write.deletes, expect=write.expect
                )
                for id, actual in refused.items():
                    write.refused[id] = conflict(
                        id, write.expect, actual, backend=BACKEND, collection=write.collection.name
                    )
                self._add_entries(write, before, entries, staged)
            self._journal.append(connection, entries.values(), sync=self._sync)
        needed = set(staged.values())
        for write in batch:
            write.done = True
            if not needed.issuperset(write.staged.values()):
                self.discard(set(write.staged.values()) - needed)
        complete = self._write_files(entries, staged) and complete
        try:
            if complete:
                self.mark.set(CLEAR)
            if self._files >= RELEASE_FILES or self._bytes >= RELEASE_BYTES:
                self.settle()
            elif complete and len(entries) > len(staged):
                self._release_removed(entries)
        except (OSError, sqlite3.Error) as error:
            log.warning("what was written waits in the index, for it could not be brought to the disk: %s", error)

    def _strangers(self, write: Write, entries: dict[str, Entry]) -> dict[str, StoreConflictError]:
        """Return the conflicts of new items in whose places there are files that the index does not know."""
        name = write.collection.name
        found: dict[str, StoreConflictError] = {}
        for put in write.puts:
            id = put.record.meta.id
            file = self._folder.usual(write.collection, id)
            exists = os.access(f"{self._root}/{file}", os.F_OK)
            if exists and file not in entries and self._catalog.find(write.collection, id) is None:
                found[id] = StoreConflictError(
                    f"{name} {shown(id)} exists already, as a file that the index does not know: "
                    "call rebuild_index(), or use expect=ANY to overwrite it",
                    backend=BACKEND,
                    collection=name,
                    identifier=id,
                )
        return found

    def _add_entries(
        self, write: Write, before: dict[str, Location], entries: dict[str, Entry], staged: dict[str, str]
    ) -> None:
        """Add the states that the files must have after a write, and the new files that are to be renamed."""
        folder, collection = self._folder, write.collection
        for put, data in zip(write.puts, write.documents, strict=True):
            id, revision = put.record.meta.id, put.record.revision
            if id not in write.refused:
                file = folder.usual(collection, id)
                name = staged[file] = write.staged[id]
                entries[file] = Entry(file, revision, data if self._sync else name)
                if id in before and before[id].name is not None:
                    file = folder.file(collection, before[id])
                    entries[file] = Entry(file, revision, None)
                    staged.pop(file, None)
        for id in write.deletes:
            location = before.get(id, Location(id))
            file = folder.file(collection, location)
            exists = entries[file].data is not None if file in entries else folder.exists(collection, location)
            if id not in write.refused and (id in before or exists):
                entries[file] = Entry(file, location.revision, None)
                staged.pop(file, None)
                if not location.deleted:
                    write.live[id] = None

    def _write_files(self, entries: dict[str, Entry], staged: dict[str, str]) -> bool:
        """Move what was committed to its place. What fails here waits in the journal and is read from there."""
        complete = True
        for file, entry in entries.items():
            try:
                self._apply(entry, staged.get(file))
            except OSError as error:
                log.warning("%s waits in the index, for its file could not be written: %s", file, error)
                complete = False
            self._files += 1
            self._bytes += len(entry.data or "")
        return complete

    def _apply(self, entry: Entry, name: str | None = None) -> None:
        """Give a file the state of its entry, by renaming a new file of this name if it has one already."""
        path = f"{self._root}/{entry.file}"
        if entry.data is None:
            with suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(path)
            return
        if name is None:
            name = entry.data if isinstance(entry.data, str) else self._stage(entry.data)
        try:
            os.rename(f"{self._new}/{name}", path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(f"{self._new}/{name}"):
                if isinstance(entry.data, str):
                    return  # it is in its place
                name = self._stage(entry.data)
            os.rename(f"{self._new}/{name}", path)

    def _release_removed(self, entries: dict[str, Entry]) -> None:
        """Release files that were removed at once: one that is put back by hand must not be removed again."""
        removed = [file for file, entry in entries.items() if entry.data is None]
        self._sync_files(removed if self._sync else ())
        self._journal.remove(removed)

    def settle(self) -> int:
        """Bring the files to the disk and empty the journal; how many files had to be written.

        Raises:
            OSError: a file could not be written; it is tried again by the next call.
            sqlite3.Error: the journal could not be read or emptied.
        """
        self._files = self._bytes = changed = 0
        mark = self.mark.get()
        waiting = self._journal.files(synced_only=mark == CLEAR)
        failed: dict[str, OSError] = {}
        for file in waiting if mark != CLEAR else ():
            entry = self._journal.read(file)
            try:
                if entry is not None and (mark == UNSYNCED or self._standing(entry) is None):
                    self._check(entry)
                    self._apply(entry)
                    changed += 1
            except OSError as error:
                failed[file] = error
        self._sync_files([file for file, sync in waiting.items() if sync and file not in failed])
        self._journal.empty(list(failed))
        for file, failure in failed.items():
            raise OSError(failure.errno, f"{file}: {failure.strerror}") from failure
        if mark != CLEAR:
            self.mark.set(CLEAR)
        return changed

    def _sync_files(self, files: Sequence[str]) -> None:
        if not files:
            return
        try:
            sync_files([f"{self._root}/{file}" for file in files])
        except OSError:
            # The system may take what it could not write for written (lwn.net/Articles/752063).
            self.mark.set(UNSYNCED)
            raise

    def _check(self, entry: Entry) -> None:
        """Remove a new file that a crash of the machine left unfinished: an older one in its place is better."""
        if isinstance(entry.data, str):
            try:
                self._folder.intact(read_file(f"{self._new}/{entry.data}"))
            except FileNotFoundError:
                return
            except StoreCorruptError as error:
                log.warning("what was saved last to %s is lost: %s", entry.file, error)
                self.discard([entry.data])

    def _standing(self, entry: Entry) -> bytes | None:
        """Return the bytes of a file if it is as its entry says or was edited by hand since; None if it must be written."""
        try:
            data = read_file(f"{self._root}/{entry.file}")
        except OSError:
            return None
        if isinstance(entry.data, str):
            return None if os.path.exists(f"{self._new}/{entry.data}") else data
        return data if data == entry.data or (entry.data and self._folder.is_edited(data, entry)) else None

    def content(self, entry: Entry) -> bytes | None:
        """Return the bytes that a file has or must have; None if it must not be there."""
        if not isinstance(entry.data, str):
            return self._standing(entry) or entry.data
        for path in (f"{self._new}/{entry.data}", f"{self._root}/{entry.file}"):
            with suppress(FileNotFoundError):
                return read_file(path)
        return None

    def rescue(self, connection: sqlite3.Connection) -> None:
        """Write the files that the journal of a database holds that is given up, and bring them to the disk.

        While the mark is clear all were written, and what is missing was removed. A database that is damaged may be older
        than the files: those that bear a later time stay.
        """
        written: list[str] = []
        for entry in salvage(connection):
            try:
                if self.mark.get() != CLEAR and self._folder.is_newer(entry, self.content(entry)):
                    self._apply(entry)
                written.append(f"{self._root}/{entry.file}")
            except (OSError, StoreCorruptError, StoreConfigError) as error:
                log.warning("%s in the index that is given up could not be saved: %s", entry.file, error)
        if written:
            sync_files(written)
