"""Move the records of one collection: compare, read, write, read back.

Records are compared by revision, which is exact: equal revisions are the same write, whatever the clocks say. So there is
no watermark, and nothing to remember between two copies: one that was killed is gone on with by comparing again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Literal

from truthstore.copying.base import Conflict, CopyProgress, Place, Progress
from truthstore.errors import StoreBulkError, StoreConflictError, StoreCorruptError, StoreWriteError, shown
from truthstore.model.query import EVERYTHING, StoreQuery
from truthstore.model.record import ABSENT, AS_STORED, NONE, Listed, Record, Revision
from truthstore.versioning.meta import ITEM, history_of

if TYPE_CHECKING:
    from truthstore.model.collection import Collection

__all__ = ["Transfer"]

PAGE: Final = 1_000
BATCH: Final = 500
BATCH_BYTES: Final = 8 << 20
MOST_CONFLICTS: Final = 1_000
FEW: Final = 4
"""Looking up an id takes about so many times as long as reading it in a listing."""


class Transfer:
    """Moves records from one place to another.

    Args:
        source: where from; None where records are given to `take`.
        target: where to.
        conflict: the rule for another revision.
        verify: read back what was written; ``all``: read and compare what was there already, too.
        as_stored: leave records as the layers of the source stored them, tombstones and all.
        progress: called after each batch.

    Attributes:
        done: counts: compared, copied, unchanged, kept, deleted, conflicts, bytes.
        written: the number of records copied, by collection.
        conflicts: collection and id of the first conflicts.
    """

    def __init__(
        self,
        source: Place | None,
        target: Place,
        *,
        conflict: Conflict,
        verify: bool | Literal["all"],
        as_stored: bool,
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._target = target
        self._conflict = conflict
        self._verify = verify
        self._as_stored = as_stored
        self._progress = progress
        self._everything = EVERYTHING.replace(order_by="id", ascending=True, include_deleted=as_stored)
        self.done: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.conflicts: list[tuple[str, str]] = []

    def _options(self, *, reads_source: bool = False) -> Any:
        return AS_STORED if self._as_stored or reads_source else NONE

    def copy(
        self,
        collection: Collection[Any],
        query: StoreQuery | None = None,
        *,
        before: Callable[[Sequence[Record]], None] | None = None,
        delete: bool = False,
    ) -> None:
        """Copy what a query finds.

        Args:
            collection: the collection.
            query: which records; None for all.
            before: called with each batch before it is written.
            delete: remove from the target what the source does not hold.
        """
        assert self._source is not None
        start, total = self.done.copy(), None
        if self._progress is not None:
            total = self._source.count_records(query or self._everything, collection=collection)
            total = total if query is None or query.limit is None else min(total, query.limit)
        for page, known in self._pages(collection, query, delete=delete):
            wanted = [listed for listed in page if known.get(listed.id) != listed.revision]
            self.done["unchanged"] += len(page) - len(wanted)
            for batch in self._batches(wanted, collection):
                if before is not None:
                    before(batch)
                self.put(batch, known, collection)
                self._say(collection, start, total, 0)
            if self._verify == "all":
                same = (listed for listed in page if known.get(listed.id) == listed.revision)
                for batch in self._batches(same, collection):
                    self._check(batch, collection)
            self._say(collection, start, total, len(page))

    def _pages(
        self, collection: Collection[Any], query: StoreQuery | None, *, delete: bool
    ) -> Iterator[tuple[list[Listed], dict[str, Revision]]]:
        """Iterate over what the source lists, a page at a time, each with the revisions at the target."""
        assert self._source is not None
        wanted = self._everything if query is None else self._narrowed(query)
        ours = self._source.scan_revisions(wanted, collection=collection, options=self._options(reads_source=True))
        if query is not None or not (delete or self._is_large(collection)):
            while page := list(islice(ours, PAGE)):
                yield page, self.known([listed.id for listed in page], collection)
            return
        theirs = self._target.scan_revisions(self._everything, collection=collection, options=self._options())
        ahead = next(theirs, None)
        while page := list(islice(ours, PAGE)):
            ids, known, more = {listed.id for listed in page}, dict[str, Revision](), list[Listed]()
            while ahead is not None and ahead.id <= page[-1].id:
                if ahead.id in ids:
                    known[ahead.id] = ahead.revision
                elif delete:
                    more.append(ahead)
                    more = self._delete(more, collection, least=PAGE)
                ahead = next(theirs, None)
            self._delete(more, collection)
            yield page, known
        if delete and ahead is not None:
            rest = chain([ahead], theirs)
            while more := list(islice(rest, PAGE)):
                self._delete(more, collection)

    def _narrowed(self, query: StoreQuery) -> StoreQuery:
        """Return a query that goes by id, unless its order decides what it finds: what is changed meanwhile stays in its place."""
        if query.limit is None and not query.offset and query.after is None:
            query = query.replace(order_by="id", ascending=True)
        return query.replace(include_deleted=False)

    def _is_large(self, collection: Collection[Any]) -> bool:
        """Return whether so much of the target is in the source that listing all of it pays."""
        assert self._source is not None
        here = self._target.count_records(self._everything, collection=collection)
        return here <= FEW * self._source.count_records(self._everything, collection=collection)

    def known(self, ids: Sequence[str], collection: Collection[Any]) -> dict[str, Revision]:
        """Return the revisions that the target holds of some ids."""
        found = self._target.scan_revisions(
            self._everything.replace(ids=ids), collection=collection, options=self._options()
        )
        return {listed.id: listed.revision for listed in found}

    def _batches(self, wanted: Iterable[Listed], collection: Collection[Any]) -> Iterator[list[Record]]:
        """Read records, some at a time: as many as fit into memory whatever their size."""
        batch: list[str] = []
        size = 0
        for listed in chain(wanted, [None]):
            if batch and (listed is None or len(batch) == BATCH or size + listed.size > BATCH_BYTES):
                yield self._read(batch, collection)
                batch, size = [], 0
            if listed is not None:
                batch.append(listed.id)
                size += listed.size

    def _read(self, ids: Sequence[str], collection: Collection[Any]) -> list[Record]:
        assert self._source is not None
        options = self._options(reads_source=True)
        found = self._source.get_records(ids, collection=collection, options=options)  # but for what was removed
        return [record for record in found.values() if self._as_stored or not record.meta.deleted]

    def take(self, records: Sequence[Record], collection: Collection[Any]) -> None:
        """Copy records that come from no store; of two with one id, the second is compared with the first."""
        start = self.done.copy()
        while records:
            known = self.known([record.id for record in records], collection)
            wanted: dict[str, Record] = {}
            again: list[Record] = []
            for record in records:
                if known.get(record.id) == record.revision:
                    self.done["unchanged"] += 1
                elif wanted.setdefault(record.id, record) is not record:
                    again.append(record)
            self.put(list(wanted.values()), known, collection)
            self._say(collection, start, None, len(records) - len(again))
            records = again

    def put(self, records: Sequence[Record], known: Mapping[str, Revision], collection: Collection[Any]) -> None:
        """Write records, those whose ids the target holds as the rule says, and read back what was written.

        Raises:
            StoreBulkError: some could not be written.
            StoreCorruptError: what was read back is not what was written.
        """
        written = [record for record in records if record.id not in known]
        others = [record for record in records if record.id in known]
        met: set[str] = set()
        if written:
            try:
                self._target.put_records(written, collection=collection, expect=ABSENT, options=self._options())
            except StoreBulkError as error:
                met = {id for id, one in error.failed.items() if isinstance(one, StoreConflictError)}
                if len(met) < len(error.failed):
                    raise
        if met:  # written by another program since they were listed
            others += [record for record in written if record.id in met]
            written = [record for record in written if record.id not in met]
            known = {**known, **self.known(sorted(met), collection)}
        written += [record for record in others if self._replace(record, known.get(record.id), collection)]
        if self._verify:
            self._check(written, collection)
        self.done["copied"] += len(written)
        self.written[collection.name] += len(written)
        self.done["bytes"] += sum(len(record.body or b"") for record in written)

    def _replace(self, record: Record, actual: Revision | None, collection: Collection[Any]) -> bool:
        """Write a record in the place of another revision if the rule says so; return whether that was done."""
        if actual == record.revision:
            self.done["unchanged"] += 1
            return False
        if self._conflict == "target" or (self._conflict == "newer" and not self._is_newer(record, collection)):
            self.done["kept"] += 1
            return False
        if self._conflict == "raise" and not self._is_successor(record, actual, collection):
            return self._note(record.id, collection)
        expect = ABSENT if actual is None else actual
        try:
            self._target.put_records([record], collection=collection, expect=expect, options=self._options())
        except StoreConflictError:
            return self._note(record.id, collection)
        except StoreBulkError as error:
            if not isinstance(error.failed[record.id], StoreConflictError):
                raise
            return self._note(record.id, collection)
        return True

    def _note(self, id: str, collection: Collection[Any]) -> bool:
        """Keep a conflict for the end; return False."""
        self.done["conflicts"] += 1
        if len(self.conflicts) < MOST_CONFLICTS:
            self.conflicts.append((collection.name, id))
        return False

    def _is_newer(self, record: Record, collection: Collection[Any]) -> bool:
        there = self._target.get_records([record.id], collection=collection, options=self._options()).get(record.id)
        return there is None or there.meta.stored_at < record.meta.stored_at

    def _is_successor(self, record: Record, actual: Revision | None, collection: Collection[Any]) -> bool:
        """Return whether there is none at the target, or what the source keeps as an older version of the record."""
        if actual is None or self._source is None or not self._as_stored or not collection.is_users:
            return actual is None
        older = self._source.scan_revisions(StoreQuery(where={ITEM: record.id}), collection=history_of(collection))
        return any(listed.revision == actual for listed in older)

    def _check(self, records: Sequence[Record], collection: Collection[Any]) -> None:
        """Compare records with what the target gives back."""
        ids = [record.id for record in records]
        there = self._target.get_records(ids, collection=collection, options=self._options()) if ids else {}
        for record in records:
            found = there.get(record.id)
            name = f"{collection.name} {shown(record.id)}"
            if found is None:
                raise StoreWriteError(
                    f"{name} was copied and is gone: another program, or a policy of the target, removes what is written",
                    collection=collection.name,
                    identifier=record.id,
                )
            # Another revision was written by another program, after the copy.
            if found.revision == record.revision and not self._is_same(record, found):
                raise StoreCorruptError(
                    f"the copy of {name} is not what the source holds: the target lost or changed something of it, or the "
                    "source is damaged; verify() of both says which",
                    collection=collection.name,
                    identifier=record.id,
                )

    def _is_same(self, record: Record, found: Record) -> bool:
        if not self._as_stored:  # layers of the target add annotations of their own
            found = Record(found.meta.replace(annotations=record.meta.annotations), found.body)
        return found.body == record.body and found.meta == record.meta

    def _delete(self, listed: list[Listed], collection: Collection[Any], *, least: int = 1) -> list[Listed]:
        """Remove from the target what the source does not hold, once there are so many; return what is left to remove."""
        if len(listed) < least:
            return listed
        assert self._source is not None
        asked = self._everything.replace(ids=[one.id for one in listed])
        options = self._options(reads_source=True)
        held = {one.id for one in self._source.scan_revisions(asked, collection=collection, options=options)}
        for one in listed:
            if one.id not in held:
                try:
                    self.done["deleted"] += self._target.delete_record(
                        one.id, collection=collection, expect=one.revision, options=self._options()
                    )
                except StoreConflictError:
                    self._note(one.id, collection)
        return []

    def _say(self, collection: Collection[Any], start: Counter[str], total: int | None, compared: int) -> None:
        self.done["compared"] += compared
        if self._progress is not None:
            now = self.done - start
            self._progress(
                CopyProgress(
                    collection=collection.name,
                    compared=now["compared"],
                    total=total,
                    copied=now["copied"],
                    bytes=now["bytes"],
                )
            )
