"""`copy_store`: which collections, in which order, by which rule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from truthstore.copying.base import Conflict, CopyConflictError, CopyResult, Progress
from truthstore.copying.folder import FAILURES, files_in, records_in
from truthstore.copying.scope import Scope, belonging, scope_of
from truthstore.copying.transfer import BATCH, BATCH_BYTES, Transfer
from truthstore.errors import StoreConfigError, StoreConflictError, StoreReadError, one_of
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record

__all__ = ["copy_all", "copy_store"]

NOT_STREAMED: Final = StoreQuery(where={"kind": ("!=", "streamed")})


def copy_store(
    source: BaseStore[Any] | str | os.PathLike[str],
    target: BaseStore[Any],
    query: StoreQuery | None = None,
    *,
    collections: Iterable[Collection[Any]] = (),
    everything: bool = False,
    versions: bool = True,
    conflict: Conflict = "raise",
    delete: bool = False,
    verify: bool | Literal["all"] = True,
    progress: Progress | None = None,
    resume: bool = True,
) -> CopyResult:
    """Copy a store into another one: what the target has not yet, by revision, in constant memory.

    Records come as they were stored: bytes, encoding, revision, `stored_at`, the UTC instants of times, annotations. What
    belongs to items comes with them, and before them: older versions, the parts of streamed runs, notes on checks, what is
    set aside. The same call goes on with a copy that was cut short, and copies later what has changed since.

    Args:
        source: a store; or a folder: of results of other tools, as Great Expectations keeps them, or of JSON documents of
            the target's collection.
        target: the store to copy to.
        query: copy only the items of the source's collection that it finds, with what belongs to them.
        collections: these, instead of the collection that the source is open for; with `everything`, the declarations of
            your own.
        everything: all collections that the source holds, suites and the audit trail among them.
        versions: copy tombstones and older versions, with their numbers. Without them, layers of the target act on what is
            copied as on any save: one with versions makes a new one.
        conflict: what happens where the target holds another revision of an id. ``raise``: it stays, unless it is an older
            version of what is copied, and is in the error at the end; ``source``: it is replaced, by compare-and-set;
            ``target``: it stays; ``newer``: the later `stored_at` wins, which trusts the clocks of the writers.
        delete: remove from the target what the source does not hold; not if the source holds nothing.
        verify: read back all that was written, and compare; ``all``: also compare what was there already.
        progress: called with a `CopyProgress` after each batch; what it raises ends the copy.
        resume: False refuses a target that holds items already.

    Raises:
        CopyConflictError: all is copied but what the target holds in another revision.
        StoreConfigError: a collection is not declared, or there is no such folder.
        StoreConflictError: the target holds items, and `resume` is off; or all of them would be deleted.
        StoreCorruptError: what was read back is not what was written.
        StoreReadError: some files of a folder cannot be read; the others are copied.
    """
    if conflict not in get_args(Conflict):
        raise ValueError(one_of("conflict", conflict, get_args(Conflict)))
    if delete and (query is not None or not isinstance(source, BaseStore)):
        raise TypeError("delete=True makes the target the mirror of a store: it takes neither a query nor a folder")
    if query is not None and (everything or not isinstance(source, BaseStore)):
        raise TypeError(
            "a query is about one collection of a store: give it without everything=True, and for no folder"
        )
    target.initialize()
    if not isinstance(source, BaseStore):
        transfer = Transfer(None, target, conflict=conflict, verify=verify, as_stored=False, progress=progress)
        return _copy_folder(os.fspath(source), target, transfer)
    source.initialize()
    scope = scope_of(source, collections, everything=everything, versions=versions)
    for collection in scope.collections:
        if delete or not resume:
            _check_counts(source, target, collection, delete=delete)
    as_stored = scope.versions
    transfer = Transfer(source, target, conflict=conflict, verify=verify, as_stored=as_stored, progress=progress)
    return copy_all(transfer, scope, query, delete=delete)


def copy_all(transfer: Transfer, scope: Scope, query: StoreQuery | None = None, *, delete: bool = False) -> CopyResult:
    """Copy collections, each after what belongs to its items: an item that is there is whole."""
    for collection in scope.collections:
        others = scope.derived(collection)

        def bring(records: Sequence[Record], own: Collection[Any] = collection, others: Any = others) -> None:
            # Once more, for what belongs to an item that was written since.
            for each, asked in belonging(records, own, others):
                transfer.copy(each, asked)

        for other in others:
            if query is None:
                transfer.copy(other, delete=delete)
            elif other.name.endswith(".notes"):
                transfer.copy(other, NOT_STREAMED)
        transfer.copy(collection, query, before=bring if scope.live else None, delete=delete)
    return _result(transfer, scope.left_out)


def _result(transfer: Transfer, left_out: tuple[str, ...] = ()) -> CopyResult:
    """Return the result of a copy.

    Raises:
        CopyConflictError: there were conflicts.
    """
    done = transfer.done
    if transfer.conflicts:
        raise CopyConflictError(done["conflicts"], transfer.conflicts)
    return CopyResult(
        copied=done["copied"],
        unchanged=done["unchanged"],
        kept=done["kept"],
        deleted=done["deleted"],
        bytes=done["bytes"],
        collections=dict(transfer.written),
        left_out=left_out,
    )


def _check_counts(source: BaseStore[Any], target: BaseStore[Any], collection: Collection[Any], *, delete: bool) -> None:
    there = target.count_records(EVERYTHING, collection=collection)
    if there and not delete:
        raise StoreConflictError(
            f"{target!r} holds {there} {collection.name} already, and resume is off", collection=collection.name
        )
    if there and not source.count_records(EVERYTHING, collection=collection):
        raise StoreConflictError(
            f"{source!r} holds no {collection.name}, and delete=True would remove all {there} from {target!r}: is it the "
            "right store? clear(everything=True) removes them",
            collection=collection.name,
        )


def _copy_folder(folder: str, target: BaseStore[Any], transfer: Transfer) -> CopyResult:
    collection = target._collection  # noqa: SLF001  # as above
    failed: dict[str, Exception] = {}
    batch: list[Record] = []
    read = size = 0
    for file in files_in(folder):
        try:
            found = records_in(file, collection)
        except FAILURES as error:
            failed[file] = error
            continue
        read += 1
        batch += found
        size += sum(record.meta.size for record in found)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            transfer.take(batch, collection)
            batch, size = [], 0
    transfer.take(batch, collection)
    if failed:
        first, error = next(iter(failed.items()))
        raise StoreReadError(
            f"{len(failed)} files below {folder} cannot be read, of the other {read} there are "
            f"{transfer.done['conflicts']} conflicts and all else is copied; first: {first}: {error}",
            collection=collection.name,
        ) from error
    if not read:
        raise StoreConfigError(f"there is no JSON file below {folder}")
    return _result(transfer)
