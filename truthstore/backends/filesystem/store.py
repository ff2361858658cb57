"""A store in a folder: a readable JSON file per item, and a SQLite index beside them.

Writes and deletes are committed in `commit`; this is the rest: opening, reading, and looking after the index.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

import msgspec

from truthstore.backends.filesystem.commit import BACKEND, Commits, Write
from truthstore.backends.filesystem.config import FileSystemConfig
from truthstore.backends.filesystem.files import (
    FileBlobs,
    is_writable,
    modified,
    open_error,
    read_error,
    read_file,
    write_error,
)
from truthstore.backends.filesystem.folder import Folder
from truthstore.backends.filesystem.index import IndexFile
from truthstore.backends.filesystem.mark import CLEAR
from truthstore.backends.filesystem.repair import index_files, verify_files
from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreWriteError,
    shown,
)
from truthstore.items.expectations import SUITES, ExpectationSuite
from truthstore.items.results import RESULTS
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ABSENT, ANY, NONE, Change, Expect, Options, Record, new_revision
from truthstore.storage.catalog.catalog import Location, Put
from truthstore.storage.catalog.journal import Journal
from truthstore.storage.objects.names import path_of
from truthstore.storage.objects.object_store import FORMAT_KEY, Format, ObjectStore, collections_in
from truthstore.store.config import configure
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.store.health import Verification
    from truthstore.store.store import BaseStore

__all__ = ["FileSystemConfig", "FileSystemExpectationStore", "FileSystemStore", "open_folder"]

T = TypeVar("T")
U = TypeVar("U")

log: Final = logging.getLogger("truthstore.backends.filesystem")
CHUNK: Final = 500
OWN: Final = ".truthstore"
"""The folder of the index, and of what is being written."""


class FileSystemStore(ObjectStore[T]):
    """Keep items as files in a folder on a local disk. Any number of threads and processes may use it at once.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: what the public operations act on.

    Raises:
        StoreConfigError: options that make no sense.
        TypeError: unknown options.
    """

    name: ClassVar[str] = "filesystem"

    @overload
    def __init__(self, config: FileSystemConfig | None = ..., *, collection: Collection[T], **options: Any) -> None: ...
    @overload
    def __init__(
        self: FileSystemStore[ValidationResult], config: FileSystemConfig | None = ..., **options: Any
    ) -> None: ...
    def __init__(
        self, config: FileSystemConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        settings = configure(FileSystemConfig, config, options, "FileSystemStore")
        if settings.index != "sqlite":
            raise StoreConfigError(
                f"index={settings.index!r} is another store: open it by get_store('filesystem', index='log', …), "
                "or as truthstore.backends.filesystem.log.FileLogStore"
            )
        sync = settings.durability == "fsync"
        form = Format.of(settings, settings.file_extension)
        super().__init__(collection, settings, form, synchronous="FULL" if sync else "NORMAL")
        root = os.path.join(os.fspath(settings.base_path), path_of(settings.namespace, settings.prefix))
        self._settings = settings
        self.indent = settings.pretty_print
        self._blobs = FileBlobs(root, durability=settings.durability)
        self._lock = self._blobs.lock
        self._root = self._blobs.root
        self._folder = Folder(self._root, form, settings.max_item_bytes)
        self._journal = Journal(self._catalog)
        self._commits = Commits(self._blobs, self._folder, self._catalog, self._journal, create=settings.create_dirs)
        own, made = self._blobs.path(OWN), self._blobs.path(FORMAT_KEY)
        self._index = IndexFile(own, made, self._catalog, self._journal, self._commits)

    @property
    def root(self) -> str:
        """Return the folder in which the files of validation results lie."""
        return self._root

    def __repr__(self) -> str:
        return f"FileSystemStore({self._root!r}, {self._collection.name})"

    @property
    def identity(self) -> str:
        """The URL of the folder."""
        return f"file://{self._root}"

    def _open(self) -> None:
        exists = os.path.isdir(self._root)
        if not self._settings.create_dirs and not exists:
            raise StoreConnectionError(
                self.name, f"there is no folder {self._root}, and create_dirs is off", retryable=False
            )
        self._folder.readonly = exists and not is_writable(self._root)
        if self._folder.readonly:
            self._open_in_memory()
            return
        self._blobs.make_folders()
        try:
            with self._lock:
                self._index.open(self._check_format())
        except StoreError:  # one is a ConnectionError, and so an OSError
            raise
        except OSError as error:
            raise open_error(error, f"cannot open {self._root}") from error

    def _open_in_memory(self) -> None:
        identity = self._check_format()
        self._catalog.open(None)
        self._journal.make()
        with self._catalog.transaction() as connection:
            self._journal.append(connection, self._index.waiting(identity), sync=False)

    def _check_format(self) -> str:
        """Return the identity of the store in the folder; without a format object it is a new one, for it was emptied."""
        try:
            stored = read_file(self._blobs.path(FORMAT_KEY))
        except FileNotFoundError:
            made = msgspec.structs.replace(self._format, identity=new_revision())
            if not self._folder.readonly:
                if not self._folder.is_empty():
                    self._index.set_aside()
                self._blobs.put(FORMAT_KEY, msgspec.json.encode(made), expect=ABSENT)
            return made.identity
        except OSError as error:
            raise open_error(error, f"cannot read {FORMAT_KEY}") from error
        self._format.check(stored, self._root)
        return msgspec.json.decode(stored, type=Format).identity

    def _prepare(self, collection: Collection[Any]) -> None:
        folder = self._folder.of(collection)
        if self._folder.readonly:
            seen = modified(folder)
            super()._prepare(collection)
            self._index_waiting(collection)
            self._folder.seen[collection.name] = seen
            return
        with self._locked("open", open_error):
            os.makedirs(folder, exist_ok=True)
            super()._prepare(collection)

    def _index_waiting(self, collection: Collection[Any]) -> None:
        """Index what waits in the journal of a folder that can only be read."""
        puts: list[Put] = []
        gone: list[str] = []
        for file in self._journal.files():
            folder, name = os.path.split(f"{self._root}/{file}")
            entry = self._journal.read(file) if folder == self._folder.of(collection) else None
            data = None if entry is None else self._commits.content(entry)
            if data is not None:
                puts.append(Put(self._folder.parse(data, collection)))
            elif entry is not None:
                with suppress(FileNotFoundError):
                    gone.append(self._folder.entry(collection, name).record.id)
        self._catalog.commit(collection, puts, gone)

    def _load(self, collection: Collection[Any]) -> Iterable[Put]:
        entries, _ = self._folder.entries(collection, self._folder.names(collection))
        return (entry.put for entry in entries)

    def _forked(self) -> None:
        self._lock.anew()
        self._commits.forget()

    @contextmanager
    def _locked(self, what: object, failed: Callable[[OSError, str], StoreError] = read_error) -> Generator[None]:
        """Keep every other writer out to do something; errors of the operating system become errors of the store."""
        try:
            if self._folder.readonly:
                yield
                return
            with self._lock:
                if not self._index.is_current() and self._opening.ready:
                    self._reopen()
                yield
        except StoreError:
            raise
        except OSError as error:
            raise self._failure(error, str(what), failed) from error

    def _failure(self, error: OSError, what: str, failed: Callable[[OSError, str], StoreError]) -> StoreError:
        if isinstance(error, FileNotFoundError) and not os.path.isdir(self._root):
            return StoreConnectionError(
                self.name,
                f"cannot {what} {self._root}: the folder was removed: restore it, or save to make it again",
                retryable=False,
            )
        return failed(error, f"cannot {what} {self._root}")

    def _guard(self, operation: Callable[[], U]) -> U:
        if self._opening.ready and self._is_stale():
            with self._opening.lock, self._locked("open", open_error):
                if self._folder.readonly:
                    self._reopen()
        return super()._guard(operation)

    def _is_stale(self) -> bool:
        """Return whether the index was replaced, or a folder that can only be read has changed."""
        if not self._folder.readonly:
            return not self._index.is_current()
        return any(modified(self._folder.of(c)) != self._folder.seen.get(c.name) for c in self._opening.ready)

    def _reopen(self) -> None:
        """Follow an index that was removed, replaced or is damaged; under the lock."""
        if self._folder.readonly:
            os.stat(self._root)  # one that was removed is not an empty one
            self._catalog.abandon()
            self._open_in_memory()
        else:
            self._blobs.make_folders()
            self._index.reopen(self._check_format())
        self._prepare_all()

    def _prepare_all(self) -> None:
        try:
            for collection in self._opening.ready:
                self._prepare(collection)
        except BaseException:
            self._index.forget()  # so that the next operation does this again
            raise

    def _recover_catalog(self, error: sqlite3.Error) -> None:
        super()._recover_catalog(error)
        with self._locked("open", open_error):
            return  # another thread or process was replacing the index, and has done so now

    def _replace_catalog(self, error: sqlite3.Error) -> None:
        if self._folder.readonly:
            raise self._read_error(error) from error
        with self._lock:
            self._index.replace()
            self._prepare_all()

    def _read(self, collection: Collection[Any], location: Location) -> Record | None:
        if self._commits.mark.get() == CLEAR:
            return self._folder.read(collection, location)
        return self._guard(lambda: self._read_waiting(collection, location))

    def _read_waiting(self, collection: Collection[Any], location: Location) -> Record | None:
        """Return what the journal says of a file, or else what is in it.

        The mark was asked before the journal: what leaves it meanwhile is in the file.
        """
        entry = self._journal.read(self._folder.file(collection, location))
        if entry is None:
            return self._folder.read(collection, location)
        data = self._commits.content(entry)
        return None if data is None else self._folder.parse(data, collection, location.id)

    def _find(self, collection: Collection[Any], id: str) -> Record | None:
        return self._read(collection, Location(id)) or self._settle(collection, id)

    def _settle(self, collection: Collection[Any], id: str) -> Record | None:
        return self._guard(lambda: self._settle_now(collection, id))

    def _settle_now(self, collection: Collection[Any], id: str) -> Record | None:
        if self._catalog.find(collection, id) is None:
            return None
        with self._locked("read"):
            location = self._catalog.find(collection, id)
            if location is None:
                return None
            read = self._folder.read if self._commits.mark.get() == CLEAR else self._read_waiting
            record = read(collection, location)
            if record is None:
                raise StoreCorruptError(
                    f"the index lists {collection.name} {shown(id)} but its file is gone: "
                    "restore the file, or call rebuild_index()",
                    backend=self.name,
                    collection=collection.name,
                    identifier=id,
                )
            return record

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections that have a folder."""
        self._ready(self._collection)
        with os.scandir(self._root) as entries:
            return collections_in(entry.name for entry in entries if entry.name.startswith("_") and entry.is_dir())

    def definitely_absent(self, id: str, *, collection: Collection[Any]) -> bool:
        """Return True if there is neither a file nor a row of an id."""
        self._ready(collection)
        if os.access(f"{self._root}/{self._folder.usual(collection, id)}", os.F_OK):
            return False
        if self._commits.mark.get() == CLEAR:
            return True  # every file is there; a row whose file was removed by hand is met by ABSENT
        return self._guard(lambda: self._catalog.find(collection, id)) is None

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record."""
        for refusal in self._put([record], collection, expect).values():
            raise refusal
        return record.head()

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store records in one commit."""
        wanted: dict[str, Record] = {}
        repeated: dict[str, StoreConflictError] = {}
        for record in records:
            if expect is ABSENT and record.meta.id in wanted:
                repeated[record.meta.id] = conflict(
                    record.meta.id, expect, None, backend=BACKEND, collection=collection.name
                )
            else:
                wanted[record.meta.id] = record
        refused = self._put(list(wanted.values()), collection, expect) if wanted else {}
        heads = [record.head() for record in records if record.meta.id not in refused]
        if refused or repeated:
            raise StoreBulkError(
                [head.id for head in heads], {**refused, **repeated}, backend=self.name, collection=collection.name
            )
        return heads

    def _put(self, records: Sequence[Record], collection: Collection[Any], expect: Expect) -> Mapping[str, StoreError]:
        """Store records with different ids in one commit; return the errors of those that were left out."""
        self._ready(collection)
        self._check_writable()
        write = Write(collection, expect)
        refused: dict[str, StoreError] = {}
        for record in records:
            try:
                self._commits.add(write, record, self._folder.write(record, collection))
            except StoreError as error:
                refused[record.meta.id] = error
            except OSError as error:
                what = f"write {collection.name} {shown(record.meta.id)} to"
                refused[record.meta.id] = self._failure(error, what, write_error)
        if write.puts:
            refused.update(self._commit(write))
        if self._lifecycle.subscribers and len(refused) < len(records):
            self._announce(
                [Change.of(collection.name, record.head()) for record in records if record.meta.id not in refused]
            )
        return refused

    def _delete(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        self._ready(collection)
        self._check_writable()
        deleted: list[str] = []
        try:
            for start in range(0, len(ids), CHUNK):
                write = Write(collection, expect, ids[start : start + CHUNK])
                refused = self._commit(write)
                deleted.extend(write.live)
                for refusal in refused.values():
                    raise refusal
        finally:
            if deleted and self._lifecycle.subscribers:
                self._announce([Change(collection.name, id, None) for id in deleted])
        return deleted

    def _commit(self, write: Write) -> Mapping[str, StoreConflictError]:
        """Commit a write, with those of other threads; once more after the index was replaced, which does no harm.

        Returns:
            The conflicts of items that were left out, by id.

        Raises:
            StoreWriteError: it was not committed, or the message says that this is not known.
        """
        commits = self._commits
        commits.enter(write)
        try:
            try:
                self._run(write)
            except sqlite3.Error as error:
                self._recover_catalog(error)
                self._run(write)
        except Exception as error:
            commits.leave(write)
            if isinstance(error, sqlite3.Error):
                raise self._not_committed(write, error) from error
            commits.discard(write.staged.values())
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise self._failure(error, str(write), write_error) from error
            raise
        except BaseException:
            commits.leave(write)  # it may have been committed
            raise
        return write.refused

    def _run(self, write: Write) -> None:
        with self._lock.thread:
            if not write.done:
                with self._lock:
                    if not self._index.is_current():
                        self._reopen()
                    if self._lifecycle.closed:
                        self._check()
                    self._commits.run(write)

    def _check_writable(self) -> None:
        if self._folder.readonly:
            raise StoreWriteError(
                f"{self._root} is read-only for this process", backend=self.name, store_unavailable=True
            )

    def _not_committed(self, write: Write, error: sqlite3.Error) -> StoreWriteError:
        full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        if full:
            self._commits.discard(write.staged.values())
        return StoreWriteError(
            f"cannot {write} {self._root}: nothing was changed, for the disk is full: make room and repeat"
            if full
            else f"it is not known whether {write} {self._root} succeeded: read to find out, or repeat ({error})",
            backend=self.name,
            collection=write.collection.name,
            identifier=write.id,
            retryable=full,
            store_unavailable=True,
        )

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Read every file and compare it with the index."""
        self._ready(collection)
        try:
            self._roll_forward("read", read_error)
        except StoreError as error:
            if not isinstance(error.__cause__, IsADirectoryError):
                raise  # others are not found below
        return self._guard(lambda: verify_files(self._folder, self._catalog, collection, lambda: self._locked("read")))

    def _roll_forward(self, what: str, failed: Callable[[OSError, str], StoreError] = write_error) -> int:
        def settle() -> int:
            with self._locked(what, failed):
                return self._commits.settle()

        return 0 if self._folder.readonly else self._guard(settle)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Bring what waits in the journal to the disk, and remove what was left a week ago."""
        done = super().maintain(budget)
        if self._folder.readonly:
            return done
        settled = self._roll_forward("look after")
        with self._locked("look after", write_error):
            return {**done, "writes_settled": settled, "leftovers_removed": self._index.clear_leftovers()}

    def rebuild_index(self) -> int:
        """Index every file again and return how many items there are. Works while others write.

        Files that cannot be read keep out of the index and are logged; `verify` names them. Files that were edited by
        hand are accepted as they are, and written once more with a checksum and a revision of their own.
        """
        collection = self._collection
        self._ready(collection)
        self._check_writable()
        self._guard(self._catalog.check)
        self._roll_forward("index")
        edits = self._guard(
            lambda: index_files(self._folder, self._catalog, collection, lambda: self._locked("index", write_error))
        )
        for edited in edits:
            with suppress(StoreConflictError):  # it was replaced meanwhile
                self.put_record(Record(edited.meta, edited.body), collection=collection, expect=edited.revision)
        return self.count_records(EVERYTHING, collection=collection)

    def close(self) -> None:
        """Bring what waits in the journal to the disk, and close the index and the folder."""
        is_open = not self._lifecycle.closed and self._opening.ready and self._opening.pid == os.getpid()
        if is_open and os.path.isdir(self._root):
            try:
                self._roll_forward("close")
            except StoreError as error:
                log.warning("what was written waits in the index until the store is opened again: %s", error)
        super().close()
        self._commits.mark.close()
        self._blobs.close()


class FileSystemExpectationStore(FileSystemStore[ExpectationSuite]):
    """A filesystem store of expectation suites."""

    def __init__(self, config: FileSystemConfig | None = None, **options: Any) -> None:
        super().__init__(config, collection=SUITES, **options)


def open_folder(
    config: FileSystemConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
) -> BaseStore[Any]:
    """Return the store over a folder that the option `index` asks for: a `FileSystemStore` or a `FileLogStore`."""
    settings = configure(FileSystemConfig, config, options, "FileSystemStore")
    if settings.index == "log":
        from truthstore.backends.filesystem.log import FileLogStore

        return FileLogStore(settings, collection=collection)
    return FileSystemStore(settings, collection=collection)
