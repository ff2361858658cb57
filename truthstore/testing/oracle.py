"""The knowledge of the state machine: the open stores, their expected content, and the comparison of the two."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from hypothesis.stateful import RuleBasedStateMachine

from truthstore.errors import StoreNotFoundError
from truthstore.model.query import StoreQuery
from truthstore.model.record import Record
from truthstore.testing.clock import SkewedClock
from truthstore.testing.sample import SAMPLES, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from truthstore.store.store import BaseStore
    from truthstore.testing.faults import FaultKind

__all__ = ["IDS", "Faults", "StoreModel"]

IDS = ("a", "A", "a/b", "..", "caf\u00e9", "cafe\u0301", "_index", "x" * 300)
EVERYTHING = StoreQuery(order_by="id", ascending=True)


class Faults(Protocol):
    """A switch that makes the storage under one store fail; `FaultPlan` is one."""

    def arm(self, fail_at: int, kind: FaultKind = "before", *, times: int = 1) -> None:
        """Fail the call with this number, counted from 1 from now on, and so many in a row."""
        ...

    def disarm(self) -> bool:
        """Fail no further call."""
        ...


class Handle(NamedTuple):
    """An open store and the switch that makes it fail."""

    store: BaseStore[Sample]
    faults: Faults | None


class StoreModel(RuleBasedStateMachine):
    """Stores of samples at one place, the dict that they are held against, and how the two are compared.

    Attributes:
        writers: how many stores are open at the place at the same time.
        independent: whether a store opened later, beside those that are open, sees all that was acknowledged.
        can_fail: whether `make_faulty` is there.
        can_empty: whether `empty_location` is there.
        ids: the ids that are used.
    """

    writers: ClassVar[int] = 1
    independent: ClassVar[bool] = True
    can_fail: ClassVar[bool] = False
    can_empty: bool = False
    ids: ClassVar[Sequence[str]] = IDS
    _folder: Path | None = None

    def make_location(self) -> Any:
        """Return an empty place, by default a folder that goes when the run ends."""
        folder = Path(tempfile.mkdtemp(prefix="truthstore-"))
        self._folder = folder
        return folder / "store"

    def make_store(self, location: Any) -> BaseStore[Sample]:
        """Open a store of `SAMPLES` at a place."""
        raise NotImplementedError("write make_store()")

    def make_faulty(self, location: Any) -> tuple[BaseStore[Sample], Faults]:
        """Open a store whose storage can be made to fail."""
        raise NotImplementedError("write make_faulty(), or leave can_fail alone")

    def empty_location(self, location: Any, way: int) -> None:
        """Empty a place under its open stores, as other programs may; `way` chooses how, if there are several ways."""
        raise NotImplementedError("write empty_location(), or leave can_empty alone")

    def waiting_ids(self, store: BaseStore[Sample]) -> Iterable[str]:
        """Return the ids of saves that a layer acknowledged and keeps elsewhere, to be stored later."""
        return ()

    def __init__(self) -> None:
        super().__init__()
        self._model: dict[str, tuple[Sample, Record]] = {}
        self._stale: set[str] = set()
        self._handles: list[Handle] = []
        self._location = self.make_location()
        self._turn = 0
        self._clock = SkewedClock()

    def _open(self) -> Handle:
        if self.can_fail:
            return Handle(*self.make_faulty(self._location))
        return Handle(self.make_store(self._location), None)

    def _store(self, writer: int) -> BaseStore[Sample]:
        return self._handles[writer % len(self._handles)].store

    def _learn(self, store: BaseStore[Sample], sample: Sample) -> None:
        """Take over the state of an item that must be there from a store."""
        wanted = SAMPLES.encode(sample)
        head = store.head(sample.id)
        assert dict(head.meta.fields) == dict(wanted.meta.fields)
        assert dict(head.meta.tags) == dict(wanted.meta.tags)
        if sample.id in self._model:
            self._stale.add(self._model[sample.id][1].revision)
        assert head.revision not in self._stale
        meta = wanted.meta.replace(size=head.meta.size, stored_at=head.meta.stored_at)
        self._model[sample.id] = (sample, Record(meta, wanted.body, head.revision))

    def _forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            if id in self._model:
                self._stale.add(self._model.pop(id)[1].revision)

    def _records(self) -> list[Record]:
        return [record for _, record in self._model.values()]

    def _found(self, query: StoreQuery) -> list[str]:
        return [record.id for record in query.bind(SAMPLES).select(self._records())]

    def _holds(self, store: BaseStore[Sample], id: str, sample: Sample | None) -> bool:
        try:
            got = store.get(id)
        except StoreNotFoundError:
            return sample is None
        return sample is not None and SAMPLES.encode(got).body == SAMPLES.encode(sample).body

    def _check(self, store: BaseStore[Sample]) -> None:
        ids = sorted(self._model)
        assert store.list_ids(EVERYTHING) == ids
        assert store.count() == len(ids)
        rows = [(row.id, dict(row.meta.fields)) for row in store.scan_rows(EVERYTHING, collection=SAMPLES)]
        records = [self._model[id][1] for id in ids]
        assert rows == [(row.id, dict(row.meta.fields)) for record in records for row in SAMPLES.rows_of(record)]
        entries = list(store.entries(EVERYTHING))
        assert [(entry.id, entry.revision) for entry in entries] == [(id, self._model[id][1].revision) for id in ids]
        assert [SAMPLES.encode(sample).body for sample in store.query(EVERYTHING)] == [
            self._model[id][1].body for id in ids
        ]
        found = store.get_many(self.ids, missing="skip")
        assert set(found) == set(ids)
        for id in self.ids:
            there = id in self._model
            assert store.exists(id) is there
            assert self._holds(store, id, self._model[id][0] if there else None)
            if there:
                assert SAMPLES.encode(found[id]).body == self._model[id][1].body
                assert store.head(id).revision == self._model[id][1].revision

    def _adopt(self, store: BaseStore[Sample], wanted: dict[str, Sample | None], done: set[str]) -> None:
        """Take in the state after a failure: old or new, nothing between; after an acknowledgement, new."""
        for id, sample in wanted.items():
            old = self._model.get(id)
            if id in done:
                assert self._holds(store, id, sample), f"{id!r} was acknowledged and is not there"
                is_new = True
            elif self._holds(store, id, sample):
                is_new = old is None or sample is None or store.head(id).revision != old[1].revision
            else:
                assert self._holds(store, id, old[0] if old else None), f"{id!r} is neither old nor new"
                is_new = False
            if is_new and sample is not None:
                self._learn(store, sample)
            elif is_new:
                self._forget([id])

    def teardown(self) -> None:
        """Close the open stores, set the clock right and remove the place."""
        try:
            for handle in self._handles:
                handle.store.close()
        finally:
            self._clock.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
