"""Copy a store into another one, from a folder, to one file and back."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, get_args

from truthstore.backends.memory import MemoryStore
from truthstore.copying.archive import documents_of, writing
from truthstore.copying.base import Conflict, CopyCounts, Progress, Tally
from truthstore.copying.folder import Document, documents_in, records_in
from truthstore.copying.scope import belonging, derived, own_of, owners_of
from truthstore.copying.transfer import ALL, BATCH, BATCH_BYTES, Transfer, batches, listing
from truthstore.errors import StoreConflictError, StoreError, StoreReadError, one_of
from truthstore.items.results import RESULTS
from truthstore.model.query import EVERYTHING
from truthstore.store.store import BaseStore
from truthstore.store.urls import shown_url

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.model.record import Record

__all__ = ["copy_store", "export_store", "restore_store"]


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
) -> CopyCounts:
    """Copy into a store what it has not yet, by revision, in constant memory.

    Records come as they were stored: bytes, encoding, revision, `stored_at`, the UTC instants of times, annotations. What
    belongs to items comes after them: older versions, the parts of streamed runs, notes on checks, what is set aside. The
    same call goes on with a copy that was cut short, and copies later what has changed since.

    Args:
        source: a store; or a folder, or the URL of one in a bucket: of results of other tools, as Great Expectations keeps
            them, or of JSON documents of the target's collection.
        target: the store to copy to.
        query: copy only the items that it finds in the source's collection, with what belongs to them.
        collections: these, instead of the source's; with `everything`, the declarations of your own.
        everything: all that the source holds, suites and the audit trail among it.
        versions: copy tombstones and older versions, and leave the layers of the target out of it. Without, they act on what
            is copied as on any save: one with versions makes a new one.
        conflict: the rule for another revision at the target. ``raise``: it stays and is in the error at the end, unless it
            is an older version of what is copied; ``source``: it is replaced, by compare-and-set; ``target``: it stays.
        delete: remove from the target what the source does not hold; not if the source holds nothing.
        verify: read back all that is written, and compare; ``all``: compare what was there already, too.
        progress: called with the counts of a collection after each batch; what it raises ends the copy.
        resume: False refuses a target that holds items already.

    Raises:
        CopyConflictError: all is copied but what the target holds in another revision.
        StoreConfigError: a collection of yours is not declared, or a folder holds no files.
        StoreConflictError: the target holds items, and `resume` is off; or all of them would be deleted.
        StoreCorruptError: what was read back is not what was written.
        StoreReadError: some files of a folder cannot be read; the others are copied.
    """
    if conflict not in get_args(Conflict):
        raise ValueError(one_of("conflict", conflict, get_args(Conflict)))
    given = list(collections)
    if (query is not None or not isinstance(source, BaseStore)) and (delete or everything or given):
        raise TypeError(
            "delete, everything and collections go with neither a query, about one collection, nor a folder"
        )
    target.initialize()
    tally = Tally(progress)
    if not isinstance(source, BaseStore):
        move = partial(Transfer, target=target, tally=tally, conflict=conflict, verify=verify, as_stored=False)
        _copy_folder(os.path.expanduser(os.fspath(source)), move, tally, own_of(target))
        return tally.result()
    source.initialize()
    owners = owners_of(source, given, everything=everything)
    for collection in owners if delete or not resume else ():
        _check_counts(source, target, collection, delete=delete)
    moving = Transfer(source, target, tally, conflict=conflict, verify=verify, as_stored=versions)
    _copy_each(source, owners, query, partial(moving.copy, delete=delete), versions=versions)
    return tally.result()


def _copy_each(
    source: BaseStore[Any],
    owners: Sequence[Collection[Any]],
    query: StoreQuery | None,
    copy: Callable[..., None],
    *,
    versions: bool,
) -> None:
    """Copy collections, and then what belongs to their items; with a query, to those items that it finds."""

    def after(ids: Sequence[str]) -> None:
        asked = belonging(owners[0], ids)
        for other in derived(source, owners, versions=versions):
            for one in asked.get(other.name, ()):
                copy(other, one)

    for owner in owners:
        copy(owner, query, after=None if query is None else after)
    # Afterwards: what was replaced meanwhile is among the older versions by now.
    for other in derived(source, owners, versions=versions) if query is None else ():
        copy(other)


def _check_counts(source: BaseStore[Any], target: BaseStore[Any], collection: Collection[Any], *, delete: bool) -> None:
    there = target.count_records(EVERYTHING, collection=collection)
    reason = "the source holds none, so that delete=True would remove them all" if delete else "resume is off"
    if there and not (delete and source.count_records(EVERYTHING, collection=collection)):
        raise StoreConflictError(
            f"{target!r} holds {there} {collection.name}, and {reason}", collection=collection.name
        )


def _copy_records(
    records: Iterable[tuple[Collection[Any], Record]], move: Callable[[BaseStore[Any]], Transfer]
) -> None:
    """Copy records that come one after the other, some at a time by way of a store in memory."""
    batch: dict[str, Record] = {}
    collection: Collection[Any] = RESULTS
    size = 0
    for own, record in chain(records, [(None, None)]):
        # The second record of an id meets the first at the target.
        is_full = size > BATCH_BYTES or len(batch) == BATCH or own is not collection
        if batch and (record is None or is_full or record.id in batch):
            part: BaseStore[Any] = MemoryStore(collection=collection)
            part.put_records(list(batch.values()), collection=collection)
            move(part).copy(collection)
            batch, size = {}, 0
        if own is not None and record is not None:
            collection, batch[record.id] = own, record
            size += record.meta.size


def _copy_folder(
    folder: str, move: Callable[[BaseStore[Any]], Transfer], tally: Tally, collection: Collection[Any]
) -> None:
    failed: list[tuple[str, Exception]] = []

    def records(documents: Iterable[Document]) -> Iterator[tuple[Collection[Any], Record]]:
        for document in documents:
            try:
                found = records_in(document, collection)
            except (StoreError, OSError) as error:
                failed.append((document.name, error))
            else:
                yield from ((collection, record) for record in found)

    with documents_in(folder) as documents:
        _copy_records(records(documents), move)
    if failed:
        raise StoreReadError(
            f"{len(failed)} documents below {shown_url(folder)} cannot be read, first {failed[0][0]}: {failed[0][1]}; all else is copied, "
            f"but for {len(tally.conflicts)} conflicts",
            collection=collection.name,
        ) from failed[0][1]


def export_store(
    source: BaseStore[Any],
    path: str | os.PathLike[str],
    query: StoreQuery | None = None,
    *,
    collections: Iterable[Collection[Any]] = (),
    everything: bool = True,
    versions: bool = True,
    progress: Progress | None = None,
) -> CopyCounts:
    """Write all that a store holds, or what a query finds, to one file, which has its name when it is complete.

    The options are those of `copy_store`; a file of that name is replaced.

    Raises:
        StoreWriteError: the file cannot be written, or another export is writing it.
        StoreConfigError: a collection of yours is not declared.
    """
    source.initialize()
    tally = Tally(progress)
    owners = owners_of(source, list(collections), everything=everything and query is None)
    with writing(os.path.abspath(os.path.expanduser(os.fspath(path))), source.identity) as archive:

        def write(collection: Collection[Any], asked: StoreQuery | None = None, after: Any = None) -> None:
            for page in listing(source, collection, asked or ALL.replace(include_deleted=versions)):
                for batch in batches(source, page, collection, tombstones=versions):
                    archive.put(batch, collection)
                    size = sum(len(record.body or b"") for record in batch)
                    tally.add(collection.name, compared=len(batch), copied=len(batch), bytes=size)
                if after is not None:
                    after([listed.id for listed in page])

        _copy_each(source, owners, query, write, versions=versions)
    return tally.result()


def restore_store(
    path: str | os.PathLike[str],
    target: BaseStore[Any],
    *,
    collections: Iterable[Collection[Any]] = (),
    conflict: Conflict = "raise",
    verify: bool = True,
    progress: Progress | None = None,
) -> CopyCounts:
    """Copy all that an export holds into a store. The same call goes on after it was cut short.

    The options are those of `copy_store`; with `verify` the whole file is read before anything is written, too.

    Raises:
        StoreCorruptError: the file is damaged or not complete, and where; with `verify`, nothing was written.
        StoreConfigError: a collection of yours is not declared.
        StoreReadError: the file cannot be read.
        CopyConflictError: all is copied but what the target holds in another revision.
    """
    file, given = os.path.abspath(os.path.expanduser(os.fspath(path))), [own_of(target), *collections]
    if verify:
        deque(documents_of(file, given), maxlen=0)
    target.initialize()
    tally = Tally(progress)
    move = partial(Transfer, target=target, tally=tally, conflict=conflict, verify=verify, as_stored=True)
    _copy_records(documents_of(file, given), move)
    return tally.result()
