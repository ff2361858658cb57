"""The file of an export: documents as a folder store keeps them (`storage.objects.document`), in a tar file with gzip.

Extracted, it is such a folder. Its last member has the SHA-256 of all before it, so that nothing is changed or missing
unseen; by its own checksum, a damaged document has a name.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.backends.filesystem.files import sync_folder
from truthstore.copying.scope import by_name
from truthstore.errors import StoreCorruptError, StoreError, StoreReadError, StoreWriteError, shown
from truthstore.storage.objects.document import FORMAT, is_changed, read_document, write_document
from truthstore.storage.objects.object_store import FORMAT_KEY, ROOT_COLLECTION, Format, object_key

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record

__all__ = ["Archive", "documents_of", "writing"]

LAST: Final = "_truthstore/export.json"
FOLDER: Final = Format(FORMAT, ".json", None, "json")
LEVEL: Final = 3
BLOCK: Final = 1 << 16
DAMAGE: Final = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, msgspec.MsgspecError, LookupError)


class Archive:
    """An export that is being written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar: Any = tar
        self._digest = hashlib.sha256()

    def add(self, name: str, data: bytes) -> None:
        """Write one member."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self._tar.members.clear()  # it keeps a list of them
        self._digest.update(_described(name, data))

    def put(self, records: Iterable[Record], collection: Collection[Any]) -> None:
        """Write documents."""
        for record in records:
            self.add(object_key(collection.name, record.id, FOLDER.extension), write_document(record, collection))

    def finish(self, source: str) -> None:
        """Write the last member."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.add(LAST, _json({"source": source, "exported_at": now, "sha256": self._digest.hexdigest()}))


_json: Final = msgspec.json.Encoder().encode


def _described(name: str, data: bytes) -> bytes:
    return b"%b\0%d\0%b" % (os.fsencode(name), len(data), data)


@contextmanager
def writing(path: str, source: str) -> Generator[Archive]:
    """Write an export of a store; the file has its name, durably, when the block has ended without an error.

    Raises:
        StoreWriteError: it cannot be written, or another export is writing it.
    """
    try:
        with open(f"{path}.partial", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            with gzip.GzipFile("", "wb", LEVEL, file) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
                archive = Archive(tar)
                archive.add(FORMAT_KEY, _json(FOLDER))
                yield archive
                archive.finish(source)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        sync_folder(os.path.dirname(path))
    except StoreError:  # of the store; one is an OSError
        raise
    except BlockingIOError as error:
        raise StoreWriteError(f"{path}: another export is writing it", retryable=True) from error
    except OSError as error:
        raise StoreWriteError(f"{path} cannot be written: {error.strerror}", store_unavailable=True) from error


def _members(path: str) -> Iterator[tuple[str, bytes]]:
    """Iterate over all members but the last, which is compared with them."""
    digest, name, data = hashlib.sha256(), "", b""
    try:
        with gzip.open(path, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as opened:
            tar: Any = opened
            while (member := tar.next()) is not None:
                tar.members.clear()  # as above
                if not member.isreg():
                    raise tarfile.ReadError(f"{shown(member.name)} is no document")
                name, data = member.name, tar.extractfile(member).read()
                if name != LAST:
                    digest.update(_described(name, data))
                    yield name, data
            deque(iter(lambda: packed.read(BLOCK), b""), maxlen=0)  # to its checksum
        if name != LAST:
            raise EOFError("the last member is missing")
        written = msgspec.json.decode(data)["sha256"]
    except DAMAGE as error:
        raise StoreCorruptError(
            f"{path} is no export, or is damaged or cut off after {shown(name)}: {error}"
        ) from error
    except OSError as error:
        raise StoreReadError(f"{path} cannot be read: {error.strerror}") from error
    if written != digest.hexdigest():
        raise StoreCorruptError(f"{path} is damaged: documents were changed, added or removed since it was written")


def documents_of(path: str, given: Iterable[Collection[Any]]) -> Iterator[tuple[Collection[Any], Record]]:
    """Iterate over the records of an export, each with its collection.

    Raises:
        StoreConfigError: a collection is not declared, or the file is of a newer version of this library.
        StoreCorruptError: a record is damaged, or, at the end, something is missing.
        StoreReadError: the file cannot be read.
    """
    known: dict[str, Collection[Any]] = {}
    for name, data in _members(path):
        if name == FORMAT_KEY:
            FOLDER.check(data, path)
            continue
        called = name[1:].partition("/")[0] if "/" in name else ROOT_COLLECTION
        if called not in known:
            known |= {one.name: one for one in by_name(given, [called])}
        record = read_document(data, known[called], file=f"{path}: {name}")
        if is_changed(data, record):
            raise StoreCorruptError(
                f"{path}: {called} {shown(record.id)} is damaged: its checksum is wrong",
                collection=called,
                identifier=record.id,
            )
        yield known[called], record
