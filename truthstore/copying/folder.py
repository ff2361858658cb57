"""Read the files of a folder as records: results of other tools, and plain documents."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from truthstore.backends.filesystem.folder import FIRST_INDEX
from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.interop.recognise import from_any
from truthstore.items.results import RESULTS
from truthstore.model.record import Record
from truthstore.storage.objects.document import derive_now, read_document
from truthstore.storage.objects.object_store import FORMAT_KEY

if TYPE_CHECKING:
    from truthstore.model.collection import Collection

__all__ = ["files_in", "records_in"]

VALIDATIONS: Final = os.path.join("uncommitted", "validations")
"""Where a project of Great Expectations keeps its results."""
OWN: Final = os.path.dirname(f"/{FORMAT_KEY}") + "/"


def files_in(folder: str) -> list[str]:
    """Return the JSON files below a folder; in a project of Great Expectations, those with results.

    Raises:
        StoreConfigError: there is none.
    """
    results = os.path.join(folder, VALIDATIONS)
    walk = os.walk(results if os.path.isdir(results) else folder)
    names = (os.path.join(path, name) for path, _, names in walk for name in names if name.endswith(".json"))
    if found := sorted(name for name in names if os.path.basename(name) != FIRST_INDEX and OWN not in name):
        return found
    raise StoreConfigError(f"there is no JSON file below {folder}")


def records_in(file: str, collection: Collection[Any]) -> list[Record]:
    """Return the records in a file, with revisions that name their content: the same file gives the same ones.

    Raises:
        StoreCorruptError: it holds no item of the collection, nor the result of a known tool.
        OSError: it cannot be read.
    """
    with open(file, "rb") as opened:
        data = opened.read()
    try:
        record = read_document(data, collection, file=file)
    except StoreCorruptError:
        if collection.name != RESULTS.name:
            raise
    else:
        derive_now(record, collection, file=file)  # once: a time that it lacks may be the present one
        return [record]
    try:
        found = list(map(collection.encode, from_any(file)))
    except (TypeError, ValueError) as error:
        raise StoreCorruptError(str(error), collection=collection.name) from error
    digests = [hashlib.sha256(record.body or b"").hexdigest()[:24] for record in found]
    return [Record(one.meta, one.body, f"content-{digest}") for one, digest in zip(found, digests, strict=True)]
