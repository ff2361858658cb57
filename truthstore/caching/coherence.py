"""The order of loads, writes and announcements of one store: which answers may be kept.

Keys fall into stripes, and each stripe has an epoch, which every change of one of its keys advances. What was read may be
kept only if the epoch did not advance meanwhile; what was written, only if it advanced once, by that write. Loads of one
key in one epoch are one load.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from truthstore.runtime.forks import in_child

if TYPE_CHECKING:
    from truthstore.caching.records import RecordCache
    from truthstore.model.record import Record, Revision

__all__ = ["Coherence"]

STRIPES: Final = 1_024


class Load(Future["Record"]):
    """One load, for all that ask at the same time; cancelled if its thread was interrupted."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch


class Coherence:
    """Keep records in a cache, unless they are older than a change."""

    def __init__(self, records: RecordCache) -> None:
        self._records = records
        self._epochs = [0] * STRIPES
        self._latest: list[tuple[Hashable, Revision | None] | None] = [None] * STRIPES
        self._reset()
        in_child(self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loads: dict[Hashable, Load] = {}

    def epochs(self, keys: Sequence[Hashable]) -> list[int]:
        """Return the epoch of each key, to be asked for before a read or a write begins."""
        return [self._epochs[hash(key) % STRIPES] for key in keys]

    def _advance(self, key: Hashable, revision: Revision | None) -> None:
        stripe = hash(key) % STRIPES
        self._epochs[stripe] += 1
        self._latest[stripe] = (key, revision)

    def changed(self, changes: Sequence[tuple[Hashable, Revision | None]]) -> None:
        """Remove keys whose items were changed, with their new revisions; None if deleted, or if nobody knows."""
        with self._lock:
            for key, revision in changes:
                self._advance(key, revision)
            if changes:
                self._records.cache.block_many([key for key, _ in changes])

    def forget(self, key: Hashable) -> None:
        """Remove a key, and do not keep what loads on their way bring of it."""
        with self._lock:
            self._advance(key, None)
            self._records.cache.delete(key)

    def cleared(self) -> None:
        """Do not keep anything that loads on their way bring."""
        with self._lock:
            self._epochs = [epoch + 1 for epoch in self._epochs]

    def load(self, key: Hashable, read: Callable[[], Record], *, keep: bool) -> Record:
        """Return what one load finds for all that ask for a key at the same time, and keep it if that is wanted."""
        while True:
            with self._lock:
                epoch = self._epochs[hash(key) % STRIPES]
                load = self._loads.get(key)
                is_own = load is None or load.epoch != epoch
                if load is None or is_own:
                    load = self._loads[key] = Load(epoch)
            if is_own:
                return self._run(load, key, read, keep=keep)
            with suppress(CancelledError):
                return load.result()

    def _run(self, load: Load, key: Hashable, read: Callable[[], Record], *, keep: bool) -> Record:
        try:
            record = read()
            if keep:
                self.loaded({key: record}, [load.epoch])
            load.set_result(record)
        except Exception as error:
            load.set_exception(error)
            raise
        finally:
            with self._lock:
                if self._loads.get(key) is load:
                    del self._loads[key]
            load.cancel()  # which does nothing to one that ended
        return record

    def loaded(self, records: Mapping[Hashable, Record], epochs: Sequence[int]) -> None:
        """Keep what was read, of keys that have not been changed since they had these epochs."""
        with self._lock:
            known = zip(records.items(), epochs, strict=True)
            self._records.keep(
                {key: record for (key, record), epoch in known if self._epochs[hash(key) % STRIPES] == epoch},
                replace=False,
            )

    def written(self, records: Sequence[tuple[Hashable, Record]], epochs: Sequence[int], *, keep: bool) -> None:
        """Keep what is stored now, or remove it, unless other writes since these epochs have seen to that."""
        kept: dict[Hashable, Record] = {}
        removed: list[Hashable] = []
        with self._lock:
            for (key, record), epoch in zip(records, epochs, strict=True):
                stripe = hash(key) % STRIPES
                if self._latest[stripe] != (key, record.revision):
                    # The store below announces nothing, or not yet, or another write has come between.
                    self._advance(key, record.revision if self._epochs[stripe] == epoch else None)
                    removed.append(key)
                    kept.pop(key, None)
                if keep and self._epochs[stripe] == epoch + 1 and self._latest[stripe] == (key, record.revision):
                    kept[key] = record
            if removed:
                self._records.cache.block_many(removed)
            self._records.keep(kept, replace=True)
