"""The file of an export: an SQLite database with a row per document, and a manifest when it is complete.

A document is what a store of files keeps (`storage.objects.document`): the item as it was stored, and what describes it.
Each row has the SHA-256 of its document; the manifest has, for each collection, the number of documents and a digest over
their ids, revisions and checksums in the order of ids. So what is damaged can be named, and nothing can be missing unseen.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection as Sized, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreReadError, StoreWriteError, shown
from truthstore.model.record import ANY, NONE, Expect, Listed, Options, Record
from truthstore.storage.objects.document import read_document, write_document

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery

__all__ = ["ExportFile", "Manifest"]

APPLICATION: Final = 0x54535458
"""``TSTX``, which says in the head of the file what it is."""
FORMAT: Final = 1
PAGE: Final = 1_000
HEAD: Final = 100
SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, id TEXT NOT NULL, revision TEXT NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
    document BLOB NOT NULL, PRIMARY KEY (collection, id)
);
CREATE TABLE IF NOT EXISTS manifest (content TEXT NOT NULL);
"""


class Contents(msgspec.Struct, frozen=True):
    """The documents of one collection: how many, and the digest over their ids, revisions and checksums."""

    documents: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a complete export says of itself.

    Attributes:
        format: version of the layout.
        source: the name of the place that was exported, without secrets.
        exported_at: when, in UTC.
        versions: records are as the layers of the source stored them, with tombstones and older versions.
        collections: what each holds.
    """

    format: int
    source: str
    exported_at: str
    versions: bool
    collections: dict[str, Contents]


class ExportFile:
    """An export, as a `Place` to copy to and from.

    Args:
        path: the file.
        write: make it, or go on with one that is not complete; nobody else may write to it meanwhile.

    Raises:
        StoreConfigError: it is no export, or one of a newer version.
        StoreCorruptError: it is damaged.
        StoreReadError: it cannot be opened.
    """

    def __init__(self, path: str, *, write: bool = False) -> None:
        self.path = path
        if not write:
            self._check_head()
        with self._errors("be opened"):
            self._connection = sqlite3.connect(
                path if write else f"file:{_quoted(path)}?mode=ro", isolation_level=None, uri=not write
            )
        if write:
            with self._errors("be written"):
                self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._connection.executescript(f"BEGIN EXCLUSIVE;{SCHEMA}COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _check_head(self) -> None:
        """Refuse what is no export, and what was cut off, before SQLite reads it."""
        try:
            size = os.stat(self.path).st_size
            with open(self.path, "rb") as file:
                head = file.read(HEAD)
        except OSError as error:
            raise StoreReadError(f"{self.path} cannot be read: {error.strerror}") from error
        application, version = (int.from_bytes(head[at : at + 4], "big") for at in (68, 60))
        if head[:16] != b"SQLite format 3\0" or application != APPLICATION:
            raise StoreConfigError(f"{self.path} is no export of a store, or its head is damaged")
        if version > FORMAT:
            raise StoreConfigError(
                f"{self.path} has format {version}, this library reads up to {FORMAT}: upgrade truthstore"
            )
        page = int.from_bytes(head[16:18], "big")
        expected = (65_536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
        if size != expected:
            raise StoreCorruptError(f"{self.path} has {size:,} bytes and had {expected:,}: it was cut off or added to")

    @contextmanager
    def _errors(self, step: str) -> Generator[None]:
        """Turn errors of SQLite into those of a store."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise StoreCorruptError(f"{self.path} is damaged: {error}") from error
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StoreWriteError(f"{self.path} is being written by another export", retryable=True) from error
            raise StoreWriteError(f"{self.path} cannot {step}: {error}", store_unavailable=True) from error

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        with self._errors("be read"):
            yield from self._connection.execute(sql, parameters)

    def scan_revisions(
        self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE
    ) -> Iterator[Listed]:
        """Iterate over ids, revisions and sizes in the order of ids: of all documents, or of those with the ids of a query."""
        last = ""
        if query.ids is not None:
            yield from map(Listed._make, self._with_ids("id, revision, size", query.ids, collection))
            return
        # In pages, for rows are written and removed meanwhile.
        sql = "SELECT id, revision, size FROM documents WHERE collection = ? AND id > ? ORDER BY id LIMIT ?"
        while page := list(self._rows(sql, (collection.name, last, PAGE))):
            yield from map(Listed._make, page)
            last = page[-1][0]

    def _with_ids(self, columns: str, ids: Iterable[str], collection: Collection[Any]) -> Iterator[Any]:
        listed = msgspec.json.encode(list(ids)).decode()
        where = "collection = ? AND id IN (SELECT value FROM json_each(?))"
        return self._rows(f"SELECT {columns} FROM documents WHERE {where} ORDER BY id", (collection.name, listed))  # noqa: S608  # columns are literals

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Return the number of documents."""
        ((count,),) = self._rows("SELECT count(*) FROM documents WHERE collection = ?", (collection.name,))
        return int(count)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records of some ids."""
        found: dict[str, Record] = {}
        for id, sha256, document in self._with_ids("id, sha256, document", ids, collection):
            self._check_document(collection.name, id, sha256, document)
            found[id] = read_document(document, collection, id)
        return found

    def _check_document(self, collection: str, id: str, sha256: bytes, document: bytes) -> None:
        if hashlib.sha256(document).digest() != sha256:
            raise StoreCorruptError(
                f"{self.path}: {collection} {shown(id)} is damaged, its checksum is wrong: restore from another export",
                collection=collection,
                identifier=id,
            )

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Write documents, in one transaction; nobody else writes, so whatever was expected holds."""
        rows: list[tuple[Any, ...]] = []
        for record in records:
            document = write_document(record, collection)
            digest = hashlib.sha256(document).digest()
            rows.append((collection.name, record.id, record.revision, record.meta.size, digest, document))
        with self._errors("be written"):
            self._connection.execute("BEGIN")
            self._connection.execute("DELETE FROM manifest")
            self._connection.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        return [record.head() for record in records]

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a document."""
        with self._errors("be written"):
            sql = "DELETE FROM documents WHERE (collection, id) = (?, ?)"
            return self._connection.execute(sql, (collection.name, id)).rowcount > 0

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections in the manifest."""
        return frozenset(self.manifest().collections)

    def keep_only(self, names: Iterable[str]) -> None:
        """Remove the documents of other collections, which an export that was cut short may have written."""
        with self._errors("be written"):
            listed = msgspec.json.encode(list(names)).decode()
            self._connection.execute(
                "DELETE FROM documents WHERE collection NOT IN (SELECT value FROM json_each(?))", (listed,)
            )

    def complete(self, source: str, exported_at: str, names: Sized[str], *, versions: bool) -> None:
        """Write the manifest."""
        contents = {name: self._contents(name, documents=False) for name in sorted(names)}
        manifest = Manifest(FORMAT, source, exported_at, versions, contents)
        with self._errors("be written"):
            self._connection.executescript("DELETE FROM manifest; VACUUM;")
            self._connection.execute("INSERT INTO manifest VALUES (?)", (msgspec.json.encode(manifest).decode(),))

    def manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            StoreCorruptError: there is none, or it is damaged.
        """
        rows = list(self._rows("SELECT content FROM manifest"))
        if len(rows) != 1:
            raise StoreCorruptError(f"{self.path} is not complete: the export was cut short; run it again")
        try:
            return msgspec.json.decode(rows[0][0], type=Manifest)
        except msgspec.MsgspecError as error:
            raise StoreCorruptError(f"{self.path} is damaged: its manifest cannot be read: {error}") from error

    def verify(self) -> Manifest:
        """Read the whole file and compare it with its checksums; return the manifest.

        Raises:
            StoreCorruptError: something is damaged or missing; it names what.
        """
        manifest = self.manifest()
        for name, expected in manifest.collections.items():
            found = self._contents(name, documents=True)
            if found != expected:
                raise StoreCorruptError(
                    f"{self.path}: {name} has {found.documents} documents of {expected.documents}, or others than were "
                    "written: restore from another export",
                    collection=name,
                )
        return manifest

    def _contents(self, name: str, *, documents: bool) -> Contents:
        """Compute the digest of a collection, and check its documents if asked to."""
        digest, count = hashlib.sha256(), 0
        columns = "id, revision, sha256, document" if documents else "id, revision, sha256, NULL"
        for row in self._rows(f"SELECT {columns} FROM documents WHERE collection = ? ORDER BY id", (name,)):  # noqa: S608  # as above
            id, revision, sha256, document = row
            if documents:
                self._check_document(name, id, sha256, document)
            digest.update(msgspec.json.encode([id, revision, sha256.hex()]))
            count += 1
        return Contents(count, digest.hexdigest())


def _quoted(path: str) -> str:
    return os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
