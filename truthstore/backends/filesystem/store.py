"""A store in a folder: a readable JSON file per item, and a SQLite index beside them.

How writes and deletes are committed is in `committing`; this is the rest: opening, reading, and looking after the index.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from truthstore.backends.filesystem.commit import Commits
from truthstore.backends.filesystem.config import FileSystemConfig
from truthstore.backends.filesystem.files import (
    FileBlobs,
    explained,
    is_writable,
    open_error,
    read_error,
    read_file,
    write_error,
)
from truthstore.backends.filesystem.folder import Folder
from truthstore.backends.filesystem.index import IndexFile
from truthstore.backends.filesystem.pending import modified
from truthstore.backends.filesystem.repair import index_files, verify_files
from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreReadError,
    StoreWriteError,
    shown,
)
from truthstore.items.expectations import SUITES, ExpectationSuite
from truthstore.items.results import RESULTS
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ABSENT, ANY, NONE, Change, Expect, Options, Record
from truthstore.storage.catalog.catalog import Location, Put
from truthstore.storage.objects.names import path_of
from truthstore.storage.objects.object_store import FORMAT_KEY, Format, ObjectStore, is_damage
from truthstore.store.config import configure

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.store.health import Verification
    from truthstore.store.store import BaseStore

__all__ = ["FileSystemConfig", "FileSystemExpectationStore", "FileSystemStore", "open_folder"]

T = TypeVar("T")
U = TypeVar("U")

CHUNK: Final = 500
PAUSE_SECONDS: Final = 60.0


class _Access:
    """How this process may use the folder: shared by all views of one store."""

    __slots__ = ("collections", "readonly", "seen")

    def __init__(self) -> None:
        self.readonly = False
        self.collections: dict[str, Collection[Any]] = {}
        """What was prepared, by name."""
        self.seen: dict[str, int] = {}
        """Of a folder that can only be read: when each collection's folder was changed before it was indexed."""


class FileSystemStore(ObjectStore[T]):
    """Keeps items as files in a folder on a local disk. Any number of threads and processes may use it at once.

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
    def __init__(
        self: FileSystemStore[ValidationResult],
        config: FileSystemConfig | None = ...,
        *,
        collection: Collection[ValidationResult] = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self,
        config: FileSystemConfig | None = ...,
        *,
        collection: Collection[T],
        **options: Any,
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
        self._sync = sync
        self._blobs = FileBlobs(root, durability=settings.durability)
        self._lock = self._blobs.lock
        self._root = self._blobs.root
        self._folder = Folder(self._root, form)
        self._index = IndexFile(self._blobs.path(".truthstore"), self._catalog)
        self._access = _Access()
        self._commits = Commits(
            self._blobs,
            self._folder,
            self._index,
            self._catalog,
            self._follow_index,
            self._prepare_again,
            self._access.collections,
            self._check,
        )
        self._pending = self._commits.pending

    @property
    def root(self) -> str:
        """The folder in which the files of validation results lie."""
        return self._root

    @property
    def indent(self) -> bool:
        """Whether files have line breaks."""
        return self._settings.pretty_print

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
        self._access.readonly = exists and not is_writable(self._root)
        if self._access.readonly:
            self._check_format()
            self._catalog.open(None)
            return
        self._blobs.make_folders()
        try:
            with self._lock:
                self._check_format()
                self._index.open()
        except OSError as error:
            raise StoreConnectionError(self.name, f"cannot open {self._root}: {explained(error)}") from error

    def _check_format(self) -> None:
        from msgspec import json

        try:
            stored = read_file(self._blobs.path(FORMAT_KEY))
        except FileNotFoundError:
            if not self._access.readonly:
                self._blobs.put(FORMAT_KEY, json.encode(self._format), expect=ABSENT)
            return
        except OSError as error:
            raise StoreConnectionError(self.name, f"cannot read {FORMAT_KEY}: {explained(error)}") from error
        self._format.check(stored, self._root)

    def _prepare(self, collection: Collection[Any]) -> None:
        folder = self._folder.of(collection)
        if self._access.readonly:
            self._access.seen[collection.name] = modified(folder)
            super()._prepare(collection)
            return
        with self._locked("open", open_error):
            os.makedirs(folder, exist_ok=True)
            super()._prepare(collection)
            self._access.collections[collection.name] = collection
            self._pending.roll_forward()

    def _load(self, collection: Collection[Any]) -> Iterable[Put]:
        return (entry.put for entry in self._folder.entries(collection, self._folder.names(collection)))

    def _forked(self) -> None:
        self._lock.anew()
        self._pending.forget()

    @contextmanager
    def _locked(self, what: str, failed: Callable[[OSError, str], StoreError] = read_error) -> Generator[None]:
        """Keeps every other writer out; errors of the operating system become errors of the store.

        Args:
            what: what is done under the lock.
            failed: makes the error of the store.
        """
        try:
            if self._access.readonly:
                yield
                return
            with self._lock:
                self._follow_index()
                yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.isdir(self._root):
                raise StoreConnectionError(
                    self.name,
                    f"cannot {what} {self._root}: the folder was removed: restore it, or save to make it anew",
                    retryable=False,
                ) from error
            raise failed(error, f"cannot {what} {self._root}") from error
        except sqlite3.Error as error:
            if is_damage(error):
                raise  # to whoever can have the index made anew
            raise self._read_error(error) from error

    def _follow_index(self) -> None:
        """Opens the index that is in the folder now, if this process has another one open; under the lock."""
        if not self._index.is_current() and self._opening.ready:
            self._reopen()

    def _guard(self, operation: Callable[[], U]) -> U:
        if self._opening.ready and self._is_stale():
            with self._opening.lock, self._locked("open", open_error):
                if self._access.readonly:
                    self._reopen()
        return super()._guard(operation)

    def _is_stale(self) -> bool:
        """Whether the index was replaced, or a folder that can only be read has changed."""
        if not self._access.readonly:
            return not self._index.is_current()
        return any(modified(self._folder.of(c)) != self._access.seen.get(c.name) for c in self._opening.ready)

    def _reopen(self) -> None:
        """Follows an index that was removed or replaced; under the lock."""
        self._pending.forget()
        if self._access.readonly:
            os.stat(self._root)  # one that was removed is not an empty one
            self._catalog.abandon()
            self._catalog.open(None)
        else:
            self._blobs.make_folders()
            self._check_format()
            self._index.reopen()
        self._prepare_again()

    def _prepare_again(self) -> None:
        """Prepares all collections in an index that was opened anew; under the lock."""
        for collection in self._opening.ready:
            self._prepare(collection)

    def _recover_catalog(self, error: sqlite3.Error) -> None:
        super()._recover_catalog(error)
        with self._locked("open", open_error):
            return  # whoever was replacing the index has done so now

    def _replace_catalog(self, error: sqlite3.Error) -> None:
        if self._access.readonly:
            raise self._read_error(error) from error
        with self._lock:
            self._index.replace()
            self._prepare_again()

    def _read(self, collection: Collection[Any], location: Location) -> Record | None:
        return self._folder.read(collection, location)

    def _find(self, collection: Collection[Any], id: str) -> Record | None:
        """One file read; the index is asked only where a write may have been cut short."""
        record = self._folder.read(collection, Location(id))
        if record is not None and (self._access.readonly or self._pending.is_clean()):
            return record
        location = self._guard(lambda: self._catalog.find(collection, id))
        if location is not None and location.name is not None:
            record = self._folder.read(collection, location)
        if location is not None and (record is None or record.revision != location.revision):
            try:
                record = self._settle(collection, id)
            except StoreCorruptError as error:
                if not isinstance(error, _FileGoneError):
                    raise
                return None
        return record

    def _settle(self, collection: Collection[Any], id: str) -> Record | None:
        return self._guard(lambda: self._settle_locked(collection, id))

    def _settle_locked(self, collection: Collection[Any], id: str) -> Record | None:
        with self._locked("settle a write in"):
            if not self._access.readonly:
                self._pending.roll_forward()
            location = self._catalog.find(collection, id)
            record = self._folder.read(collection, location or Location(id))
            if location is None or self._access.readonly:
                return record
            waits = os.path.exists(self._pending.path(location.revision, collection.name))
            if waits and (record is None or record.revision != location.revision):
                raise StoreReadError(
                    f"{collection.name} {shown(id)} was written, but its file cannot be moved to its place: "
                    f"see whether {self._root} can be written",
                    backend=self.name,
                    collection=collection.name,
                    identifier=id,
                    retryable=True,
                )
            if record is None:
                raise _FileGoneError(
                    f"the index lists {collection.name} {shown(id)} but its file is gone: "
                    "restore the file, or call rebuild_index()",
                    backend=self.name,
                    collection=collection.name,
                    identifier=id,
                )
            if record.revision != location.revision:
                # Somebody else wrote the file: the file is the truth.
                self._catalog.commit(collection, [Put(record, location.name)], expect=ANY, backend=self.name)
            return record

    def surely_lacks(self, id: str, *, collection: Collection[Any]) -> bool:
        """Whether there is no file under the name that the id gets. One of another name may hold it: it is no tombstone."""
        self._ready(collection)
        return not os.access(self._folder.path(collection, id), os.F_OK)

    def _check_writable(self) -> None:
        if self._access.readonly:
            raise StoreWriteError(f"{self._root} is read-only for this process", backend=self.name, store_trouble=True)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Stores a record."""
        heads, refused = self._put((record,), collection, expect)
        if refused:
            raise refused[record.meta.id]
        return heads[0]

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Stores records in one commit."""
        if not records:
            return []
        heads, refused = self._put(records, collection, expect)
        if refused:
            raise StoreBulkError([h.id for h in heads], refused, backend=self.name, collection=collection.name)
        return heads

    def _put(
        self, records: Sequence[Record], collection: Collection[Any], expect: Expect
    ) -> tuple[list[Record], dict[str, StoreConflictError]]:
        self._ready(collection)
        if self._access.readonly:
            self._check_writable()
        heads, refused = self._commits.put(records, collection, expect)
        if self._lifecycle.subscribers and heads:
            self._announce([Change.of(collection.name, head) for head in {head.id: head for head in heads}.values()])
        return heads, refused

    def _delete(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        self._ready(collection)
        self._check_writable()
        deleted: list[str] = []
        try:
            for start in range(0, len(ids), CHUNK):
                chunk = ids[start : start + CHUNK]
                deleted.extend(self._guard(partial(self._delete_locked, collection, chunk, expect)))
        finally:
            if deleted and self._lifecycle.subscribers:
                self._announce([Change(collection.name, id, None) for id in deleted])
        return deleted

    def _delete_locked(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        what = f"{collection.name} {shown(ids[0])}" if len(ids) == 1 else f"{len(ids)} {collection.name}"
        with self._locked(f"remove {what} from", write_error):
            return self._commits.delete(ids, collection, expect)

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Reads every file and compares it with the index."""
        self._ready(collection)
        return self._guard(lambda: self._verify(collection))

    def _verify(self, collection: Collection[Any]) -> Verification:
        with self._locked("read"):
            if not self._access.readonly:
                self._pending.roll_forward()
        return verify_files(self._folder, self._catalog, collection, lambda: self._locked("read"))

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Finishes or clears what crashed writers left, and removes damaged indexes that were set aside a week ago."""
        done = super().maintain(budget)
        if self._access.readonly:
            return done
        with self._locked("look after", write_error):
            return {
                **done,
                "writes_settled": self._pending.roll_forward(),
                "damaged_removed": self._index.clear_damaged(),
            }

    def rebuild_index(self) -> int:
        """Indexes every file anew and returns how many items there are. Works while others write.

        Files that cannot be read keep out of the index and are logged; `verify` names them. Files that were edited by
        hand are accepted as they are, and written once more with a checksum and a revision of their own.
        """
        collection = self._collection
        self._ready(collection)
        self._check_writable()
        self._guard(self._catalog.check)
        for edited in self._guard(lambda: self._index_files(collection)):
            with suppress(StoreConflictError):  # somebody has replaced it meanwhile
                self.put_record(edited, collection=collection, expect=edited.revision)
        return self.count_records(EVERYTHING, collection=collection)

    def _index_files(self, collection: Collection[Any]) -> list[Record]:
        with self._locked("index", write_error):
            self._pending.roll_forward()
        return index_files(self._folder, self._catalog, collection, lambda: self._locked("index", write_error))

    def close(self) -> None:
        """Closes the index and the folder."""
        super().close()
        self._blobs.close()


class FileSystemExpectationStore(FileSystemStore[ExpectationSuite]):
    """A filesystem store of expectation suites."""

    def __init__(self, config: FileSystemConfig | None = None, **options: Any) -> None:
        super().__init__(config, collection=SUITES, **options)


def open_folder(
    config: FileSystemConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
) -> BaseStore[Any]:
    """The store over a folder that the option `index` asks for: a `FileSystemStore` or a `FileLogStore`."""
    settings = configure(FileSystemConfig, config, options, "FileSystemStore")
    if settings.index == "log":
        from truthstore.backends.filesystem.log import FileLogStore

        return FileLogStore(settings, collection=collection)
    return FileSystemStore(settings, collection=collection)


class _FileGoneError(StoreCorruptError):
    """The index lists an item whose file somebody removed."""
