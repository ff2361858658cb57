"""Move the records of one collection: compare, read, write, read back.

Records are compared by revision, which is exact: equal revisions are the same write, whatever clocks say. So there is no
watermark, and nothing to remember from one copy to the next: what was cut short goes on by comparing again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Literal

from truthstore.errors import StoreBulkError, StoreConflictError, StoreCorruptError, StoreWriteError, shown
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import ABSENT, AS_STORED, NONE, Listed, Options, Record, Revision
from truthstore.versioning.meta import ITEM, history_of

if TYPE_CHECKING:
    from truthstore.copying.base import Conflict, Tally
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["ALL", "BATCH", "BATCH_BYTES", "Transfer", "batches", "listing"]

ALL: Final = EVERYTHING.replace(order_by="id", ascending=True)
PAGE: Final = 1_000
BATCH: Final = 500
BATCH_BYTES: Final = 8 << 20
FEW: Final = 4
"""Looking up a record takes about so many times as long as reading it in a listing of all."""


def listing(store: BaseStore[Any], collection: Collection[Any], query: StoreQuery) -> Iterator[list[Listed]]:
    """List what a query finds, a page at a time, in the order of ids unless the query is cut off in another one."""
    if query.limit is None and not query.offset and query.after is None:
        query = query.replace(order_by="id", ascending=True)  # in which nothing changes its place meanwhile
    found = store.scan_revisions(query, collection=collection, options=AS_STORED)
    while page := list(islice(found, PAGE)):
        yield page


def batches(
    store: BaseStore[Any], listed: Iterable[Listed], collection: Collection[Any], *, tombstones: bool
) -> Iterator[list[Record]]:
    """Read records, as many at a time as fit into memory whatever their size; leave out what was removed meanwhile."""
    batch: list[str] = []
    size = 0
    for one in chain(listed, [None]):
        if batch and (one is None or len(batch) == BATCH or size + one.size > BATCH_BYTES):
            found = store.get_records(batch, collection=collection, options=AS_STORED)
            yield [record for record in found.values() if tombstones or not record.meta.deleted]
            batch, size = [], 0
        if one is not None:
            batch.append(one.id)
            size += one.size


class Transfer:
    """Move records from a store to another.

    Args:
        source: the store to read.
        target: the store to write.
        tally: counts what is done.
        conflict: the rule for another revision.
        verify: read back what was written; ``all``: compare what was there already, too.
        as_stored: write records below the layers that would change them.
    """

    def __init__(
        self,
        source: BaseStore[Any],
        target: BaseStore[Any],
        tally: Tally,
        *,
        conflict: Conflict,
        verify: bool | Literal["all"],
        as_stored: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._tally = tally
        self._conflict = conflict
        self._verify = verify
        self._as_stored = as_stored
        self._options: Options = AS_STORED if as_stored else NONE
        self._everything = ALL.replace(include_deleted=as_stored)

    def copy(
        self,
        collection: Collection[Any],
        query: StoreQuery | None = None,
        *,
        after: Callable[[Sequence[str]], None] | None = None,
        delete: bool = False,
    ) -> None:
        """Copy what a query finds, or all; call `after` with the ids of each page that is at the target."""
        for page, known in self._pages(collection, query, delete=delete):
            same = [listed for listed in page if known.get(listed.id) == listed.revision]
            changed = [listed for listed in page if known.get(listed.id) != listed.revision]
            for batch in self._read(changed, collection):
                written = self._put(batch, known, collection)
                size = sum(len(record.body or b"") for record in written)
                self._tally.add(collection.name, copied=len(written), bytes=size)
            for batch in self._read(same, collection) if self._verify == "all" else ():
                self._check(batch, collection)
            if after is not None:
                after([listed.id for listed in page])
            self._tally.add(collection.name, compared=len(page), unchanged=len(same))

    def _read(self, listed: Iterable[Listed], collection: Collection[Any]) -> Iterator[list[Record]]:
        return batches(self._source, listed, collection, tombstones=self._as_stored)

    def _pages(
        self, collection: Collection[Any], query: StoreQuery | None, *, delete: bool
    ) -> Iterator[tuple[list[Listed], dict[str, Revision]]]:
        """Iterate over pages of what the source lists, each with the revisions that the target holds of them."""
        ours = listing(self._source, collection, query or self._everything)
        if query is not None or not (delete or self._is_most_of_target(collection)):
            yield from ((page, self._known([listed.id for listed in page], collection)) for page in ours)
            return
        theirs = self._there(collection)
        ahead = next(theirs, None)
        more: list[Listed] = []
        for page in ours:
            ids = {listed.id for listed in page}
            known: dict[str, Revision] = {}
            while ahead is not None and ahead.id <= page[-1].id:
                if ahead.id in ids:
                    known[ahead.id] = ahead.revision
                elif delete:
                    more.append(ahead)
                    more = self._delete(more, collection) if len(more) == PAGE else more
                ahead = next(theirs, None)
            yield page, known
        rest = chain(more, [ahead] if ahead is not None else [], theirs)
        while delete and (more := list(islice(rest, PAGE))):
            self._delete(more, collection)

    def _is_most_of_target(self, collection: Collection[Any]) -> bool:
        """Return whether so much of the target is in the source that listing all of it pays."""
        there = self._target.count_records(self._everything, collection=collection)
        return there <= FEW * self._source.count_records(self._everything, collection=collection)

    def _there(self, collection: Collection[Any], ids: Iterable[str] | None = None) -> Iterator[Listed]:
        asked = self._everything.replace(ids=ids)
        return self._target.scan_revisions(asked, collection=collection, options=self._options)

    def _known(self, ids: Iterable[str], collection: Collection[Any]) -> dict[str, Revision]:
        return {listed.id: listed.revision for listed in self._there(collection, ids)}

    def _put(
        self, records: Sequence[Record], known: Mapping[str, Revision], collection: Collection[Any]
    ) -> list[Record]:
        """Write records, those whose ids the target holds by the rule; return those that were written, and read back."""
        written = [record for record in records if record.id not in known]
        others = [record for record in records if record.id in known]
        met = self._refused(written, ABSENT, collection)
        if met:  # another program wrote these since they were listed
            others += [record for record in written if record.id in met]
            written = [record for record in written if record.id not in met]
            known = {**known, **self._known(met, collection)}
        for record in others:
            actual = known.get(record.id)
            if actual == record.revision:
                self._tally.add(collection.name, unchanged=1)
            elif self._conflict == "target":
                self._tally.add(collection.name, kept=1)
            elif (self._conflict == "raise" and not self._is_older_version(actual, record, collection)) or (
                self._refused([record], actual or ABSENT, collection)
            ):
                self._tally.conflict(collection.name, record.id)
            else:
                written.append(record)
        if self._verify:
            self._check(written, collection)
        return written

    def _refused(self, records: Sequence[Record], expect: Any, collection: Collection[Any]) -> set[str]:
        """Write records, and return the ids of those that were not as expected."""
        try:
            if records:
                self._target.put_records(records, collection=collection, expect=expect, options=self._options)
        except StoreConflictError:
            return {record.id for record in records}
        except StoreBulkError as error:
            refused = {id for id, one in error.failed.items() if isinstance(one, StoreConflictError)}
            if len(refused) < len(error.failed):
                raise
            return refused
        return set()

    def _is_older_version(self, revision: Revision | None, record: Record, collection: Collection[Any]) -> bool:
        """Return whether the target holds no item, or what the source keeps as an older version of the record."""
        asked = ALL.replace(ids=[record.id])
        if next(self._target.scan_revisions(asked, collection=collection, options=self._options), None) is None:
            return True  # there may be a tombstone
        if not (self._as_stored and collection.is_users):
            return False
        older = listing(self._source, history_of(collection), StoreQuery(where={ITEM: record.id}))
        return any(listed.revision == revision for page in older for listed in page)

    def _check(self, records: Sequence[Record], collection: Collection[Any]) -> None:
        """Compare records with what the target gives back, unless another program has written others since."""
        ids = [record.id for record in records]
        there = self._target.get_records(ids, collection=collection, options=self._options) if ids else {}
        for record in records:
            found, name = there.get(record.id), f"{collection.name} {shown(record.id)}"
            if found is None:
                raise StoreWriteError(
                    f"{name} was copied and is gone: another program, or a policy of the target, removes what is written",
                    collection=collection.name,
                    identifier=record.id,
                )
            # Layers of the target add annotations of their own to what is not as stored.
            meta = found.meta if self._as_stored else found.meta.replace(annotations=record.meta.annotations)
            if found.revision == record.revision and (found.body, meta) != (record.body, record.meta):
                raise StoreCorruptError(
                    f"{name} is not the same in source and target: verify() of each says which of them is damaged",
                    collection=collection.name,
                    identifier=record.id,
                )

    def _delete(self, listed: Sequence[Listed], collection: Collection[Any]) -> list[Listed]:
        """Remove from the target those that the source does not hold now; return none."""
        asked = self._everything.replace(ids=[one.id for one in listed])
        held = {one.id for page in listing(self._source, collection, asked) for one in page}
        for one in listed:
            if one.id not in held:
                try:
                    gone = self._target.delete_record(
                        one.id, collection=collection, expect=one.revision, options=self._options
                    )
                    self._tally.add(collection.name, deleted=int(gone))
                except StoreConflictError:
                    self._tally.conflict(collection.name, one.id)
        return []
