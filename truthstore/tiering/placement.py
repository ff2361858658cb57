"""Which tier an item lies in, and the writes that concern two tiers; docs/design/tiering.md argues that they are right.

The default tier is the first. An id that no intent names has one copy. One that an intent names may have two: the first
tier that has a copy has the right one. Whoever writes to two tiers owns the intent of the id, and settles the id first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from truthstore.errors import StoreBulkError, StoreConflictError, StoreCorruptError, StoreError, StoreNotFoundError
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Change, Expect, Options, Record, Revision, new_revision
from truthstore.store.records import conflict
from truthstore.tiering.reads import MARK, Copy, TierReads, is_marker, logical

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore
    from truthstore.tiering.intents import Intents

__all__ = ["Placement"]


class Placement(TierReads):
    """Write, remove and move items in several stores.

    Args:
        stores: the stores, the default tier's first, then from hot to cold.
        announce: takes the changes that are news.
    """

    def __init__(self, stores: Sequence[BaseStore[Any]], announce: Callable[[Sequence[Change]], None]) -> None:
        super().__init__(stores)
        self._announce = announce
        self._quiet = threading.local()
        for store in self.stores:
            store.subscribe(self._relay)

    def _relay(self, changes: Sequence[Change]) -> None:
        """Announce what a tier announces, but for what a move does there."""
        if not getattr(self._quiet, "on", False):
            self._announce(changes)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record in the default tier, wherever its id lies."""
        call: dict[str, Any] = {"collection": collection, "options": options}
        while True:
            before = self.intents.known(collection)
            found = self.find(record.id, collection)
            stored = None if found is None else logical(found.record)
            if stored is not None and stored.revision == record.revision:
                return stored  # the same write, once more
            self._check(record.id, expect, stored, collection)
            with suppress(StoreConflictError):  # of a state that is no more: look again
                if found is None:
                    head = self.first.put_record(record, expect=ABSENT, **call)
                    if self._stands(record, before, collection, expect):
                        return head
                    continue
                if found.place == 0:
                    return self.first.put_record(record, expect=found.record.revision, **call)
                recalled = self._recall(record, found, call)
                if recalled is not None:
                    return recalled

    def _check(self, id: str, expect: Expect, stored: Record | None, collection: Collection[Any]) -> None:
        """Check `expect` against what is stored."""
        if expect is ANY or (expect is ABSENT and (stored is None or stored.meta.deleted)):
            return
        revision = None if stored is None else stored.revision
        if revision != expect:
            raise conflict(id, expect, revision, backend=self.name, collection=collection.name)

    def _stands(self, record: Record, before: Intents, collection: Collection[Any], expect: Expect) -> bool:
        """Return True if a record that was just created is the only one of its id.

        Another may have created the id at the same time, and it was moved: then this one goes, unless it may replace it.
        """
        touched = self.intents.read(collection).touched_since(before)
        if touched is not None and record.id not in touched:
            return True
        with self._own([record.id], collection) as key:
            others = [copy for copy in self._copies(record.id, collection) if copy.record.revision != record.revision]
            if others and expect is not ANY:
                self._remove(Copy(0, record), collection)
            self._settle(record.id, collection)
            self.intents.end(collection, key, [record.id])
        return expect is ANY or not others

    def _recall(self, record: Record, found: Copy, call: dict[str, Any]) -> Record | None:
        """Store a record in the default tier in place of a copy in another one; return None if that changed."""
        collection: Collection[Any] = call["collection"]
        head: Record | None = None
        with self._own([record.id], collection) as key:
            marker = self._mark(0, [record.id], collection)
            if record.id in self.intents.owned(collection, key):  # only now: who takes it later finds the marker
                again = self.find(record.id, collection)
                if again is not None and again.record.revision == found.record.revision:
                    with suppress(StoreConflictError):
                        head = self.first.put_record(record, expect=marker, **call)
            self._settle(record.id, collection)
            self.intents.end(collection, key, [record.id])
        if head is not None:
            self._announce([Change.of(collection.name, head)])
        return head

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store many records: those whose ids are in no tier together, the others one by one.

        Raises:
            StoreBulkError: some were not stored.
        """
        before = self.intents.known(collection)
        query = StoreQuery(ids=[record.id for record in records], include_deleted=True)
        there = {one.id for store in self.stores for one in store.scan(query, collection=collection)}
        new = {record.id: record for record in reversed(records) if record.id not in there}
        heads: dict[str, Record] = {}
        if new:
            try:
                stored = self.first.put_records(
                    list(new.values()), collection=collection, expect=ABSENT, options=options
                )
            except StoreBulkError as error:
                new = {id: record for id, record in new.items() if id in error.stored}
                stored = [record.head() for record in new.values()]
            heads = {
                head.revision: head
                for record, head in zip(new.values(), stored, strict=True)
                if self._stands(record, before, collection, expect)
            }
        failed: dict[str, Exception] = {}
        for record in records:
            if record.revision not in heads:
                try:
                    heads[record.revision] = self.put_record(
                        record, collection=collection, expect=expect, options=options
                    )
                except StoreError as error:
                    failed[record.id] = error
        if failed:
            done = [record.id for record in records if record.revision in heads]
            raise StoreBulkError(done, failed, backend=self.name, collection=collection.name)
        return [heads[record.revision] for record in records]

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record from its tier."""
        while True:
            before = self.intents.known(collection)
            found = self.find(id, collection)
            if found is None and expect is ANY:
                return False
            stored = None if found is None else logical(found.record)
            self._check(id, expect, stored, collection)
            assert found is not None
            assert stored is not None
            if id in self.intents.read(collection).ids:  # an older copy may lie below
                removed = self._delete_settled(id, stored, collection)
            else:
                call: dict[str, Any] = {"collection": collection, "expect": found.record.revision, "options": options}
                try:
                    removed = self.stores[found.place].delete_record(id, **call)
                except StoreConflictError:
                    continue
                touched = self.intents.read(collection).touched_since(before)
                if touched is None or id in touched:  # a move may have copied what was removed
                    removed = self._delete_settled(id, stored, collection) or removed
            if removed or stored.meta.deleted:
                return removed

    def _delete_settled(self, id: str, stored: Record, collection: Collection[Any]) -> bool:
        """Settle an id, and remove what is left if it is this record."""
        removed = False
        with self._own([id], collection) as key:
            copy = self._settle(id, collection)
            if copy is not None and logical(copy.record).revision == stored.revision:
                removed = self._remove(copy, collection)
            self.intents.end(collection, key, [id])
        if removed:
            self._announce([Change(collection.name, id, None)])
        return removed

    def move(
        self, ids: Sequence[str], source: int, target: int, collection: Collection[Any], revisions: Sequence[str] = ()
    ) -> dict[str, bool | Exception]:
        """Move items from one store to another.

        Args:
            ids: the items.
            source: number of the store where they lie.
            target: number of the other one.
            collection: their collection.
            revisions: of the items, where only those are to be moved.

        Returns:
            For each id True, False if it changed or is not there, or the error for which it stays.
        """
        wanted = dict(zip(ids, revisions, strict=True)) if revisions else {}
        done: dict[str, bool | Exception] = dict.fromkeys(ids, False)
        with self._own(ids, collection) as key:
            there = self.stores[target]
            marker = self._mark(target, ids, collection)
            owned = self.intents.owned(collection, key)  # only now: who takes an id later finds the marker
            found = self.stores[source].get_records([id for id in ids if id in owned], collection=collection)
            copies: dict[str, Record] = {}
            for id, record in found.items():
                item = logical(record)
                if not record.meta.deleted and wanted.get(id, item.revision) == item.revision:
                    mark = {"revision": item.revision, "of": record.revision}
                    meta = item.meta.replace(annotations={**item.meta.annotations, MARK: mark})
                    copies[id] = Record(meta, record.body)
            try:
                there.put_records(list(copies.values()), collection=collection, expect=marker)
            except StoreBulkError as error:
                done.update((id, why) for id, why in error.failed.items() if not isinstance(why, StoreConflictError))
            read_back = there.get_records(list(copies), collection=collection)
            for id, copy in copies.items():
                if (copied := read_back.get(id)) is None or copied.revision != copy.revision:
                    continue  # another took the id over
                if _is_same(copy, copied):
                    done[id] = self._remove(Copy(source, found[id]), collection)
                else:
                    done[id] = StoreCorruptError(f"the copy of {id!r:.90} is not the item", identifier=id)
                    self._remove(Copy(target, copied), collection)
            for id in owned:
                left = None if done[id] is True else self._settle(id, collection)
                if left is not None and id in copies and left.record.revision == copies[id].revision:
                    done[id] = True  # an earlier attempt of the same request removed the other
            self.intents.end(collection, key, ids)
        return done

    def recover(self, collection: Collection[Any]) -> int:
        """Finish or undo what others began and did not end, and return the number of ids."""
        ids = sorted(self.intents.read(collection).ids)
        if ids:
            with self._own(ids, collection) as key:
                self.intents.end(collection, key, ids)
        return len(ids)

    @contextmanager
    def _own(self, ids: Iterable[str], collection: Collection[Any]) -> Iterator[str]:
        """Own ids, which are settled if they had an owner. What fails leaves them to the next owner."""
        was_quiet = getattr(self._quiet, "on", False)
        key, had_owner = self.intents.begin(collection, ids)
        self._quiet.on = True
        try:
            for id in had_owner:
                self._settle(id, collection)
            yield key
        finally:
            self._quiet.on = was_quiet

    def _mark(self, place: int, ids: Sequence[str], collection: Collection[Any]) -> Revision:
        """Put a marker where a copy of each id is to come, which whoever takes the id over removes."""
        marker = new_revision()
        meta = [collection.empty_meta(id, deleted=True).replace(annotations={MARK: {"revision": marker}}) for id in ids]
        with suppress(StoreBulkError):  # an id of which something is there has no marker, and its copy is refused
            self.stores[place].put_records(
                [Record(one, b"", marker) for one in meta], collection=collection, expect=ABSENT
            )
        return marker

    def _copies(self, id: str, collection: Collection[Any]) -> list[Copy]:
        """Return all copies, and remove markers."""
        copies: list[Copy] = []
        for is_first in (True, False):  # once its marker is gone, no copy comes
            copies = []
            for place, store in enumerate(self.stores):
                with suppress(StoreNotFoundError):
                    copies.append(Copy(place, store.head_record(id, collection=collection)))
            for copy in copies if is_first else ():
                if is_marker(copy.record):
                    self._remove(copy, collection)
        return [copy for copy in copies if not is_marker(copy.record)]

    def _settle(self, id: str, collection: Collection[Any]) -> Copy | None:
        """Leave one copy, and return it: of a copy and the one that it was made of the former, else the first.

        The latter, for the owner before may be about to remove just that.
        """
        while len(copies := self._copies(id, collection)) > 1:
            one, other = copies[:2]
            if not (one.is_of(other) or other.is_of(one)):
                self._remove(other, collection)
                continue
            made, source = (one, other) if one.is_of(other) else (other, one)
            with suppress(StoreNotFoundError):  # another settles it, too
                bodies = [self.stores[copy.place].get_record(id, collection=collection).body for copy in (made, source)]
                self._remove(source if bodies[0] == bodies[1] else made, collection)
        return copies[0] if copies else None

    def _remove(self, copy: Copy, collection: Collection[Any]) -> bool:
        """Remove just this copy; return False if it is gone."""
        with suppress(StoreConflictError):
            return self.stores[copy.place].delete_record(
                copy.record.id, collection=collection, expect=copy.record.revision
            )
        return False


def _is_same(copy: Record, there: Record) -> bool:
    """Return True if two records have the same checksum, and say the same of themselves."""
    one, other = copy.meta, there.meta
    is_same_body = sha256(copy.body or b"").digest() == sha256(there.body or b"").digest()
    return is_same_body and (dict(one.fields), dict(one.tags)) == (dict(other.fields), dict(other.tags))
