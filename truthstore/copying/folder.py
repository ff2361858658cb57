"""Read the files of a folder, or the objects of a bucket, as records: results of other tools, and plain documents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from truthstore.backends.cloud.store import CloudStore
from truthstore.backends.filesystem.folder import FIRST_INDEX
from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.interop.recognise import from_any
from truthstore.items.results import RESULTS
from truthstore.model.record import Record
from truthstore.storage.objects.compression import compressor
from truthstore.storage.objects.document import derive_now, read_document
from truthstore.storage.objects.object_store import FORMAT_KEY
from truthstore.store.registry import get_store
from truthstore.store.urls import shown_url

if TYPE_CHECKING:
    from truthstore.backends.cloud.driver import CloudBlobs
    from truthstore.model.collection import Collection

__all__ = ["Document", "documents_in", "records_in"]

VALIDATIONS: Final = os.path.join("uncommitted", "validations")
"""Where a project of Great Expectations keeps its results."""
SUFFIXES: Final = (".json", ".json.gz")
MAX_BYTES: Final = 1 << 30
"""A document that expands to more is taken for damaged."""
OWN: Final = os.path.dirname(f"/{FORMAT_KEY}") + "/"


class Document(NamedTuple):
    """A file, or an object in a bucket.

    Attributes:
        name: its path or key.
        read: returns its bytes, as they are stored.
        is_file: it is a file.
    """

    name: str
    read: Callable[[], bytes]
    is_file: bool


@contextmanager
def documents_in(place: str) -> Generator[list[Document]]:
    """Find the JSON documents below a folder, of a project of Great Expectations its results, or below the URL of a bucket.

    Raises:
        StoreConfigError: there is none, or the URL is not one of a bucket.
    """
    with ExitStack() as stack:
        found = _objects_in(stack, place) if "://" in place else _files_in(place)
        wanted = [one for one in found if one.name.endswith(SUFFIXES) and OWN not in f"/{one.name}"]
        wanted = [one for one in wanted if os.path.basename(one.name) != FIRST_INDEX]
        if not wanted:
            raise StoreConfigError(f"there is no JSON document below {shown_url(place)}")
        yield sorted(wanted, key=lambda one: one.name)


def _files_in(folder: str) -> Iterator[Document]:
    results = os.path.join(folder, VALIDATIONS)
    for path, _, names in os.walk(results if os.path.isdir(results) else folder):
        for name in names:
            file = os.path.join(path, name)
            yield Document(file, Path(file).read_bytes, is_file=True)


def _objects_in(stack: ExitStack, url: str) -> Iterator[Document]:
    store: Any = get_store(url)
    if not isinstance(store, CloudStore):
        raise StoreConfigError(
            f"{shown_url(url)} is no bucket: copy from get_store({shown_url(url)!r}) if it is a store"
        )
    objects = stack.enter_context(closing(store.objects()))
    for key in objects.list(""):
        yield Document(key, partial(_object, objects, key), is_file=False)


def _object(objects: CloudBlobs, key: str) -> bytes:
    return objects.get(key)[0]


def records_in(document: Document, collection: Collection[Any]) -> list[Record]:
    """Return the records in a document, with revisions that name their content: the same one gives the same ones.

    Raises:
        StoreCorruptError: it holds no item of the collection, nor the result of a known tool.
        StoreError, OSError: it cannot be read.
    """
    name, data = document.name, document.read()
    if name.endswith(".gz"):
        data = compressor("gzip", MAX_BYTES)[2](data)
    try:
        record = read_document(data, collection, file=name)
    except StoreCorruptError:
        if collection.name != RESULTS.name:
            raise
    else:
        derive_now(record, collection, file=name)  # once: a time that it lacks may be the present one
        return [record]
    try:
        by_path = document.is_file and not name.endswith(".gz")  # what lies beside it may tell more
        found = list(map(collection.encode, from_any(name if by_path else msgspec.json.decode(data))))
    except (TypeError, ValueError) as error:
        raise StoreCorruptError(str(error), collection=collection.name) from error
    digests = [hashlib.sha256(record.body or b"").hexdigest()[:24] for record in found]
    return [Record(one.meta, one.body, f"content-{digest}") for one, digest in zip(found, digests, strict=True)]
