"""How a write to a folder is wholly done or wholly undone, whenever the process dies or the disk refuses.

The document is written to a pending file; then, under the folder's lock, the expectation is checked and the index row is
committed with the document's write id, which is the commit point; then the pending file is renamed over the old one.
Whoever finds a row whose write id is not the document's takes the lock and rolls the pending file forward. A delete
moves the file aside, commits, and unlinks it. So a full disk can strike only before anything changed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any, Final

from truthstore.backends.filesystem.files import explained, read_file, sync_folder, write_error
from truthstore.backends.filesystem.pending import PendingWrites, Staged, Target
from truthstore.errors import (
    StoreClosedError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreReadError,
    StoreWriteError,
    shown,
)
from truthstore.model.record import ABSENT, ANY, Expect, Record, new_revision
from truthstore.storage.catalog.catalog import Committed, Location, Put
from truthstore.storage.objects.object_store import is_damage
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from truthstore.backends.filesystem.files import FileBlobs
    from truthstore.backends.filesystem.folder import Folder
    from truthstore.backends.filesystem.index import IndexFile
    from truthstore.model.collection import Collection
    from truthstore.storage.catalog.catalog import Catalog

__all__ = ["Commits", "NothingWrittenError"]

PAUSE_SECONDS: Final = 60.0
BACKEND: Final = "filesystem"


class NothingWrittenError(StoreWriteError):
    """A write failed before its commit point."""


class Commits:
    """The writes and deletes of one folder.

    Args:
        blobs: the folder, its lock, and whether to wait for the disk.
        folder: the files in it.
        index: the index file.
        catalog: what is in the index.
        follow_index: opens the index that is in the folder now, if another one is open; under the lock.
        prepare_again: prepares all collections, after the index was opened anew; under the lock.
        collections: what was prepared, by name.
        check: raises if the store was closed.
    """

    def __init__(
        self,
        blobs: FileBlobs,
        folder: Folder,
        index: IndexFile,
        catalog: Catalog,
        follow_index: Callable[[], None],
        prepare_again: Callable[[], None],
        collections: Mapping[str, Collection[Any]],
        check: Callable[[], None],
    ) -> None:
        self.pending = PendingWrites(blobs.pending, sync=blobs.sync, target=self._target)
        self._root = blobs.root
        self._lock = blobs.lock
        self._sync = blobs.sync
        self._folder = folder
        self._index = index
        self._catalog = catalog
        self._follow_index = follow_index
        self._prepare_again = prepare_again
        self._collections = collections
        self._check = check

    def _target(self, path: str, collection_name: str, revision: str) -> Target | None:
        """Where a pending file belongs."""
        collection = self._collections.get(collection_name)
        if collection is None:
            return None  # whoever declares that collection sees to it
        try:
            record = self._folder.parse(read_file(path), collection)
        except (StoreCorruptError, StoreConfigError):
            return None  # still being written, or cut off
        location = self._catalog.find(collection, record.id)
        if location is None or location.revision != revision:
            return Target(self._folder.path(collection, record.id), committed=False)
        return Target(self._folder.path_of(collection, location), committed=True)

    def put(
        self, records: Sequence[Record], collection: Collection[Any], expect: Expect
    ) -> tuple[list[Record], dict[str, StoreConflictError]]:
        """Stores records in one commit: the heads of those that were stored, and what speaks against the others.

        Raises:
            StoreError: nothing was stored, or the message says what is in doubt.
        """
        repeated: dict[str, StoreConflictError] = {}
        wanted = records if len(records) == 1 else _distinct(records, collection, expect, repeated)
        name = collection.name
        writes: list[Staged] = []
        for record in wanted:
            path = self.pending.path(record.revision, name)
            final = self._folder.path(collection, record.meta.id)
            writes.append(Staged(record, path, final, self._folder.write(record, collection)))
        try:
            refused = self._put(writes, collection, expect)
        except StoreError as error:
            _named(error, writes, collection)
            raise
        except OSError as error:
            what = f"cannot write {_what(collection, _ids(writes))} to {self._root}"
            raise _named(write_error(error, what), writes, collection) from error
        except sqlite3.Error as error:
            failure = StoreReadError(f"the index could not be read: {error}", backend=BACKEND)
            raise _named(failure, writes, collection) from error
        if not refused and not repeated and len(writes) == len(records):
            return [one.record.head() for one in writes], refused
        heads = {one.record.meta.id: one.record.head() for one in writes}
        return [heads[r.meta.id] for r in records if r.meta.id not in refused], {**refused, **repeated}

    def _put(
        self, writes: Sequence[Staged], collection: Collection[Any], expect: Expect
    ) -> dict[str, StoreConflictError]:
        staged_at = time()
        self.pending.write(writes)
        with self._lock:
            self._follow_index()
            try:
                if abs(time() - staged_at) > PAUSE_SECONDS:
                    _check_pending(writes)
                damaged = self._take_in_strangers(writes, collection) if expect is ABSENT else {}
                puts = [Put(one.record) for one in writes if one.record.meta.id not in damaged]
                before, refused = self._commit_rows(collection, puts, (), expect)
                if refused:
                    refused = self._commit_again(before, refused, puts, collection, expect)
                refused = {**refused, **damaged} if damaged else refused
            except (NothingWrittenError, StoreClosedError):
                self.pending.remove(writes)
                raise
            if refused:
                self.pending.remove([one for one in writes if one.record.id in refused])
                writes = [one for one in writes if one.record.id not in refused]
            # The commit point is passed. From here on pending files stay until they are in their places.
            stuck: OSError | None = None
            for one in writes:
                try:
                    os.rename(one.pending, one.final)
                except OSError as error:
                    stuck = error
            if stuck is not None:
                self._finish(collection, writes, stuck)
            for location in before.values():
                if location.name is not None:
                    with suppress(FileNotFoundError):
                        os.unlink(self._folder.path_of(collection, location))
            if self._sync and writes:
                sync_folder(self._folder.of(collection))
        return refused

    def _commit_again(
        self,
        before: dict[str, Location],
        refused: dict[str, StoreConflictError],
        puts: Sequence[Put],
        collection: Collection[Any],
        expect: Expect,
    ) -> dict[str, StoreConflictError]:
        """Commits what was refused because the index did not agree with the files; what is refused still.

        Where other rows are committed already, what cannot be written now stays refused.
        """
        try:
            if isinstance(expect, str):
                agreed = self._take_in_expected(refused, collection, expect)
            else:
                agreed = self._forget_lost(refused, collection)
            if not agreed:
                return refused
            again = [put for put in puts if put.record.meta.id in refused]
            more, still = self._commit_rows(collection, again, (), expect)
        except (NothingWrittenError, StoreClosedError) as error:
            if len(refused) == len(puts):
                raise
            for refusal in refused.values():
                refusal.__cause__ = error
            return refused
        before.update(more)
        return still

    def _take_in_strangers(
        self, writes: Sequence[Staged], collection: Collection[Any]
    ) -> dict[str, StoreConflictError]:
        """Indexes files that lie where new items are to be, and that the index does not know.

        Returns:
            What speaks against those items whose file is damaged: it may be worth more than what would take its place.
        """
        damaged: dict[str, StoreConflictError] = {}
        for one in writes:
            id = one.record.meta.id
            if not os.access(one.final, os.F_OK):
                continue  # as usual
            if not os.path.isfile(one.final) or self._catalog.find(collection, id) is not None:
                continue
            try:
                self._take_in(collection, id)
            except StoreCorruptError as error:
                damaged[id] = StoreConflictError(
                    f"{_what(collection, [id])} exists already, though its file is damaged: restore it from a backup, "
                    "or use expect=ANY to overwrite it",
                    backend=BACKEND,
                    collection=collection.name,
                    identifier=id,
                )
                damaged[id].__cause__ = error
        return damaged

    def _take_in_expected(self, ids: Iterable[str], collection: Collection[Any], expect: str) -> bool:
        """Indexes files that were put there or edited by hand and have the revision that a caller expects; if any."""
        found = False
        for id in ids:
            with suppress(StoreCorruptError):
                there = self._take_in(collection, id)
                found = found or (there is not None and there.revision == expect)
        return found

    def _forget_lost(self, ids: Iterable[str], collection: Collection[Any]) -> bool:
        """Removes rows of items whose files somebody removed; if any. Files are the truth, and nothing is in the way."""
        lost: list[str] = []
        for id in ids:
            location = self._catalog.find(collection, id)
            if location is None:
                continue
            self._finish_others(location, collection)
            if not self._folder.exists(collection, location):
                lost.append(id)
        if lost:
            self._catalog.commit(collection, (), lost, expect=ANY, backend=BACKEND)
        return bool(lost)

    def _finish_others(self, location: Location, collection: Collection[Any]) -> None:
        """Puts a file in its place whose writer, or whose remover, was cut short."""
        waiting = self.pending.path(location.revision, collection.name)
        if os.path.exists(waiting) or os.path.exists(self.pending.aside(location.revision, collection.name)):
            self.pending.roll_forward()

    def _take_in(self, collection: Collection[Any], id: str) -> Record | None:
        """Lets the index follow the file of an item; its record."""
        location = self._catalog.find(collection, id)
        if location is not None:
            self._finish_others(location, collection)
        there = self._folder.read(collection, location or Location(id))
        if there is not None and (location is None or location.revision != there.revision):
            name = location.name if location is not None else None
            self._catalog.commit(collection, [Put(there, name)], expect=ANY, backend=BACKEND)
        return there

    def _finish(self, collection: Collection[Any], writes: Sequence[Staged], cause: OSError) -> None:
        """After a rename that failed: tries once more, or else says what became of the write.

        A file that still waits is committed and will be moved by whoever reads it next. Where that can never be, because
        its place is taken or the file is gone, the index follows the files again.
        """
        self.pending.roll_forward()
        waiting: list[str] = []
        lost: list[str] = []
        for one in writes:
            id = one.record.id
            there = self._reread(collection, id)
            if there is not None and there.revision == one.record.revision:
                continue
            if os.path.exists(one.pending) and not os.path.isdir(one.final):
                waiting.append(id)
            else:
                lost.append(id)
                with suppress(FileNotFoundError):
                    os.unlink(one.pending)
                puts = [] if there is None else [Put(there)]
                gone = [id] if there is None else []
                self._catalog.commit(collection, puts, gone, expect=ANY, backend=BACKEND)
        what = _what(collection, _ids(writes))
        if waiting:
            raise StoreWriteError(
                f"{what}: committed, but {shown(waiting[0])} could not be moved to its place: {explained(cause)}; "
                "it will be when it is read next",
                backend=BACKEND,
                retryable=True,
            ) from cause
        if lost:
            raise StoreWriteError(
                f"{what}: {len(lost)} not stored, first {shown(lost[0])}: {explained(cause)}", backend=BACKEND
            ) from cause

    def _reread(self, collection: Collection[Any], id: str) -> Record | None:
        if os.path.isdir(self._folder.path(collection, id)):
            return None  # its place is taken
        return self._folder.read(collection, Location(id))

    def _commit_rows(
        self, collection: Collection[Any], puts: Sequence[Put], deletes: Sequence[str], expect: Expect
    ) -> Committed:
        """Commits to the index. After an error that leaves the commit in doubt, looks whether it happened."""
        try:
            return self._catalog.commit(collection, puts, deletes, expect=expect, backend=BACKEND)
        except sqlite3.Error as error:
            self._check()
            ids = [*(put.record.id for put in puts), *deletes]
            try:
                if is_damage(error):
                    self._index.replace()
                    self._prepare_again()
                    return self._catalog.commit(collection, puts, deletes, expect=expect, backend=BACKEND)
                self._index.reopen()
                self._prepare_again()
                location = self._catalog.find(collection, ids[0])
            except (sqlite3.Error, StoreReadError, StoreConnectionError, OSError) as second:
                raise StoreWriteError(
                    f"{_what(collection, ids)} may or may not have been written: read to find out "
                    f"({error}; then {second})",
                    backend=BACKEND,
                ) from error
            revision = location.revision if location is not None else None
            if revision == (puts[0].record.revision if puts else None):
                return Committed({}, {})
            raise NothingWrittenError(
                f"{_what(collection, ids)}: nothing was changed, for the index could not be written ({error})",
                backend=BACKEND,
                retryable=True,
            ) from error

    def delete(self, ids: Sequence[str], collection: Collection[Any], expect: Expect) -> list[str]:
        """Removes items in one commit, under the lock; the ids of those that were live.

        Raises:
            StoreConflictError: `expect` did not hold.
            OSError: nothing was removed.
        """
        live: list[str] = []
        rows: list[str] = []
        aside: list[tuple[str, str, str]] = []
        for id in ids:
            location = self._catalog.find(collection, id)
            if location is not None:
                self._finish_others(location, collection)
            actual = location.revision if location is not None else None
            if isinstance(expect, str) and actual != expect and self._take_in_expected([id], collection, expect):
                location = self._catalog.find(collection, id)
                actual = location.revision if location is not None else None
            if isinstance(expect, str) and actual != expect:
                raise conflict(id, expect, actual, backend=BACKEND, collection=collection.name)
            final = self._folder.path_of(collection, location or Location(id))
            if location is not None:
                rows.append(id)
            if self._folder.exists(collection, location or Location(id)):
                aside.append((id, final, self.pending.aside(actual or new_revision(), collection.name)))
                if location is None or not location.deleted:
                    live.append(id)
        try:
            for _, final, path in aside:
                os.rename(final, path)
            if rows:
                self._commit_rows(collection, (), rows, ANY)
        except (OSError, sqlite3.Error, StoreError):
            self._put_back(collection, aside)
            raise
        for _, _, path in aside:
            with suppress(OSError):
                os.unlink(path)  # what is left is cleared by the next roll-forward
        if self._sync and aside:
            sync_folder(self._folder.of(collection))
        return live

    def _put_back(self, collection: Collection[Any], aside: Sequence[tuple[str, str, str]]) -> None:
        """After a delete that failed: files of items that the index still has go back to their places.

        What cannot be asked or moved now is seen to by the next roll-forward.
        """
        for id, final, path in aside:
            with suppress(OSError, sqlite3.Error):
                if self._catalog.find(collection, id) is not None:
                    os.rename(path, final)


def _distinct(
    records: Sequence[Record], collection: Collection[Any], expect: Expect, repeated: dict[str, StoreConflictError]
) -> list[Record]:
    """Of several records with one id the last; where the id must be new, the first, and the others are refused."""
    named: dict[str, Record] = {}
    for record in records:
        if expect is ABSENT and record.id in named:
            repeated[record.id] = conflict(record.id, expect, None, backend=BACKEND, collection=collection.name)
            continue
        named[record.id] = record
    return list(named.values())


def _check_pending(writes: Sequence[Staged]) -> None:
    """Of a writer that was paused for long others may have taken the pending files for orphans."""
    for one in writes:
        if not os.path.exists(one.pending):
            raise NothingWrittenError(
                f"{shown(one.record.id)}: nothing was stored, for a pending file was removed; repeat", retryable=True
            )


def _named(error: StoreError, writes: Sequence[Staged], collection: Collection[Any]) -> StoreError:
    """The error, which tells whom it concerns."""
    error.collection = collection.name
    if len(writes) == 1:
        error.identifier = writes[0].record.id
    return error


def _ids(writes: Sequence[Staged]) -> list[str]:
    return [one.record.id for one in writes]


def _what(collection: Collection[Any], ids: Sequence[str]) -> str:
    """Names an item for a message, or says how many there are."""
    return f"{collection.name} {shown(ids[0])}" if len(ids) == 1 else f"{len(ids)} {collection.name}"
