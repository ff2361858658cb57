"""Read the files of a folder as records: what other tools wrote, and documents of the first system."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreError
from truthstore.interop.recognise import from_any
from truthstore.items.results import RESULTS
from truthstore.model.record import Record
from truthstore.storage.objects.document import read_document

if TYPE_CHECKING:
    from truthstore.model.collection import Collection

__all__ = ["files_in", "records_in"]

VALIDATIONS: Final = os.path.join("uncommitted", "validations")
"""Where Great Expectations keeps the results of a project."""


def files_in(folder: str) -> Iterator[str]:
    """Iterate over the JSON files below a folder, or those with the results of a project of Great Expectations.

    Raises:
        StoreConfigError: there is no such folder.
    """
    folder = os.path.expanduser(folder)
    if not os.path.isdir(folder):
        raise StoreConfigError(f"there is no folder {folder}")
    results = os.path.join(folder, VALIDATIONS)
    for path, folders, names in os.walk(results if os.path.isdir(results) else folder):
        folders.sort()
        yield from (os.path.join(path, name) for name in sorted(names) if _is_document(name))


def _is_document(name: str) -> bool:
    return name.endswith(".json") and not name.startswith((".", "_"))


def records_in(file: str, collection: Collection[Any]) -> list[Record]:
    """Return the records in a file; their revisions name their content, so that the same file has the same ones.

    Raises:
        StoreCorruptError: it holds no item of the collection, and no result of a known tool.
        StoreError: a result cannot be stored.
        OSError: it cannot be read.
    """
    with open(file, "rb") as opened:
        data = opened.read()
    try:
        return [read_document(data, collection, file=file)]
    except StoreCorruptError:
        if collection.name != RESULTS.name:
            raise
    try:
        items = from_any(file)
    except (TypeError, ValueError) as error:
        raise StoreCorruptError(f"{file} cannot be read: {error}", collection=collection.name) from error
    return [_named_by_content(collection.encode(item)) for item in items]


def _named_by_content(record: Record) -> Record:
    digest = hashlib.sha256(record.body or b"").hexdigest()
    return Record(record.meta, record.body, f"content-{digest[:24]}")


FAILURES: Final = (StoreError, OSError)
"""Errors that concern one file, and no other."""
