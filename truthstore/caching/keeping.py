"""Finding, loading and keeping records: the part of a cached store that decides what may be cached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from truthstore.caching.coherence import Coherence, Flight, Key, Session, untouched
from truthstore.caching.tiers import MISSING, LocalTier, SharedTier
from truthstore.errors import StoreNotFoundError
from truthstore.model.record import Record, Revision

if TYPE_CHECKING:
    from truthstore.caching.base import CacheConfig
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["Keeper"]

Load = Callable[[str, "Collection[Any]"], Record]


class Keeper:
    """Keeps records of one store in a cache, and only such as are right.

    Args:
        base: the store.
        tier: the cache.
        config: life span of what is missing, and whether to revalidate.
        fills_on_read: whether what is loaded is kept.
        load: loads a record.
    """

    def __init__(
        self,
        base: BaseStore[Any],
        tier: LocalTier | SharedTier,
        config: CacheConfig,
        load: Load,
        *,
        fills_on_read: bool,
    ) -> None:
        self._base = base
        self._tier = tier
        self._config = config
        self._load_one = load
        self._fills_on_read = fills_on_read
        # Then an answer is not older than what another process had written before it was asked for.
        self._is_exact = config.revalidate or isinstance(tier, SharedTier)
        self.coherence = Coherence(tier.forget)
        tier.on_clear(self.coherence.cleared)

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """The record from the cache, `MISSING`, or None; with revalidation only if the store still has the same."""
        record = self._tier.find(id, collection)
        if record is None or not self._config.revalidate:
            return record
        try:
            revision = self._base.head_record(id, collection=collection).revision
        except StoreNotFoundError:
            revision = MISSING.revision
        if record.revision == revision:
            return record
        self.coherence.changed([((collection.name, id), None)])
        return None

    def head(self, id: str, collection: Collection[Any]) -> Record:
        """The head from below; what is older than it is not served afterwards."""
        key = (collection.name, id)
        try:
            head = self._base.head_record(id, collection=collection)
        except StoreNotFoundError:
            self._saw(key, MISSING.revision)
            raise
        self._saw(key, head.revision)
        return head

    def _saw(self, key: Key, revision: Revision) -> None:
        with self.coherence.lock:
            self.coherence.saw(key, revision)
            self._drop(key)

    def _drop(self, key: Key) -> None:
        """Forgets what was kept meanwhile, perhaps what was there before what somebody is told now; under the lock."""
        # Of a shared cache nothing need be forgotten: a writer has ended all leases before it writes.
        if isinstance(self._tier, LocalTier) and self._tier.holds(key):
            self._tier.forget([key])

    def load(self, id: str, collection: Collection[Any]) -> Record:
        """The record from below, `MISSING` if there is none: one load for all who ask at the same time."""
        key = (collection.name, id)
        may_be_older = self._is_exact
        while True:
            flight, is_own = self.coherence.board(key)
            if not is_own:
                record = flight.wait()
                if may_be_older:
                    # It began before this call, perhaps before what another process has written since. The next did not.
                    may_be_older = False
                    record = self.find(id, collection)
                if record is not None:
                    return record
                continue  # whoever loaded was interrupted
            try:
                claim = self._tier.claim([key]).get(key) if self._fills_on_read else None
                try:
                    flight.record = self._load_one(id, collection)
                except StoreNotFoundError:
                    flight.record = MISSING
                self._keep(key, flight.record, claim, partial(_flies, flight), by=flight)
            except Exception as error:
                flight.error = error
                raise
            finally:
                self.coherence.leave(key, flight)
            return flight.record

    def load_many(self, ids: Sequence[str], collection: Collection[Any]) -> dict[str, Record]:
        """The records from below that exist."""
        session = self.coherence.begin()
        try:
            claims = self._tier.claim([(collection.name, id) for id in ids]) if self._fills_on_read else {}
            loaded = self._base.get_records(ids, collection=collection)
            for id in ids:
                key = (collection.name, id)
                record = loaded.get(id, MISSING)
                self._keep(key, record, claims.get(key), partial(untouched, session, key, record.revision), by=session)
        finally:
            self.coherence.end(session)
        return loaded

    def refresh(self, id: str, collection: Collection[Any]) -> Record:
        """The record from below, which is kept whatever the mode."""
        key = (collection.name, id)
        self.coherence.changed([(key, None)])
        session = self.coherence.begin()
        try:
            claim = self._tier.claim([key]).get(key)
            record = self._load_one(id, collection)
            self._keep(key, record, claim, partial(untouched, session, key, record.revision), by=session)
        finally:
            self.coherence.end(session)
        return record

    def warm(self, records: Callable[[], Iterable[Record]], collection: Collection[Any]) -> int:
        """Keeps what is found, whatever the mode, and returns how much that was."""
        if isinstance(self._tier, SharedTier):
            # A lease holds from the moment it is given: what was read before may be old.
            return sum(self._warm_one(record.id, collection) for record in records())
        count = 0
        session = self.coherence.begin()
        try:
            for record in records():
                key = (collection.name, record.id)
                count += self._keep(key, record, b"", partial(untouched, session, key, record.revision), by=session)
        finally:
            self.coherence.end(session)
        return count

    def _warm_one(self, id: str, collection: Collection[Any]) -> bool:
        try:
            self.refresh(id, collection)
        except StoreNotFoundError:  # removed since the query found it
            return False
        return True

    def write(
        self,
        records: Sequence[Record],
        collection: Collection[Any],
        write: Callable[[], list[Record]],
        *,
        fill: bool,
    ) -> list[Record]:
        """Writes, and keeps what was written if `fill` is set and nobody else wrote at the same time."""
        keys = [(collection.name, record.id) for record in records]
        claims = self._tier.claim(keys, force=True)
        session = self.coherence.begin()
        heads: list[Record] = []
        try:
            heads = write()
        finally:
            # A write that failed may have happened all the same.
            self._tell(session, keys, heads)
            if isinstance(self._tier, SharedTier):
                self._tier.release()
            if not heads or not fill or len(set(keys)) < len(keys):
                claims = {}
            kept: set[Key] = set()
            for key, record, head in zip(keys, records, heads, strict=False):
                written = Record(head.meta, record.body, head.revision)
                if self._keep(key, written, claims.get(key), partial(self._is_latest, session, key, head.revision)):
                    kept.add(key)
            if lost := [key for key in keys if key not in kept]:
                self._tier.forget(lost)
            self.coherence.end(session)
        return heads

    def write_one(
        self, record: Record, collection: Collection[Any], write: Callable[[], Record], *, fill: bool
    ) -> Record:
        """Writes one record: the usual save, on the shortest way."""
        tier = self._tier
        if isinstance(tier, SharedTier):
            return self.write((record,), collection, lambda: [write()], fill=fill)[0]
        key = (collection.name, record.meta.id)
        coherence = self.coherence
        session = coherence.begin()
        try:
            head = write()
            revision = head.revision
            if revision not in session.announced.get(key, ()):
                coherence.changed([(key, revision)])  # the backend announces nothing
            if fill:
                with coherence.lock:
                    if self._is_latest(session, key, revision):
                        tier.keep(key, Record(head.meta, record.body, revision), b"", None)
        except BaseException:
            coherence.changed([(key, None)])  # it may have been written all the same
            raise
        finally:
            coherence.end(session)
        return head

    def _is_latest(self, session: Session, key: Key, revision: Revision) -> bool:
        """Whether nothing newer than what a session has written was announced, or read and kept, meanwhile."""
        return untouched(session, key, revision) and not (isinstance(self._tier, LocalTier) and self._tier.holds(key))

    def _tell(self, session: Session, keys: Sequence[Key], heads: Sequence[Record]) -> None:
        """Makes known what a backend that announces nothing has written, or may have."""
        if len(keys) == len(heads) == 1 and heads[0].revision in session.announced.get(keys[0], ()):
            return  # the usual save
        revisions: dict[Key, Revision | None] = dict.fromkeys(keys)
        revisions.update(zip(keys, (head.revision for head in heads), strict=False))
        untold = [
            (key, revision) for key, revision in revisions.items() if revision not in session.announced.get(key, ())
        ]
        if untold:
            self.coherence.changed(untold)

    def _keep(
        self,
        key: Key,
        record: Record,
        claim: bytes | None,
        is_valid: Callable[[], bool],
        *,
        by: Flight | Session | None = None,
    ) -> bool:
        """Keeps a record if nothing speaks against it.

        Args:
            key: its key.
            record: the record.
            claim: the permit to keep it.
            is_valid: asked under the lock.
            by: the load or bulk read that found the record, if it was read.
        """
        ttl = self._config.negative_ttl_seconds if record is MISSING else None
        with self.coherence.lock:
            if by is not None:
                self.coherence.saw(key, record.revision, by=by)
            if claim is None or ttl == 0 or not is_valid():
                if by is not None:
                    self._drop(key)
                return False
            if isinstance(self._tier, LocalTier):
                return self._tier.keep(key, record, claim, ttl)
        # Whatever is announced from here on ends the lease.
        return self._tier.keep(key, record, claim, ttl)


def _flies(flight: Flight) -> bool:
    return not flight.is_stale
