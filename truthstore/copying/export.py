"""Export a store to one file, and restore it from there: copies to and from an `ExportFile`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from truthstore.copying.file import ExportFile
from truthstore.copying.scope import Scope, named, scope_of
from truthstore.copying.store import copy_all
from truthstore.copying.transfer import Transfer

if TYPE_CHECKING:
    from truthstore.copying.base import Conflict, CopyResult, Progress
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.store.store import BaseStore

__all__ = ["export_store", "restore_store"]


def export_store(
    source: BaseStore[Any],
    path: str | os.PathLike[str],
    query: StoreQuery | None = None,
    *,
    collections: Iterable[Collection[Any]] = (),
    everything: bool = True,
    versions: bool = True,
    verify: bool = True,
    progress: Progress | None = None,
) -> CopyResult:
    """Write all that a store holds to one file, which appears under its name when it is complete.

    It is written as ``<path>.partial``; the same call goes on with that after it was cut short.

    Args:
        source: the store.
        path: the file; one of that name is replaced.
        query: export only the items of the store's collection that it finds, with what belongs to them.
        collections: the declarations of your own; without `everything`, the collections to export.
        everything: all collections that the store holds; with a `query`, never.
        versions: export tombstones and older versions.
        verify: read back what was written, and compare.
        progress: called with a `CopyProgress` after each batch.

    Raises:
        StoreWriteError: the file cannot be written, or another export is writing it.
        StoreConfigError: a collection is not declared.
    """
    final = os.path.abspath(os.path.expanduser(os.fspath(path)))
    partial = f"{final}.partial"
    source.initialize()
    scope = scope_of(source, collections, everything=everything and query is None, versions=versions)
    file = ExportFile(partial, write=True)
    try:
        names = {one.name for collection in scope.collections for one in (collection, *scope.derived(collection))}
        file.keep_only(names)
        transfer = Transfer(source, file, conflict="source", verify=verify, as_stored=scope.versions, progress=progress)
        result = copy_all(transfer, scope, query, delete=query is None)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.complete(source.identity, now, names, versions=scope.versions)
    finally:
        file.close()
    _publish(partial, final)
    return result


def _publish(partial: str, final: str) -> None:
    """Give a complete file its name, durably."""
    os.replace(partial, final)
    handle = os.open(os.path.dirname(final), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def restore_store(
    path: str | os.PathLike[str],
    target: BaseStore[Any],
    *,
    collections: Iterable[Collection[Any]] = (),
    conflict: Conflict = "raise",
    verify: bool = True,
    progress: Progress | None = None,
) -> CopyResult:
    """Copy all that an export holds into a store; the same call goes on after it was cut short.

    Args:
        path: the file.
        target: the store to copy to.
        collections: the declarations of your own.
        conflict: the rule of `copy_store` for an id under which the target holds another revision.
        verify: read the whole file before anything is written, and read back all that was written.
        progress: called with a `CopyProgress` after each batch.

    Raises:
        StoreCorruptError: the file is damaged or not complete: it says what is; with `verify` nothing was written.
        StoreConfigError: it is no export, or holds a collection that is not declared.
        StoreReadError: it cannot be read.
        CopyConflictError: all is copied but what the target holds in another revision.
    """
    file = ExportFile(os.path.abspath(os.path.expanduser(os.fspath(path))))
    try:
        manifest = file.verify() if verify else file.manifest()
        target.initialize()
        names = frozenset(manifest.collections)
        wanted = named(names, [target._collection, *collections])  # noqa: SLF001  # the collection that it is open for
        scope = Scope(collections=wanted, names=names, versions=manifest.versions, live=False)
        transfer = Transfer(file, target, conflict=conflict, verify=verify, as_stored=scope.versions, progress=progress)
        return copy_all(transfer, scope)
    finally:
        file.close()
