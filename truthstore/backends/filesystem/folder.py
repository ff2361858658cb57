"""Files and the items in them."""

from __future__ import annotations

import errno
import logging
import os
from glob import escape, glob
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.backends.filesystem.files import UNREADABLE, read_error, read_file
from truthstore.errors import StoreConfigError, StoreCorruptError, shown
from truthstore.items.results import RESULTS
from truthstore.storage.catalog.catalog import Location, Put
from truthstore.storage.objects.compression import compressor
from truthstore.storage.objects.document import (
    derive_now,
    is_changed,
    read_document,
    revision_of,
    unpacked,
    write_document,
)
from truthstore.storage.objects.names import object_name
from truthstore.storage.objects.object_store import folder_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.storage.catalog.journal import Entry
    from truthstore.storage.objects.object_store import Format

__all__ = ["FIRST_INDEX", "FileEntry", "Folder"]

log: Final = logging.getLogger("truthstore.backends.filesystem")
FIRST_INDEX: Final = "_index.json"
"""What the first system kept beside its documents."""

_ALGORITHMS: Final = {".gz": "gzip", ".zst": "zstd"}


class FileEntry(NamedTuple):
    """One file: its record, its name if that is not the one that the id would get, and whether it was edited by hand."""

    record: Record
    name: str | None
    changed: bool

    @property
    def put(self) -> Put:
        """Return the index row of the file."""
        return Put(self.record, self.name)


class Folder:
    """The files of one store.

    Args:
        root: the folder of the default collection.
        form: how files are named and encoded.
        limit: compressed files may expand to so many bytes.

    Attributes:
        readonly: this process may not write into it.
        seen: if so, when the folder of each collection had been changed before it was indexed.
    """

    def __init__(self, root: str, form: Format, limit: int) -> None:
        self.root = root
        self.readonly = False
        self.seen: dict[str, int] = {}
        self._limit = limit
        ending, self._compress, self._decompress = compressor(form.compression, limit)
        self._extension = form.extension + ending
        self._endings = (self._extension, *(form.extension + end for end in ("", *_ALGORITHMS)))

    def of(self, collection: Collection[Any]) -> str:
        """Return the folder of a collection."""
        folder = folder_of(collection.name)
        return f"{self.root}/{folder[:-1]}" if folder else self.root

    def usual(self, collection: Collection[Any], id: str) -> str:
        """Return the path below the folder of the file that an id gets."""
        return f"{folder_of(collection.name)}{object_name(id)}{self._extension}"

    def file(self, collection: Collection[Any], location: Location) -> str:
        """Return the path below the folder of the file that an index row points to."""
        if location.name is None:
            return self.usual(collection, location.id)
        return f"{folder_of(collection.name)}{location.name}"

    def path(self, collection: Collection[Any], location: Location) -> str:
        """Return the file that an index row points to."""
        return f"{self.root}/{self.file(collection, location)}"

    def exists(self, collection: Collection[Any], location: Location) -> bool:
        """Return whether there is a file where an index row points to."""
        try:
            return S_ISREG(os.stat(self.path(collection, location)).st_mode)
        except OSError as error:
            if error.errno in {errno.ENOENT, *UNREADABLE}:
                return False
            raise read_error(error, f"cannot look for {collection.name} {shown(location.id)}") from error

    def write(self, record: Record, collection: Collection[Any]) -> bytes:
        """Return the bytes of the file of a record."""
        return self._compress(write_document(record, collection))

    def parse(self, data: bytes, collection: Collection[Any], id: str | None = None) -> Record:
        """Return the record in the bytes of a file."""
        return read_document(unpacked(data, self._decompress, collection, id), collection, id)

    def read(self, collection: Collection[Any], location: Location) -> Record | None:
        """Return the record in the file that an index row points to; None if there is no such file.

        Raises:
            StoreReadError: the file cannot be read.
            StoreCorruptError: it is damaged.
        """
        try:
            data = _bytes(self.path(collection, location), collection, location.id)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise read_error(error, f"cannot read {collection.name} {shown(location.id)}") from error
        if location.name is not None:
            data = unpacked(data, self._decompressor(location.name), collection, location.id)
            return read_document(data, collection, location.id)
        return self.parse(data, collection, location.id)

    def is_edited(self, data: bytes, entry: Entry) -> bool:
        """Return whether the bytes of a file are what a person or another program made of what an entry of the journal says."""
        try:
            return revision_of(self._decompress(data)) in {entry.revision, ""}
        except StoreCorruptError:
            return False

    def intact(self, data: bytes) -> Record:
        """Return the record in the bytes of a file of any collection.

        Raises:
            StoreCorruptError: they are not what was written.
        """
        record = self.parse(data, RESULTS)
        if is_changed(self._decompress(data), record):
            raise StoreCorruptError("its checksum is wrong")
        return record

    def is_newer(self, entry: Entry, data: bytes | None) -> bool:
        """Return whether an entry of a journal that may be out of date, and its bytes, are newer than the file.

        Raises:
            StoreCorruptError: the entry is damaged.
        """
        record = None if data is None else self.intact(data)
        try:
            file = read_file(f"{self.root}/{entry.file}")
            there = self.parse(file, RESULTS)
        except (FileNotFoundError, StoreCorruptError):
            return record is not None
        if record is None:
            return there.revision == entry.revision
        return there.meta.stored_at < record.meta.stored_at and not self.is_edited(file, entry)

    def is_empty(self) -> bool:
        """Return whether there is no document of any collection."""
        folders = [self.root, *glob(f"{escape(self.root)}/_*/")]
        return not any(name.endswith(self._endings) for folder in folders for name in os.listdir(folder))

    def names(self, collection: Collection[Any]) -> list[str]:
        """Return the names of the files that are documents by their name, sorted."""
        try:
            with os.scandir(self.of(collection)) as entries:
                names = {
                    entry.name
                    for entry in entries
                    if entry.name.endswith(self._endings)
                    and entry.name != FIRST_INDEX
                    and not entry.is_dir(follow_symlinks=False)
                }
        except FileNotFoundError:
            return []
        except OSError as error:
            raise read_error(error, f"cannot list {self.of(collection)}") from error
        # On foreign disks macOS puts a file ._x beside each file x.
        return sorted(name for name in names if not (name.startswith("._") and name[2:] in names))

    def entry(self, collection: Collection[Any], name: str) -> FileEntry:
        """Return the contents of a file.

        Raises:
            OSError: it cannot be read.
            StoreCorruptError: it is damaged.
        """
        path = f"{self.of(collection)}/{name}"
        data = unpacked(_bytes(path, collection), self._decompressor(name), collection, file=name)
        record = read_document(data, collection, file=name)
        derive_now(record, collection, file=name)
        usual = f"{self.root}/{self.usual(collection, record.id)}"
        return FileEntry(record, None if usual == path else name, is_changed(data, record))

    def _decompressor(self, name: str) -> Callable[[bytes], bytes]:
        return compressor(_ALGORITHMS.get(os.path.splitext(name)[1]), self._limit)[2]

    def entries(self, collection: Collection[Any], names: list[str]) -> tuple[list[FileEntry], list[str]]:
        """Return the contents of files, one for each id, and the names of damaged ones, which are logged.

        A file under its usual name wins.
        """
        found: dict[str, FileEntry] = {}
        damaged: list[str] = []
        for name in names:
            try:
                entry = self.entry(collection, name)
            except FileNotFoundError:
                continue  # removed meanwhile
            except (StoreCorruptError, StoreConfigError) as error:
                log.warning("%s/%s: %s", self.of(collection), name, error)
                damaged.append(name)
                continue
            id = entry.record.id
            if entry.name is None or (id not in found and not self.exists(collection, Location(id))):
                found[id] = entry
        return list(found.values()), damaged


def _bytes(path: str, collection: Collection[Any], id: str | None = None) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: nothing can be read now.
        StoreCorruptError: this file cannot be read.
    """
    try:
        return read_file(path)
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        raise StoreCorruptError(
            f"{path} cannot be read ({UNREADABLE[error.errno]}): restore or remove it",
            backend="filesystem",
            collection=collection.name,
            identifier=id,
        ) from error
