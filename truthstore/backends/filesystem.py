"""A store in a folder: a readable JSON file per item, and a SQLite index beside them.

How a write commits: the document is written to a pending file; then, under the folder's lock, the expectation is checked
and the index row is committed with the document's write id, which is the commit point; then the pending file is renamed
over the old one. Whoever finds a row whose write id is not the document's takes the lock and rolls the pending file
forward. A delete moves the file aside, commits, and unlinks it. So a full disk can strike only before anything changed,
and a crash leaves the operation wholly done or wholly undone.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypeVar, overload

from truthstore.backends.files import (
    FileBlobs,
    explained,
    read_error,
    read_file,
    sync_folder,
    write_error,
    write_new,
)
from truthstore.catalog import Location, Put
from truthstore.configuration import StoreConfig, configure
from truthstore.documents import compressor, is_changed, write_document
from truthstore.errors import (
    StoreConfigError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreReadError,
    StoreWriteError,
    shown,
)
from truthstore.expectations import SUITES
from truthstore.health import Verification
from truthstore.keys import path_of
from truthstore.objects import FORMAT_KEY, Format, ObjectStore, folder_of, is_damage
from truthstore.query import EVERYTHING
from truthstore.record import ABSENT, ANY, NONE, Change, Expect, Options, Record, new_revision
from truthstore.results import RESULTS
from truthstore.store import conflict

if TYPE_CHECKING:
    from truthstore.collection import Collection
    from truthstore.expectations import ExpectationSuite
    from truthstore.results import ValidationResult

__all__ = ["FileSystemConfig", "FileSystemExpectationStore", "FileSystemStore"]

T = TypeVar("T")

log: Final = logging.getLogger("truthstore")
ORPHAN_SECONDS: Final = 3_600.0
SETTLED_NANOSECONDS: Final = 50_000_000
CHUNK: Final = 500
SYNC_THREADS: Final = 8
DELETED: Final = ".deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemConfig(StoreConfig):
    """Options of the filesystem store; files lie in ``{base_path}/{namespace}/{prefix}/``.

    Attributes:
        base_path: the folder.
        file_extension: what file names end with.
        create_dirs: make the folder if it is not there.
        pretty_print: write JSON with line breaks.
        durability: ``fsync``: what is acknowledged survives a power cut. ``os``: it survives the death of the process.
        index: ``sqlite``, for local disks.
    """

    base_path: str | os.PathLike[str] = ".truthstore/store"
    prefix: str = "validations"
    file_extension: str = ".json"
    create_dirs: bool = True
    pretty_print: bool = True
    durability: Literal["fsync", "os"] = "fsync"
    index: Literal["sqlite"] = "sqlite"

    def __post_init__(self) -> None:
        StoreConfig.__post_init__(self)
        if not isinstance(self.base_path, str | os.PathLike):
            raise TypeError(f"base_path is a path, not {type(self.base_path).__name__}")
        if self.durability not in {"fsync", "os"}:
            raise StoreConfigError(f"durability is 'fsync' or 'os', not {self.durability!r}")
        if self.index != "sqlite":
            raise StoreConfigError(f"index is 'sqlite', not {self.index!r}")
        if not self.file_extension.startswith(".") or not self.file_extension[1:].isalnum():
            raise StoreConfigError(f"file_extension is a dot and letters, not {self.file_extension!r}")


class _Staged(NamedTuple):
    record: Record
    path: str
    final: str


class _Watch:
    """What the store last saw of its folder, so that a change is noticed by one `stat`."""

    __slots__ = ("catalog", "clean", "collections", "folder", "readonly")

    def __init__(self) -> None:
        self.readonly = False
        self.catalog: tuple[str, int] | None = None
        """Path and inode of the open index file."""
        self.clean = -1
        """Modification time of the pending folder when it was empty, in nanoseconds; -1 if not known."""
        self.folder: dict[str, int] = {}
        """Modification times of the collections' folders when a read-only store indexed them."""
        self.collections: dict[str, Collection[Any]] = {}
        """The collections that this store has prepared, by name."""


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
        self: FileSystemStore[ValidationResult], config: FileSystemConfig | None = ..., **options: Any
    ) -> None: ...
    @overload
    def __init__(
        self, config: FileSystemConfig | None = ..., *, collection: Collection[T], **options: Any
    ) -> None: ...
    def __init__(
        self, config: FileSystemConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        settings = configure(FileSystemConfig, config, options, "FileSystemStore")
        self._settings = settings
        self._sync = settings.durability == "fsync"
        super().__init__(
            collection,
            settings,
            Format.of(settings, settings.file_extension),
            synchronous="FULL" if self._sync else "NORMAL",
        )
        root = os.path.join(os.fspath(settings.base_path), path_of(settings.namespace, settings.prefix))
        self._blobs = FileBlobs(root, durability=settings.durability)
        self._root = self._blobs.root
        self._pending = self._blobs.pending
        self._lock = self._blobs.lock
        self._watch = _Watch()

    @property
    def root(self) -> str:
        """The folder in which the files of the default collection lie."""
        return self._root

    @property
    def indent(self) -> bool:
        """Whether files have line breaks."""
        return self._settings.pretty_print

    def __repr__(self) -> str:
        return f"FileSystemStore({self._root!r}, {self._collection.name})"

    def _open(self) -> None:
        if not self._settings.create_dirs and not os.path.isdir(self._root):
            raise StoreConnectionError(
                self.name, f"there is no folder {self._root}, and create_dirs is off", retryable=False
            )
        self._watch.readonly = os.path.isdir(self._root) and not _writable(self._root)
        if self._watch.readonly:
            self._check_format()
            self._catalog.open(None)
            return
        self._blobs.make_folders()
        try:
            with self._lock:
                self._check_format()
                self._open_catalog()
        except OSError as error:
            raise StoreConnectionError(self.name, f"cannot open {self._root}: {explained(error)}") from error

    def _check_format(self) -> None:
        from msgspec import json  # noqa: PLC0415  # once per opening

        try:
            stored = read_file(self._blobs.path(FORMAT_KEY))
        except FileNotFoundError:
            if not self._watch.readonly:
                stored = json.encode(self._format)
                self._blobs.put(FORMAT_KEY, stored, expect=ABSENT)
            return
        except OSError as error:
            raise StoreConnectionError(self.name, f"cannot read {FORMAT_KEY}: {explained(error)}") from error
        self._format.check(stored, self._root)

    def _open_catalog(self) -> None:
        """Opens the index, or starts a new one; under the lock.

        Each index has a name of its own: a process that still holds a replaced one must not, by closing it, remove the
        write-ahead log of its successor.
        """
        found = sorted(n for n in os.listdir(self._blobs.path(".truthstore")) if n.startswith("index-") and n[-3:] == ".db")
        name = found[0] if found else f"index-{new_revision()}.db"
        path = self._blobs.path(f".truthstore/{name}")
        try:
            self._catalog.open(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise StoreConnectionError(self.name, f"cannot open the index of {self._root}: {error}") from error
            self._set_aside(path)
            path = self._blobs.path(f".truthstore/index-{new_revision()}.db")
            self._catalog.open(path)
        self._watch.catalog = (path, os.stat(path).st_ino)
        self._watch.clean = -1

    def _set_aside(self, path: str) -> None:
        log.warning("the index of %s was damaged and is made anew from the files", self._root)
        self._catalog.abandon()
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(path + suffix, path.replace("index-", "damaged-") + suffix)

    def _replace_catalog(self, error: sqlite3.Error) -> None:
        collections = list(self._opening.ready)
        if self._watch.readonly or self._watch.catalog is None:
            raise self._read_error(error) from error
        with self._lock:
            path, inode = self._watch.catalog
            if _inode(path) == inode:
                self._set_aside(path)
            self._reopen(collections)

    def _reopen(self, collections: Iterable[Collection[Any]]) -> None:
        """Follows an index that was deleted or replaced; under the lock."""
        self._catalog.abandon()
        if self._watch.readonly:
            self._catalog.open(None)
        else:
            self._blobs.make_folders()
            self._check_format()
            self._open_catalog()
        for collection in collections:
            self._prepare(collection)

    def _prepare(self, collection: Collection[Any]) -> None:
        if self._watch.readonly:
            self._watch.folder[collection.name] = _modified(self._folder(collection))
            super()._prepare(collection)
            return
        os.makedirs(self._folder(collection), exist_ok=True)
        with self._lock:
            super()._prepare(collection)
            self._watch.collections[collection.name] = collection
            self._roll_forward()

    def _forked(self) -> None:
        self._lock.anew()
        self._watch.clean = -1

    def _follow(self) -> None:
        """Notices that the index was replaced, or that a folder that can only be read has changed."""
        watch = self._watch
        if watch.readonly:
            stale = any(_modified(self._folder(c)) != watch.folder.get(c.name) for c in self._opening.ready)
        else:
            path, inode = watch.catalog or ("", 0)
            stale = _inode(path) != inode
        if stale:
            with self._opening.lock, self._locked("open"):
                self._reopen(list(self._opening.ready))

    def _guard(self, operation: Any) -> Any:
        if self._opening.ready:
            self._follow()
        return super()._guard(operation)

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        try:
            if self._watch.readonly:
                yield
            else:
                with self._lock:
                    yield
        except OSError as error:
            raise write_error(error, f"cannot {what} {self._root}") from error

    def _folder(self, collection: Collection[Any]) -> str:
        folder = folder_of(collection.name)
        return f"{self._root}/{folder[:-1]}" if folder else self._root

    def _path(self, collection: Collection[Any], location: Location) -> str:
        if location.name is not None:
            return f"{self._folder(collection)}/{location.name}"
        return f"{self._root}/{self._key(collection, location.id)}"

    def _parse_file(self, data: bytes, collection: Collection[Any], name: str | None, id: str | None) -> Record:
        if name is None:
            return self._parse(data, collection, id)
        from truthstore.documents import read_document  # noqa: PLC0415

        algorithm = {"gz": "gzip", "zst": "zstd"}.get(name.rpartition(".")[2])
        return read_document(compressor(algorithm)[2](data), collection, id)

    def _read(self, collection: Collection[Any], location: Location) -> Record | None:
        try:
            data = read_file(self._path(collection, location))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise read_error(error, f"cannot read {collection.name} {shown(location.id)}") from error
        return self._parse_file(data, collection, location.name, location.id)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """The record with its body: one file read; the index is asked only where a write may have been cut short."""
        self._ready(collection)
        record = self._read(collection, Location(id, "", False, None))
        if record is not None and self._is_clean():
            return record
        location = self._guard(lambda: self._catalog.find(collection, id))
        if location is not None and (record is None or record.revision != location.revision):
            record = self._read(collection, location) if location.name is not None else None
            if record is None or record.revision != location.revision:
                record = self._settle(collection, id)
        if record is None:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return record

    def _is_clean(self) -> bool:
        """Whether nothing is pending. An empty pending folder is remembered by its modification time, unless that is so
        recent that another change could bear the same one (as in git's index)."""
        watch = self._watch
        if watch.readonly:
            return True
        modified = _modified(self._pending)
        if modified == watch.clean:
            return True
        try:
            with os.scandir(self._pending) as entries:
                if next(entries, None) is not None:
                    return False
        except FileNotFoundError:
            return False
        watch.clean = modified if time.time_ns() - modified > SETTLED_NANOSECONDS else -1
        return True

    def _settle(self, collection: Collection[Any], id: str) -> Record | None:
        with self._locked("settle a write in"):
            if not self._watch.readonly:
                self._roll_forward()
            location = self._catalog.find(collection, id)
            record = self._read(collection, location or Location(id, "", False, None))
            if location is None:
                return record
            if record is None:
                if self._watch.readonly:
                    return None
                raise StoreCorruptError(
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

    def _roll_forward(self) -> None:
        """Finishes what crashed writers committed, and clears what they did not; under the lock."""
        try:
            with os.scandir(self._pending) as entries:
                waiting = [(entry.name, entry.path) for entry in entries]
        except FileNotFoundError:
            return
        for name, path in waiting:
            revision, _, rest = name.partition(".")
            deleted = rest.endswith(DELETED)
            collection_name = rest.removesuffix(DELETED)
            try:
                target = self._target(path, collection_name, revision)
            except FileNotFoundError:
                continue  # its writer took it back meanwhile
            if target is not None:
                final, known = target
                if known:
                    # A write that was committed, or a delete that was not: the file belongs in its place.
                    os.rename(path, final)
                    if self._sync:
                        sync_folder(os.path.dirname(final))
                    continue
                if deleted:
                    os.unlink(path)
                    continue
            if time.time() - _modified(path) / 1e9 > ORPHAN_SECONDS:
                with suppress(FileNotFoundError):
                    os.unlink(path)

    def _target(self, path: str, collection_name: str, revision: str) -> tuple[str, bool] | None:
        """Where a pending file belongs, and whether the index has its revision; None if it cannot be told."""
        collection = self._watch.collections.get(collection_name)
        if collection is None:
            return None  # whoever declares that collection sees to it
        try:
            record = self._parse(read_file(path), collection, None)
        except (StoreCorruptError, StoreConfigError):
            return None  # still being written, or cut off
        location = self._catalog.find_by_name(collection_name, record.id)
        known = location is not None and location.revision == revision
        return f"{self._root}/{self._key(collection, record.id)}", known

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Stores records in one commit."""
        self._ready(collection)
        self._writable()
        staged: dict[str, _Staged] = {}
        stored: list[Record] = []
        for record in records:
            meta = record.meta
            if expect is ABSENT and meta.id in staged:
                raise conflict(meta.id, expect, None, backend=self.name, collection=collection.name)
            named = Record(meta, record.body, new_revision())
            path = f"{self._pending}/{named.revision}.{collection.name}"
            staged[meta.id] = _Staged(named, path, f"{self._root}/{self._key(collection, meta.id)}")
            stored.append(Record(meta, None, named.revision))
        writes = list(staged.values())
        what = f"{collection.name} {shown(writes[0].record.id)}" if len(writes) == 1 else f"{len(writes)} {collection.name}"
        try:
            self._stage(writes, collection)
            with self._lock:
                self._commit(writes, collection, expect, what)
        except OSError as error:
            self._unstage(writes)
            raise self._named(write_error(error, f"cannot write {what}"), collection, writes) from error
        except BaseException:
            self._unstage(writes)
            raise
        if self._lifecycle.subscribers:
            self._announce([Change(collection.name, head.meta.id, head.revision) for head in stored])
        return stored

    def _named(self, error: StoreError, collection: Collection[Any], writes: Sequence[_Staged]) -> StoreError:
        error.collection = collection.name
        error.identifier = writes[0].record.id if len(writes) == 1 else None
        return error

    def _writable(self) -> None:
        if self._watch.readonly:
            raise StoreWriteError(f"{self._root} is read-only for this process", backend=self.name)

    def _stage(self, writes: Sequence[_Staged], collection: Collection[Any]) -> None:
        """Writes the documents to pending files; syncs of many files run side by side, which the disk likes better."""

        def write(one: _Staged) -> None:
            data = self._compress(write_document(one.record, collection))
            try:
                write_new(one.path, data, sync=self._sync)
            except FileNotFoundError:
                self._blobs.make_folders()  # somebody removed .truthstore
                write_new(one.path, data, sync=self._sync)

        if len(writes) == 1 or not self._sync:
            for one in writes:
                write(one)
            return
        with ThreadPoolExecutor(SYNC_THREADS) as pool:
            for _ in pool.map(write, writes):
                continue

    def _unstage(self, writes: Sequence[_Staged]) -> None:
        """Takes back pending files, but for those that the index has taken: they are rolled forward."""
        for one in writes:
            with suppress(OSError):
                os.unlink(one.path)

    def _commit(self, writes: Sequence[_Staged], collection: Collection[Any], expect: Expect, what: str) -> None:
        """Commits the rows and renames the files; under the lock."""
        if _inode((self._watch.catalog or ("", 0))[0]) != (self._watch.catalog or ("", 0))[1]:
            self._reopen(list(self._opening.ready))
        for one in writes:
            # A writer that was paused for long finds that others took its file for an orphan.
            if len(writes) == 1 and not os.path.exists(one.path):
                raise StoreWriteError(f"{what} was not stored: its pending file is gone, repeat", retryable=True)
        before = self._commit_rows(writes, collection, expect, what)
        try:
            for one in writes:
                os.rename(one.path, one.final)
        except OSError:
            # The commit point is passed: what is left is what any reader would do now.
            self._roll_forward()
        for location in before.values():
            if location.name is not None:
                with suppress(FileNotFoundError):
                    os.unlink(self._path(collection, location))
        if self._sync:
            sync_folder(self._folder(collection))

    def _commit_rows(
        self, writes: Sequence[_Staged], collection: Collection[Any], expect: Expect, what: str
    ) -> dict[str, Location]:
        puts = [Put(one.record) for one in writes]
        try:
            return self._catalog.commit(collection, puts, expect=expect, backend=self.name)
        except sqlite3.Error as error:
            if is_damage(error):
                self._replace_catalog(error)
                return self._catalog.commit(collection, puts, expect=expect, backend=self.name)
            if self._committed(writes[0], collection, what, error):
                return {}
            raise StoreWriteError(
                f"{what} was not stored: the index could not be written ({error})",
                backend=self.name,
                collection=collection.name,
                identifier=writes[0].record.id if len(writes) == 1 else None,
                retryable=True,
            ) from error

    def _committed(self, one: _Staged, collection: Collection[Any], what: str, cause: sqlite3.Error) -> bool:
        """Whether a commit that failed happened all the same: asked of a fresh connection."""
        try:
            self._catalog.abandon()
            self._reopen(list(self._opening.ready))
            location = self._catalog.find(collection, one.record.id)
        except (sqlite3.Error, StoreError, OSError) as error:
            raise StoreWriteError(
                f"{what} may or may not have been stored: read it to find out ({cause}; then {error})",
                backend=self.name,
                collection=collection.name,
            ) from cause
        return location is not None and location.revision == one.record.revision

    def _delete(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        self._ready(collection)
        self._writable()
        deleted: list[str] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            what = f"{collection.name} {shown(chunk[0])}" if len(chunk) == 1 else f"{len(chunk)} {collection.name}"
            with self._locked(f"remove {what} from"):
                if _inode((self._watch.catalog or ("", 0))[0]) != (self._watch.catalog or ("", 0))[1]:
                    self._reopen(list(self._opening.ready))
                deleted.extend(self._delete_chunk(collection, chunk, expect))
        if deleted and self._lifecycle.subscribers:
            self._announce([Change(collection.name, id, None) for id in deleted])
        return deleted

    def _delete_chunk(self, collection: Collection[Any], ids: Sequence[str], expect: Expect) -> list[str]:
        live: list[str] = []
        aside: list[tuple[str, str]] = []
        rows: list[str] = []
        for id in ids:
            location = self._guard(lambda id=id: self._catalog.find(collection, id))  # type: ignore[misc]
            if location is not None and os.path.exists(f"{self._pending}/{location.revision}.{collection.name}"):
                self._roll_forward()
            actual = location.revision if location is not None else None
            if isinstance(expect, str) and actual != expect:
                raise conflict(id, expect, actual, backend=self.name, collection=collection.name)
            final = self._path(collection, location or Location(id, "", False, None))
            exists = os.path.exists(final)
            if location is not None:
                rows.append(id)
            if exists:
                # A file that the index does not know was put there by hand; its name is as good as any.
                aside.append((final, f"{self._pending}/{actual or new_revision()}.{collection.name}{DELETED}"))
            if exists and not (location is not None and location.deleted):
                live.append(id)
        moved: list[tuple[str, str]] = []
        try:
            for final, path in aside:
                os.rename(final, path)
                moved.append((final, path))
            self._catalog.commit(collection, (), rows, expect=ANY, backend=self.name)
        except (OSError, sqlite3.Error) as error:
            self._undo_delete(collection, rows, moved, error)
        for _, path in moved:
            with suppress(OSError):
                os.unlink(path)  # what is left is cleared by the next roll-forward
        if self._sync:
            sync_folder(self._folder(collection))
        return live

    def _undo_delete(
        self, collection: Collection[Any], rows: Sequence[str], moved: Sequence[tuple[str, str]], cause: Exception
    ) -> None:
        """After a failed delete: puts the files back, unless the commit happened all the same."""
        try:
            self._catalog.abandon()
            self._reopen(list(self._opening.ready))
            done = bool(rows) and self._catalog.find(collection, rows[0]) is None
            if not done:
                for final, path in moved:
                    os.rename(path, final)
        except (sqlite3.Error, StoreError, OSError) as error:
            raise StoreWriteError(
                f"a delete in {self._root} may or may not have happened: read to find out ({cause}; then {error})",
                backend=self.name,
                collection=collection.name,
            ) from cause
        if not done:
            raise StoreWriteError(
                f"nothing was removed from {self._root}: {cause}", backend=self.name, collection=collection.name
            ) from cause

    def _files(self, collection: Collection[Any]) -> list[str]:
        """Names of the files that are documents by their name."""
        endings = tuple(f"{self._settings.file_extension}{end}" for end in ("", ".gz", ".zst"))
        endings = (*endings, self._extension)
        try:
            with os.scandir(self._folder(collection)) as entries:
                return sorted(e.name for e in entries if e.name.endswith(endings) and e.name[0] not in "_.")
        except FileNotFoundError:
            return []

    def _load(self, collection: Collection[Any]) -> Iterable[Put]:
        loaded: dict[str, Put] = {}
        for name in self._files(collection):
            try:
                put = self._load_file(collection, name)
            except StoreCorruptError as error:
                log.warning("%s: %s", self._root, error)
                continue
            known = loaded.get(put.record.id)
            if known is None or known.name is not None:
                loaded[put.record.id] = put
        return loaded.values()

    def _load_file(self, collection: Collection[Any], name: str) -> Put:
        """A file as an index row: its name is kept only if it is not the one that the id would get."""
        data = read_file(f"{self._folder(collection)}/{name}")
        canonical = name.endswith(self._extension) and not (self._extension == ".json" and name.endswith((".gz", ".zst")))
        record = self._parse_file(data, collection, None if canonical else name, None)
        if f"{self._root}/{self._key(collection, record.id)}" == f"{self._folder(collection)}/{name}":
            return Put(Record(record.meta, None, record.revision))
        return Put(Record(record.meta, None, record.revision), name)

    def verify(self) -> Verification:
        """Reads every file and compares it with the index. Changes nothing, and works while others write."""
        collection = self._collection
        self._ready(collection)
        changed: list[str] = []
        unindexed: list[str] = []
        corrupt: dict[str, str] = {}
        seen: set[str] = set()
        for name in self._files(collection):
            try:
                data = read_file(f"{self._folder(collection)}/{name}")
                put = self._load_file(collection, name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise read_error(error, f"cannot read {name}") from error
            except StoreError as error:
                corrupt[name] = str(error)
                continue
            id = put.record.id
            location = self._find_settled(collection, put)
            if location is None or location.name != put.name:
                if location is None or put.name is None:
                    unindexed.append(id)
                else:
                    corrupt[name] = f"a second file of {shown(id)}"
                continue
            seen.add(id)
            whole = self._parse_file(data, collection, put.name, id)
            if location.revision != put.record.revision or is_changed(self._plain(data, put.name), whole):
                changed.append(id)
        missing = [id for id in self.list_ids() if id not in seen and self._is_missing(collection, id)]
        broken = {name.removesuffix(self._extension) for name in corrupt}
        return Verification(
            checked=len(seen) + len(unindexed) + len(corrupt),
            missing=tuple(id for id in missing if id not in broken),
            unindexed=tuple(unindexed),
            changed=tuple(changed),
            corrupt=corrupt,
        )

    def _plain(self, data: bytes, name: str | None) -> bytes:
        if name is None:
            return self._decompress(data)
        algorithm = {"gz": "gzip", "zst": "zstd"}.get(name.rpartition(".")[2])
        return compressor(algorithm)[2](data)

    def _find_settled(self, collection: Collection[Any], put: Put) -> Location | None:
        """The index row of a file; where they differ, as they are when nobody is writing."""
        location = self._catalog.find(collection, put.record.id)
        if location is not None and location.revision == put.record.revision:
            return location
        with self._locked("verify"):
            return self._catalog.find(collection, put.record.id)

    def _is_missing(self, collection: Collection[Any], id: str) -> bool:
        with self._locked("verify"):
            location = self._catalog.find(collection, id)
            return location is not None and not os.path.exists(self._path(collection, location))

    def rebuild_index(self) -> int:
        """Indexes every file anew and returns how many items there are. Works while others write.

        Files that cannot be read keep out of the index and are logged; `verify` names them.
        """
        collection = self._collection
        self._ready(collection)
        self._writable()
        names = self._files(collection)
        for start in range(0, len(names), CHUNK):
            with self._locked("index"):
                self._roll_forward()
                self._index(collection, names[start : start + CHUNK])
        for page in self._catalog_pages(lambda: self._catalog.locations(EVERYTHING.replace(include_deleted=True).bind(collection))):
            with self._locked("index"):
                gone = [found.id for found in page if not os.path.exists(self._path(collection, found))]
                self._catalog.commit(collection, (), gone, expect=ANY, backend=self.name)
        return self.count_records(EVERYTHING, collection=collection)

    def _index(self, collection: Collection[Any], names: Sequence[str]) -> None:
        puts: dict[str, Put] = {}
        for name in names:
            try:
                put = self._load_file(collection, name)
            except FileNotFoundError:
                continue
            except StoreCorruptError as error:
                log.warning("%s: %s", self._root, error)
                continue
            id = put.record.id
            if put.name is not None and (
                id in puts or os.path.exists(f"{self._root}/{self._key(collection, id)}")
            ):
                continue
            puts[id] = put
        self._catalog.commit(collection, list(puts.values()), expect=ANY, backend=self.name)

    def close(self) -> None:
        """Closes the index and the folder."""
        super().close()
        self._blobs.close()


class FileSystemExpectationStore(FileSystemStore["ExpectationSuite"]):
    """A filesystem store of expectation suites."""

    def __init__(self, config: FileSystemConfig | None = None, **options: Any) -> None:
        super().__init__(config, collection=SUITES, **options)


def _writable(path: str) -> bool:
    """Whether this process may make files in a folder: asked by doing it, for root and read-only disks alike."""
    probe = os.path.join(path, f".probe-{new_revision()}")
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return False
        return True
    os.unlink(probe)
    return True


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return -1
