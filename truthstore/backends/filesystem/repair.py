"""Comparison of the files of a folder with its index, and its reconstruction from them, while others write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from truthstore.backends.filesystem.files import read_error
from truthstore.errors import StoreConfigError, StoreCorruptError, shown
from truthstore.model.query import EVERYTHING
from truthstore.store.health import Verification

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from truthstore.backends.filesystem.folder import FileEntry, Folder
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.storage.catalog.catalog import Catalog, Location

__all__ = ["index_files", "verify_files"]

CHUNK: Final = 500


def verify_files(
    folder: Folder, catalog: Catalog, collection: Collection[Any], locked: Callable[[], AbstractContextManager[None]]
) -> Verification:
    """Read every file of a collection and compare it with the index; a second time under the lock where they differ."""
    seen: set[str] = set()
    tombstones = 0
    unindexed: list[str] = []
    changed: list[str] = []
    corrupt: dict[str, str] = {}
    for name in folder.names(collection):
        try:
            entry = folder.entry(collection, name)
            location = catalog.find(collection, entry.record.id)
            if not _agree(entry, location):
                with locked():
                    entry = folder.entry(collection, name)
                    location = catalog.find(collection, entry.record.id)
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError as error:
            raise read_error(error, f"cannot read {name}") from error
        except (StoreConfigError, StoreCorruptError) as error:
            corrupt[name] = str(error)
            continue
        id = entry.record.id
        if location is None:
            unindexed.append(id)
        elif location.name != entry.name:
            corrupt[name] = f"a second file of {shown(id)}: remove one of the two"
        else:
            if entry.changed or location.revision != entry.record.revision:
                changed.append(id)
            seen.add(id)
            tombstones += entry.record.meta.deleted
    unread = {f"{folder.of(collection)}/{name}": name for name in corrupt}
    missing: list[str] = []
    for page in catalog.locations(EVERYTHING.replace(include_deleted=True).bind(collection)):
        for found in page:
            file = unread.get(folder.path(collection, found))
            if file is not None:
                corrupt[found.id] = corrupt.pop(file)
            if file is not None or found.id in seen:
                continue
            with locked():
                location = catalog.find(collection, found.id)
                if location is not None and not folder.exists(collection, location):
                    missing.append(found.id)
    return Verification(
        checked=len(seen) - tombstones + len(unindexed) + len(corrupt),
        missing=tuple(missing),
        unindexed=tuple(unindexed),
        changed=tuple(changed),
        corrupt=corrupt,
    )


def _agree(entry: FileEntry, location: Location | None) -> bool:
    return location is not None and location.name == entry.name and location.revision == entry.record.revision


def index_files(
    folder: Folder, catalog: Catalog, collection: Collection[Any], locked: Callable[[], AbstractContextManager[None]]
) -> list[Record]:
    """Write an index row for every file that can be read, and remove the rows that have none.

    The lock is taken for some hundred files at a time, so that writers wait for milliseconds.

    Returns:
        The records of files that were edited by hand.
    """
    names = folder.names(collection)
    edited: list[Record] = []
    damaged: set[str] = set()
    for start in range(0, len(names), CHUNK):
        with locked():
            entries, unread = folder.entries(collection, names[start : start + CHUNK])
            catalog.commit(collection, [entry.put for entry in entries])
        edited.extend(entry.record for entry in entries if entry.changed)
        damaged.update(f"{folder.of(collection)}/{name}" for name in unread)
    for page in catalog.locations(EVERYTHING.replace(include_deleted=True).bind(collection)):
        with locked():
            rows = [row for row in (catalog.find(collection, found.id) for found in page) if row is not None]
            gone = [
                row.id for row in rows if folder.path(collection, row) in damaged or not folder.exists(collection, row)
            ]
            if gone:
                catalog.commit(collection, (), gone)
    return edited
